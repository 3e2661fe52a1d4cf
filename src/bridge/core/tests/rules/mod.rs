//! One rule each, in a fleet of bridges.

mod link;
mod machines;
mod missing;
mod sending;
mod strangers;
