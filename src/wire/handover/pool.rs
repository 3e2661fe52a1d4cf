//! What the pool has of the workers, and of the sessions on their way.

use serde::{Deserialize, Serialize};

/// The pool.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolState {}
