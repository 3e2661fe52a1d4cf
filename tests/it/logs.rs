//! What the log says of an application and of its clients.

use super::harness::*;

/// A client comes and leaves; gives its socket id.
fn visit(server: &Server) -> String {
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    assert_eq!(session.post(&mut raw, "1").body, "ok");
    session.sid[..16].to_owned()
}

/// The log's lines about a socket, without their times, when there are so many.
#[track_caller]
fn lines(server: &Server, id: &str, count: usize) -> Vec<String> {
    let lines = || -> Vec<_> {
        let text = server.log_file();
        let lines = text.lines().filter(|line| line.contains(id));
        lines
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
            .collect()
    };
    eventually("the log's lines", SOON, || lines().len() >= count);
    lines()
}

/// The example's crate has another name than this one.
#[test]
fn an_applications_own_lines_have_the_level_that_it_gave_them() {
    let server = Setup::new().workers(1).example("migrating").start();
    let id = visit(&server);
    let lines = lines(&server, &id, 2);
    let [came, left] = &lines[..] else {
        panic!("two lines: {lines:?}");
    };
    assert!(
        came.starts_with("connected client_addr=127.0.0.1 socket_id="),
        "{came}"
    );
    assert!(left.starts_with("disconnected socket_id="), "{left}");
    saw("an application's lines", lines.join("\n"));
}

#[test]
fn at_level_debug_each_session_has_a_line_for_its_beginning_and_its_end() {
    let server = Setup::new().workers(1).level("debug").start();
    let id = visit(&server);
    let told = lines(&server, &id, 2);
    let [began, ended] = &told[..] else {
        panic!("two lines: {told:?}");
    };
    let of = format!("socket_id={id} client_addr=127.0.0.1 transport=polling");
    assert_eq!(*began, format!("DEBUG a session began {of}"));
    let words: Vec<_> = ended.split(' ').collect();
    let lived = words.iter().find(|word| word.starts_with("lived_seconds="));
    assert_eq!(
        *ended,
        format!(
            "DEBUG a session ended {of} reason=client-left by_operator=false {} \
             bytes_in=1 bytes_out=27 messages_in=1 messages_out=1",
            lived.unwrap()
        )
    );
    let server = Setup::new().workers(1).start();
    let id = visit(&server);
    assert_eq!(server.sessions(), [0]);
    assert_eq!(lines(&server, &id, 0), [""; 0]);
}
