//! What the log says of an application and of its clients.

use super::harness::*;

/// What a handler logs is a line, although its crate has another name than this one.
#[test]
fn an_applications_own_lines_have_the_level_that_it_gave_them() {
    let server = Setup::new().workers(1).example("migrating").start();
    let crowd = Crowd::official(&server, "/", 1, &[]);
    let line = || {
        let lines = server.log_file();
        let mut lines = lines.lines().map(str::to_owned);
        lines.find(|line| line.contains(" connected client_addr=127.0.0.1 socket_id="))
    };
    eventually("the handler's line", SOON, || line().is_some());
    saw("an application's line", line().unwrap());
    drop(crowd);
    eventually("its line about the end", SOON, || {
        server.log_file().contains("Z disconnected socket_id=")
    });
}

#[test]
fn at_level_debug_each_session_has_a_line_for_its_beginning_and_its_end() {
    for (level, count) in [("debug", 2), ("info", 0)] {
        let server = Setup::new().workers(1).level(level).start();
        let crowd = Crowd::official(&server, "/", 1, &[]);
        let id = crowd[0].id();
        drop(crowd);
        eventually("the session has ended", SOON, || server.sessions() == [0]);
        let lines = || {
            let lines = server.log_file();
            let lines = lines.lines().filter(|line| line.contains(&id));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        eventually("its lines", SOON, || lines().len() >= count);
        let lines = lines();
        assert_eq!(lines.len(), count, "{lines:?}");
        if let [began, ended] = &lines[..] {
            assert!(began.contains("DEBUG a session began"), "{began}");
            assert!(
                ended.contains("DEBUG a session ended") && ended.contains("reason="),
                "{ended}"
            );
            saw("the lines of a session", lines.join("\n"));
        }
    }
}
