//! What connections travel by, and how clients come.

#[cfg(feature = "server")]
pub mod listen;
#[cfg(test)]
pub mod scripted;
pub mod socket;
pub mod transport;
