mod world;

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{LocalSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use self::world::{World, home};
use super::connections::Stage;
use super::handover::RouterState;
use super::refusal::{Refusal, refuse};
use super::*;
use crate::ipc::carrier::{Carrier, Luggage};
use crate::master::bind::bind_tcp;
use crate::master::missing::Missing;
use crate::wire::handover::State;
use crate::wire::link::{Handoff, Origin};
use crate::wire::session_id::Home;

const DEADLINE: Duration = Duration::from_secs(20);
const LINE: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\r\n";
const HALF: usize = 20;

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Everything until the end.
async fn heard(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut all = Vec::new();
    let ended = timeout(DEADLINE, client.read_to_end(&mut all)).await;
    ended.expect("it ends").unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

async fn tcp_clients(to: SocketAddr, says: &str) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = TcpStream::connect(to).await.unwrap();
        client.write_all(says.as_bytes()).await.unwrap();
        clients.push(client);
    }
    clients
}

fn unix_client() -> (UnixStream, OwnedFd) {
    let (client, conn) = StdUnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    conn.set_nonblocking(true).unwrap();
    (UnixStream::from_std(client).unwrap(), conn.into())
}

fn count(router: &Router, is_it: impl Fn(&Stage) -> bool) -> usize {
    let all = router.connections.all();
    all.iter().filter(|it| is_it(&it.stage.borrow())).count()
}

/// Clients whose connections no worker has, each kind at another stage.
struct Clients {
    half_lines: Vec<TcpStream>,
    waiting: Vec<TcpStream>,
    passed: Vec<UnixStream>,
    refused: Vec<TcpStream>,
    /// What fills their connection before the answer.
    stuffed: Vec<(UnixStream, usize)>,
    too_many: Vec<UnixStream>,
}

async fn bring_about(router: &Rc<Router>, to: SocketAddr) -> Clients {
    let half_lines = tcp_clients(to, &LINE[..HALF]).await;
    let waiting = tcp_clients(to, LINE).await;
    let mut passed = Vec::new();
    for _ in 0..40 {
        let (client, conn) = unix_client();
        let handoff = Handoff {
            opens: false,
            age_ms: 7,
            head: b"POST".to_vec(),
            ..Handoff::of_a_new_session()
        };
        router.pass(home(9), conn, handoff, None);
        passed.push(client);
    }
    eventually("they wait", || {
        count(router, |it| matches!(it, Stage::Looking { .. })) == 40
            && count(router, |it| matches!(it, Stage::Waiting)) == 40
    })
    .await;
    let refused = tcp_clients(to, "\0").await;
    for client in &refused {
        client.readable().await.unwrap();
    }
    // These have a second only, and so nothing is waited for.
    let mut stuffed = Vec::new();
    let mut too_many = Vec::new();
    for _ in 0..20 {
        let (client, conn) = unix_client();
        sockopt::set_socket_send_buffer_size(&conn, 4096).unwrap();
        let mut conn = StdUnixStream::from(conn);
        let mut written = 0;
        while let Ok(count) = conn.write(&[b'x'; 100]) {
            written += count;
        }
        stuffed.push((client, written));
        let entry = add(router, conn.into(), None);
        spawn_local(async move { refuse(&entry, Refusal::Malformed).await });

        let (mut client, conn) = unix_client();
        client.write_all(&LINE.as_bytes()[..HALF]).await.unwrap();
        too_many.push(client);
        let entry = add(router, conn, Some(Refusal::Full));
        spawn_local(Rc::clone(router).look_and_dispatch(entry));
    }
    yield_now().await;
    Clients {
        half_lines,
        waiting,
        passed,
        refused,
        stuffed,
        too_many,
    }
}

fn add(router: &Router, conn: OwnedFd, too_many: Option<Refusal>) -> connections::Tracked {
    let stage = Stage::Looking { too_many };
    let now = Instant::now();
    router
        .connections
        .add(Rc::new(conn), Origin::Unix, None, now, stage)
}

/// The state went over as bytes.
fn packed(router: &Router) -> (RouterState, Luggage) {
    let (mut carrier, far) = Carrier::new().unwrap();
    let RouterState {
        listeners,
        connections,
    } = router.pack(&Missing::default(), &mut carrier).unwrap();
    let state = State {
        connections,
        listeners,
        ..State::default()
    };
    carrier.finish(&state.encode().unwrap()).unwrap();
    let luggage = Luggage::receive(far).unwrap();
    let read = State::decode(luggage.state()).unwrap();
    assert_eq!(read, state);
    let read = RouterState {
        listeners: read.listeners,
        connections: read.connections,
    };
    (read, luggage)
}

fn config() -> Rc<Config> {
    let mut config = Config {
        workers: 1,
        ..Config::default()
    };
    config.limits.head_timeout = Duration::from_mins(1);
    Rc::new(config)
}

