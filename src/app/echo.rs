//! Namespace `/`: every event comes back to its sender.

use std::future::{Ready, ready};

use crate::api::{Ack, Args, Event, Socket};

/// A client connected.
pub(super) async fn connected(socket: Socket) {
    socket.on_fallback(echo);
}

/// The same event with the same arguments; or, if the client asked for an acknowledgement, that,
/// with the event's name and the arguments.
///
/// It waits for nothing. Not an `async fn`, it is done when it returns, and the task that every handler gets
/// has nothing left to do.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler is given what it asks for"
)]
fn echo(socket: Socket, Event(event): Event, args: Args, Ack(ack): Ack) -> Ready<()> {
    // An error here means that the client is gone, and with it whoever would miss the answer.
    let _ = match ack {
        Some(ack) => ack.send(&args.after(&event)),
        None => socket.emit(&event, &args),
    };
    ready(())
}
