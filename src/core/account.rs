//! What waits in all queues together, and the alarm for when that is too much.

use std::fmt;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The memory that queues take, about: what is a connection's own in steps of
/// [`Account::STEP`], what several share once.
pub struct Account {
    // Below 0 for a moment, when what one thread adds another has taken away.
    now: AtomicIsize,
    limit: usize,
    alarm: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} of {})", self.now(), self.limit)
    }
}

impl Account {
    /// What a queue holds of its own counts from here on: small queues touch
    /// nothing that all share.
    pub const STEP: usize = 4096;

    /// An empty one. The alarm is called each time that something is added
    /// above the limit, with a connection locked.
    pub fn new(limit: usize, alarm: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Account {
            now: AtomicIsize::new(0),
            limit,
            alarm: Box::new(alarm),
        })
    }

    /// Bytes.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed).max(0) as usize
    }

    /// Bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// More than may be.
    pub fn is_over(&self) -> bool {
        self.now() > self.limit
    }

    /// So much more, or less.
    pub fn add(&self, bytes: isize) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bytes > 0 && now.max(0) as usize > self.limit {
            (self.alarm)();
        }
    }
}

/// Who has bytes that many can have: they count while somebody does, once, on
/// the account of the first.
#[derive(Debug, Default)]
pub struct Shares(OnceLock<Arc<Held>>);

#[derive(Debug)]
struct Held {
    account: Arc<Account>,
    len: usize,
    holders: AtomicUsize,
}

/// One queue's part in them.
#[derive(Debug)]
pub struct Hold(Arc<Held>);

impl Shares {
    /// One more has them.
    pub fn hold(&self, account: &Arc<Account>, len: usize) -> Hold {
        let held = self.0.get_or_init(|| {
            Arc::new(Held {
                account: account.clone(),
                len,
                holders: AtomicUsize::new(0),
            })
        });
        if held.holders.fetch_add(1, Ordering::Relaxed) == 0 {
            held.account.add(held.len as isize);
        }
        Hold(held.clone())
    }
}

impl Hold {
    /// The bytes divided by those that have them.
    pub fn share(&self) -> usize {
        self.0.len / self.0.holders.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.holders.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.account.add(-(self.0.len as isize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_hold_counts_once_and_the_alarm_is_for_what_is_added_above() {
        let alarms = Arc::new(AtomicUsize::new(0));
        let heard = alarms.clone();
        let account = Account::new(100, move || {
            heard.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(account.limit(), 100);
        let state = || {
            (
                account.now(),
                account.is_over(),
                alarms.load(Ordering::Relaxed),
            )
        };
        let shares = Shares::default();
        let first = shares.hold(&account, 60);
        let second = shares.hold(&account, 60);
        assert_eq!((first.share(), second.share()), (30, 30));
        assert_eq!(state(), (60, false, 0));
        account.add(40);
        assert_eq!(state(), (100, false, 0), "as many as may be");
        account.add(1);
        assert_eq!(state(), (101, true, 1));
        account.add(0);
        assert_eq!(state(), (101, true, 1));
        account.add(-1);
        assert_eq!(state(), (100, false, 1));
        drop(first);
        assert_eq!((second.share(), account.now()), (60, 100));
        drop(second);
        assert_eq!(account.now(), 40);
        let _again = shares.hold(&account, 60);
        assert_eq!(account.now(), 100);
    }
}
