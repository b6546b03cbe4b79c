//! One task writes for all connections, so that many sends of one turn of the
//! host program become one write each.

use super::desk::Desk;
use crate::limits::FLUSH_DELAY_MS;
use std::sync::Arc;
use std::time::Duration;

/// Writes when the host program's turn ends, or shortly after output came.
pub async fn run(desk: Arc<Desk>) {
    loop {
        tokio::select! {
            () = desk.flush_asked() => {}
            () = desk.output_came() => {
                // The sender is likely to add more: let it.
                let delay = tokio::time::sleep(Duration::from_millis(FLUSH_DELAY_MS));
                tokio::select! {
                    () = desk.flush_asked() => {}
                    () = delay => {}
                }
            }
        }
        desk.flush();
    }
}
