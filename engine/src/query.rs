//! The query of a namespace that a revision 3 client joins: `0/chat?token=abc,`. Its handler is given it as the
//! CONNECT's payload, as Node does.

use engineioxide_core::Str;
use serde_json::{Map, Value};

/// The CONNECT with the query's parameters as its payload: `0/chat,{"token":"abc"}`.
pub(crate) fn into_auth(message: &Str, query: &str) -> Str {
    let mut auth = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        auth.insert(decode(key), Value::String(decode(value)));
    }
    let comma = if message.ends_with(',') { "" } else { "," };
    Str::from(format!("{message}{comma}{}", Value::Object(auth)))
}

/// Percent-decoding, with `+` for a space (as Node's `querystring`). What is no escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let escaped = (first == b'%')
            .then(|| behind.split_first_chunk::<2>())
            .flatten()
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            });
        match (escaped, first) {
            (Some((byte, after)), _) => {
                bytes.push(byte);
                rest = after;
            }
            (None, b'+') => bytes.push(b' '),
            (None, byte) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_the_payload() {
        let auth = into_auth(&"0/chat,".into(), "token=a%20b&x=%C3%A9&x2=1+2&bad=%zz");
        assert_eq!(
            auth,
            r#"0/chat,{"bad":"%zz","token":"a b","x":"é","x2":"1 2"}"#
        );
        assert_eq!(into_auth(&"0/chat".into(), ""), "0/chat,{}");
    }
}
