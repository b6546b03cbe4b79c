//! One task writes for all connections, so that many sends of one turn of the
//! host program become one write each.

use super::Shared;
use crate::limits::FLUSH_DELAY_MS;
use std::sync::Arc;
use std::time::Duration;

/// Writes when the host program's turn ends, or shortly after output came.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.flush_now.notified() => {}
            () = shared.dirty.rung() => {
                // The sender is likely to add more: let it.
                let delay = tokio::time::sleep(Duration::from_millis(FLUSH_DELAY_MS));
                tokio::select! {
                    () = shared.flush_now.notified() => {}
                    () = delay => {}
                }
            }
        }
        shared.flush();
    }
}
