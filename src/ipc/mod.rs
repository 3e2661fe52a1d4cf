//! I/O between our processes, and with their clients' connections: what [`wire`](crate::wire)
//! says travels here.

pub(crate) mod bus;
pub(crate) mod carrier;
pub(crate) mod conn;
pub(crate) mod link;
pub(crate) mod reserve;
pub(crate) mod watch;
