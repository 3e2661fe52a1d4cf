//! Hostile clients: Socket.IO packets that no client library sends.

use super::harness::*;
use super::hostile::Victim;

/// Reads until the server ends the WebSocket. Pings are answered, so that it does not end for the
/// lack of them.
#[track_caller]
pub(crate) fn assert_ended(socket: &mut WebSocket, why: &str) {
    let began = std::time::Instant::now();
    loop {
        assert!(began.elapsed() < SOON, "not ended: {why}");
        match socket.read() {
            Ok((1, text)) if text == b"2" => {
                let _ = socket.raw.try_send(WebSocket::frame(0x81, b"3"));
            }
            Ok(_) => {}
            Err(error) => {
                let silent = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                assert!(!silent.contains(&error.kind()), "not ended: {why}");
                return;
            }
        }
    }
}

/// What becomes of a session that sent a packet, over either transport.
enum Fate {
    Lives,
    Ends,
}

/// Sends packets of Engine.IO to a session that joined `/`, by WebSocket and by polling.
#[track_caller]
fn send(victim: &Victim, packets: &[&str], fate: &Fate) {
    let said = packets[0].chars().take(60).collect::<String>();
    let mut socket = victim.websocket();
    for packet in packets {
        let _ = socket
            .raw
            .try_send(WebSocket::frame(0x81, packet.as_bytes()));
    }
    match fate {
        Fate::Lives => socket.echo("still here"),
        Fate::Ends => assert_ended(&mut socket, &said),
    }
    drop(socket);

    let mut raw = victim.tcp();
    let session = Polling::open(&mut raw);
    let posted = session.post(&mut raw, &packets.join("\x1e"));
    assert!(
        [200, 400].contains(&posted.status),
        "{posted:?} to {said:?}"
    );
    match fate {
        Fate::Lives => {
            session.echo(&mut raw, "still here");
            session.post(&mut raw, "1");
        }
        Fate::Ends => {
            eventually(&format!("{said:?} ends it"), SOON, || {
                session.poll(&mut raw).status == 400
            });
        }
    }
    victim.unharmed();
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn arguments_nested_deeply_come_back_and_very_deeply_end_the_session() {
    let victim = Victim::new();
    let event = format!("42[\"deep\",{}]", nested(100_000));
    send(&victim, &[&event], &Fate::Ends);
    let event = format!("42[\"deep\",{}]", nested(8_000));
    let mut socket = victim.websocket();
    socket.text(&event);
    assert!(socket.read_text() == event);
    drop(socket);
    let mut raw = victim.tcp();
    let session = Polling::open(&mut raw);
    assert_eq!(session.post(&mut raw, &event).status, 200);
    assert!(session.packets(&mut raw) == [event]);
    session.post(&mut raw, "1");
    victim.unharmed();
}

#[test]
fn nesting_without_end_or_with_attachments_harms_nobody() {
    let victim = Victim::new();
    let open = "[".repeat(100_000);
    let objects = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
    for packet in [
        format!("42[\"deep\",{open}"),
        format!("42[\"deep\",{objects}]"),
        format!("421[\"deep\",{open}"),
        format!("42{}", nested(100_000)),
    ] {
        let mut socket = victim.websocket();
        socket.text(&packet);
        drop(socket);
        let mut raw = victim.tcp();
        let session = Polling::open(&mut raw);
        session.post(&mut raw, &packet);
        session.post(&mut raw, "1");
        victim.unharmed();
    }
    let placeholder = "{\"_placeholder\":true,\"num\":0}";
    let deep = "[".repeat(100_000) + placeholder + &"]".repeat(100_000);
    send(
        &victim,
        &[&format!("451-[\"deep\",{deep}]"), "bAAAA"],
        &Fate::Ends,
    );
}

#[test]
fn auth_data_nested_deeply_harms_nobody() {
    let victim = Victim::new();
    for depth in [100, 8_000] {
        let connect = format!("40{{\"a\":{}}}", nested(depth));
        let mut socket = WebSocket::handshake(victim.tcp());
        socket.text(&connect);
        assert!(socket.read_text().starts_with("40{\"sid\":"));
        socket.echo("served");
        drop(socket);
        let mut raw = victim.tcp();
        let session = Polling::handshake(&mut raw);
        assert_eq!(session.post(&mut raw, &connect).status, 200);
        assert!(session.packets(&mut raw)[0].starts_with("40{\"sid\":"));
        session.post(&mut raw, "1");
        victim.unharmed();
    }
}

#[test]
fn attachment_counts_that_cannot_be_end_the_session() {
    let victim = Victim::new();
    for packet in [
        "459999999999-[\"x\"]",
        "4599999999999999999999999-[\"x\"]",
        "4510001-[\"x\"]",
        "45-1-[\"x\"]",
        "45",
        "45[\"x\"]",
        "469999999999-1[\"x\"]",
    ] {
        send(&victim, &[packet], &Fate::Ends);
    }
}

#[test]
fn attachments_that_do_not_come_harm_nobody() {
    let victim = Victim::new();
    let announced = "451000-[\"x\",{\"_placeholder\":true,\"num\":0}]";
    let mut waiting: Vec<_> = (0..50).map(|_| victim.websocket()).collect();
    for socket in &mut waiting {
        socket.text(announced);
        socket.raw.send(WebSocket::frame(0x82, &[7; 10_000]));
    }
    victim.serves("meanwhile");
    drop(waiting);
    victim.unharmed();
    // Text where an attachment should be.
    send(&victim, &[announced, "42[\"x\"]"], &Fate::Ends);
}

#[test]
fn attachments_of_more_than_the_limit_end_the_session() {
    let victim = Victim::new();
    let mut socket = victim.websocket();
    socket.text("459-[\"x\",{\"_placeholder\":true,\"num\":0}]");
    for _ in 0..9 {
        let _ = socket
            .raw
            .try_send(WebSocket::frame(0x82, &vec![7; 400_000]));
    }
    assert_ended(&mut socket, "3.6 MB of attachments");
    victim.unharmed();
}

#[test]
fn attachments_that_nobody_announced_end_the_session() {
    let victim = Victim::new();
    let event = "451-[\"x\",{\"_placeholder\":true,\"num\":0}]";
    let mut socket = victim.websocket();
    socket.text(event);
    socket.raw.send(WebSocket::frame(0x82, b"announced"));
    socket.raw.send(WebSocket::frame(0x82, b"not announced"));
    assert_ended(&mut socket, "one more than announced");
    let mut socket = victim.websocket();
    socket.raw.send(WebSocket::frame(0x82, b"not announced"));
    assert_ended(&mut socket, "one without announcement");
    victim.unharmed();
    send(&victim, &[event, "bAAAA", "bAAAA"], &Fate::Ends);
}

#[test]
fn placeholders_for_attachments_that_are_not_there_get_no_answer() {
    let victim = Victim::new();
    for num in ["1", "-1", "1e3", "18446744073709551615", "1e999", "\"0\""] {
        let event = format!("451-[\"x\",{{\"_placeholder\":true,\"num\":{num}}}]");
        let mut socket = victim.websocket();
        socket.text(&event);
        socket.raw.send(WebSocket::frame(0x82, b"attachment"));
        drop(socket);
        victim.unharmed();
    }
}

/// 30 kB of text must not make 200 MB out of an attachment of 100 kB.
#[test]
fn one_attachment_that_is_named_very_often_is_not_copied_each_time() {
    let victim = Victim::new();
    let pss = || {
        victim
            .server
            .workers()
            .into_iter()
            .map(|pid| memory(pid).pss)
    };
    let placeholders = vec!["{\"_placeholder\":true,\"num\":0}"; 2_000].join(",");
    let mut socket = victim.websocket();
    socket.text(&format!("451-[\"x\",{placeholders}]"));
    socket.raw.send(WebSocket::frame(0x82, &vec![7; 100_000]));
    let mut most = 0;
    for _ in 0..100 {
        most = most.max(pss().sum());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    saw("memory for one attachment", most);
    assert!(most < 64 * 1024, "{most} KiB");
    victim.serves("meanwhile");
    drop(socket);
    victim.unharmed();
}

#[test]
fn packets_without_meaning_end_the_session() {
    let victim = Victim::new();
    for packet in [
        "",
        "4",
        "7",
        "9",
        "x",
        "é",
        "\0",
        "47",
        "49",
        "4x",
        "4é",
        "42[]",
        "42{}",
        "42[null]",
        "42[[]]",
        "44",
        "44{}",
        "46",
        "b!!!",
        "42-1[\"x\"]",
        "40",
        "40{\"twice\":true}",
        "42/nowhere,[\"x\"]",
        "43/nowhere,1[\"x\"]",
        "41/nowhere,",
    ] {
        if packet.is_empty() {
            let mut socket = victim.websocket();
            socket.text("");
            assert_ended(&mut socket, "an empty packet");
            victim.unharmed();
            continue;
        }
        send(&victim, &[packet], &Fate::Ends);
    }
}

#[test]
fn packets_that_mean_nothing_here_are_passed_over() {
    let victim = Victim::new();
    for packet in [
        "431[\"an acknowledgement that nobody awaits\"]",
        "43[]",
        "43",
        "0",
        "3",
        "5",
        "6",
    ] {
        send(&victim, &[packet], &Fate::Lives);
    }
}

#[test]
fn an_event_before_its_connect_ends_the_session() {
    let victim = Victim::new();
    for packet in ["42[\"early\"]", "41", "451-[\"early\"]"] {
        let mut socket = WebSocket::handshake(victim.tcp());
        socket.text(packet);
        assert_ended(&mut socket, packet);
        victim.unharmed();
    }
}

#[test]
fn a_thousand_namespaces_that_do_not_exist_are_refused_one_by_one() {
    let victim = Victim::new();
    let mut socket = victim.websocket();
    for nth in 0..1_000 {
        socket.text(&format!("40/nowhere{nth},{{}}"));
    }
    for nth in 0..1_000 {
        let refused = format!("44/nowhere{nth},{{\"message\":\"Invalid namespace\"}}");
        assert_eq!(socket.read_text(), refused);
    }
    socket.echo("still here");
    drop(socket);
    // A session that joins nothing else is ended by the connect timeout.
    let mut socket = WebSocket::handshake(victim.tcp());
    for nth in 0..1_000 {
        socket.text(&format!("40/nowhere{nth},{{}}"));
    }
    assert_ended(&mut socket, "joined nothing");
    victim.unharmed();
}
