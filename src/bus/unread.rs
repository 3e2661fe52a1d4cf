//! An acknowledgement as it came.
//!
//! Socketioxide takes each from our stream and reads it at once, into a type that sees no more of it than serde
//! shows. Who wants the text and the attachments polls socketioxide's stream in [`keep`].

use std::cell::RefCell;

use socketioxide_core::Value;

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept::Unwanted) };
}

enum Kept {
    /// Nobody polls in [`keep`].
    Unwanted,
    Nothing,
    Value(Value),
}

/// Polls, and gives with the outcome the acknowledgement that was taken meanwhile.
pub(crate) fn keep<R>(poll: impl FnOnce() -> R) -> (R, Option<Value>) {
    let outer = KEPT.replace(Kept::Nothing);
    let outcome = poll();
    let kept = match KEPT.replace(outer) {
        Kept::Value(value) => Some(value),
        Kept::Nothing | Kept::Unwanted => None,
    };
    (outcome, kept)
}

/// Our stream gives this acknowledgement.
pub(super) fn given(value: &Value) {
    KEPT.with_borrow_mut(|kept| {
        if !matches!(kept, Kept::Unwanted) {
            // Text and bytes are shared.
            *kept = Kept::Value(value.clone());
        }
    });
}
