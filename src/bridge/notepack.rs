//! msgpack as both of the emitter's dialects write it.
