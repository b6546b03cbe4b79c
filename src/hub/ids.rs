//! Ids of a hub's events, `epoch.number`: made and read here alone.

use std::borrow::Cow;

/// What a hub's ids are made of.
pub(super) struct Ids {
    epoch: Box<str>,
    /// Events without an id of the application's have none.
    own: bool,
}

impl Ids {
    /// Ids of that epoch, or, with `own`, none.
    pub fn new(epoch: &str, own: bool) -> Self {
        Ids {
            epoch: epoch.into(),
            own,
        }
    }

    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// None of the hub's is ever sent.
    pub fn are_own(&self) -> bool {
        self.own
    }

    /// The hub's id of that number, whether or not it is sent.
    pub fn of(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    /// Where the number stands in them.
    pub fn number_at(&self) -> usize {
        self.epoch.len() + 1
    }

    /// What an event has: the application's own, else the hub's, if any.
    pub fn for_event<'a>(&self, given: Option<&'a str>, seq: u64) -> Option<Cow<'a, str>> {
        match given {
            Some(given) => Some(given.into()),
            None => (!self.own).then(|| self.of(seq).into()),
        }
    }

    /// The number in an id of the hub's that was given out, the newest being
    /// `newest`. There is one way to write it.
    pub fn seq(&self, id: &str, newest: u64) -> Option<u64> {
        let digits = id.strip_prefix(&*self.epoch)?.strip_prefix('.')?;
        let seq = digits.parse().ok().filter(|&seq: &u64| seq <= newest)?;
        (!self.own && digits == seq.to_string()).then_some(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_made_is_read_back_and_no_other() {
        let ids = Ids::new("e", false);
        assert_eq!((ids.epoch(), &*ids.of(12)), ("e", "e.12"));
        assert_eq!(ids.seq(&ids.of(12), 12), Some(12));
        assert_eq!(ids.seq(&ids.of(0), 12), Some(0));
        for id in [
            "", "e", "e.", "e.13", "e.012", "e.+1", "e.-1", "e. 1", "f.1", "ee.1",
        ] {
            assert_eq!(ids.seq(id, 12), None, "{id}");
        }
    }

    #[test]
    fn the_applications_own_go_first_and_may_be_the_only_ones() {
        let (ids, own) = (Ids::new("e", false), Ids::new("e", true));
        assert_eq!(ids.for_event(Some("x"), 1).as_deref(), Some("x"));
        assert_eq!(ids.for_event(None, 1).as_deref(), Some("e.1"));
        assert_eq!(own.for_event(Some("x"), 1).as_deref(), Some("x"));
        assert_eq!(own.for_event(None, 1), None);
        assert_eq!(own.seq("e.1", 1), None);
    }
}
