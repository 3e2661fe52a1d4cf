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
mod handover;
mod look;
mod pass;
mod refusal;

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::{JoinHandle, spawn_local};

use self::connections::Connections;
use self::counted::Counts;
pub(crate) use self::handover::RouterState;
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

impl Accepting {
    fn of(listener: &Listener) -> Self {
        Self {
            place: listener.place().to_owned(),
            port_of: listener.port_of(),
        }
    }
}

/// A listener, and who accepts from it.
#[derive(Debug)]
struct Acceptor {
    listener: Rc<Listener>,
    task: JoinHandle<()>,
}

/// One for all listeners. Connections that no worker has yet are its own.
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
    acceptors: RefCell<Vec<Acceptor>>,
    /// Where it did accept, after it was stopped.
    stopped: RefCell<Vec<Accepting>>,
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
            acceptors: RefCell::default(),
            stopped: RefCell::default(),
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
        let listener = Rc::new(listener);
        let accept = Rc::clone(self).accept(Rc::clone(&listener));
        let task = spawn_local(accept);
        self.acceptors
            .borrow_mut()
            .push(Acceptor { listener, task });
    }

    /// Those from which it accepts.
    pub(crate) fn listeners(&self) -> Vec<Rc<Listener>> {
        let acceptors = self.acceptors.borrow();
        acceptors.iter().map(|it| Rc::clone(&it.listener)).collect()
    }

    /// Accepts from this one no more. It is closed when what this returns has ended, and the caller has no share in it
    /// any more.
    pub(crate) fn close(&self, listener: &Rc<Listener>) -> Option<JoinHandle<()>> {
        let mut acceptors = self.acceptors.borrow_mut();
        let is_it = |it: &Acceptor| Rc::ptr_eq(&it.listener, listener);
        let at = acceptors.iter().position(is_it)?;
        let Acceptor { task, .. } = acceptors.remove(at);
        task.abort();
        Some(task)
    }

    /// Where it accepts connections, or did until it was stopped.
    pub(crate) fn places(&self) -> Vec<Accepting> {
        let now = self.listeners();
        let now = now.iter().map(|listener| Accepting::of(listener));
        self.stopped.borrow().iter().cloned().chain(now).collect()
    }

    /// Accepts nothing more. Our own listeners are closed; systemd keeps its.
    pub(crate) fn stop(&self) {
        for Acceptor { listener, task } in self.acceptors.take() {
            self.stopped.borrow_mut().push(Accepting::of(&listener));
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
