//! I/O between our processes, and with their clients' connections: what [`wire`](crate::wire)
//! says travels here.

pub mod bus;
pub mod conn;
