//! `--watch`: the status again each second, in a terminal like top, elsewhere one after the other.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::terminal::{Screen, Wish, Wishes};
use super::{WIDTH, render, unanswered};
use crate::cli::Exit;
use crate::cli::client::{Client, ClientError};
use crate::cli::text::{Style, number, or_dash, paragraph, print, span, text, whole};

const EVERY: Duration = Duration::from_secs(1);

/// Watches until the user has seen enough.
pub(super) async fn watch(client: &Client, json: bool) -> Result<Exit, ClientError> {
    let (answers, mut heard) = mpsc::channel(1);
    let asks = pin!(ask_again_and_again(client, answers));
    let in_terminal = !json && io::stdout().is_terminal();
    let showing = async {
        if in_terminal {
            draw(&mut heard).await
        } else {
            write(&mut heard, json).await
        }
    };
    tokio::select! {
        () = asks => Ok(Exit::Ok),
        ended = showing => ended.map(|()| Exit::Ok),
    }
}

/// What the server answers, or why it does not.
type Answer = Result<Value, ClientError>;

async fn ask_again_and_again(client: &Client, answers: mpsc::Sender<Answer>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = client.get("/status").await.map(|(_, status)| status);
        if answers.send(answer).await.is_err() {
            return;
        }
    }
}

/// In a pipe: a line of JSON, or a whole status and an empty line, for each answer.
async fn write(heard: &mut mpsc::Receiver<Answer>, json: bool) -> Result<(), ClientError> {
    while let Some(answer) = heard.recv().await {
        let answer = passing(answer)?;
        let told = match (answer, json) {
            (Ok(status), true) => format!("{status}\n"),
            (Err(error), true) => format!("{}\n", unanswered(&error)),
            (Ok(status), false) => render::status(&status, Style::Plain, WIDTH) + "\n",
            (Err(error), false) => paragraph("", 0, &error.to_string(), WIDTH) + "\n",
        };
        if !print(&told) {
            break;
        }
    }
    Ok(())
}

/// In a terminal: the newest one.
async fn draw(heard: &mut mpsc::Receiver<Answer>) -> Result<(), ClientError> {
    let mut wishes = Wishes::new().map_err(ClientError::Runtime)?;
    let style = Style::of_stdout();
    let mut seen = Seen::default();
    let mut screen = Screen::enter();
    loop {
        tokio::select! {
            answer = heard.recv() => match answer {
                Some(answer) => seen.update(passing(answer)?),
                None => return Ok(()),
            },
            wish = wishes.next() => match wish {
                Wish::Quit => return Ok(()),
                Wish::Suspend => screen.suspend(),
                Wish::Redraw => {}
            },
        }
        Screen::draw(&seen.frame(style, Screen::size()));
    }
}

/// The answer, unless it is one that will not change by waiting: an error of the configuration, no permission.
fn passing(answer: Answer) -> Result<Answer, ClientError> {
    match answer {
        Err(error) if !matches!(error.exit(), Exit::NotRunning | Exit::Degraded) => Err(error),
        answer => Ok(answer),
    }
}

/// What was seen of the server so far.
#[derive(Default)]
struct Seen {
    last: Option<Value>,
    /// Why there is no answer now, and since when.
    trouble: Option<(String, Instant)>,
    restarted: Option<String>,
}

impl Seen {
    fn update(&mut self, answer: Answer) {
        match answer {
            Ok(status) => {
                if let Some(before) = self.last.as_ref().filter(|last| is_another(last, &status)) {
                    let pid = or_dash(number(before, "/pid"), whole);
                    let at = or_dash(text(&status, "/started_at"), |at| at);
                    self.restarted = Some(format!(
                        "The server was restarted at {at} (before: pid {pid})."
                    ));
                }
                self.last = Some(status);
                self.trouble = None;
            }
            Err(error) => {
                let since = self.trouble.take().map(|(_, since)| since);
                self.trouble = Some((error.to_string(), since.unwrap_or_else(Instant::now)));
            }
        }
    }

    /// The lines that a terminal of this size shows.
    fn frame(&self, style: Style, (columns, rows): (usize, usize)) -> Vec<String> {
        let mut page = String::from("Every second; q ends it.\n");
        if let Some((why, since)) = &self.trouble {
            let since = span(since.elapsed().as_secs_f64());
            page += &paragraph("", 0, &format!("For {since}: {why}"), columns);
            page += "It is tried again each second.\n";
        }
        if let Some(restarted) = &self.restarted {
            page += &paragraph("", 0, restarted, columns);
        }
        page.push('\n');
        match &self.last {
            Some(status) if self.trouble.is_none() => {
                page += &render::status(status, style, columns);
            }
            Some(status) => {
                page += "What it said last:\n\n";
                page += &render::status(status, Style::Plain, columns);
            }
            None => {}
        }
        let mut lines: Vec<_> = page.lines().map(ToOwned::to_owned).collect();
        if lines.len() > rows {
            let hidden = lines.len() + 1 - rows;
            lines.truncate(rows.saturating_sub(1));
            lines.push(format!("({hidden} more lines than this terminal has)"));
        }
        lines
    }
}

/// Is it another server than before?
fn is_another(before: &Value, now: &Value) -> bool {
    let of = |status: &Value| (number(status, "/pid"), text(status, "/started_at"));
    of(before) != of(now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(pid: u32) -> Value {
        json!({"state": "healthy", "pid": pid, "started_at": format!("2026-11-27T03:00:{pid}Z")})
    }

    fn frame(seen: &Seen) -> String {
        seen.frame(Style::Plain, (80, 50)).join("\n")
    }

    #[test]
    fn a_server_that_goes_and_comes_again_is_told() {
        let mut seen = Seen::default();
        seen.update(Ok(status(10)));
        assert!(frame(&seen).contains("is healthy"), "{}", frame(&seen));
        seen.update(Err(ClientError::NotRunning(Vec::new())));
        let told = frame(&seen);
        for part in ["not running", "tried again", "What it said last", "pid 10"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        seen.update(Ok(status(11)));
        let told = frame(&seen);
        let restarted = "The server was restarted at 2026-11-27T03:00:11Z (before: pid 10).";
        assert!(told.contains(restarted), "{told}");
        assert!(!told.contains("tried again"), "{told}");
    }

    #[test]
    fn a_small_terminal_is_told_how_much_it_does_not_show() {
        let mut seen = Seen::default();
        seen.update(Ok(status(10)));
        let all = seen.frame(Style::Plain, (80, 100)).len();
        let lines = seen.frame(Style::Plain, (80, 5));
        assert_eq!(lines.len(), 5);
        let last = format!("({} more lines than this terminal has)", all - 4);
        assert_eq!(lines.last(), Some(&last));
    }

    #[test]
    fn what_waiting_does_not_change_ends_the_watch() {
        assert!(passing(Err(ClientError::NotRunning(Vec::new()))).is_ok());
        assert!(passing(Err(ClientError::WentAway)).is_ok());
        assert!(passing(Err(ClientError::SwitchedOff)).is_err());
    }
}
