//! The bridge's end of the bus.
