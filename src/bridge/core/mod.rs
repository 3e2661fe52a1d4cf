//! The protocol between bridges: numbers, the ring, repair, membership. It does no I/O and has no clock of its own.
