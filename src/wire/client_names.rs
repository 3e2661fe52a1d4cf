//! The files of the browser's client, by name. build.rs puts them into the program, and reads this as well.

/// What Node's server serves, too: classic scripts, a module, and their source maps.
pub(crate) const NAMES: [&str; 8] = [
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];
