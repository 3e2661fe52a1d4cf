//! Where connections are accepted.

use serde::{Deserialize, Serialize};

/// The listeners.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListenersState {}
