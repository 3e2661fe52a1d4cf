//! What another configuration changes of the listeners: which stay, which are opened, which are closed.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tracing::info;

use super::bind::{self, Place, Wanted};
use super::listeners::{ListenError, Listener};
use super::missing::{Missing, unopened_ports};
use super::router::Router;
use crate::config::{Config, ListenAddr};
use crate::wire::handover::listeners::{ListenerState, ListenersState};

/// A listener that there is.
#[derive(Debug)]
struct Held {
    configured: Option<ListenAddr>,
    address: Option<SocketAddr>,
    place: String,
}

impl Held {
    fn of(listener: &Listener) -> Self {
        Self {
            configured: listener.configured(),
            address: listener.address(),
            place: listener.place().to_owned(),
        }
    }

    fn of_state(state: &ListenerState) -> Self {
        Self {
            configured: state.configured.as_ref().and_then(|it| it.parse().ok()),
            address: state.address,
            place: state.place.clone(),
        }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
struct Plan {
    /// Which of the listeners stay, by their places in the list, and for whom.
    kept: HashMap<usize, (ListenAddr, Option<u16>)>,
    /// What is to be opened.
    new: Vec<Wanted>,
}

/// The addresses of the names that the configuration has; nothing: they could not be looked up.
type Addresses = HashMap<String, Option<BTreeSet<SocketAddr>>>;

impl Plan {
    fn make(held: &[Held], wanted: Vec<Wanted>, addresses: &Addresses) -> Self {
        let mut plan = Self::default();
        for Wanted { place, port_of } in wanted {
            let configured = place.configured().clone();
            let mut keep = |is_it: &dyn Fn(&Held) -> bool| {
                let of_it = held.iter().enumerate().filter(|(_, held)| is_it(held));
                let of_it: Vec<_> = of_it.map(|(at, _)| at).collect();
                for at in &of_it {
                    let kept = (configured.clone(), port_of);
                    plan.kept.entry(*at).or_insert(kept);
                }
                !of_it.is_empty()
            };
            // A name that cannot be looked up now, or has other addresses, closes nothing.
            let is_named = keep(&|held| held.configured.as_ref() == Some(&configured));
            let name = match &configured {
                ListenAddr::Unix(_) => {
                    let place = configured.to_string();
                    if !is_named && !keep(&|held| held.place == place) {
                        plan.new.push(Wanted {
                            place: Place::Configured(configured),
                            port_of,
                        });
                    }
                    continue;
                }
                ListenAddr::Tcp(name) => name,
            };
            let Some(Some(addresses)) = addresses.get(name) else {
                if !is_named {
                    plan.new.push(Wanted {
                        place: Place::Configured(configured),
                        port_of,
                    });
                }
                continue;
            };
            for address in addresses {
                // The system has chosen a port.
                let is_chosen = is_named && address.port() == 0;
                if !is_chosen && !keep(&|held| held.address == Some(*address)) {
                    let place = Place::Address(configured.clone(), *address);
                    plan.new.push(Wanted { place, port_of });
                }
            }
        }
        plan
    }

    /// Is something to be closed that could be in the way of this?
    fn makes_room_for(&self, wanted: &Wanted, held: &[Held]) -> bool {
        let Place::Address(_, address) = wanted.place else {
            return false;
        };
        let closed = held
            .iter()
            .enumerate()
            .filter(|(at, _)| !self.kept.contains_key(at));
        closed
            .filter_map(|(_, held)| held.address)
            .any(|it| it.port() == address.port())
    }
}

async fn plan(held: &[Held], config: &Config) -> Plan {
    let wanted = bind::wanted(
        &config.listen,
        config.worker_listen.as_ref(),
        config.workers,
    );
    let mut addresses = Addresses::new();
    for wanted in &wanted {
        if let ListenAddr::Tcp(name) = wanted.place.configured() {
            let found: io::Result<_> = bind::addresses(name).await;
            addresses.insert(name.clone(), found.ok());
        }
    }
    Plan::make(held, wanted, &addresses)
}

/// Are these systemd's? Then the configuration opens and closes none.
fn are_systemds(held: &[Held]) -> bool {
    held.iter().any(|held| held.configured.is_none())
}

/// Listens where the configuration says, and nowhere else; what is there already goes on. What could not be had is
/// told, and costs nothing else.
pub(crate) async fn renew(router: &Rc<Router>, config: &Config, units: Vec<String>) -> Missing {
    let listeners = router.listeners();
    let held: Vec<_> = listeners.iter().map(|it| Held::of(it)).collect();
    if are_systemds(&held) {
        for listener in &listeners {
            let ports = config.worker_listen.as_ref();
            let port_of =
                ports.and_then(|ports| ports.slot_at(listener.address()?.port(), config.workers));
            listener.serve_for(None, port_of);
        }
        let opened: Vec<_> = listeners.iter().map(|it| it.port_of()).collect();
        let ports = unopened_ports(config, &opened, &units);
        return Missing::of_systemd(units, ports);
    }
    let plan = plan(&held, config).await;
    let (mut opened, refused) = bind::bind(plan.new).await;
    for (at, listener) in listeners.iter().enumerate() {
        if let Some((configured, port_of)) = plan.kept.get(&at) {
            listener.serve_for(Some(configured.clone()), *port_of);
        } else {
            info!("listening on {} no more", listener.place());
            router.close(listener);
        }
    }
    drop(listeners);
    // What was in the way may have gone.
    let again: Vec<_> = refused.into_iter().map(|refused| refused.wanted).collect();
    let (late, refused) = bind::bind(again).await;
    opened.extend(late);
    for listener in opened {
        info!("listening on {} now", listener.place());
        router.listen(listener);
    }
    bind::complain(&refused);
    Missing::of_addresses(refused)
}

/// Can all be had that this configuration names and that a running server has not? What that could not have either is
/// not asked for, nor what it would close first. All is closed again.
///
/// # Errors
/// With the first that cannot be had.
pub(crate) async fn try_new(config: &Config, state: &ListenersState) -> Result<(), ListenError> {
    let held: Vec<_> = state.listeners.iter().map(Held::of_state).collect();
    if are_systemds(&held) {
        return Ok(());
    }
    let mut plan = plan(&held, config).await;
    let new = std::mem::take(&mut plan.new);
    let was_refused = |wanted: &Wanted| {
        let configured = wanted.place.configured().to_string();
        state.refused.contains(&configured)
    };
    let new = new
        .into_iter()
        .filter(|it| !was_refused(it) && !plan.makes_room_for(it, &held));
    let (_opened, mut refused) = bind::bind(new.collect()).await;
    if refused.is_empty() {
        return Ok(());
    }
    Err(refused.swap_remove(0).error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let addresses = |it: &[&str]| Some(it.iter().map(|it| it.parse().unwrap()).collect());
        let addresses = Addresses::from([
            (
                "localhost:80".to_owned(),
                addresses(&["127.0.0.1:80", "[::1]:80"]),
            ),
            ("127.0.0.1:80".to_owned(), addresses(&["127.0.0.1:80"])),
            ("127.0.0.1:0".to_owned(), addresses(&["127.0.0.1:0"])),
            ("unknown:80".to_owned(), None),
        ]);
        let plan = Plan::make(held, bind::wanted(&wanted, None, 1), &addresses);
        let mut kept: Vec<_> = plan.kept.keys().copied().collect();
        kept.sort_unstable();
        let new = plan.new.iter().map(|it| it.place.to_string());
        (kept, new.collect())
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
        assert_eq!(nobody, (vec![], vec!["unknown:80".to_owned()]));
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
}
