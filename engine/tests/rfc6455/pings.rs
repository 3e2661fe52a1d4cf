//! Pings and pongs (RFC 6455 sections 5.5.2 and 5.5.3).

use crate::cases::{Case, Length, PING, PONG, case, echo, frame, frame_of, pong, say, try_all};

#[tokio::test]
async fn a_ping_comes_back_as_a_pong() {
    let payloads: [(&str, Vec<u8>); 7] = [
        ("nothing", vec![]),
        ("text", b"Hello, world!".to_vec()),
        ("no UTF-8", vec![0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff]),
        ("one byte", vec![0]),
        ("124 bytes", vec![0xfe; 124]),
        ("125 bytes", vec![0xfe; 125]),
        ("what a packet would be", b"2probe".to_vec()),
    ];
    try_all(
        payloads
            .into_iter()
            .map(|(name, payload)| case(name, frame(PING, &payload)).gets(pong(&payload))),
    )
    .await;
}

#[tokio::test]
async fn a_control_frame_is_short() {
    let mut cases = Vec::new();
    for first in [PING, PONG] {
        for len in [126, 127, 1000, 65536] {
            let sent = [say("before"), frame(first, vec![0; len])].concat();
            cases.push(
                case(format!("{first:x} of {len}"), sent)
                    .gets(echo("before"))
                    .fails(1002),
            );
        }
        for length in [Length::Two, Length::Eight] {
            let sent = frame_of(first, b"short", length, [0; 4]);
            cases.push(case(format!("{first:x} with its length as {length:?}"), sent).fails(1002));
        }
    }
    try_all(cases).await;
}

#[tokio::test]
async fn a_pong_that_nobody_asked_for_is_nothing() {
    let pongs: [(&str, Vec<u8>, Option<&str>); 5] = [
        ("empty", frame(PONG, []), None),
        ("with a payload", frame(PONG, "unasked"), None),
        ("125 bytes", frame(PONG, [0xff; 125]), None),
        ("many", frame(PONG, "again").repeat(20), None),
        (
            "before a ping",
            [frame(PONG, "a"), frame(PING, "b"), frame(PONG, "c")].concat(),
            Some("b"),
        ),
    ];
    try_all(pongs.into_iter().map(|(name, sent, answer)| {
        let case = case(name, sent);
        match answer {
            Some(payload) => case.gets(pong(payload)),
            None => case,
        }
    }))
    .await;
}

fn many(count: usize) -> (Vec<u8>, Vec<String>) {
    let payloads: Vec<_> = (0..count).map(|nth| format!("payload-{nth}")).collect();
    let sent = payloads.iter().flat_map(|payload| frame(PING, payload));
    (sent.collect(), payloads)
}

#[tokio::test]
async fn each_ping_of_a_client_that_reads_has_its_pong() {
    for count in [2, 3, 10, 100] {
        let (sent, payloads) = many(count);
        let case = payloads
            .iter()
            .fold(case(format!("{count} pings"), sent), |case, payload| {
                case.gets(pong(payload))
            });
        try_all([case]).await;
    }
}

#[tokio::test]
async fn pongs_and_echoes_keep_their_order() {
    let sent = [
        frame(PING, "1"),
        say("2"),
        frame(PING, "3"),
        frame(PING, "4"),
        say("5"),
    ];
    let mixed: Case = case("pings between messages", sent.concat())
        .gets(pong("1"))
        .gets(echo("2"))
        .gets(pong("3"))
        .gets(pong("4"))
        .gets(echo("5"));
    try_all([mixed]).await;
}
