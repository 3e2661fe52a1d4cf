//! Connections that no worker has yet.

use serde::{Deserialize, Serialize};

/// The connections, in the order in which they were accepted.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConnectionsState {}
