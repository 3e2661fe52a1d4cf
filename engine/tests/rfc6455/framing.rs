//! Lengths, masks, and what stands behind one another (RFC 6455 sections 5.2 and 5.3).

use crate::cases::{
    BINARY, CLOSE, Case, FIRST_TEXT, Frame, LAST, Length, MASK, PING, PONG, TEXT, case, echo,
    frame, frame_of, say, try_all, unmasked,
};

/// Lengths at which the form changes, and their neighbours.
const LENGTHS: [usize; 11] = [0, 1, 7, 124, 125, 126, 127, 128, 65535, 65536, 70_000];

#[tokio::test]
async fn texts_of_all_lengths() {
    try_all(LENGTHS.into_iter().filter(|&len| len > 0).map(|len| {
        let message = "*".repeat(len - 1);
        case(format!("a text of {len}"), say(&message)).gets(echo(&message))
    }))
    .await;
}

#[tokio::test]
async fn binaries_of_all_lengths() {
    try_all(LENGTHS.into_iter().map(|len| {
        let data = vec![0xfe; len];
        case(format!("{len} bytes"), frame(BINARY, &data)).gets(Frame::Binary(data))
    }))
    .await;
}

#[tokio::test]
async fn a_length_may_be_written_longer_than_needed() {
    let cases = [
        (7, Length::Two),
        (7, Length::Eight),
        (1, Length::Two),
        (1, Length::Eight),
        (125, Length::Two),
        (126, Length::Eight),
        (65535, Length::Eight),
    ];
    try_all(cases.into_iter().map(|(len, length)| {
        let message = "x".repeat(len - 1);
        let sent = frame_of(TEXT, format!("4{message}").as_bytes(), length, MASK);
        case(format!("{len} as {length:?}"), sent).gets(echo(&message))
    }))
    .await;
    try_all([Length::Two, Length::Eight].map(|length| {
        let sent = frame_of(BINARY, &[], length, MASK);
        case(format!("nothing as {length:?}"), sent).gets(Frame::Binary(vec![]))
    }))
    .await;
}

fn announced(first: u8, len: u64) -> Vec<u8> {
    let mut head = vec![first, 0xff];
    head.extend(len.to_be_bytes());
    head.extend(MASK);
    head
}

#[tokio::test]
async fn a_length_that_is_announced_is_judged_before_anything_of_it_comes() {
    let mut cases: Vec<Case> = [100_001, 1_000_000_000, 1 << 32, 1 << 53, (1 << 63) - 1]
        .into_iter()
        .flat_map(|len| {
            [TEXT, BINARY, FIRST_TEXT]
                .map(|first| case(format!("{first:x} of {len}"), announced(first, len)).fails(1009))
        })
        .collect();
    for len in [1 << 63, u64::MAX] {
        cases.push(case(format!("{len} bytes"), announced(BINARY, len)).fails(1002));
    }
    try_all(cases).await;
}

#[tokio::test]
async fn a_mask_may_be_anything() {
    let masks = [
        [0; 4],
        [0xff; 4],
        MASK,
        [0, 0, 0, 1],
        [0x80, 0, 0, 0],
        *b"4444",
    ];
    try_all(masks.map(|mask| {
        let sent = frame_of(TEXT, "4zwölf €".as_bytes(), Length::Short, mask);
        case(format!("{mask:x?}"), sent).gets(echo("zwölf €"))
    }))
    .await;
    let sent = masks
        .map(|mask| frame_of(TEXT, b"4each its own", Length::Short, mask))
        .concat();
    let mut case = case("one after the other", sent);
    for _ in masks {
        case = case.gets(echo("each its own"));
    }
    try_all([case]).await;
}

#[tokio::test]
async fn a_frame_without_a_mask_is_an_error() {
    let mut cases: Vec<Case> = [
        (TEXT, "4a".as_bytes()),
        (TEXT, b""),
        (BINARY, b"a"),
        (PING, b"a"),
        (PONG, b""),
        (CLOSE, b"\x03\xe8"),
        (FIRST_TEXT, b"4a"),
    ]
    .into_iter()
    .map(|(first, payload)| {
        let sent = [say("before"), unmasked(first, payload), say("after")].concat();
        case(format!("{first:x} {payload:x?}"), sent)
            .gets(echo("before"))
            .fails(1002)
    })
    .collect();
    let sent = [frame(FIRST_TEXT, "4a"), unmasked(LAST, b"b")].concat();
    cases.push(case("the second fragment", sent).fails(1002));
    try_all(cases).await;
}

#[tokio::test]
async fn frames_follow_each_other_without_a_gap() {
    let sent = [
        say("a"),
        frame(BINARY, [0, 1]),
        say(&"b".repeat(200)),
        frame(BINARY, []),
        say("c"),
    ];
    try_all([case("five frames", sent.concat())
        .gets(echo("a"))
        .gets(Frame::Binary(vec![0, 1]))
        .gets(echo(&"b".repeat(200)))
        .gets(Frame::Binary(vec![]))
        .gets(echo("c"))])
    .await;
}
