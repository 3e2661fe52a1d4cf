//! Hostile clients: whatever they do, the others are served and nothing stays behind. Here: the
//! shared question whether a server was harmed, and clients that are slow or stop half way.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::harness::*;

/// Timeouts short enough to wait for.
const IMPATIENT: &str = r#"
[limits]
head_timeout = "2s"
[engine]
connect_timeout = "1s"
ping_interval = "1s"
ping_timeout = "1s"
upgrade_timeout = "1s"
"#;

/// How long a session lives at most after its client has gone silent.
const SESSION: Duration = Duration::from_secs(3);

/// A server that has seen friendly clients, and how it was before the hostile ones came.
pub(crate) struct Victim {
    pub(crate) server: Server,
    workers: Vec<u32>,
    memory: u64,
    complaints: usize,
}

impl Victim {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With more lines for the table `[engine]`.
    pub(crate) fn with(engine: &str) -> Self {
        Self::of(Setup::new().config(&format!("{IMPATIENT}{engine}")))
    }

    pub(crate) fn of(setup: Setup) -> Self {
        let server = setup.unix().start();
        let victim = Self {
            workers: server.workers(),
            memory: 0,
            complaints: 0,
            server,
        };
        let large = "x".repeat(400_000);
        for _ in 0..10 {
            victim.serves(&large);
            victim.serves("small");
        }
        // A crowd leaves the heap with room for the next one.
        drop((0..300).map(|_| victim.websocket()).collect::<Vec<_>>());
        victim.server.wait_for_sessions(0, SESSION + SOON);
        Self {
            memory: victim.memory_now(),
            complaints: victim.server.count_lines("ERROR"),
            ..victim
        }
    }

    pub(crate) fn tcp(&self) -> Raw {
        Raw::tcp(self.server.addr)
    }

    pub(crate) fn unix(&self) -> Raw {
        Raw::unix(&self.server.unix)
    }

    /// A WebSocket session that joined `/`.
    pub(crate) fn websocket(&self) -> WebSocket {
        WebSocket::open(self.tcp())
    }

    /// From here on, memory counts from what it is now: only what more of the same adds was lost.
    pub(crate) fn grew(&mut self) {
        self.unharmed_but_for_memory();
        self.memory = self.memory_now();
    }

    /// The same workers serve fresh clients at once, no session is left over, the memory is free
    /// again, and nobody panicked.
    #[track_caller]
    pub(crate) fn unharmed(&self) {
        self.unharmed_but_for_memory();
        let bound = self.memory + self.memory / 5 + 4 * 1024;
        let began = Instant::now();
        while self.memory_now() > bound && began.elapsed() < SESSION {
            sleep(Duration::from_millis(50));
        }
        let now = self.memory_now();
        assert!(now <= bound, "{now} KiB, {} KiB before", self.memory);
    }

    #[track_caller]
    fn unharmed_but_for_memory(&self) {
        let began = Instant::now();
        self.serves("fresh");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "served after {took:?} only");
        self.server.wait_for_sessions(0, SESSION + SOON);
        assert_eq!(self.server.workers(), self.workers, "a worker was replaced");
        assert_eq!(self.server.count_lines("panicked"), 0);
        assert_eq!(self.server.count_lines("ERROR"), self.complaints);
    }

    /// Two `WebSockets` and two polling clients at a time, so that every worker has a turn.
    #[track_caller]
    pub(crate) fn serves(&self, text: &str) {
        let mut sockets = [self.websocket(), self.websocket()];
        let mut raws = [self.tcp(), self.tcp()];
        for socket in &mut sockets {
            socket.echo(text);
        }
        for raw in &mut raws {
            let session = Polling::open(raw);
            session.echo(raw, text);
            assert_eq!(session.post(raw, "1").status, 200);
        }
    }

    /// What the workers have written to, in KiB. Not their proportional set size: the text that
    /// they share with servers of other tests would come and go with those.
    fn memory_now(&self) -> u64 {
        self.workers.iter().map(|&pid| memory(pid).dirty).sum()
    }

    fn cpu(&self) -> Duration {
        let workers: Duration = self.workers.iter().map(|&pid| cpu_time(pid)).sum();
        workers + cpu_time(self.server.pid)
    }

    fn descriptors(&self) -> usize {
        let workers: usize = self.workers.iter().map(|&pid| descriptors(pid)).sum();
        workers + descriptors(self.server.pid)
    }

    /// The share of one core that the server used while `act` ran.
    fn share(&self, act: impl FnOnce()) -> f64 {
        let (cpu, began) = (self.cpu(), Instant::now());
        act();
        self.cpu().saturating_sub(cpu).as_secs_f64() / began.elapsed().as_secs_f64()
    }
}

