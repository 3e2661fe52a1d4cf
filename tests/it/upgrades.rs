//! Upgrades from polling to WebSocket over networks that are not loopback: nothing is lost, and a
//! session outlives every upgrade that fails.

use std::time::Duration;

use super::harness::*;

/// TCP's own, and that of TLS.
const SETUP_ROUND_TRIPS: u32 = 2;

/// Official clients, a quarter of them of version 2, come and upgrade one after the other, while
/// events flow both ways: some small, some so large that six of them are more than one poll
/// brings (`large` bytes each, and three times that in a poll).
#[track_caller]
fn nothing_is_lost_at(round_trip: u64, clients: usize, large: usize) {
    let most = large * 10 / 3;
    let engine = format!("[engine]\nallow_eio3 = true\nmax_payload = {most}");
    let server = Setup::new().config(&engine).start();
    let network = Network::to(server.addr)
        .round_trip(Duration::from_millis(round_trip))
        .websocket_setup_round_trips(SETUP_ROUND_TRIPS);
    let many = [clients, clients / 4, large].map(|count| count.to_string());
    let [all, v2, large] = many.each_ref().map(String::as_str);
    let direct = server.url();
    let crowd = ["--clients", all, "--v2", v2, "--large", large];
    let arguments = [&["--direct", &direct][..], &crowd].concat();
    let told = node("upgrade-order.mjs", &network.url(), &arguments);
    for figures in ["toClients", "toServer", "echoes"] {
        saw(figures, &told[figures]);
        for fault in ["gaps", "doubles"] {
            assert_eq!(told[figures][fault], 0, "{fault} {figures}: {told}");
        }
    }
    assert_eq!(told["upgraded"], clients, "{told}");
    assert_eq!(told["unfinished"], 0, "{told}");
    assert_eq!(told["disconnects"], serde_json::json!([]), "{told}");
    assert_eq!(network.seen().websockets(), clients);
}

#[test]
fn no_event_is_lost_or_doubled_when_clients_upgrade_on_the_same_machine() {
    nothing_is_lost_at(0, 24, 30_000);
}

#[test]
fn no_event_is_lost_or_doubled_when_clients_upgrade_at_20_ms() {
    nothing_is_lost_at(20, 24, 30_000);
}

#[test]
fn no_event_is_lost_or_doubled_when_clients_upgrade_at_80_ms() {
    nothing_is_lost_at(80, 24, 30_000);
}

#[test]
fn no_event_is_lost_or_doubled_when_clients_upgrade_at_300_ms() {
    nothing_is_lost_at(300, 24, 30_000);
}

#[test]
fn no_event_of_300_kb_is_lost_or_doubled_when_clients_upgrade() {
    nothing_is_lost_at(80, 6, 300_000);
}

#[test]
fn where_a_websocket_carries_nothing_clients_stay_on_polling() {
    const SECONDS: usize = 14;
    const CLIENTS: usize = 4;
    let short = "[engine]\nupgrade_timeout = \"3s\"";
    let server = Setup::new().config(short).start();
    let network = Network::to(server.addr).swallow_frames_after_101();
    let told = node("withheld.mjs", &network.url(), &["--seconds", "14"]);
    let polls = network.seen().polls();
    saw("polls", polls);
    saw("the slowest answer, in ms", &told["slowest"]);
    assert_eq!(told["errors"], serde_json::json!([]), "{told}");
    assert_eq!(told["asked"], told["answered"], "{told}");
    assert_eq!(told["sessions"], CLIENTS, "{told}");
    assert_eq!(told["transports"]["polling"], CLIENTS, "{told}");
    assert!(told["slowest"].as_u64().unwrap() < 1000, "{told}");
    assert!(polls < 10 * SECONDS * CLIENTS, "{polls} polls");
    assert!(network.seen().websockets() >= CLIENTS);
}

/// A polling session, on two connections of its own.
struct Session {
    /// What was done to it, for whoever reads that it failed.
    story: String,
    session: Polling,
    polls: Raw,
    posts: Raw,
}

impl Session {
    #[track_caller]
    fn open(server: &Server) -> Self {
        let mut polls = Raw::tcp(server.addr);
        Self {
            story: String::new(),
            session: Polling::open(&mut polls),
            polls,
            posts: Raw::tcp(server.addr),
        }
    }

    fn websocket(&self) -> String {
        let target = self.session.target().replace("polling", "websocket");
        WebSocket::request(&target)
    }

