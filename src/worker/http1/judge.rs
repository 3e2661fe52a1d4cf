//! What is to be done with a request: the decision, before anything is done.

use axum::http::request::Parts;
use engineioxide::ProtocolVersion;
use http::Method;
use socketioxide::socket::Sid;
use tracing::debug;

use super::{Connection, First};
use crate::api::ClientAddr;
use crate::config::Transport;
use crate::metrics;
use crate::wire::health::HealthCheck;
use crate::wire::link::Origin;
use crate::wire::session_id::{self, Home};
use crate::wire::target::Target;
use crate::worker::admission;
use crate::worker::context::Worker;
use crate::worker::opening::Opening;
use crate::worker::request::{self, Action, EngineRequest, Purpose, Refused, RequestError};

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Route {
    /// Somebody looks whether the server is well. The first request of a connection the master answers itself.
    Health(HealthCheck),
    /// Not the engine's: the application's routes answer.
    App,
    /// A page loads a file of the client, by this name.
    ClientFile(&'static str),
    /// A browser asks whether a page may send a request.
    Preflight,
    /// A new session, that was let in, is opened here.
    Handshake(Wish),
    /// A new session, that was let in, is opened by another worker.
    Open(Home, Wish, Opening),
    /// This worker has the session.
    Session(Sid, Action, ProtocolVersion),
    /// Another worker has the session.
    Forward(Home, Action),
}

/// What a new session is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) transport: Transport,
    pub(super) protocol: ProtocolVersion,
    pub(super) base64: bool,
}

impl First {
    /// Has the master count a session of `client`, and say where it is to be opened: here, if it says nothing of
    /// another worker. One that was dispatched is counted, and asked for only where clients are.
    ///
    /// # Errors
    /// When it may not be opened.
    pub(crate) async fn count(
        &mut self,
        worker: &Worker,
        client: ClientAddr,
    ) -> Result<Option<(Home, Opening)>, Refused> {
        let reserved = |opening: &Opening| opening.reservation().is_some();
        let dispatched = self.opening.is_some();
        let counted = self.opening.as_ref().is_some_and(reserved)
            || dispatched && !worker.config().limits.count_clients();
        if counted {
            return Ok(None);
        }
        match worker.link.reserve(client, dispatched, self.port_of).await {
            Ok(Ok((home, opening))) if home != worker.home => Ok(Some((home, opening))),
            Ok(Ok((_, opening))) => {
                self.opening = Some(opening);
                Ok(None)
            }
            Ok(Err(why)) => Err(admission::no_place(why).into()),
            Err(error) => {
                debug!(%error, "a session is opened here, for the master does not say where");
                Ok(None)
            }
        }
    }
}

/// Counts what a request is for.
pub(super) fn count(judged: &Result<Route, Refused>) {
    use metrics::Purpose;
    metrics::HTTP_REQUESTS.count(match judged {
        Ok(Route::Health(_)) => Purpose::Health,
        Ok(Route::App) => Purpose::Application,
        Ok(Route::ClientFile(_)) => Purpose::ClientFile,
        Ok(Route::Preflight) => Purpose::Preflight,
        Ok(Route::Handshake(_)) => Purpose::Handshake,
        Ok(Route::Session(_, Action::Poll, _)) => Purpose::Poll,
        Ok(Route::Session(_, Action::Post, _)) => Purpose::Post,
        Ok(Route::Session(_, Action::Upgrade, _)) => Purpose::Upgrade,
        Ok(Route::Forward(..) | Route::Open(..)) => Purpose::Forwarded,
        Ok(Route::Session(_, Action::Nothing, _)) | Err(_) => Purpose::Refused,
    });
}

