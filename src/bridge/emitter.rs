//! Messages of Socket.IO's Redis emitters, made into frames.