/// How a connection went on after something hostile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer(u16),
    Closed,
}

/// Waits for an answer or an end, and fails if neither comes.
#[track_caller]
pub(crate) fn outcome(raw: &mut Raw) -> Outcome {
    match raw.try_response() {
        Ok(response) => Outcome::Answer(response.status),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("neither answered nor closed")
        }
        Err(_) => Outcome::Closed,
    }
}

/// Sends it, the server permitting, and waits for what comes of it.
#[track_caller]
pub(crate) fn provoke(raw: &mut Raw, bytes: impl AsRef<[u8]>) -> Outcome {
    // The server may have closed before all of it was sent.
    let _ = raw.try_send(bytes);
    outcome(raw)
}

/// Many connections that begin with `first` and go on with `drip`, a byte a second.
fn besiege(victim: &Victim, first: &str, drip: &str) {
    let before = victim.descriptors();
    let streams: Vec<_> = (0..2_000)
        .map(|_| {
            let mut stream = TcpStream::connect(victim.server.addr).unwrap();
            std::io::Write::write_all(&mut stream, first.as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually("all of them wait", SOON, || {
        victim.descriptors() > before + 500
    });
    victim.serves("during the siege");
    let mut drip = drip.bytes();
    let share = victim.share(|| {
        if let Some(byte) = drip.next() {
            for stream in &streams {
                let _ = std::io::Write::write_all(&mut &*stream, &[byte]);
            }
        }
        sleep(Duration::from_secs(1));
    });
    saw("share of a core under siege", share);
    assert!(share < 0.05, "{share}");
    victim.serves("during the siege, later");
    // The clients do not close: the server does, after its timeout and a moment for its answer.
    eventually("all are gone", Duration::from_secs(6), || {
        if let Some(byte) = drip.next() {
            for stream in &streams {
                let _ = std::io::Write::write_all(&mut &*stream, &[byte]);
            }
            sleep(Duration::from_secs(1));
        }
        victim.descriptors() <= before + 4
    });
}

#[test]
fn two_thousand_connections_that_send_nothing_cost_nothing_and_are_closed() {
    let victim = Victim::new();
    besiege(&victim, "", "");
    victim.unharmed();
}

#[test]
fn two_thousand_request_lines_that_come_byte_by_byte_cost_nothing_and_are_closed() {
    let victim = Victim::new();
    besiege(&victim, "G", "ET / HTTP");
    victim.unharmed();
}

#[test]
fn two_thousand_heads_that_come_byte_by_byte_cost_nothing_and_are_closed() {
    let mut victim = Victim::new();
    besiege(&victim, "GET / HTTP/1.1\r\n", "Host: lo");
    victim.grew();
    besiege(&victim, "GET / HTTP/1.1\r\n", "Host: lo");
    victim.unharmed();
}

/// Ends many connections after each of `halves`, and looks whether somebody goes round in circles.
fn stop_half_way(halves: &[&str]) {
    let victim = Victim::new();
    let before = victim.descriptors();
    let mut raws = Vec::new();
    for half in halves.iter().cycle().take(20 * halves.len()) {
        for mut raw in [victim.tcp(), victim.unix()] {
            raw.send(half).half_close();
            raws.push(raw);
        }
    }
    let cpu = victim.cpu();
    sleep(Duration::from_secs(1));
    let used = victim.cpu().saturating_sub(cpu);
    assert!(used < Duration::from_millis(50), "{used:?} in a second");
    for raw in &mut raws {
        assert_eq!(outcome(raw), Outcome::Closed);
    }
    eventually("they are gone", SOON, || victim.descriptors() <= before);
    victim.unharmed();
}

#[test]
fn half_a_request_line_and_an_end_cost_nothing() {
    stop_half_way(&["G", "GET /socket.io/?EIO=4&tra", "GET / HTTP/1.1", "\r\n"]);
}

#[test]
fn half_a_head_and_an_end_cost_nothing() {
    stop_half_way(&[
        "GET / HTTP/1.1\r\n",
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgr",
    ]);
}
