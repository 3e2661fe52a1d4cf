//! What clients do between coming and going.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::client::{Conn, Failure, Polling, Source, expect, websocket};
use crate::load::http;

/// A close frame with code 1000, masked with zeros.
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// A slow reader stays so long.
const SLOW: Duration = Duration::from_secs(12);

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// Opens a WebSocket, echoes, and leaves in one of three ways.
    WebSocket,
    /// Polls, echoes, and leaves.
    Polling,
    /// Polls, is upgraded, echoes, and leaves.
    Upgraded,
    /// Two in one room, perhaps on two workers: what one says the other hears.
    Chat,
    /// Sends much at once, and reads all that comes of it.
    Flood,
    /// Breaks off in the middle of something, or sends what no client may.
    Abort,
    /// Reads slowly, or not at all, what it has asked for.
    Slow,
}

impl Visit {
    pub(super) const ALL: [Self; 7] = [
        Self::WebSocket,
        Self::Polling,
        Self::Upgraded,
        Self::Chat,
        Self::Flood,
        Self::Abort,
        Self::Slow,
    ];

    pub(super) fn threads(self) -> usize {
        match self {
            Self::Slow => 6,
            Self::Abort => 2,
            _ => 1,
        }
    }

    /// How long a thread waits between two visits.
    pub(super) fn pace(self) -> Duration {
        Duration::from_millis(match self {
            Self::Flood | Self::Slow => 100,
            _ => 4,
        })
    }

    /// Does it do what official clients do, so that the server owes it every answer?
    pub(super) fn is_good(self) -> bool {
        !matches!(self, Self::Abort | Self::Slow)
    }

    /// The `nth` visit of this kind.
    pub(super) fn run(
        self,
        nth: u64,
        source: &mut Source,
        pause: &AtomicBool,
    ) -> Result<(), Failure> {
        match self {
            Self::WebSocket => over_websocket(nth, source),
            Self::Polling => by_polling(source),
            Self::Upgraded => upgraded(source),
            Self::Chat => chat(nth, source),
            Self::Flood => flood(source),
            Self::Abort => abort(nth, source),
            Self::Slow => slow(nth, source, pause),
        }
    }
}

fn over_websocket(nth: u64, source: &mut Source) -> Result<(), Failure> {
    let mut conn = websocket(source, "")?;
    for text in ["a", "b", &"c".repeat(3000)] {
        conn.echo(text)?;
    }
    leave(conn, nth)
}

/// By a close frame, by Socket.IO's and Engine.IO's packets, or by the end of the connection.
fn leave(mut conn: Conn, nth: u64) -> Result<(), Failure> {
    match nth % 3 {
        0 => conn.send(&CLOSE),
        1 => conn.say("41").and_then(|()| conn.say("1")),
        _ => Ok(()),
    }
}

fn by_polling(source: &mut Source) -> Result<(), Failure> {
    let mut polling = Polling::open(source)?;
    for text in ["a", "b", &"c".repeat(3000)] {
        polling.echo(text)?;
    }
    polling.post("41\u{1e}1")
}

fn upgraded(source: &mut Source) -> Result<(), Failure> {
    let mut polling = Polling::open(source)?;
    polling.echo("a")?;
    let mut conn = polling.probe(source)?;
    loop {
        let (status, body) = polling.conn.answer()?;
        expect(status == 200, "200", &body)?;
        if body == b"6" {
            break;
        }
        // A ping came before.
        expect(body == b"2", "a released poll", &body)?;
        polling.post("3")?;
        polling.conn.send(&http::get(&polling.query))?;
    }
    conn.say("5")?;
    conn.echo("b")?;
    conn.say("1")
}

