//! The harness's network does what it says: what other tests conclude stands on it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

const DISTANCE: Duration = Duration::from_millis(80);

/// Sends everything back, for as long as the test runs.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut to = stream.try_clone().unwrap();
                let mut from = stream;
                let mut buffer = [0; 16 * 1024];
                // A connection that breaks is what some tests are about.
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

fn connect(network: &Network) -> TcpStream {
    let stream = TcpStream::connect(network.addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// How long it takes until this comes back.
#[track_caller]
fn round_trip(stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
    began.elapsed()
}

#[test]
fn a_round_trip_takes_as_long_as_the_network_says() {
    let network = Network::to(echo_server()).round_trip(DISTANCE);
    let mut stream = connect(&network);
    for _ in 0..3 {
        let took = round_trip(&mut stream, b"POST / HTTP/1.1\r\n\r\n");
        assert!(took >= DISTANCE && took < DISTANCE * 3, "{took:?}");
    }
}

#[test]
fn a_distance_costs_no_throughput() {
    const MEGABYTES: usize = 30;
    let network = Network::to(echo_server()).round_trip(DISTANCE);
    let mut stream = connect(&network);
    let mut sender = stream.try_clone().unwrap();
    let began = Instant::now();
    let sending = thread::spawn(move || {
        let megabyte = vec![b'x'; 1 << 20];
        (0..MEGABYTES).for_each(|_| sender.write_all(&megabyte).unwrap());
    });
    let mut back = vec![0; MEGABYTES << 20];
    stream.read_exact(&mut back).unwrap();
    sending.join().unwrap();
    let took = began.elapsed();
    saw("milliseconds", took.as_millis());
    // Piece by piece, each of 64 KiB for its own round trip, it would be 38 s.
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_websocket_waits_for_its_setup_and_polling_does_not() {
    let server = Server::start();
    let network = Network::to(server.addr)
        .round_trip(DISTANCE)
        .websocket_setup_round_trips(2);
    let timed = |ask: &dyn Fn(Raw)| {
        let raw = Raw::tcp(network.addr);
        let began = Instant::now();
        ask(raw);
        began.elapsed()
    };
    let polling = timed(&|mut raw| drop(Polling::handshake(&mut raw)));
    let websocket = timed(&|raw| drop(WebSocket::handshake(raw)));
    assert!(polling < DISTANCE * 3, "{polling:?}");
    assert!(websocket >= DISTANCE * 3, "{websocket:?}");
    let seen = network.seen();
    assert_eq!(
        (seen.connections, seen.polls(), seen.websockets()),
        (2, 1, 1)
    );
}

#[test]
fn a_cut_lets_exactly_so_many_bytes_through() {
    let network = Network::to(echo_server());
    let request = WebSocket::request("/?transport=websocket");
    for after in (0..request.len()).step_by(7) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            network.cut_next(Cut {
                after,
                direction,
                how: Break::Close,
            });
            let mut stream = connect(&network);
            stream.write_all(request.as_bytes()).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            // What is cut on its way there may still have been on its way back.
            let whole = &request.as_bytes()[..after];
            assert!(whole.starts_with(&back), "{direction:?} {after}");
            if direction == Direction::ToClient {
                assert_eq!(back.len(), after);
            }
        }
    }
    // Without a cut it stays open.
    let mut stream = connect(&network);
    round_trip(&mut stream, request.as_bytes());
    round_trip(&mut stream, b"and on");
}

#[test]
fn connections_are_reset_at_both_ends() {
    let network = Network::to(echo_server());
    let mut stream = connect(&network);
    round_trip(&mut stream, b"POST / HTTP/1.1\r\n\r\n");
    network.abort_all();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    round_trip(&mut connect(&network), b"POST / HTTP/1.1\r\n\r\n");
}

#[test]
fn frames_after_the_101_are_swallowed() {
    let server = Server::start();
    let network = Network::to(server.addr).swallow_frames_after_101();
    let mut raw = Raw::tcp(network.addr);
    let session = Polling::open(&mut raw);
    session.echo(&mut raw, "polling passes");
    let mut direct = Raw::tcp(network.addr);
    direct.send(WebSocket::request("/socket.io/?EIO=4&transport=websocket"));
    // Its open packet does not come.
    let mut socket = WebSocket::switched(direct);
    let before = network.seen().bytes_to_client;
    session.echo(&mut raw, "polling passes still");
    assert!(network.seen().bytes_to_client > before);
    drop(server);
    // Nothing but the end.
    assert!(socket.raw.read_to_end().unwrap_or_default().is_empty());
}

#[test]
fn a_slow_reader_reads_so_slowly() {
    let network = Network::to(echo_server()).slow_reader(100_000);
    let mut stream = connect(&network);
    round_trip(&mut stream, WebSocket::request("/").as_bytes());
    let took = round_trip(&mut stream, &[b'x'; 30_000]);
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}
