//! The control socket, what was counted, the log.

use serde::{Deserialize, Serialize};

/// What operators ask, and what they are told.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ControlState {}
