//! The workers of all generations.

use serde::{Deserialize, Serialize};

/// The workers, in the order in which they were started.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkersState {}
