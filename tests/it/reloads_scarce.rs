//! A reload that lacks something: descriptors, a log file.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use super::harness::*;
use super::reloads::{reload, reloaded};

/// A reload that is done, and what is to be known besides. A disk that is full shows with the first line, which may be
/// late on a busy machine.
#[track_caller]
fn reloaded_but(server: &Server, remark: &str) {
    eventually(remark, SOON, || {
        let (code, said) = reload(server);
        assert!(code == 0 && said.starts_with("reloaded: "), "{said}");
        said.contains(remark)
    });
    let faults = server.control().get("/status")["faults"].to_string();
    assert!(faults.contains(remark), "{faults}");
}

#[test]
fn a_log_file_that_cannot_be_had_is_told_to_whoever_reloads() {
    let server = Setup::new().start();
    let config = server.dir.path().join("my-app.toml");
    let text = fs::read_to_string(&config).unwrap();
    let log = server.dir.path().join("app.log");
    let with = |file: &Path| {
        let (before, after) = (log.display().to_string(), file.display().to_string());
        let text = text.replace(&before, &after);
        assert!(text.contains(&format!("file = \"{after}\"")));
        fs::write(&config, text).unwrap();
    };
    let missing = server.dir.path().join("missing/app.log");
    with(&missing);
    let path = missing.display();
    let remark = format!("log file: cannot open {path}: No such file or directory; lines are lost");
    reloaded_but(&server, &remark);
    with(Path::new("/dev/full"));
    reloaded_but(&server, "log file: No space left on device; lines are lost");
    with(&log);
    let (_, said) = reload(&server);
    assert!(!said.contains("log file"), "{said}");
}

/// From now on the server may have so many open files.
fn limit(server: &Server, files: usize) {
    let limit = format!("--nofile={files}:");
    let mut command = Command::new("prlimit");
    let command = command.args(["--pid", &server.pid.to_string(), &limit]);
    assert!(command.status().unwrap().success());
}

/// Is a reload not done for want of descriptors? Then whoever asks is told so, and the server runs on.
#[track_caller]
fn is_refused(server: &Server) -> bool {
    let (code, said) = reload(server);
    if code == 0 {
        return false;
    }
    let reasons = [
        "too many open connections to pass on",
        "nearly as many files open as it may",
        "has closed the connection without an answer, and runs on",
    ];
    let has_reason = reasons.iter().any(|reason| said.contains(reason));
    assert!(has_reason && said.contains("LimitNOFILE="), "{said}");
    assert!(!said.contains("os error"), "{said}");
    assert!(code == 1 && alive(server.pid));
    true
}

#[test]
fn whichever_step_of_a_reload_has_no_descriptor_the_reason_is_the_same() {
    let server = Setup::new().start();
    let mut websocket = WebSocket::open(Raw::tcp(server.addr));
    let (workers, open) = (server.workers(), descriptors(server.pid));
    let refused = (1..100).take_while(|left| {
        assert_eq!(server.workers(), workers);
        limit(&server, open + left);
        is_refused(&server)
    });
    let refused = refused.count();
    saw("descriptors that are too few", refused);
    assert!((6..50).contains(&refused), "{refused}");
    websocket.echo("still here");
    limit(&server, 4096);
    reloaded(&server);
    websocket.echo("still here");
}

#[test]
fn a_server_that_may_have_few_files_open_says_so_to_whoever_reloads() {
    let server = Setup::new().descriptors(30).start();
    let workers = server.workers();
    assert!(is_refused(&server));
    let heads: Vec<_> = (0..20)
        .map(|_| {
            let mut raw = Raw::patient(server.addr);
            raw.send("GET /socket.io/?EIO=4&trans");
            raw
        })
        .collect();
    // Of those who ask at a time, one is told by the server; the others see that it lives.
    thread::scope(|scope| {
        let asked: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| is_refused(&server)))
            .collect();
        assert!(asked.into_iter().all(|it| it.join().unwrap()));
    });
    drop(heads);
    assert_eq!(server.workers(), workers);
    eventually("it serves", SOON, || {
        let mut raw = Raw::patient(server.addr);
        raw.get("/socket.io/?EIO=4&transport=polling").status == 200
    });
}
