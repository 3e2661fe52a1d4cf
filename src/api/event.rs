//! An event's name, whatever characters it has.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use engineioxide::guard;
use socketioxide::adapter::Adapter;
use socketioxide::extract;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;
use socketioxide_core::parser::ParserError;

/// The event's name, as its client wrote it: for handlers that serve many
/// ([`on_fallback`](socketioxide::socket::Socket::on_fallback)).
///
/// Socketioxide's own extractor of this name shows quotes, backslashes and control characters as characters for
/// private use, for it reads names as they stand in JSON. Half of a surrogate pair, which JavaScript allows in a
/// name, is U+FFFD here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event(pub String);

/// The name under which `socket.on` is to have the handler of the event that clients call `name`.
///
/// Only quotes, backslashes and control characters make it another one (and characters for private use from
/// U+F0000). With `engine.parser = "msgpack"` it is always the name itself: do not ask.
#[must_use]
pub fn handler_name(name: &str) -> Cow<'_, str> {
    guard::handler_name(name)
}

impl Event {
    /// Of an event in JSON. The engine has seen to it that there is no escape in a name.
    fn of_json(text: &str) -> Option<Self> {
        let list = text.trim_ascii_start().strip_prefix('[')?;
        let name = list.trim_ascii_start().strip_prefix('"')?;
        let (name, _) = name.split_once('"')?;
        Some(Self(guard::event_name(name).into_owned()))
    }
}

impl Deref for Event {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<A: Adapter> FromMessageParts<A> for Event {
    type Error = ParserError;

    fn from_message_parts(
        socket: &Arc<Socket<A>>,
        value: &mut Value,
        ack_id: &Option<i64>,
    ) -> Result<Self, ParserError> {
        let in_json = match value {
            Value::Str(text, _) => Self::of_json(text),
            Value::Bytes(_) => None,
        };
        match in_json {
            Some(event) => Ok(event),
            None => extract::Event::from_message_parts(socket, value, ack_id)
                .map(|extract::Event(name)| Self(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_the_client_wrote_it() {
        for (json, name) in [
            (r#"["a",1]"#, "a"),
            (r#"["",1]"#, ""),
            (r#" [ "a b" , "c"]"#, "a b"),
            ("[\"é😀\"]", "é😀"),
            (
                "[\"say \u{f0022}hi\u{f0022}\u{f005c}\u{f000a}\"]",
                "say \"hi\"\\\n",
            ),
            ("[\"\u{fd800}\u{f00ff}\u{f0022}\"]", "\u{fffd}\u{f0022}"),
        ] {
            assert_eq!(Event::of_json(json).as_deref(), Some(name), "{json}");
        }
    }
}
