use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::config::Balance;
use crate::ipc::carrier::{Carrier, Luggage};
use crate::master::pool::Pool;
use crate::master::router::RouterState;
use crate::wire::handover::State;
use crate::wire::session_id::Keyring;

fn held(configured: &str, address: &str) -> Held {
    Held {
        configured: Some(configured.parse().unwrap()),
        address: address.parse().ok(),
        place: address.to_owned(),
    }
}

/// By its number in the list, or as it is configured: what stays, and what is new.
fn planned(held: &[Held], wanted: &[&str]) -> (Vec<usize>, Vec<String>) {
    let wanted: Vec<_> = wanted.iter().map(|it| it.parse().unwrap()).collect();
    let addresses = |it: &[&str]| Ok(it.iter().map(|it| it.parse().unwrap()).collect());
    let addresses = Addresses::from([
        (
            "localhost:80".to_owned(),
            addresses(&["127.0.0.1:80", "[::1]:80"]),
        ),
        ("127.0.0.1:80".to_owned(), addresses(&["127.0.0.1:80"])),
        ("127.0.0.1:0".to_owned(), addresses(&["127.0.0.1:0"])),
        (
            "unknown:80".to_owned(),
            Err(io::Error::other("nobody knows it")),
        ),
    ]);
    let plan = Plan::make(held, bind::wanted(&wanted, None, 1), &addresses);
    let mut kept: Vec<_> = plan.kept.keys().copied().collect();
    kept.sort_unstable();
    let new = plan.new.iter().map(|it| it.place.to_string());
    let unknown = plan.unknown.iter().map(|it| it.error.to_string());
    (kept, new.chain(unknown).collect())
}

#[test]
fn what_is_there_stays_and_what_is_not_named_goes() {
    let unix = held("unix:/run/a", "unix:/run/a");
    let chosen = held("127.0.0.1:0", "127.0.0.1:4711");
    let named = held("localhost:80", "127.0.0.1:80");
    let lost = held("unknown:80", "192.0.2.1:80");
    let all = [unix, chosen, named, lost];
    for (wanted, kept, new) in [
        (&["unix:/run/a"][..], &[0][..], &[][..]),
        (&["unix:/run/b"], &[], &["unix:/run/b"]),
        (&["127.0.0.1:0"], &[1], &[]),
        (&["127.0.0.1:80"], &[2], &[]),
        (&["localhost:80"], &[2], &["localhost:80 ([::1]:80)"]),
        (&["unknown:80"], &[3], &[]),
    ] {
        let new: Vec<_> = new.iter().map(ToString::to_string).collect();
        assert_eq!(planned(&all, wanted), (kept.to_vec(), new), "{wanted:?}");
    }
    let nobody = planned(&[], &["unknown:80"]);
    let refused = "cannot listen on unknown:80: nobody knows it".to_owned();
    assert_eq!(nobody, (vec![], vec![refused]));
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_is_waited_for_some_seconds() {
    let began = Instant::now();
    let never = std::future::pending::<io::Result<()>>();
    let error = in_time(never).await.unwrap_err().to_string();
    assert_eq!(began.elapsed(), LOOKUP);
    assert!(error.contains("within 5 s"), "{error}");
    in_time(std::future::ready(Ok(()))).await.unwrap();
}

fn listening(at: &[&str]) -> Config {
    Config {
        listen: at.iter().map(|it| it.parse().unwrap()).collect(),
        workers: 1,
        ..Config::default()
    }
}

fn pool() -> Rc<Pool> {
    let limits = Config::default().limits;
    let keyring = Keyring::draw(1).unwrap();
    Rc::new(Pool::new(Balance::LeastConnection, &limits, keyring))
}

/// A router in the place of one that accepts at `config`'s addresses.
async fn handed_over(config: &Config) -> Rc<Router> {
    let wanted = bind::wanted(&config.listen, None, 1);
    let (listeners, refused) = bind::bind(wanted).await;
    assert!(refused.is_empty(), "{refused:?}");
    let config = Rc::new(config.clone());
    let before = Router::start(Rc::clone(&config), pool(), listeners);
    let (mut carrier, far) = Carrier::new().unwrap();
    let packed = before.pack(&Missing::default(), &mut carrier).unwrap();
    let state = State {
        listeners: packed.listeners,
        ..State::default()
    };
    carrier.finish(&state.encode().unwrap()).unwrap();
    // Nothing of a program that executes another one is dropped.
    before.listeners().into_iter().for_each(std::mem::forget);
    let mut luggage = Luggage::receive(far).unwrap();
    let state = State::decode(luggage.state()).unwrap();
    let state = RouterState {
        listeners: state.listeners,
        connections: state.connections,
    };
    Router::adopt(config, pool(), state, &mut luggage).unwrap()
}

fn places(router: &Router) -> Vec<String> {
    router.places().into_iter().map(|it| it.place).collect()
}

#[tokio::test]
async fn another_configuration_opens_and_closes_only_what_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let [a, b, c] = ["a", "b", "c"].map(|name| format!("unix:{}", path(name).display()));
    let check = async {
        let router = handed_over(&listening(&[&a, &b, "127.0.0.1:0"])).await;
        let before = places(&router);
        assert!(path("a").exists() && path("b").exists());

        let config = listening(&[&b, "127.0.0.1:0", &c]);
        let missing = renew(&router, &config, Vec::new()).await;
        assert!(missing.describe().is_empty());
        assert_eq!(
            places(&router),
            [&before[1..], std::slice::from_ref(&c)].concat()
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while path("a").exists() {
            assert!(Instant::now() < deadline, "its file stays");
            sleep(Duration::from_millis(1)).await;
        }
        for name in ["b", "c"] {
            std::os::unix::net::UnixStream::connect(path(name)).unwrap();
        }
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn the_same_port_at_another_address_is_had_at_once() {
    let check = async {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = listening(&[&format!("127.0.0.1:{port}")]);
        let (listeners, _) = bind::bind(bind::wanted(&config.listen, None, 1)).await;
        let router = Router::start(Rc::new(config), pool(), listeners);
        for all in [format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}")] {
            let missing = renew(&router, &listening(&[&all]), Vec::new()).await;
            assert_eq!(missing.describe(), [""; 0], "{all}");
            std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn a_trial_asks_for_what_is_new_alone() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = other.local_addr().unwrap();
    {
        let mut state = ListenersState::default();
        state.listeners.push(ListenerState {
            fd: crate::wire::handover::Fd(0),
            configured: Some(other.to_string()),
            address: Some(other),
            place: format!("http://{other}"),
            file: None,
            caught_up: true,
            port_of: None,
        });
        let with_it = listening(&[&taken, &other.to_string()]);
        let error = try_new(&with_it, &state).await.unwrap_err().to_string();
        assert!(error.contains(&taken), "{error}");
        try_new(&listening(&[&other.to_string()]), &state)
            .await
            .unwrap();
        // What the running server could not have either is no reason.
        state.refused.push(taken.clone());
        try_new(&with_it, &state).await.unwrap();
        state.refused.clear();
        state.listeners[0].configured = None;
        try_new(&with_it, &state).await.unwrap();
    }
}
