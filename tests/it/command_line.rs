//! The command line asks the running server: what it prints, and what its exit codes say.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;

/// What a command printed, on standard output and standard error, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn run_it(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `my-app WORDS --socket SOCKET`.
fn my_app(words: &[&str], socket: &Path) -> Said {
    let (command, rest) = words.split_first().unwrap();
    let mut program = Command::new(program());
    program.arg(command).arg("--socket").arg(socket).args(rest);
    run_it(&mut program)
}

fn ask(server: &Server, words: &[&str]) -> Said {
    my_app(words, &server.control().path)
}

#[test]
fn status_tells_during_a_load_what_the_load_opened_and_sent() {
    let server = Server::start();
    let mut clients = ["websocket", "polling"].map(|transport| {
        let arguments = ["--every", "100", "--transport", transport];
        Held::connect(&server.url(), 50, &arguments)
    });
    eventually("all are counted", SOON, || {
        let status = ask(&server, &["status"]);
        status.out.contains("100: 50 polling, 50 websocket")
    });
    let status = ask(&server, &["status"]);
    saw("status", &status.out);
    assert_eq!((status.code, status.err.as_str()), (0, ""));
    assert!(status.out.contains(" is healthy: up "), "{}", status.out);
    // In a pipe nothing is coloured.
    assert!(!status.out.contains('\x1b'));
    assert!(status.out.lines().all(|line| line.chars().count() <= 80));
    let json = ask(&server, &["status", "--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let workers = json["workers"].as_array().unwrap();
    for worker in workers {
        assert!(status.out.contains(&worker["pid"].to_string()));
    }
    // One that is cut off between two of its polls is there until its ping's answer is missed.
    clients[1].leave();
    server.wait_for_sessions(50, SOON);
    let stats = clients.map(Held::quit);
    let sent = stats.iter().map(|stats| number(stats, "sent")).sum::<u64>();
    assert!(sent > 100);
    eventually("all ends are counted", SOON, || {
        let ended = ask(&server, &["status"]).out;
        let (_, ended) = ended.split_once("\nended      ").unwrap();
        let counts = ended.lines().next().unwrap().split(", ");
        let counts = counts.filter_map(|count| count.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum::<u64>() == 100
    });
}

#[test]
fn status_and_why_tell_of_a_killed_worker() {
    let server = Server::start();
    let clients = Held::connect(&server.url(), 20, &[]);
    eventually("all are counted", SOON, || {
        ask(&server, &["status"]).out.contains(" 20 websocket")
    });
    let victim = server.workers()[0];
    let had = server.sessions()[0];
    signal_process(victim, "KILL");
    eventually("it is replaced", SOON, || {
        let status = ask(&server, &["status"]);
        status.code == 0 && status.out.contains("1 restart so far")
    });
    let status = ask(&server, &["status"]).out;
    saw("status with a killed worker", &status);
    assert!(status.contains(&format!("worker 0 (pid {victim}) ended: killed by")));
    assert!(status.contains(&format!("worker-gone {had}")), "{status}");
    let why = ask(&server, &["why", "127.0.0.1"]);
    saw("why, after that", &why.out);
    assert_eq!(why.code, 0);
    let told = format!("{had} sessions: worker-gone at ");
    assert!(why.out.contains(&told), "{}", why.out);
    drop(clients);
}

#[test]
fn why_tells_an_end_in_sentences_and_who_is_open() {
    let server = Setup::new().workers(1).start();
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    socket.echo("hello");
    let mut open = String::new();
    eventually("its messages are counted", SOON, || {
        open = ask(&server, &["why", "127.0.0.1"]).out;
        open.contains("sent 2 messages (")
    });
    saw("why of an open session", &open);
    let id = open.split(':').next().unwrap().to_owned();
    assert!(open.contains(": open for "), "{open}");
    assert!(open.contains("No other end of a session of 127.0.0.1 is known"));
    socket.text("41");
    drop(socket);
    let mut ended = ask(&server, &["why", &id]);
    eventually("its end is known", SOON, || {
        ended = ask(&server, &["why", &id]);
        ended.code == 0 && ended.out.contains(" ago\n")
    });
    saw("why", &ended.out);
    assert!(ended.out.starts_with(&format!("{id}: ")), "{}", ended.out);
    for part in ["'s doing: ", "It was a websocket session from 127.0.0.1"] {
        assert!(ended.out.contains(part), "{}", ended.out);
    }
    let json = ask(&server, &["why", &id, "--json"]).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ends"][0]["socket_id"], id.as_str());
    let nobody = ask(&server, &["why", "192.0.2.1"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.out.starts_with("No end of a session of 192.0.2.1"));
}

#[test]
fn a_server_that_does_not_run_is_told_with_what_to_do() {
    let mut server = Setup::new().workers(1).start();
    let path = server.control().path;
    // Asked in time, it answers no more than a debugger lets it.
    server.signal("STOP");
    let began = Instant::now();
    let silent = ask(&server, &["status"]);
    let took = began.elapsed();
    saw(
        "status of a stopped process",
        format!("{} ({took:?})", silent.err),
    );
    assert_eq!(silent.code, 1);
    assert!(silent.err.contains("no answer at "), "{}", silent.err);
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8));
    server.signal("CONT");
    assert_eq!(ask(&server, &["status"]).code, 0);
    server.stop();
    for words in [
        &["status"][..],
        &["why", "127.0.0.1"],
        &["emit", "news", "1"],
        &["log", "debug"],
        &["drain", "--over", "5m"],
    ] {
        let said = my_app(words, &path);
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
        let told = format!("my-app: not running: there is no {}. ", path.display());
        assert!(said.err.starts_with(&told), "{}", said.err);
        assert!(said.err.contains("systemctl start my-app.service"));
    }
    let json = my_app(&["status", "--json"], &path);
    let status: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &status["state"]), (3, &"not-running".into()));
}

