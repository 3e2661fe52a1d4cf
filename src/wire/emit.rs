//! What an operator emits: JSON on the control socket, and the same in the memfd that the workers get.

use serde::{Deserialize, Serialize};

/// An event for the clients of this machine, see docs/CONTROL.md. `A`: its arguments, as they are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emit<A> {
    /// Its namespace.
    #[serde(default = "root")]
    pub namespace: String,
    /// Only who is in one of these rooms; none: all.
    #[serde(default = "Vec::new")]
    pub rooms: Vec<String>,
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub args: A,
}

fn root() -> String {
    "/".to_owned()
}
