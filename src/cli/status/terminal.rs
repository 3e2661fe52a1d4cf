//! The terminal as `--watch` uses it: the alternate screen, keys one by one. It is left as it was found.

use std::io::{self, IsTerminal, Read};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::text::print;

/// Alternate screen; no cursor; lines that are too long are cut, not broken.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What the terminal's user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The terminal has another size, or shows something else.
    Redraw,
    /// To stop for a while (Ctrl-Z).
    Suspend,
    /// To end.
    Quit,
}

/// The alternate screen, until it is dropped.
pub(super) struct Screen {
    /// How the keyboard was before, if there is one.
    before: Option<Termios>,
}

impl Screen {
    pub(super) fn enter() -> Self {
        let mut screen = Self { before: None };
        screen.show();
        screen
    }

    fn show(&mut self) {
        let stdin = io::stdin();
        self.before = stdin
            .is_terminal()
            .then(|| tcgetattr(&stdin).ok())
            .flatten();
        if let Some(mut raw) = self.before.clone() {
            // Each key at once, and not shown. Ctrl-C and Ctrl-Z still are signals.
            raw.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        print(ENTER);
    }

    fn hide(&mut self) {
        print(LEAVE);
        if let Some(before) = self.before.take() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }

    /// Stops this process as a shell's user expects, and goes on when it is continued.
    pub(super) fn suspend(&mut self) {
        self.hide();
        let _ = kill_process(getpid(), Signal::STOP);
        self.show();
    }

    /// Columns and rows.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok();
        let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        size.filter(|(columns, rows)| *columns > 0 && *rows > 0)
            .unwrap_or((80, 24))
    }

    /// Shows these lines, and nothing else.
    pub(super) fn draw(lines: &[String]) {
        let lines: Vec<_> = lines.iter().map(|line| format!("{line}\x1b[K")).collect();
        print(&format!("\x1b[H{}\x1b[J", lines.join("\n")));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.hide();
    }
}

/// Keys and signals.
pub(super) struct Wishes {
    quit_key: Option<oneshot::Receiver<()>>,
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    stop: unix::Signal,
    window: unix::Signal,
}

impl Wishes {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            quit_key: io::stdin().is_terminal().then(quit_key),
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            stop: signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
            window: signal(SignalKind::window_change())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Wish {
        let Self {
            quit_key,
            interrupt,
            terminate,
            hang_up,
            stop,
            window,
        } = self;
        tokio::select! {
            () = pressed(quit_key.as_mut()) => Wish::Quit,
            _ = interrupt.recv() => Wish::Quit,
            _ = terminate.recv() => Wish::Quit,
            _ = hang_up.recv() => Wish::Quit,
            _ = stop.recv() => Wish::Suspend,
            _ = window.recv() => Wish::Redraw,
        }
    }
}

/// Tells when `q` is pressed, or the keyboard is gone. A thread reads, for to make the keyboard non-blocking would
/// make it so for the shell, too; it ends with the process.
fn quit_key() -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let mut keys = io::stdin().lock().bytes().map_while(Result::ok);
        keys.find(|key| b"qQ\x03\x04".contains(key));
        let _ = tell.send(());
    });
    told
}

async fn pressed(key: Option<&mut oneshot::Receiver<()>>) {
    match key {
        Some(key) => {
            let _ = key.await;
        }
        None => std::future::pending().await,
    }
}
