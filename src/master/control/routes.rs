//! Which answer a request gets.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;

use super::super::reload::ReloadError;
use super::problem::{Answer, Problem, answer, json};
use super::server::{Answers, Caller, DEADLINE};
use super::{Control, Phase, page, request, status};

/// What may be asked over the control socket.
pub(super) struct Operators(pub(super) Rc<Control>);

/// What may be asked over TCP.
pub(super) struct Metrics(pub(super) Rc<Control>);

/// So much is told at most of what was found.
const MOST_FOUND: usize = 100;

/// A reload takes as long as its steps do, each of which has a deadline, and those before it.
const RELOAD_DEADLINE: Duration = Duration::from_mins(10);

/// A body that says nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const GET: &str = "GET, HEAD";

impl Answers for Operators {
    fn deadline(&self, request: &Request<Incoming>) -> Duration {
        match request.uri().path() {
            "/reload" => RELOAD_DEADLINE,
            _ => DEADLINE,
        }
    }

    async fn answer(&self, request: Request<Incoming>, caller: &Caller) -> Result<Answer, Problem> {
        let Self(control) = self;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (path, query) = (uri.path(), uri.query());
        let allowed = match path {
            "/" | "/page.css" | "/page.js" | "/status" | "/metrics" | "/why" | "/search" => GET,
            "/disconnect" | "/emit" | "/log" | "/drain" | "/reload" => "POST",
            _ => return Err(not_found(path)),
        };
        request::judge(&method, request.headers())?;
        if !is_allowed(&method, allowed) {
            return Err(Problem::Method { allowed });
        }
        match path {
            "/search" => {
                let known = ["id", "address", "room", "namespace"];
                return control.search(request::query(query, known)?).await;
            }
            "/why" => {
                let [of] = request::query(query, ["of"])?;
                return json(&control.parts.ends.find(&needed("of", of)?, MOST_FOUND));
            }
            "/disconnect" => {
                let [id] = request::query(query, ["id"])?;
                return control.disconnect(needed("id", id)?).await;
            }
            _ => {}
        }
        let [] = request::query(query, [])?;
        match path {
            "/status" => json(&status::status(control)),
            "/metrics" => Ok(control.metrics()),
            "/emit" => control.emit(request::body(request).await?).await,
            "/log" => control.log(&request::body(request).await?),
            "/drain" => control.drain(&request::body(request).await?).await,
            "/reload" => {
                let Nothing {} = request::body(request).await?;
                control.reload(caller.conn()?).await
            }
            _ => page::file(path).ok_or_else(|| not_found(path)),
        }
    }
}

impl Answers for Metrics {
    async fn answer(&self, request: Request<Incoming>, _: &Caller) -> Result<Answer, Problem> {
        let Self(control) = self;
        match request.uri().path() {
            "/metrics" if is_allowed(request.method(), GET) => Ok(control.metrics()),
            "/metrics" => Err(Problem::Method { allowed: GET }),
            path => Err(not_found(path)),
        }
    }
}

impl Control {
    /// `GET /metrics`.
    fn metrics(&self) -> Answer {
        let text = self.parts.totals.render();
        answer(StatusCode::OK, METRICS_TYPE, text.into())
    }
}

impl Control {
    /// `POST /reload`. If the reload goes well, another program writes the answer, and this ends with the process's.
    async fn reload(&self, caller: OwnedFd) -> Result<Answer, Problem> {
        let wrong = match self.phase.get() {
            Phase::Running => None,
            Phase::Starting => Some("starting"),
            Phase::Stopping => Some("stopping"),
        };
        if let Some(phase) = wrong {
            return Err(Problem::NotDone(ReloadError::Phase(phase).to_string()));
        }
        let done = self.parts.reloads.ask(caller).await;
        json(&done.map_err(|error| Problem::NotDone(error.to_string()))?)
    }
}

/// A parameter that must be there.
fn needed(name: &str, value: Option<String>) -> Result<String, Problem> {
    let value = value.filter(|value| !value.is_empty());
    value.ok_or_else(|| Problem::BadRequest(format!("{name} is missing")))
}

fn is_allowed(method: &Method, allowed: &str) -> bool {
    allowed.split(", ").any(|allowed| method == allowed)
}

fn not_found(path: &str) -> Problem {
    let path: String = path.chars().take(100).collect();
    Problem::NotFound(path)
}
