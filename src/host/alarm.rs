//! One wake-up for later, the earliest that was asked for.

use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// See the module. All methods may be called from any thread.
#[derive(Default)]
pub struct Alarm {
    at: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Alarm {
    fn at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings so much later, if it would not before.
    pub fn set(&self, delay: Duration) {
        // Beyond any clock: never.
        let Some(new) = Instant::now().checked_add(delay) else {
            return;
        };
        let mut at = self.at();
        if at.is_none_or(|old| new < old) {
            *at = Some(new);
            self.changed.notify_one();
        }
    }

    /// Waits for it; then none is set. For one task.
    pub async fn rings(&self) {
        loop {
            let at = *self.at();
            let due = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = due => {
                    let mut now = self.at();
                    // It may be set anew: for earlier, which is now.
                    *now = None;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_rings_and_no_other() {
        let alarm = Alarm::default();
        let began = Instant::now();
        for ms in (20..1_000_000).rev() {
            alarm.set(Duration::from_millis(ms));
        }
        alarm.set(Duration::MAX);
        alarm.rings().await;
        assert_eq!(began.elapsed().as_millis(), 20);
        let again = tokio::time::timeout(Duration::from_secs(10_000), alarm.rings());
        assert!(again.await.is_err(), "one for all of them");
        let set = async { alarm.set(Duration::from_millis(5)) };
        let began = Instant::now();
        tokio::join!(alarm.rings(), set);
        assert_eq!(began.elapsed().as_millis(), 5);
    }
}
