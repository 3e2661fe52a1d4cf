//! Opcodes that mean nothing (RFC 6455 section 5.2).

use crate::cases::{FIRST_TEXT, case, echo, frame, say, try_all};

fn unknown() -> impl Iterator<Item = u8> {
    (0x3..=0x7).chain(0xb..=0xf)
}

#[tokio::test]
async fn an_unknown_opcode_is_an_error() {
    try_all(unknown().flat_map(|opcode| {
        [0x80, 0x00]
            .map(|fin| case(format!("{:x}", fin | opcode), frame(fin | opcode, [])).fails(1002))
    }))
    .await;
}

#[tokio::test]
async fn an_unknown_opcode_with_a_payload_is_an_error_after_what_came_before() {
    try_all(unknown().map(|opcode| {
        let sent = [
            say("before"),
            frame(0x80 | opcode, "4payload"),
            say("after"),
        ];
        case(format!("{opcode:x}"), sent.concat())
            .gets(echo("before"))
            .fails(1002)
    }))
    .await;
}

#[tokio::test]
async fn an_unknown_opcode_between_fragments_is_an_error() {
    try_all(unknown().map(|opcode| {
        let sent = [frame(FIRST_TEXT, "4a"), frame(0x80 | opcode, "b")].concat();
        case(format!("{opcode:x}"), sent).fails(1002)
    }))
    .await;
}
