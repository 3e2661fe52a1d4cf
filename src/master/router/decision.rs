//! What the first line of a connection asks for. Pure.

use crate::config::Engine;
use crate::wire::health::HealthCheck;
use crate::wire::request_line::RequestLine;
use crate::wire::session_id::Home;
use crate::wire::target::{SidParam, Target};

/// Where a connection should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// To whoever gets the next session.
    NewSession,
    /// To the worker that has its session.
    Home(Home),
    /// To any worker; no session comes of it.
    Anybody,
}

/// What the first bytes of a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Request(Destination),
    Check {
        check: HealthCheck,
        head: bool,
    },
    Garbage,
    TooLong,
    /// The client is gone.
    Closed,
}

/// What a request line asks for; `home_of` knows who has a session.
pub(super) fn decide(
    line: &RequestLine<'_>,
    engine: &Engine,
    home_of: impl FnOnce(&str) -> Option<Home>,
) -> Seen {
    let target = Target::parse(&line.target);
    match HealthCheck::of(line.method, &target) {
        Some(check) => Seen::Check {
            check,
            head: line.method == "HEAD",
        },
        None => Seen::Request(destination(line.method, &target, engine, home_of)),
    }
}

/// Where a request goes. One for a session that nobody has goes anywhere: any worker refuses
/// it in the engine's words, with the headers that browsers need.
fn destination(
    method: &str,
    target: &Target<'_>,
    engine: &Engine,
    home_of: impl FnOnce(&str) -> Option<Home>,
) -> Destination {
    // A page that loads the client opens no session by that.
    if !target.is_engine(&engine.path) || engine.client_file(method, target).is_some() {
        return Destination::Anybody;
    }
    match target.engine_query().sid {
        SidParam::Absent if method == "GET" => Destination::NewSession,
        SidParam::One(sid) => home_of(&sid).map_or(Destination::Anybody, Destination::Home),
        _ => Destination::Anybody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request_line::{Peeked, read};

    #[test]
    fn a_line_decides_where_its_connection_goes() {
        let home = Home {
            generation: 3,
            slot: 7,
        };
        let known = |sid: &str| (sid == "known/one").then_some(home);
        let check = |check, head| Seen::Check { check, head };
        let anybody = Seen::Request(Destination::Anybody);
        for (line, expected) in [
            (
                "GET /socket.io/?EIO=4&transport=polling",
                Seen::Request(Destination::NewSession),
            ),
            (
                "GET /socket.io/?EIO=4&sid=",
                Seen::Request(Destination::NewSession),
            ),
            ("POST /socket.io/?EIO=4&transport=polling", anybody),
            (
                "POST /socket.io/?sid=known%2Fone",
                Seen::Request(Destination::Home(home)),
            ),
            (
                "GET http://a.example/socket.io/?sid=known%2Fone",
                Seen::Request(Destination::Home(home)),
            ),
            ("GET /socket.io/?sid=unknown", anybody),
            ("GET /socket.io/?sid=known%2Fone&sid=known%2Fone", anybody),
            ("GET /other/?sid=known%2Fone", anybody),
            ("GET /socket.io/socket.io.js", anybody),
            ("GET /healthz", check(HealthCheck::Alive, false)),
            ("HEAD /readyz", check(HealthCheck::Ready, true)),
            ("POST /readyz", anybody),
        ] {
            let bytes = format!("{line} HTTP/1.1\r\n");
            let Peeked::Line(line) = read(bytes.as_bytes()) else {
                panic!("{bytes} is no line");
            };
            assert_eq!(
                decide(&line, &Engine::default(), known),
                expected,
                "{bytes}"
            );
        }
    }
}
