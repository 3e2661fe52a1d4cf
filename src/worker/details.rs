//! What Node servers see of this worker's sockets in `fetchSockets()`.

use std::time::{Duration, SystemTime};

use engineioxide::Engine;
use http::header::{HeaderMap, ORIGIN};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use socketioxide::socket::Sid;

use crate::api::{ClientAddr, Io, PublicData};
use crate::bus::Described;

/// Describes a socket, if it is there: its handshake as Node's server has it, and what its application shows of it.
pub(super) fn describe(io: &Io, engine: &Engine, namespace: &str, id: Sid) -> Option<Described> {
    let socket = io.of(namespace)?.get_socket(id)?;
    let parts = socket.req_parts();
    let lived = engine.live(id).map_or(Duration::ZERO, |live| live.lived);
    let address = parts.extensions.get::<ClientAddr>().and_then(|it| it.0);
    let handshake = json!({
        "headers": headers(&parts.headers),
        "time": date(lived),
        "address": address.map_or_else(String::new, |it| it.to_canonical().to_string()),
        "xdomain": parts.headers.contains_key(ORIGIN),
        "secure": false,
        "issued": issued(lived),
        "url": parts.uri.path_and_query().map_or("/", |it| it.as_str()),
        "query": query(parts.uri.query().unwrap_or_default()),
        "auth": {},
    });
    let data = socket.extensions.get::<PublicData>();
    Some(Described {
        handshake,
        data: data.map_or_else(|| json!({}), |data| data.0),
    })
}

/// As Node has them: a name that comes more than once has all its values, with commas between them.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut all = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        all.insert(name.to_string(), values.join(", ").into());
    }
    all
}

/// As Node's `querystring` reads it: a name that comes more than once has a list.
fn query(query: &str) -> Map<String, Value> {
    let mut all = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = Value::String(plain(value));
        match all.get_mut(&plain(name)) {
            None => drop(all.insert(plain(name), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    all
}

fn plain(escaped: &str) -> String {
    let spaced = escaped.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// When somebody who has lived so long came, in milliseconds since 1970.
fn issued(lived: Duration) -> u64 {
    let began = SystemTime::now().checked_sub(lived);
    let since = began.and_then(|began| began.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or_default()
    })
}

/// The same as JavaScript's `Date` says it, in UTC.
fn date(lived: Duration) -> String {
    let millis = i64::try_from(issued(lived)).unwrap_or_default();
    let at = Timestamp::from_millisecond(millis).unwrap_or_default();
    at.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_node_reads_it() {
        let read = query("EIO=4&a=1&a=2&a=3&b=x+y%20z&c&t=%C3%A9");
        let expected = json!({"EIO": "4", "a": ["1", "2", "3"], "b": "x y z", "c": "", "t": "é"});
        assert_eq!(Value::Object(read), expected);
    }

    #[test]
    fn headers_of_one_name_are_joined() {
        let mut all = HeaderMap::new();
        all.append("X-A", "1".parse().unwrap());
        all.append("x-a", "2".parse().unwrap());
        assert_eq!(Value::Object(headers(&all)), json!({"x-a": "1, 2"}));
    }

    #[test]
    fn the_time_is_written_as_javascript_does() {
        let said = date(Duration::ZERO);
        assert!(
            said.ends_with(" GMT+0000 (Coordinated Universal Time)"),
            "{said}"
        );
        assert_eq!(
            said.len(),
            "Fri Nov 27 2026 12:43:04 GMT+0000 (Coordinated Universal Time)".len()
        );
    }
}
