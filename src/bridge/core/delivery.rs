//! Is a frame from another machine to be given to this machine's workers?

use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::Sid;

use crate::wire::frame::{Body, Frame, Question};

/// Who asks does not wait longer, whatever is asked (`bus::REQUEST_TIMEOUT`); acknowledgements have their own time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The workers get it.
    Deliver,
    /// It is none, or not what another machine may send.
    Garbled,
    /// A question that nobody waits for any more.
    TooOld,
    /// It is for a worker that is not there.
    Unknown,
}

/// Judges a frame that is this old. It is decoded once, so that no worker meets one that cannot be.
pub(super) fn judge(frame: &Bytes, age: Duration, is_own: impl Fn(&Sid) -> bool) -> Judgement {
    let Ok(frame) = Frame::decode(frame) else {
        return Judgement::Garbled;
    };
    let limit = match &frame.body {
        Body::Command { .. } | Body::ServerSide { .. } | Body::Answer { .. } => Duration::MAX,
        Body::Ask { question, .. } => match question {
            Question::Acks { timeout_ms, .. } => Duration::from_millis(*timeout_ms),
            _ => REQUEST_TIMEOUT,
        },
        _ => return Judgement::Garbled,
    };
    if frame.from == Sid::ZERO || is_own(&frame.from) {
        return Judgement::Garbled;
    }
    if frame.to.is_some_and(|to| !is_own(&to)) {
        return Judgement::Unknown;
    }
    if age > limit {
        return Judgement::TooOld;
    }
    Judgement::Deliver
}
