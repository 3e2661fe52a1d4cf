//! The bridge: the process that joins this machine's bus to those of other machines, over a server that both
//! reach. It is one more member of the hub; sessions and the application are in other processes.

mod core;
mod emitter;
mod hub;
mod node;
mod notepack;
mod transport;
