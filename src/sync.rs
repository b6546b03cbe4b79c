//! What the parts that threads share are made of. `tests/loom.rs` builds those
//! parts with loom's types in these places, and tries every order of steps.

pub use std::sync::atomic::{AtomicBool, Ordering};
pub use std::sync::{Mutex, MutexGuard};
pub use tokio::sync::Notify;
