//! The settings that are one word out of a few. Each enum owns its words: what the file may say,
//! what `Display` shows and what the JSON for the workers holds are the same text.

use std::fmt;

use serde::{Deserialize, Serialize};

impl LogLevel {
    /// The level of this word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        let choice = Self::CHOICES.iter().find(|(known, _)| *known == word);
        choice.map(|(_, level)| *level)
    }
}

/// An enum whose variants are written as words in the configuration file.
pub(super) trait Choices: Copy + 'static {
    /// Every word with its meaning, in the order in which an error lists them.
    const CHOICES: &'static [(&'static str, Self)];
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl Choices for $name {
            const CHOICES: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

choices! {
    /// How the router picks the worker of a new session.
    Balance {
        /// The worker with the fewest sessions.
        LeastConnection = "least-connection",
        /// Each worker in its turn.
        RoundRobin = "round-robin",
        /// Any worker, by chance.
        Random = "random",
    }
}

choices! {
    /// How Socket.IO packets are written inside Engine.IO messages. Server and clients must agree.
    Parser {
        /// Text with JSON, the default of every client.
        Common = "common",
        /// `MessagePack`, what `socket.io-msgpack-parser` speaks.
        Msgpack = "msgpack",
    }
}

choices! {
    /// A way in which Engine.IO packets travel.
    Transport {
        /// HTTP long-polling.
        Polling = "polling",
        /// `WebSocket`, as handshake or by an upgrade.
        Websocket = "websocket",
    }
}

choices! {
    /// The form of a log line on the terminal and in the file.
    LogFormat {
        /// `TIME MESSAGE key=value …`
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choices! {
    /// The least severe level that is logged; each level includes those before it.
    LogLevel {
        /// Nothing at all.
        Off = "off",
        /// What needs a person.
        Error = "error",
        /// What went wrong through somebody else's fault.
        Warn = "warn",
        /// The life of the server and its workers.
        Info = "info",
        /// One or a few lines for each connection.
        Debug = "debug",
        /// Everything, with the libraries' own events.
        Trace = "trace",
    }
}
