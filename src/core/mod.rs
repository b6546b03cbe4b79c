//! The pure core: no I/O, no clock, no threads.

pub mod account;
pub mod chunk;
pub mod counts;
pub mod error;
pub mod frame;
pub mod json;
pub mod keepalive;
pub mod level;
pub mod limits;
pub mod outbox;
pub mod parse;
pub mod reason;
pub mod ring;
pub mod slices;
pub mod state;
