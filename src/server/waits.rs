//! What a connection that hyper has waits for, and how long; as what it counts.

use super::Shared;
use super::gate::Told;
use super::idle::{Called, Seat};
use super::link::Link;
use crate::core::limits;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::{Instant, sleep_until};

/// What goes on on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: it may be idle.
    Silent,
    /// A part of a head has come.
    Head,
    /// A request, which is counted elsewhere.
    Busy,
    /// An answer of the server's own is on its way.
    Own,
}

impl Standing {
    pub fn of(link: &Link, told: &Told) -> Self {
        match () {
            () if link.is_answering_own() => Standing::Own,
            () if link.is_busy() => Standing::Busy,
            () if told.is_unfinished() => Standing::Head,
            () if told.is_silent() => Standing::Silent,
            () => Standing::Busy,
        }
    }

    fn counter(self, shared: &Shared) -> Option<&AtomicUsize> {
        match self {
            Standing::Silent | Standing::Head => Some(&shared.quiet),
            Standing::Own => Some(&shared.own),
            Standing::Busy => None,
        }
    }
}

/// Why a wait is over.
pub enum Over {
    /// A head did not come in time.
    Head,
    /// No request did.
    Silent,
    /// The place is wanted.
    Called(Called),
}

/// See the module.
pub struct Waits {
    shared: Arc<Shared>,
    standing: Standing,
    /// Heads that had come by then.
    heads: u64,
    /// From a request to the next: no wait begins anew.
    head_by: Option<Instant>,
    idle_by: Option<Instant>,
    seat: Option<Seat>,
}

impl Waits {
    /// Those of a new connection.
    pub fn new(shared: &Arc<Shared>) -> Self {
        shared.quiet.fetch_add(1, Ordering::AcqRel);
        let now = Instant::now();
        Waits {
            shared: shared.clone(),
            standing: Standing::Silent,
            heads: 0,
            head_by: Some(now + shared.options.head_timeout),
            idle_by: None,
            seat: Some(shared.idle.add(now + limits::NEW_PATIENCE)),
        }
    }

    /// How it stood, and the number of its last request.
    pub fn standing(&self) -> (Standing, u64) {
        (self.standing, self.heads)
    }

    /// It stands so now. A request may have come and been answered before anybody
    /// could see that it was busy.
    pub fn stand(&mut self, standing: Standing, heads: u64) {
        let now = Instant::now();
        self.seat = None;
        if std::mem::replace(&mut self.heads, heads) != heads {
            (self.head_by, self.idle_by) = (None, None);
        }
        match standing {
            Standing::Busy | Standing::Own => (self.head_by, self.idle_by) = (None, None),
            Standing::Head => {
                let by = now + self.shared.options.head_timeout;
                self.head_by.get_or_insert(by);
            }
            Standing::Silent => {
                let by = now + self.shared.options.idle_timeout;
                self.idle_by.get_or_insert(by);
                self.seat = Some(self.shared.idle.add(now));
            }
        }
        // First one more, so that nobody counts none between.
        if let Some(counter) = standing.counter(&self.shared) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
        let before = std::mem::replace(&mut self.standing, standing);
        self.leave(before);
    }

    fn leave(&self, standing: Standing) {
        if let Some(counter) = standing.counter(&self.shared) {
            counter.fetch_sub(1, Ordering::AcqRel);
            self.shared.one_less();
        }
    }

    /// The wait is not over quite yet.
    pub fn a_little(&mut self) {
        let soon = Instant::now() + limits::NEW_PATIENCE;
        (self.head_by, self.idle_by) = (None, Some(soon));
        self.seat = Some(self.shared.idle.add(soon));
    }

    /// Waits until its time is over, or it is called.
    pub async fn over(&mut self) -> Over {
        let (by, over) = match self.standing {
            Standing::Head => (self.head_by, Over::Head),
            Standing::Silent => (self.head_by.or(self.idle_by), Over::Silent),
            Standing::Busy | Standing::Own => (None, Over::Silent),
        };
        let late = async {
            match by {
                Some(by) => sleep_until(by).await,
                None => pending().await,
            }
        };
        let called = async {
            match &mut self.seat {
                Some(seat) => seat.called().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = late => over,
            called = called => Over::Called(called),
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.leave(self.standing);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;
    use std::time::Duration;

    /// Waits that have so long to go, and for what.
    async fn left(waits: &mut Waits) -> (u64, bool) {
        let from = Instant::now();
        let silent = matches!(waits.over().await, Over::Silent);
        (from.elapsed().as_secs(), silent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_begins_anew_however_soon_a_request_is_answered() {
        let shared = Shared::new(Options::default()).unwrap();
        let most = Duration::from_secs(limits::HEAD_SECONDS - 1);
        for (standing, seconds) in [
            (Standing::Silent, limits::IDLE_SECONDS),
            (Standing::Head, limits::HEAD_SECONDS),
        ] {
            // Nobody has seen it busy, not even for its first request.
            let mut waits = Waits::new(&shared);
            for heads in 1..10 {
                tokio::time::sleep(most).await;
                waits.stand(standing, heads);
            }
            let silent = standing == Standing::Silent;
            assert_eq!(left(&mut waits).await, (seconds, silent));
            waits.stand(standing, 10);
            tokio::time::sleep(most).await;
            waits.stand(Standing::Silent, 10);
            waits.stand(standing, 10);
            let rest = seconds - most.as_secs();
            assert_eq!(left(&mut waits).await, (rest, silent), "the same wait");
        }
    }
}
