//! One task writes for all connections, so that many sends of one turn of the
//! host program become one write each.

use super::ConnBell;
use crate::conn::Conn;
use crate::core::limits::FLUSH_DELAY_MS;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Connections with output that nobody has written yet.
#[derive(Default)]
pub struct Flush {
    dirty: ConnBell,
    asked: Notify,
}

impl Flush {
    /// Output waits on that connection.
    pub fn add(&self, conn: &Arc<Conn>) {
        self.dirty.add(conn.handle(), conn.clone());
    }

    /// Has the task write now.
    pub fn soon(&self) {
        if !self.dirty.is_empty() {
            self.asked.notify_one();
        }
    }

    /// Takes no more: the task has ended.
    pub fn close(&self) {
        self.dirty.close();
    }

    /// Writes when the host program's turn ends, or shortly after output came.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.asked.notified() => {}
                () = self.dirty.rung() => {
                    // The sender is likely to add more: let it.
                    let delay = tokio::time::sleep(Duration::from_millis(FLUSH_DELAY_MS));
                    tokio::select! {
                        () = self.asked.notified() => {}
                        () = delay => {}
                    }
                }
            }
            self.dirty.each(|conn| conn.flush());
        }
    }
}
