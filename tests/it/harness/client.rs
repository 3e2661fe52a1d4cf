//! Real clients: scripts below tests/clients, and what they report.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::Space;

pub fn script(interpreter: &str, name: &str) -> Command {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut command = Command::new(interpreter);
    command.arg(clients.join(name)).stdin(Stdio::null());
    command
}

/// Runs a script against a server to its end, and gives what its last line says. A script that
/// finds a fault fails the test with all that it printed.
#[track_caller]
pub fn node(name: &str, url: &str, arguments: &[&str]) -> Value {
    run(script("node", name).args(["--url", url]).args(arguments))
}

/// What [`node`] does, on this machine.
#[track_caller]
pub fn node_on(machine: &Space, name: &str, url: &str, arguments: &[&str]) -> Value {
    let script = script("node", name);
    let mut command = machine.command("node");
    command.args(script.get_args()).stdin(Stdio::null());
    run(command.args(["--url", url]).args(arguments))
}

/// Runs a script that must find a fault, and gives all that it printed.
#[track_caller]
pub fn node_fails(name: &str, url: &str, arguments: &[&str]) -> String {
    let mut command = script("node", name);
    let output = command.args(["--url", url]).args(arguments).output();
    let output = output.expect("the interpreter is installed (make test installs it)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success(),
        "{command:?} found no fault:\n{said}"
    );
    said
}

/// What [`node`] does, for Python, with Debian's interpreter, which has Debian's packages.
#[track_caller]
pub fn python(name: &str, url: &str, arguments: &[&str]) -> Value {
    run(script("/usr/bin/python3", name)
        .args(["--url", url])
        .args(arguments))
}

/// Runs a command to its end, and gives what its last line says, which is JSON.
#[track_caller]
pub fn run(command: &mut Command) -> Value {
    let output = command
        .output()
        .expect("the interpreter is installed (make test installs it)");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed:\n{said}\n{complained}"
    );
    let last = said.lines().next_back().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("{command:?}: no figures in {last:?}"))
}

/// Clients that stay connected, echo, and count what they miss: `hold.mjs`.
pub struct Held {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Held {
    /// Connects `count` clients and waits until all are.
    #[track_caller]
    pub fn connect(url: &str, count: usize, arguments: &[&str]) -> Self {
        let mut command = script("node", "hold.mjs");
        command.args([
            "--url",
            url,
            "--clients",
            &count.to_string(),
            "--deadline",
            "600",
        ]);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut held = Self {
            child,
            input,
            output,
        };
        let connected = held.read();
        assert_eq!(connected["connected"], count, "{connected}");
        held
    }

    /// Closes some of them.
    #[track_caller]
    pub fn close(&mut self, count: usize) {
        let closed = self.ask(&format!("close {count}"));
        assert_eq!(closed["closed"], count, "{closed}");
    }

    /// They send nothing more, hear what was on its way, and say that they leave.
    pub fn leave(&mut self) {
        let left = self.ask("leave");
        assert_eq!(left["connected"], 0, "{left}");
    }

    /// What they counted so far.
    pub fn stats(&mut self) -> Value {
        self.ask("stats")
    }

    /// Ends them, and gives what they counted.
    pub fn quit(mut self) -> Value {
        let stats = self.ask("quit");
        drop(self.input.take());
        self.child.wait().unwrap();
        stats
    }

    /// Ends them: each got all that it was to get, in order, and none was disconnected or refused.
    #[track_caller]
    pub fn quit_unharmed(self) {
        let told = self.quit();
        assert_eq!(told["sent"], told["received"], "{told}");
        for none in ["missing", "disconnects", "outOfOrder"] {
            assert_eq!(told[none], 0, "{told}");
        }
        assert_eq!(told["connectErrors"], serde_json::json!({}));
    }

    fn ask(&mut self, question: &str) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{question}").unwrap();
        self.read()
    }

    #[track_caller]
    fn read(&mut self) -> Value {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert!(length > 0, "hold.mjs ended:\n{said}");
            if let Ok(figures @ Value::Object(_)) = serde_json::from_str(&line) {
                return figures;
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.input.take().is_some() {
            // Only what this test started is ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