fn chat(nth: u64, source: &mut Source) -> Result<(), Failure> {
    let mut pair = [websocket(source, "/chat,")?, websocket(source, "/chat,")?];
    let room = format!("r{}-{nth}", std::process::id());
    for conn in &mut pair {
        conn.say(&format!("42/chat,1[\"join\",\"{room}\"]"))?;
        let joined = conn.text()?;
        expect(joined.starts_with(b"43/chat,1"), "a joined room", &joined)?;
    }
    let [speaker, other] = &mut pair;
    speaker.say(&format!("42/chat,2[\"message\",\"{room}\",\"hello\"]"))?;
    let said = speaker.text()?;
    expect(said.starts_with(b"43/chat,2"), "an acknowledgement", &said)?;
    let heard = other.text()?;
    expect(
        heard.starts_with(b"42/chat,[\"message\""),
        "what the other said",
        &heard,
    )?;
    pair.into_iter().try_for_each(|conn| leave(conn, nth))
}

fn flood(source: &mut Source) -> Result<(), Failure> {
    let mut conn = websocket(source, "")?;
    let event = format!("42[\"echo\",\"{}\"]", "f".repeat(1000));
    for _ in 0..400 {
        conn.say(&event)?;
    }
    for _ in 0..400 {
        let came = conn.text()?;
        expect(came == event.as_bytes(), "an echo", &came)?;
    }
    leave(conn, 0)
}

fn abort(nth: u64, source: &mut Source) -> Result<(), Failure> {
    let large = format!("42[\"echo\",\"{}\"]", "l".repeat(100_000));
    match nth % 9 {
        // A poll waits.
        0 => {
            let mut polling = Polling::open(source)?;
            polling.conn.send(&http::get(&polling.query))?;
            polling.conn.reset();
        }
        // Half a post.
        1 => {
            let mut polling = Polling::open(source)?;
            let post = http::post(&polling.query, &large);
            polling.conn.send(post.get(..50_000).unwrap_or(&post))?;
            polling.conn.reset();
        }
        // Half an answer.
        2 => {
            let mut polling = Polling::open(source)?;
            polling.post(&large)?;
            polling.conn.send(&http::get(&polling.query))?;
            polling.conn.taste(1000)?;
            polling.conn.reset();
        }
        // Half a frame.
        3 => {
            let mut conn = websocket(source, "")?;
            let frame = crate::load::frame::client(&large);
            conn.send(frame.get(..50_000).unwrap_or(&frame))?;
            conn.reset();
        }
        // Much is under way.
        4 => {
            let mut conn = websocket(source, "")?;
            for _ in 0..8 {
                conn.say(&large)?;
            }
            conn.taste(1000)?;
            conn.reset();
        }
        // Half an upgrade; its session is never heard of again.
        5 => {
            let mut polling = Polling::open(source)?;
            polling.probe(source)?.reset();
        }
        // Half a head.
        6 => {
            let mut conn = source.connect()?;
            conn.send(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: ")?;
            conn.reset();
        }
        // A frame without a mask.
        7 => {
            let mut conn = websocket(source, "")?;
            conn.send(&crate::load::frame::server(b"42[\"a\"]"))?;
            while conn.taste(1000).is_ok() {}
        }
        // Two polls at the same time.
        _ => {
            let mut polling = Polling::open(source)?;
            let mut other = source.connect()?;
            polling.conn.send(&http::get(&polling.query))?;
            other.send(&http::get(&polling.query))?;
            other.answer()?;
        }
    }
    Ok(())
}

/// Asks for five megabytes, and takes little of them.
fn slow(nth: u64, source: &mut Source, pause: &AtomicBool) -> Result<(), Failure> {
    let mut conn = websocket(source, "")?;
    conn.set_patience(Duration::from_millis(500))?;
    let large = format!("42[\"echo\",\"{}\"]", "s".repeat(50_000));
    for _ in 0..100 {
        if conn.say(&large).is_err() {
            // The server reads no more: it waits for this client.
            break;
        }
    }
    let began = Instant::now();
    while began.elapsed() < SLOW && !pause.load(Relaxed) {
        sleep(Duration::from_millis(50));
        // A third of them take nothing at all.
        if !nth.is_multiple_of(3) {
            conn.taste(4096)?;
        }
    }
    conn.reset();
    Ok(())
}