    /// Sends an event that comes back.
    #[track_caller]
    fn say(&mut self, event: &str) {
        let posted = self.session.post(&mut self.posts, event);
        assert_eq!(
            (posted.status, posted.body.as_str()),
            (200, "ok"),
            "{}",
            self.story
        );
    }

    fn begin_poll(&mut self) {
        let target = self.session.target();
        self.polls
            .send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    /// What the next polls bring until nothing is missing; the first of them may have begun.
    #[track_caller]
    fn hears(&mut self, events: &[&str], mut begun: bool) {
        let mut heard: Vec<String> = Vec::new();
        while heard.len() < events.len() {
            if !std::mem::take(&mut begun) {
                self.begin_poll();
            }
            let polled = self.polls.try_response();
            let polled = polled.unwrap_or_else(|error| panic!("{}: {error}", self.story));
            assert_eq!(polled.status, 200, "{}: {polled:?}", self.story);
            let packets = polled.body.split('\x1e');
            let packets = packets.filter(|packet| !["2", "6"].contains(packet));
            heard.extend(packets.map(ToOwned::to_owned));
        }
        assert_eq!(heard, events, "{}", self.story);
    }
}

/// Whatever a client does before it moves, as far as the network lets it, and `then` this.
fn probe(network: &Network, request: &str, then: &[u8]) -> std::io::Result<()> {
    let mut raw = Raw::try_tcp(network.addr)?;
    raw.try_send(request)?;
    raw.try_response()?;
    raw.try_send(WebSocket::frame(0x81, b"2probe"))?;
    let mut socket = WebSocket { raw };
    assert_eq!(socket.read()?, (1, b"3probe".to_vec()));
    socket.raw.try_send(then)?;
    // It breaks now at the latest.
    socket.raw.read_to_end().map(drop)
}

/// Breaks upgrades behind each byte, with a poll under way or without, and sees that nothing is
/// lost.
#[track_caller]
fn polling_goes_on_after_cuts(direction: Direction, lengths: std::ops::Range<usize>, then: &[u8]) {
    let server = Server::start();
    let network = Network::to(server.addr);
    for after in lengths {
        let how = [Break::Reset, Break::Close][after % 2];
        let mut session = Session::open(&server);
        let polls = after / 2 % 2 == 0;
        session.story = format!("{how:?} behind byte {after} {direction:?}, polling: {polls}");
        if polls {
            session.begin_poll();
        } else {
            session.say("42[\"before\",1]");
        }
        network.cut_next(Cut {
            after,
            direction,
            how,
        });
        let request = session.websocket();
        // How the client sees the end is its own affair.
        let _ = probe(&network, &request, then);
        if polls {
            session.say("42[\"before\",1]");
        }
        session.say("42[\"after\",2]");
        session.hears(&["42[\"before\",1]", "42[\"after\",2]"], polls);
    }
    assert!(network.seen().websockets() > 0);
}

/// How long the request for an upgrade and its answer are.
fn lengths() -> (usize, usize) {
    let server = Server::start();
    let network = Network::to(server.addr);
    let request = Session::open(&server).websocket();
    let mut raw = Raw::tcp(network.addr);
    WebSocket::switched({
        raw.send(&request);
        raw
    });
    (request.len(), network.seen().bytes_to_client)
}

#[test]
fn polling_goes_on_wherever_an_upgrade_breaks_on_its_way_to_the_server() {
    let probe = WebSocket::frame(0x81, b"2probe").len();
    let upgrade = WebSocket::frame(0x81, b"5");
    // All but the last byte of the client's "5".
    let all = lengths().0 + probe + upgrade.len();
    polling_goes_on_after_cuts(Direction::ToServer, 0..all, &upgrade);
}

#[test]
fn polling_goes_on_wherever_an_upgrade_breaks_on_its_way_to_the_client() {
    let probed = 2 + "3probe".len();
    let all = lengths().1 + probed;
    polling_goes_on_after_cuts(Direction::ToClient, 0..all + 1, b"");
}

/// As clients for C# and PHP do it.
#[test]
fn a_client_upgrades_without_a_probe() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::handshake(&mut raw);
    assert_eq!(session.post(&mut raw, "40").body, "ok");
    let target = session.target().replace("polling", "websocket");
    let mut socket = Raw::tcp(server.addr);
    socket.send(WebSocket::request(&target));
    let mut socket = WebSocket::switched(socket);
    socket.text("5");
    // What waited for a poll comes first.
    let joined = socket.read_text();
    assert!(joined.starts_with("40{\"sid\":"), "{joined}");
    for n in 0..20 {
        socket.echo(&format!("event {n}"));
    }
}