impl Connection {
    /// What is to be done with a request?
    pub(super) async fn judge(
        &self,
        parts: &Parts,
        client: ClientAddr,
        first: &mut First,
    ) -> Result<Route, Refused> {
        let worker = &self.worker;
        let (config, cors) = (worker.config(), worker.cors());
        if let Some(refused) = first.refused.take() {
            return Err(refused);
        }
        let target = Target::of(&parts.uri);
        if let Some(check) = HealthCheck::of(parts.method.as_str(), &target) {
            return Ok(Route::Health(check));
        }
        if !target.is_engine(&config.engine.path) {
            return Ok(Route::App);
        }
        // Whatever page it is: scripts are nobody's secret, and browsers load them from everywhere.
        if let Some(name) = config.engine.client_file(parts.method.as_str(), &target) {
            return Ok(Route::ClientFile(name));
        }
        if parts.method == Method::OPTIONS {
            cors.check(&parts.headers)?;
            if cors.is_on() {
                return Ok(Route::Preflight);
            }
        }
        let query = target.engine_query();
        let EngineRequest {
            purpose,
            protocol,
            base64,
        } = request::read(&config.engine, &parts.method, &parts.headers, query)?;
        match purpose {
            Purpose::Handshake(transport) => {
                let wish = Wish {
                    transport,
                    protocol,
                    base64,
                };
                // Few requests need the room.
                Box::pin(self.place(parts, wish, client, first)).await
            }
            Purpose::Session(name, action) => {
                let (sid, home, opened_with) = self.find(&name).await?;
                if opened_with != protocol || action == Action::Nothing {
                    return Err(RequestError::BadRequest.into());
                }
                if home == worker.home {
                    Ok(Route::Session(sid, action, protocol))
                } else if self.origin == Origin::Worker || first.passed {
                    // Requests from another worker go no further: the one that had the session is gone.
                    Err(RequestError::UnknownSession.into())
                } else {
                    Ok(Route::Forward(home, action))
                }
            }
        }
    }

    /// Where is the session of a handshake to be opened? What is balanced are sessions, not connections,
    /// so that for one that comes over a connection in use the master is asked; last of all, for it counts
    /// the session from then on.
    async fn place(
        &self,
        parts: &Parts,
        wish: Wish,
        client: ClientAddr,
        first: &mut First,
    ) -> Result<Route, Refused> {
        let worker = &self.worker;
        if first.admitted.is_none() {
            worker.cors().check(&parts.headers)?;
            first.admitted = Some(worker.admission.check(parts, client).await?);
        }
        if self.origin == Origin::Worker {
            return Ok(Route::Handshake(wish));
        }
        Ok(match first.count(worker, client).await? {
            Some((home, opening)) => Route::Open(home, wish, opening),
            None => Route::Handshake(wish),
        })
    }

    /// The session of this name, the worker that has it, and the revision that it speaks: those of revision 4
    /// have names that tell the worker, those of revision 3 have bare ones.
    async fn find(&self, name: &str) -> Result<(Sid, Home, ProtocolVersion), RequestError> {
        let worker = &self.worker;
        let (bare, home, protocol) = match worker.keyring.open(name) {
            Some((bare, home)) => (bare, home, ProtocolVersion::V4),
            None => match Box::pin(self.eio3_home(name)).await {
                Some(home) => (name, home, ProtocolVersion::V3),
                None => return Err(RequestError::UnknownSession),
            },
        };
        let sid = bare.parse().map_err(|_| RequestError::UnknownSession)?;
        Ok((sid, home, protocol))
    }

    /// The worker that has the revision 3 session of this name.
    async fn eio3_home(&self, name: &str) -> Option<Home> {
        let worker = &self.worker;
        if !worker.config().engine.allow_eio3 || !session_id::is_bare(name) {
            return None;
        }
        let bare = name.as_bytes().try_into().ok()?;
        if worker.sessions.has_eio3(&bare) {
            return Some(worker.home);
        }
        worker.link.find_eio3(bare).await.unwrap_or_else(|error| {
            debug!(%error, "a revision 3 session was not found");
            None
        })
    }
}
