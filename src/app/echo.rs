//! Namespace `/`: every event comes back to its sender.

use socketioxide::extract::Event;

use crate::api::{Ack, Args, Socket};

/// A client connected.
pub(super) async fn connected(socket: Socket) {
    socket.on_fallback(echo);
}

/// The same event with the same arguments; or, if the client asked for an acknowledgement, that,
/// with the event's name and the arguments.
async fn echo(socket: Socket, Event(event): Event, args: Args, Ack(ack): Ack) {
    // An error here means that the client is gone, and with it whoever would miss the answer.
    let _ = match ack {
        Some(ack) => ack.send(&args.after(&event)),
        None => socket.emit(&event, &args),
    };
}
