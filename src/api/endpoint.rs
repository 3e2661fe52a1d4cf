//! Where clients find the engine, for pages that an application serves.

use std::sync::Arc;

/// Where the engine is, and what it speaks: an extension of requests to [`App::routes`](super::App::routes), as
/// [`ClientAddr`](super::ClientAddr) is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The path of the engine, with a slash at both ends: a client's option `path`.
    pub path: Arc<str>,
    /// Whether clients must speak msgpack: the key `parser`.
    pub msgpack: bool,
}
