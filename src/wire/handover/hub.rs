//! The bus: its members, and what waits for them.

use serde::{Deserialize, Serialize};

/// The hub.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HubState {}
