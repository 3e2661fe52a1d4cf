//! What a bridge says on `P/hello`: JSON, for ever, so that versions that do not understand each other can name each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::EnvelopeError;

/// The longest hello, in bytes.
const MAX_HELLO: usize = 4096;
/// The longest text in it that is repeated in a log, in bytes.
const MAX_TEXT: usize = 255;

/// Who a bridge is. Unknown fields are ignored, missing ones are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The machine's name.
    #[serde(default)]
    pub name: String,
    /// The machine's number.
    #[serde(default)]
    pub machine: u16,
    /// The master's incarnation, as 16 hexadecimal digits.
    #[serde(default)]
    pub incarnation: String,
    /// The version of the envelope.
    pub envelope: u8,
    /// The version of the frame.
    pub frame: u8,
    /// The program's version.
    #[serde(default)]
    pub version: String,
}

impl Hello {
    /// The hello as bytes.
    #[must_use]
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// The hello that these bytes are. Its texts are short, and have no control characters.
    ///
    /// # Errors
    /// When they are too many, or no hello.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_HELLO {
            return Err(EnvelopeError::Long(bytes.len()));
        }
        let mut hello: Self = serde_json::from_slice(bytes).map_err(|_| EnvelopeError::Hello)?;
        for text in [&mut hello.name, &mut hello.incarnation, &mut hello.version] {
            text.retain(|letter| !letter.is_control());
            text.truncate(text.floor_char_boundary(MAX_TEXT));
        }
        Ok(hello)
    }
}
