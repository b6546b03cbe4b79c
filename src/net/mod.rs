//! Connected sockets.

pub mod socket;
