//! Accepts connections, looks at their first line, and gives them to a worker.
//!
//! It only peeks (`MSG_PEEK`, recv(2)): the worker finds every byte where the client put it. A
//! request for a session goes to the worker that has it; everything else goes where the balancing
//! method says. What is no request of HTTP/1 is refused here, and a client that sends none has
//! `head_timeout` for it.

mod accept;
mod connections;
mod counted;
mod decision;
mod dispatch;
mod look;
mod pass;
mod refusal;

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::{AbortHandle, spawn_local};

use self::connections::Connections;
use self::counted::Counts;
use super::listeners::Listener;
use super::pool::Pool;
use crate::config::Config;
use crate::ipc::reserve::Reserve;
use crate::logging::RateLimit;
use crate::wire::request_line::MAX_LINE;

/// A place where connections are accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepting {
    /// As clients write it.
    pub(crate) place: String,
    /// The worker whose own port it is.
    pub(crate) port_of: Option<u16>,
}

/// One for all listeners. Connections that no worker has yet are its own. A folder's file each: accept, look, decide,
/// refuse, dispatch, pass.
#[derive(Debug)]
pub(crate) struct Router {
    config: Rc<Config>,
    pool: Rc<Pool>,
    /// What is peeked at; looked into and forgotten without a pause in between.
    window: RefCell<Box<[u8]>>,
    /// All that no worker has yet.
    connections: Rc<Connections>,
    /// How many of them there are, those left out that were one too many.
    counts: Rc<Counts>,
    accepting: RefCell<Vec<AbortHandle>>,
    /// Where it accepts.
    places: RefCell<Vec<Accepting>>,
    reserve: Reserve,
    complaints: RateLimit,
}

impl Router {
    /// Accepts from `listeners` until [`Router::stop`].
    pub(crate) fn start(config: Rc<Config>, pool: Rc<Pool>, listeners: Vec<Listener>) -> Rc<Self> {
        let reserve = Reserve::of_the_master(config.workers);
        let router = Rc::new(Self {
            config,
            pool,
            window: RefCell::new(vec![0; MAX_LINE + 64].into()),
            connections: Rc::default(),
            counts: Rc::default(),
            accepting: RefCell::default(),
            places: RefCell::default(),
            reserve,
            complaints: RateLimit::default(),
        });
        for listener in listeners {
            router.listen(listener);
        }
        router
    }

    /// Accepts from this one, too.
    pub(crate) fn listen(self: &Rc<Self>, listener: Listener) {
        self.places.borrow_mut().push(Accepting {
            place: listener.place().to_owned(),
            port_of: listener.port_of(),
        });
        let task = spawn_local(Rc::clone(self).accept(Rc::new(listener)));
        self.accepting.borrow_mut().push(task.abort_handle());
    }

    /// Where it accepts connections, or did until it was stopped.
    pub(crate) fn places(&self) -> Vec<Accepting> {
        self.places.borrow().clone()
    }

    /// Accepts nothing more. Our own listeners are closed; systemd keeps its.
    pub(crate) fn stop(&self) {
        self.accepting.take().iter().for_each(AbortHandle::abort);
    }
}
