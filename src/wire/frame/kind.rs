//! The kinds of frames, as numbers. One that is added needs another [`VERSION`](super::VERSION): a worker ends over a
//! frame that it cannot read.
//!
//! A number never gets another meaning, for a hub has members of several versions: whatever theirs is, it has to know
//! who says hello, and what is a question. For the same reason the bodies of `HELLO`, `MEMBERS`, `RESPONDERS`, `WELCOME`,
//! `ELSEWHERE` and `LINK` are only ever added to at their ends.

pub(super) const HELLO: u8 = 1;
pub(super) const MEMBERS: u8 = 2;
pub(super) const RESPONDERS: u8 = 3;
pub(super) const EMIT: u8 = 4;
pub(super) const JOIN: u8 = 5;
pub(super) const LEAVE: u8 = 6;
pub(super) const DISCONNECT: u8 = 7;
pub(super) const SERVER_SIDE: u8 = 8;
pub(super) const WELCOME: u8 = 9;
pub(super) const ELSEWHERE: u8 = 10;
pub(super) const LINK: u8 = 11;
pub(super) const NAMESPACE: u8 = 12;
pub(super) const TELL_NAMESPACES: u8 = 13;
pub(super) const REPORT: u8 = 14;
pub(super) const HEARD: u8 = 15;
/// From here on there are questions, which begin with their number, also in versions to come,
pub(super) const FIRST_ASK: u8 = ASK_SOCKETS;
/// and up to here.
pub(super) const LAST_ASK: u8 = 31;
pub(super) const ASK_SOCKETS: u8 = 16;
pub(super) const ASK_ROOMS: u8 = 17;
pub(super) const ASK_ACKS: u8 = 18;
pub(super) const ASK_SERVER_SIDE: u8 = 19;
pub(super) const ASK_DETAILS: u8 = 20;
pub(super) const SOCKETS: u8 = 32;
pub(super) const ROOMS: u8 = 33;
pub(super) const ACKS_OF: u8 = 34;
pub(super) const ACKS: u8 = 35;
pub(super) const ACKS_END: u8 = 36;
pub(super) const ANSWER_SERVER_SIDE: u8 = 37;
pub(super) const FAILED: u8 = 38;
pub(super) const DETAILS: u8 = 39;
pub(super) const ANSWERS_SERVER_SIDE: u8 = 40;
