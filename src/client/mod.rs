//! A client: it reads event streams of others, as the WHATWG's EventSource
//! does, and with any method.
//!
//! [`Client::open`] starts a task on a tokio runtime, which makes connections,
//! reads and parses. What it finds waits on a shelf of bounded size, where the
//! host program takes it; while the shelf is full nothing is read, so the
//! server's writes block in the end. The rules are in [`model`], without I/O.
//!
//! # Limits
//! Every wait has one, but that for the stream's next byte (`silence`) unless
//! it is set, and that for the host program. While a server is down, the wait
//! between two attempts grows from `retry` to `backoff`.

pub mod connect;
mod gzip;
mod io;
pub mod item;
pub mod model;
pub mod options;
mod shelf;
mod task;
#[cfg(feature = "tls")]
pub mod tls;
pub mod url;

#[cfg(test)]
mod tests;

use crate::core::error::Failure;
use connect::{Dial, System, Ways};
use item::{ClientState, Item};
use model::Model;
use options::Options;
pub use shelf::Host;
use shelf::Shelf;
use std::error::Error as Cause;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use tokio::runtime::Handle;

/// A client. It is closed when this is dropped. All methods may be called from
/// any thread.
pub struct Client(Arc<Shelf>);

impl Client {
    /// Begins. The options are checked first, the environment is looked at for
    /// a proxy, and certificates are read: an error names what cannot be done,
    /// and nothing has begun. The name is resolved later, by the task.
    pub fn open(runtime: &Handle, options: Options, host: Arc<dyn Host>) -> Result<Self, Failure> {
        Self::open_by(runtime, options, host, Arc::new(System))
    }

    /// The same, with connections of the caller's making.
    pub fn open_by(
        runtime: &Handle,
        options: Options,
        host: Arc<dyn Host>,
        dial: Arc<dyn Dial>,
    ) -> Result<Self, Failure> {
        let target = options.check()?;
        let ways = Ways::new(&options, &target, dial)?;
        let shelf = Arc::new(Shelf::new(
            host,
            options.max_items,
            options.max_bytes,
            &options.last_event_id,
        ));
        let seed = RandomState::new().hash_one(Arc::as_ptr(&shelf) as usize);
        let model = Model::new(Arc::new(options), target, seed, 0);
        runtime.spawn(task::run(model, ways, shelf.clone()));
        Ok(Client(shelf))
    }

    /// The next item, if one waits. [`Item::End`] is the last.
    pub fn take(&self) -> Option<Item> {
        self.take_if(|_| true)
    }

    /// The next item, if one waits and `wanted` wants it. `wanted` may not call
    /// the client.
    pub fn take_if(&self, wanted: impl FnOnce(&Item) -> bool) -> Option<Item> {
        self.0.take_if(wanted)
    }

    /// Where it is. What is said about that may still wait.
    pub fn state(&self) -> ClientState {
        self.0.state()
    }

    /// The id to begin with another time: that in force after what was taken.
    pub fn last_event_id(&self) -> Arc<str> {
        self.0.last_event_id()
    }

    /// How many items wait, and about how many bytes.
    pub fn waiting(&self) -> (usize, usize) {
        self.0.waiting()
    }

    /// Ends it: the connection is closed, what waits is dropped, and
    /// [`Item::End`] follows. One that has ended keeps what waits.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// An error and its causes in one line, without the system's numbers.
fn words(e: &(dyn Cause + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(e);
    while let Some(e) = next {
        let words = e.to_string();
        let words = words.split(" (os error").next().unwrap_or_default();
        if !text.contains(words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(words);
        }
        next = e.source();
    }
    text
}