#[tokio::test]
async fn connections_at_every_stage_go_on_in_another_router_each_once() {
    crate::process::raise_descriptor_limit();
    let listener = bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let before = LocalSet::new();
    let (clients, state, mut luggage) = before
        .run_until(async {
            let world = World::with_slots(&[0]);
            world.members[0].set_stalled(true);
            let listener = Listener::tcp(listener).unwrap();
            let router = Router::start(config(), Rc::clone(&world.pool), vec![listener]);
            let clients = bring_about(&router, address).await;
            let (state, luggage) = packed(&router);
            (clients, state, luggage)
        })
        .await;
    // What is left of it is closed; the descriptors that travelled are not.
    drop(before);
    let count = state.connections.connections.len();
    assert!((160..=200).contains(&count), "{count}");

    let after = LocalSet::new();
    let check = async {
        let mut world = World::with_slots(&[0, 9]);
        // What is new goes to the other.
        world.members[1].set_stalled(true);
        world.serve();
        let router = Router::adopt(config(), Rc::clone(&world.pool), state, &mut luggage).unwrap();
        assert_eq!(luggage.left(), 0);
        for (mut client, stuffed) in clients.stuffed {
            let said = heard(&mut client).await;
            let (before, answer) = said.split_at(stuffed);
            assert!(before.bytes().all(|byte| byte == b'x'));
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert_eq!(answer.matches("HTTP").count(), 1, "{answer}");
        }
        let mut new = TcpStream::connect(address).await.unwrap();
        new.write_all(LINE.as_bytes()).await.unwrap();
        let expected = format!("0 has [][{LINE}]");
        assert_eq!(heard(&mut new).await, expected, "it accepts at once");
        for mut client in clients.waiting {
            assert_eq!(heard(&mut client).await, expected);
        }
        for mut client in clients.half_lines {
            client.write_all(&LINE.as_bytes()[HALF..]).await.unwrap();
            assert_eq!(heard(&mut client).await, expected);
        }
        for mut client in clients.passed {
            assert_eq!(heard(&mut client).await, "9 has [POST][]");
        }
        for mut client in clients.refused {
            let said = heard(&mut client).await;
            assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
            assert_eq!(said.matches("HTTP").count(), 1, "{said}");
        }
        for mut client in clients.too_many {
            let said = heard(&mut client).await;
            assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
            assert_eq!(said.matches("HTTP").count(), 1, "{said}");
        }
        eventually("nothing is left", || router.connections.all().is_empty()).await;
        let taken: Vec<_> = world.taken.iter().map(|taken| taken.get()).collect();
        assert_eq!(taken, [81, 40]);
        assert_eq!(router.counts.count(), 0);
    };
    after.run_until(check).await;
}

#[tokio::test]
async fn a_clients_connection_for_a_worker_that_is_gone_is_answered_by_another() {
    let local = LocalSet::new();
    let check = async {
        let mut world = World::with_slots(&[0]);
        world.serve();
        let router = Router::start(config(), Rc::clone(&world.pool), Vec::new());
        let earlier = Home {
            generation: 7,
            slot: 0,
        };
        for to in [home(9), earlier] {
            // Another worker would keep its connection as a way to whoever is in that place next.
            for (origin, answer) in [(Origin::Unix, "0 has [POST][]"), (Origin::Worker, "")] {
                let (mut client, conn) = unix_client();
                let handoff = Handoff {
                    origin,
                    opens: false,
                    head: b"POST".to_vec(),
                    ..Handoff::of_a_new_session()
                };
                router.pass(to, conn, handoff, None);
                assert_eq!(heard(&mut client).await, answer);
            }
        }
    };
    local.run_until(check).await;
}

#[tokio::test]
async fn a_pack_that_leads_nowhere_changes_nothing() {
    let local = LocalSet::new();
    let check = async {
        let mut world = World::with_slots(&[0]);
        let router = Router::start(config(), Rc::clone(&world.pool), Vec::new());
        let (mut client, conn) = unix_client();
        client.write_all(&LINE.as_bytes()[..HALF]).await.unwrap();
        spawn_local(Rc::clone(&router).route(add(&router, conn, None)));
        yield_now().await;
        let (state, luggage) = packed(&router);
        assert_eq!(state.connections.connections.len(), 1);
        drop(luggage);
        world.serve();
        client.write_all(&LINE.as_bytes()[HALF..]).await.unwrap();
        assert_eq!(heard(&mut client).await, format!("0 has [][{LINE}]"));
        assert!(router.connections.all().is_empty());
    };
    local.run_until(check).await;
}

#[tokio::test]
async fn the_time_for_a_head_goes_on_where_it_was() {
    let local = LocalSet::new();
    let check = async {
        let world = World::with_slots(&[0]);
        let router = Router::start(config(), Rc::clone(&world.pool), Vec::new());
        let (mut client, conn) = unix_client();
        let entry = add(&router, conn, None);
        let (mut state, mut luggage) = packed(&router);
        drop(entry);
        state.connections.connections[0].age_ms = 59_900;
        let began = Instant::now();
        let pool = Rc::clone(&world.pool);
        let _router = Router::adopt(config(), pool, state, &mut luggage).unwrap();
        let said = heard(&mut client).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        assert!(began.elapsed() >= Duration::from_millis(90));
    };
    local.run_until(check).await;
}

#[tokio::test]
async fn a_connection_that_waits_costs_little() {
    let local = LocalSet::new();
    let check = async {
        let world = World::with_slots(&[]);
        let router = Router::start(config(), Rc::clone(&world.pool), Vec::new());
        let (_client, conn) = unix_client();
        let entry = add(&router, conn, None);
        let route = Rc::clone(&router).route(entry);
        let (future, entry) = (size_of_val(&route), size_of::<connections::Entry>());
        assert!(future + entry <= 1200, "{future} and {entry} bytes");
    };
    local.run_until(check).await;
}
