//! Server-sent events: framing, parsing, connection state, keepalive, a client
//! and an embedded HTTP server, behind a C ABI. The C header is the manual;
//! `docs/design.md` has the layers.

// The pure core: no I/O, no clock, no threads.
pub mod core;
// What stands around events.
pub mod wire;
// Operating-system calls; what threads share.
mod sync;
pub mod sys;
// Handles; connections and hubs, and what these know of each other.
pub mod handle;

pub mod feed;

pub mod conn;

pub mod hub;
// The async part: a client, what bytes travel by, threads and tasks, the host
// program's side, a server.
#[cfg(feature = "client")]
pub mod client;

pub mod net;

pub mod rt;

pub mod host;

#[cfg(feature = "server")]
pub mod server;
// The boundary.
pub mod ffi;
// Tests with any bytes.
#[cfg(any(test, fuzzing))]
pub mod fuzz;