/// Only root can become another user.
#[test]
fn another_user_is_told_what_to_do() {
    let server = Server::start();
    let directory = server.dir.path();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    // Where it is built another user may not go.
    let built = program();
    let program = directory.join("my-app");
    fs::copy(built, &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(&program).args(["status", "--socket"]);
    let said = run_it(command.arg(server.control().path));
    saw("status as another user", &said.err);
    assert_eq!((said.code, said.out.as_str()), (71, ""), "{}", said.err);
    assert!(said.err.starts_with("my-app: this user may not use "));
    assert!(said.err.contains("sudo"), "{}", said.err);
}

#[test]
fn an_emitted_event_reaches_the_clients_as_it_was_written() {
    let server = Server::start();
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    let said = ask(&server, &["emit", "news", r#"{"a":[1]}"#, "-2", r#""x""#]);
    assert_eq!((said.code, said.out.as_str()), (0, "2 workers took it\n"));
    assert_eq!(socket.read_text(), r#"42["news",{"a":[1]},-2,"x"]"#);
    let said = ask(&server, &["emit", "--room", "empty", "news"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = ask(&server, &["emit", "--namespace", "nowhere", "news"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("/nowhere"), "{said:?}");
    let said = ask(&server, &["emit", "news", "hello"]);
    assert_eq!(said.code, 64);
    assert!(said.err.contains(r#"'"hello"'"#), "{}", said.err);
}

#[test]
fn the_log_and_the_machine_do_as_they_are_told() {
    let server = Server::start();
    let said = ask(&server, &["log", "debug", "--for", "5m"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "the log has level debug for 5m\n")
    );
    let status = ask(&server, &["status"]).out;
    assert!(
        status.contains("\nlog        level debug until 2"),
        "{status}"
    );
    let [log, rotated] = ["app.log", "app.log.1"].map(|name| server.dir.path().join(name));
    fs::rename(&log, rotated).unwrap();
    assert_eq!(ask(&server, &["log", "reopen"]).code, 0);
    eventually("there is a new file", SOON, || log.exists());
    let said = ask(&server, &["drain", "--over", "2s"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("taken out: "), "{}", said.out);
    let status = ask(&server, &["status"]).out;
    assert!(
        status.contains("`my-app drain --undo` takes it back"),
        "{status}"
    );
    eventually("/readyz is told", SOON, || {
        Raw::tcp(server.addr).get("/readyz").status == 503
    });
    assert_eq!(ask(&server, &["drain", "--undo"]).code, 0);
    eventually("/readyz is told", SOON, || {
        Raw::tcp(server.addr).get("/readyz").status == 200
    });
}

/// A command in a terminal of 100 columns and 40 rows.
struct Terminal {
    child: Child,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn run(command: &str) -> Self {
        // script(1) makes the terminal, and is in every Debian.
        let sized = format!("stty cols 100 rows 40; exec {command}");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &sized, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let mut output = child.stdout.take().unwrap();
        let written = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                written.lock().unwrap().push_str(&text);
            }
        });
        Self { child, screen }
    }

    /// Everything since the screen was drawn last.
    fn shown(&self) -> String {
        let screen = self.screen.lock().unwrap();
        screen.rsplit("\x1b[H").next().unwrap().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        eventually(&format!("{text} is shown"), SOON, || {
            self.shown().contains(text)
        });
    }

    /// Types this, which must end it; gives all that was written.
    #[track_caller]
    fn end_with(mut self, keys: &str) -> String {
        let keyboard = self.child.stdin.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        let mut status = None;
        eventually("it ends", SOON, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
        eventually("the terminal is left", SOON, || {
            self.screen.lock().unwrap().contains("\x1b[?1049l")
        });
        self.screen.lock().unwrap().clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_watch_survives_a_restart_of_the_server_and_leaves_the_terminal_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let setup = || Setup::new().workers(1).control_socket(&path);
    let program = program();
    let program = program.display();
    let watch = format!("{program} status --watch --socket {}", path.display());
    let terminals = ["q", "\x03"].map(|keys| (Terminal::run(&watch), keys));
    for (terminal, _) in &terminals {
        terminal.wait_for("not running: there is no ");
    }
    let mut server = setup().start();
    let first = server.pid;
    for (terminal, _) in &terminals {
        terminal.wait_for("is \x1b[32mhealthy\x1b[0m: up ");
    }
    server.stop();
    for (terminal, _) in &terminals {
        terminal.wait_for("It is tried again each second.");
        terminal.wait_for("What it said last:");
    }
    let _server = setup().start();
    for (terminal, keys) in terminals {
        terminal.wait_for(&format!("(before: pid {first})."));
        terminal.wait_for("is \x1b[32mhealthy\x1b[0m: up ");
        let written = terminal.end_with(keys);
        // Cursor, wrapping and screen are taken, and given back once, at the end.
        assert!(written.contains("\x1b[?1049h\x1b[?25l\x1b[?7l"));
        let (_, behind) = written.split_once("\x1b[?7h\x1b[?25h\x1b[?1049l").unwrap();
        assert!(!behind.contains('\x1b'), "{behind:?}");
    }
}
