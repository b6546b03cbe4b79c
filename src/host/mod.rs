//! The host program's side: its connections, the records that tell it what
//! happened, the descriptor that says there are some, and the runtimes that it
//! opens itself.

mod alarm;
#[cfg(feature = "client")]
pub mod client;
mod cut;
pub mod desk;
pub mod hub;
mod mailbox;
mod notices;
pub mod record;
mod registry;
pub mod runtime;
pub mod scope;
pub mod wait;
mod wake;
