//! Who may come in.

use std::pin::Pin;
use std::time::SystemTime;

use http::StatusCode;

use crate::metrics::Refused;

/// The answer of [`App::admit`](super::App::admit), which may take its time.
pub type Admission<'a> = Pin<Box<dyn Future<Output = Result<Admitted, Refusal>> + Send + 'a>>;

/// A client that is let in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Admitted {
    pub(crate) until: Option<SystemTime>,
}

impl Admitted {
    /// For as long as it likes; so is [`Admitted::default`].
    #[must_use]
    pub fn for_good() -> Self {
        Self::default()
    }

    /// Until this time, at which its session ends with [`EndReason::Until`](super::EndReason::Until): when its token
    /// expires, for example. An upgrade's answer counts from then on, if it has a time.
    #[must_use]
    pub fn until(time: SystemTime) -> Self {
        Self { until: Some(time) }
    }
}

/// Why a client is not let in: an HTTP status and a message that the client shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: u8,
    pub(crate) message: String,
    /// How it is counted.
    pub(crate) why: Refused,
}

impl Refusal {
    /// It is not the application that refuses.
    pub(crate) fn because(self, why: Refused) -> Self {
        Self { why, ..self }
    }

    /// 403, and Engine.IO's code 4, as Node's `allowRequest` gives.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }

    /// 401: who are you?
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }

    /// 429 with `Retry-After: 1`: this client asks for too much.
    pub fn too_many(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }

    /// 503 with `Retry-After: 1`: later, perhaps.
    pub fn busy(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }
}
