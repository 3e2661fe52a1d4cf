//! Which answer a request gets.

use std::rc::Rc;

use http::{Method, Request};
use hyper::body::Incoming;

use super::problem::{Answer, Problem, json};
use super::server::Answers;
use super::{Control, page, request, status};

/// What may be asked over the control socket.
pub(super) struct Operators(pub(super) Rc<Control>);

/// What may be asked over TCP.
pub(super) struct Metrics(pub(super) Rc<Control>);

/// So much is told at most of what was found.
const MOST_FOUND: usize = 100;

const GET: &str = "GET, HEAD";

impl Answers for Operators {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let Self(control) = self;
        let method = request.method().clone();
        let uri = request.uri().clone();
        let allowed = match uri.path() {
            "/" | "/page.css" | "/page.js" => GET,
            "/status" | "/why" => GET,
            path => return Err(not_found(path)),
        };
        request::judge(&method, request.headers())?;
        if !is_allowed(&method, allowed) {
            return Err(Problem::Method { allowed });
        }
        match uri.path() {
            "/status" => {
                let [] = request::query(uri.query(), [])?;
                json(&status::status(control))
            }
            "/why" => {
                let [of] = request::query(uri.query(), ["of"])?;
                json(&control.parts.ends.find(&needed("of", of)?, MOST_FOUND))
            }
            path => page::file(path).ok_or_else(|| not_found(path)),
        }
    }
}

impl Answers for Metrics {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        Err(not_found(request.uri().path()))
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
