//! What README and the pages in docs tell people to do, done as it stands there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::harness::*;

#[path = "../documents/mod.rs"]
mod pages;

use pages::{PROOFS, Proof};

/// The directory of the program, before the others.
fn path() -> String {
    let program = program();
    let folder = program.parent().unwrap().display();
    format!("{folder}:{}", std::env::var("PATH").unwrap())
}

/// The words that begin the lines of a `status`.
fn labels(status: &str) -> BTreeSet<&str> {
    let lines = status.lines().skip(1);
    let first = lines.filter_map(|line| line.split(' ').next());
    first.filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_commands_of_the_pages_do_what_they_say_on_a_server_that_was_started_by_hand() {
    // Where a server that is started by hand has its socket, and `my-app` looks for it.
    let runtime = tempfile::tempdir().unwrap();
    let socket = runtime.path().join("my-app/control.sock");
    fs::create_dir(socket.parent().unwrap()).unwrap();
    let _server = Setup::new().workers(2).control_socket(&socket).start();
    let by_hand = PROOFS
        .iter()
        .filter(|(proof, _)| matches!(proof, Proof::ByHand));
    let by_hand: BTreeSet<_> = by_hand
        .flat_map(|(_, commands)| *commands)
        .copied()
        .collect();
    let (found, _) = pages::commands();
    let mut done = 1; // `make run` has a test of its own.
    for command in found
        .iter()
        .filter(|command| by_hand.contains(command.text.as_str()))
    {
        if command.text == "make run" {
            continue;
        }
        let socket = socket.display().to_string();
        let text = command
            .text
            .replace("/run/my-app-ctl/control.sock", &socket);
        let mut shell = Command::new("timeout");
        shell
            .args(["30", "sh", "-euc", &text])
            .env("PATH", path())
            .env("XDG_RUNTIME_DIR", runtime.path());
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        // Of a socket id that nobody had, there is nothing to tell.
        let expected = i32::from(text.starts_with("my-app why "));
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{}: {text}: {printed}{errors}",
            command.page
        );
        match text.split(' ').nth(1) {
            Some("status") if !command.prints.is_empty() => {
                let (real, shown) = (labels(&printed), labels(&command.prints));
                assert!(
                    real.len() > 5 && real.is_subset(&shown),
                    "{}: {real:?}, {shown:?}",
                    command.page
                );
            }
            Some("why") => {}
            _ if command.prints.is_empty() => {}
            _ => assert_eq!(
                printed.trim_end(),
                command.prints,
                "{}: {text}",
                command.page
            ),
        }
        done += 1;
    }
    assert!(done >= by_hand.len(), "{done} of {by_hand:?}");
}

#[test]
fn the_readmes_first_lines_of_javascript_get_their_echo() {
    let server = Server::start();
    let told = node("readme.mjs", &server.url(), &[]);
    saw("what the page's lines print", &told);
}

/// A server that `make` runs, in a group of processes of its own, which ends with it.
struct Made(std::process::Child);

impl Drop for Made {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// A `cargo` for make, by which what is built for these tests is not built once more.
fn cargo_of_the_tests(folder: &Path) -> PathBuf {
    let cargo = folder.join("cargo");
    let is_release = program().ends_with("release/my-app");
    // What cargo says to this test is none of that build's: ring would be compiled anew, and all that is above it.
    let unwanted = if is_release { "" } else { "--release" };
    let script = format!(
        "#!/bin/bash\nunset OUT_DIR ${{!CARGO_PKG_@}} ${{!CARGO_MANIFEST_@}}\nfor a; do shift; [ \"$a\" = '{unwanted}' ] || set -- \"$@\" \"$a\"; done\nexec '{}' \"$@\"\n",
        env!("CARGO")
    );
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    cargo
}

#[test]
fn make_run_builds_the_server_and_runs_it() {
    let dir = tempfile::tempdir().unwrap();
    let cargo = cargo_of_the_tests(dir.path());
    let port = free_port();
    let mut make = Command::new("make");
    make.args(["run", "WORKERS=2"])
        .arg(format!("LISTEN=127.0.0.1:{port}"))
        .arg(format!("CARGO={}", cargo.display()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("XDG_RUNTIME_DIR", dir.path())
        .env("XDG_STATE_HOME", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    let mut made = Made(make.spawn().unwrap());
    let mut lines = BufReader::new(made.0.stdout.take().unwrap()).lines();
    let listening = format!("Listening on http://127.0.0.1:{port} (2 workers)");
    assert!(
        lines.any(|line| line.unwrap().contains(&listening)),
        "it ended without {listening:?}"
    );
    let mut socket = WebSocket::open(Raw::tcp(([127, 0, 0, 1], port).into()));
    socket.echo("hello");
}

#[test]
fn the_readmes_two_servers_and_a_redis_on_one_laptop_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let cargo = cargo_of_the_tests(dir.path());
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = readme
        .split("\n\n")
        .find(|block| block.contains("BRIDGE=") && block.contains("redis-server"));
    let [redis, one, two] = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let lines = block.expect("README has these lines");
    // The first one takes the usual port, which is not free for tests.
    let script = lines
        .replace("make run BRIDGE", "make run LISTEN=127.0.0.1:3000 BRIDGE")
        .replace("make run", "make run WORKERS=1")
        .replace("6380", &redis)
        .replace("3000", &one)
        .replace("3001", &two);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO", &cargo)
        .env("XDG_RUNTIME_DIR", dir.path())
        .env("XDG_STATE_HOME", dir.path())
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .process_group(0);
    let _made = Made(shell.spawn().unwrap());
    let [one, two] = [one, two].map(|port| format!("http://127.0.0.1:{port}"));
    let mut said = String::new();
    eventually(
        "what is sent at one is there at the other",
        12 * SOON,
        || {
            let mut across = Command::new("node");
            across
                .arg("tests/clients/across.mjs")
                .args(["--from", &one, "--to", &two])
                .args(["--once", "--patience", "1000", "--deadline", "10"])
                .current_dir(env!("CARGO_MANIFEST_DIR"));
            let output = across.stdin(Stdio::null()).output().unwrap();
            said = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success() && said.contains("\"lost\":0")
        },
    );
    saw("between two servers of one laptop", &said);
}
