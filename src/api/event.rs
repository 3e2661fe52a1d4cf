//! An event's name.

use std::sync::Arc;

use socketioxide::ParserError;
use socketioxide::adapter::Adapter;
use socketioxide::extract;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;

/// An event's name as the client wrote it: for handlers of many events. Socketioxide's own extractor
/// gives characters for private use for quotes, backslashes and control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event(pub String);

impl<A: Adapter> FromMessageParts<A> for Event {
    type Error = ParserError;

    fn from_message_parts(
        socket: &Arc<Socket<A>>,
        value: &mut Value,
        ack_id: &Option<i64>,
    ) -> Result<Self, ParserError> {
        let extract::Event(name) = extract::Event::from_message_parts(socket, value, ack_id)?;
        Ok(Self(engineioxide::guard::event_name(name)))
    }
}
