//! What the router leaves to the program that takes this one's place, and takes from the one before it.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::Instant;

use super::Router;
use super::connections::{Entry, Passing, Stage, Tracked};
use super::refusal::{Answer, Refusal, say_rest};
use crate::config::Config;
use crate::ipc::carrier::{Carrier, CarrierError, Luggage};
use crate::master::listeners::Listener;
use crate::master::missing::Missing;
use crate::master::pool::Pool;
use crate::wire::handover::connections::{ConnectionStage, ConnectionState, ConnectionsState};
use crate::wire::handover::listeners::ListenersState;

/// What a router has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RouterState {
    pub(crate) listeners: ListenersState,
    pub(crate) connections: ConnectionsState,
}

impl Router {
    /// What there is, with its descriptors in `carrier`. Nothing changes here.
    ///
    /// # Errors
    /// When a descriptor cannot be put in.
    pub(crate) fn pack(&self, missing: &Missing, carrier: &mut Carrier) -> io::Result<RouterState> {
        let listeners = self.listeners();
        let listeners = listeners.iter().map(|listener| listener.pack(carrier));
        let listeners = ListenersState {
            listeners: listeners.collect::<io::Result<_>>()?,
            missing_units: missing.units(),
            refused: missing.refused(),
        };
        let connections = self.connections.all();
        let connections = connections.iter().map(|entry| pack(entry, carrier));
        let connections = ConnectionsState {
            connections: connections.collect::<io::Result<_>>()?,
        };
        Ok(RouterState {
            listeners,
            connections,
        })
    }

    /// A router in the place of another one: it accepts where that one did, and goes on with its connections.
    /// [`renew`](crate::master::rebind::renew) does what another configuration wants.
    ///
    /// # Errors
    /// When a descriptor did not come, or a listener cannot be watched.
    pub(crate) fn adopt(
        config: Rc<Config>,
        pool: Rc<Pool>,
        state: RouterState,
        luggage: &mut Luggage,
    ) -> Result<Rc<Self>, CarrierError> {
        let router = Self::start(config, pool, Vec::new());
        // All of it, or nothing.
        let mut entries = Vec::new();
        for connection in state.connections.connections {
            entries.push(router.unpack(connection, luggage)?);
        }
        let mut listeners = Vec::new();
        for listener in state.listeners.listeners {
            listeners.push(Listener::adopt(listener, luggage)?);
        }
        for entry in entries {
            router.resume(entry);
        }
        for listener in listeners {
            router.listen(listener);
        }
        Ok(router)
    }

    fn unpack(
        &self,
        connection: ConnectionState,
        luggage: &mut Luggage,
    ) -> Result<Tracked, CarrierError> {
        let conn = Rc::new(luggage.take(connection.fd)?);
        let age = Duration::from_millis(connection.age_ms.into());
        let now = Instant::now();
        let accepted = now.checked_sub(age).unwrap_or(now);
        let stage = match connection.stage {
            ConnectionStage::Unrouted => Stage::Looking { too_many: None },
            ConnectionStage::TooMany { of_client } => Stage::Looking {
                too_many: Some(if of_client {
                    Refusal::AddressFull
                } else {
                    Refusal::Full
                }),
            },
            ConnectionStage::Passing {
                to,
                handoff,
                reservation,
            } => Stage::Passing(Box::new(Passing {
                to,
                handoff,
                reservation,
            })),
            ConnectionStage::Answering { left } => Stage::Answering(Answer::new(left)),
        };
        let (origin, port_of) = (connection.origin, connection.port_of);
        let connections = &self.connections;
        Ok(connections.add(conn, origin, port_of, accepted, stage))
    }

    /// Goes on with a connection from where it is. One that was dispatched and not taken is looked at again: nothing
    /// was read from it.
    fn resume(self: &Rc<Self>, entry: Tracked) {
        enum Next {
            Look,
            PassOn,
            SayRest,
        }
        let next = match &*entry.stage.borrow() {
            Stage::Looking { .. } | Stage::Waiting => Next::Look,
            Stage::Passing(_) => Next::PassOn,
            Stage::Answering(_) => Next::SayRest,
        };
        match next {
            Next::Look => spawn_local(Rc::clone(self).look_and_dispatch(entry)),
            Next::PassOn => spawn_local(Rc::clone(self).pass_on(entry)),
            Next::SayRest => spawn_local(async move { say_rest(&entry).await }),
        };
    }
}

fn pack(entry: &Entry, carrier: &mut Carrier) -> io::Result<ConnectionState> {
    let stage = match &*entry.stage.borrow() {
        Stage::Looking { too_many: None } | Stage::Waiting => ConnectionStage::Unrouted,
        Stage::Looking {
            too_many: Some(why),
        } => ConnectionStage::TooMany {
            of_client: *why == Refusal::AddressFull,
        },
        Stage::Passing(passing) => {
            let Passing {
                to,
                handoff,
                reservation,
            } = (**passing).clone();
            ConnectionStage::Passing {
                to,
                handoff,
                reservation,
            }
        }
        Stage::Answering(answer) => ConnectionStage::Answering {
            left: answer.left().to_vec(),
        },
    };
    Ok(ConnectionState {
        fd: carrier.put(entry.conn.as_fd())?,
        origin: entry.origin,
        port_of: entry.port_of,
        age_ms: entry.age_ms(),
        stage,
    })
}
