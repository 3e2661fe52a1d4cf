//! What another configuration changes of the listeners: which stay, which are opened, which are closed.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tracing::info;

use super::bind::{self, Place, Refused, Wanted};
use super::listeners::{ListenError, Listener};
use super::missing::{Missing, unopened_ports};
use super::router::Router;
use crate::config::{Config, ListenAddr};
use crate::wire::handover::listeners::{ListenerState, ListenersState};

/// How long a name may be looked up while a reload waits for it. What is not known by then is tried again later.
const LOOKUP: Duration = Duration::from_secs(5);

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
    /// Names that should be listened on, and could not be looked up.
    unknown: Vec<Refused>,
}

/// The addresses of the names that the configuration has, or why they could not be looked up.
type Addresses = HashMap<String, io::Result<BTreeSet<SocketAddr>>>;

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
            let found = addresses.get(name);
            let Some(Ok(addresses)) = found else {
                if !is_named {
                    let why = match found {
                        Some(Err(why)) => once_more(why),
                        _ => io::ErrorKind::NotFound.into(),
                    };
                    let place = Place::Configured(configured);
                    let error = place.error(why);
                    let wanted = Wanted { place, port_of };
                    plan.unknown.push(Refused { wanted, error });
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
    let names = wanted.iter().filter_map(|it| match it.place.configured() {
        ListenAddr::Tcp(name) => Some(name.clone()),
        ListenAddr::Unix(_) => None,
    });
    let names: BTreeSet<_> = names.collect();
    let look_up = async |name: String| {
        let found = in_time(bind::addresses(&name)).await;
        (name, found)
    };
    let addresses = join_all(names.into_iter().map(look_up)).await;
    Plan::make(held, wanted, &addresses.into_iter().collect())
}

/// What a resolver tells, if it does so in time.
async fn in_time<T>(lookup: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LOOKUP, lookup).await.unwrap_or_else(|_| {
        let seconds = LOOKUP.as_secs();
        let error = format!("its address was not known within {seconds} s: no name server answers");
        Err(io::Error::new(io::ErrorKind::TimedOut, error))
    })
}

/// The same error once more.
fn once_more(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
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
    let unknown = plan.unknown;
    let (mut opened, refused) = bind::bind(plan.new).await;
    for (at, listener) in listeners.iter().enumerate() {
        if let Some((configured, port_of)) = plan.kept.get(&at) {
            listener.serve_for(Some(configured.clone()), *port_of);
        } else {
            info!("listening on {} no more", listener.place());
            // Whoever accepts has a share in it.
            if let Some(accepts) = router.close(listener) {
                let _ = accepts.await;
            }
        }
    }
    drop(listeners);
    // What was in the way may have gone.
    let again: Vec<_> = refused.into_iter().map(|refused| refused.wanted).collect();
    let (late, mut refused) = bind::bind(again).await;
    refused.extend(unknown);
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
    let (new, unknown) = (
        std::mem::take(&mut plan.new),
        std::mem::take(&mut plan.unknown),
    );
    let was_refused = |wanted: &Wanted| {
        let configured = wanted.place.configured().to_string();
        state.refused.contains(&configured)
    };
    let new = new
        .into_iter()
        .filter(|it| !was_refused(it) && !plan.makes_room_for(it, &held));
    let (_opened, mut refused) = bind::bind(new.collect()).await;
    refused.extend(unknown.into_iter().filter(|it| !was_refused(&it.wanted)));
    if refused.is_empty() {
        return Ok(());
    }
    Err(refused.swap_remove(0).error)
}

/// Can the control socket be had, if it is to be somewhere else? It is closed again.
///
/// # Errors
/// When it cannot.
pub(crate) fn try_control(
    config: &Config,
    before: Option<&ListenerState>,
) -> Result<(), ListenError> {
    let Some(path) = &config.control.socket else {
        return Ok(());
    };
    let place = ListenAddr::Unix(path.clone()).to_string();
    match before {
        Some(before) if before.place == place => Ok(()),
        _ => bind::bind_control(path).map(drop),
    }
}

#[cfg(test)]
mod tests;
