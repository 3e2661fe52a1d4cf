//! How costs grow with sessions and workers, and what rest costs.

use std::fmt;

use serde::Serialize;

use crate::BenchError;
use crate::servers::Servers;

/// What was found.
#[derive(Serialize)]
pub(crate) struct Scale {}

pub(crate) fn run(_servers: &Servers, _quick: bool) -> Result<Scale, BenchError> {
    Ok(Scale {})
}

impl fmt::Display for Scale {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
