//! Server-sent events: framing, parsing, connection state, keepalive and an
//! embedded HTTP server, behind a C ABI. The C header is the manual;
//! `docs/design.md` has the layers.
#![deny(unsafe_code)]
#![warn(missing_docs)]

// The pure core: no I/O, no clock, no threads.
pub mod core;
// What stands around events.
pub mod wire;
// Operating-system calls; what threads share.
mod sync;
pub mod sys;
// Shared memory.
pub mod conn;
pub mod handle;
pub mod hub;
// The async part.
pub mod host;
pub mod net;
pub mod rt;
#[cfg(feature = "server")]
pub mod server;
// The boundary.
pub mod ffi;
