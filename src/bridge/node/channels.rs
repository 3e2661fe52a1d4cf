//! The names of the channels on which Node servers hear each other.
//!
//! | name | what |
//! |---|---|
//! | `K#ns#`, `K#ns#room#` | broadcasts, subscribed to by the pattern `K#ns#*` |
//! | `K-request#ns#` | questions, and orders to join, leave, disconnect. Who is subscribed to it counts as a server |
//! | `K-response#ns#`, `K-response#ns#uid#` | answers |
//! | `K-request#ns#~` | nothing: subscribed to by our machines alone, so that they can be told from Node servers |

use socketioxide_core::Str;

/// What every uid of ours begins with. Node draws letters, digits, `-` and `_`.
pub(super) const MARK: char = '~';

/// Names the channels of one namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channels<'a> {
    key: &'a str,
    ns: &'a str,
}

/// What comes on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A broadcast.
    Broadcast(Str),
    /// A question or an order.
    Request(Str),
    /// An answer.
    Response,
}

impl<'a> Channels<'a> {
    pub(super) fn new(key: &'a str, ns: &'a str) -> Self {
        Self { key, ns }
    }

    pub(super) fn base(self) -> String {
        format!("{}#{}#", self.key, self.ns)
    }

    pub(super) fn room(self, room: &str) -> String {
        format!("{}{room}#", self.base())
    }

    /// Matches the base channel and those of all rooms, and no other namespace's.
    pub(super) fn pattern(self) -> String {
        let mut pattern = String::new();
        for char in self.base().chars() {
            // What Redis' glob-style patterns have a meaning for.
            if matches!(char, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(char);
        }
        pattern.push('*');
        pattern
    }

    pub(super) fn request(self) -> String {
        format!("{}-request#{}#", self.key, self.ns)
    }

    /// The mark of our machines.
    pub(super) fn ours(self) -> String {
        format!("{}{MARK}", self.request())
    }

    pub(super) fn response(self) -> String {
        format!("{}-response#{}#", self.key, self.ns)
    }

    pub(super) fn own_response(self, uid: &str) -> String {
        format!("{}{uid}#", self.response())
    }
}

/// The namespace in the name of a channel that was subscribed to by its name.
pub(super) fn read(key: &str, channel: &str) -> Option<Kind> {
    let rest = channel.strip_prefix(key)?;
    if let Some(rest) = rest.strip_prefix("-request#") {
        let ns = rest.strip_suffix('#')?;
        return Some(Kind::Request(ns.to_owned().into()));
    }
    let is_response = rest.starts_with("-response#");
    is_response.then_some(Kind::Response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_found_in_the_names_of_its_channels() {
        for ns in ["/", "/chat", "/a#b"] {
            let channels = Channels::new("socket.io", ns);
            let read = |channel: String| read("socket.io", &channel);
            assert_eq!(read(channels.request()), Some(Kind::Request(ns.into())));
            assert_eq!(read(channels.response()), Some(Kind::Response));
            let own = channels.own_response("~abcde");
            assert_eq!(read(own), Some(Kind::Response));
            assert_eq!(read(channels.ours()), None);
        }
        assert_eq!(read("socket.io", "other-request#/#"), None);
    }

    #[test]
    fn the_names_are_those_that_node_uses() {
        let channels = Channels::new("socket.io", "/chat");
        assert_eq!(channels.room("x#y"), "socket.io#/chat#x#y#");
        assert_eq!(channels.pattern(), "socket.io#/chat#*");
        assert_eq!(channels.request(), "socket.io-request#/chat#");
        assert_eq!(
            Channels::new("k", "/").own_response("~a"),
            "k-response#/#~a#"
        );
    }

    #[test]
    fn a_namespace_that_looks_like_a_pattern_matches_itself_alone() {
        let pattern = Channels::new("socket.io", r"/[a]*?\").pattern();
        assert_eq!(pattern, r"socket.io#/\[a\]\*\?\\#*");
    }
}
