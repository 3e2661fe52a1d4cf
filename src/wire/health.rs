//! Health checks, `/healthz` and `/readyz`: which requests are one, and what the answer is.
//!
//! The master answers those that open a connection, a worker those that come later over one that is kept. Both
//! ask here, so that they agree.

use super::target::Target;

/// The methods of a check. Any other one is for the application.
pub(crate) const METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// The headers of every answer, beside its length.
pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("content-type", "text/plain; charset=utf-8"),
    ("cache-control", "no-store"),
    ("allow", "GET, HEAD, OPTIONS"),
];

/// What a health check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealthCheck {
    /// `/healthz`: does the server run?
    Alive,
    /// `/readyz`: may it be sent clients?
    Ready,
}

/// Whether the server may be sent clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It may.
    Ready,
    /// No worker takes connections.
    NoWorker,
    /// The machine was taken out by its operator.
    TakenOut,
}

/// The answer to a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HealthAnswer {
    /// The status of HTTP.
    pub status: u16,
    /// Its words in the status line.
    pub reason: &'static str,
    /// The body: a line of text.
    pub body: &'static str,
}

impl HealthCheck {
    /// Is a request with this method and target a health check?
    #[must_use]
    pub(crate) fn of(method: &str, target: &Target<'_>) -> Option<Self> {
        let check = match target.path {
            "/healthz" => Self::Alive,
            "/readyz" => Self::Ready,
            _ => return None,
        };
        METHODS.contains(&method).then_some(check)
    }

    /// The answer of a server that is so.
    #[must_use]
    pub(crate) fn answer(self, readiness: Readiness) -> HealthAnswer {
        let body = match (self, readiness) {
            (Self::Alive, _) => "alive\n",
            (Self::Ready, Readiness::Ready) => "ready\n",
            (Self::Ready, Readiness::NoWorker) => "no worker takes connections\n",
            (Self::Ready, Readiness::TakenOut) => "taken out by the operator\n",
        };
        let good = self == Self::Alive || readiness == Readiness::Ready;
        let (status, reason) = if good {
            (200, "OK")
        } else {
            (503, "Service Unavailable")
        };
        HealthAnswer {
            status,
            reason,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str) -> Option<HealthCheck> {
        HealthCheck::of(method, &Target::parse(target))
    }

    #[test]
    fn a_check_is_told_by_its_method_and_its_whole_path() {
        for method in METHODS {
            assert_eq!(check(method, "/healthz"), Some(HealthCheck::Alive));
            assert_eq!(check(method, "/readyz?from=lb"), Some(HealthCheck::Ready));
            let absolute = check(method, "http://host/readyz");
            assert_eq!(absolute, Some(HealthCheck::Ready));
        }
        for (method, target) in [
            ("POST", "/healthz"),
            ("get", "/healthz"),
            ("GET", "/healthz/"),
            ("GET", "/Healthz"),
            ("GET", "/"),
            ("GET", "/socket.io/healthz"),
            ("OPTIONS", "*"),
        ] {
            assert_eq!(check(method, target), None, "{method} {target}");
        }
    }

    #[test]
    fn a_server_that_is_not_ready_is_alive() {
        for (readiness, ready) in [
            (Readiness::Ready, 200),
            (Readiness::NoWorker, 503),
            (Readiness::TakenOut, 503),
        ] {
            assert_eq!(HealthCheck::Alive.answer(readiness).status, 200);
            let answer = HealthCheck::Ready.answer(readiness);
            assert_eq!(answer.status, ready, "{readiness:?}");
            assert!(answer.body.ends_with('\n'));
        }
    }
}
