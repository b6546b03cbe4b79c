//! An event that is framed before it has its number: how long that takes is the
//! publisher's own affair, so no lock is held meanwhile.

use super::Put;
use super::ids::Ids;
use crate::core::frame::Event;
use crate::core::ring::{Entry, Framed};
use std::sync::Arc;

/// Framed as if it got a certain number. Another of as many digits can take its place.
pub(super) struct Draft {
    framed: Framed,
    seq: u64,
    /// Where the number stands, if it does.
    digits_at: Option<usize>,
}

impl Draft {
    /// Of a checked event; `seq` is the number that it gets, as far as one knows.
    pub fn new(ids: &Ids, topic: &str, now: u64, e: &Event<'_>, put: &Put<'_>, seq: u64) -> Self {
        let id = ids.for_event(e.id, seq);
        let event = Event {
            id: id.as_deref(),
            ..*e
        };
        let numbered = e.id.is_none().then(|| event.id_at()).flatten();
        Draft {
            framed: Framed::new(topic, now, put.key, put.delete, e.id, &event),
            seq,
            digits_at: numbered.map(|at| at + ids.number_at()),
        }
    }

    /// Whether it can have that number.
    pub fn fits(&self, seq: u64) -> bool {
        self.digits_at.is_none() || seq.ilog10() == self.seq.ilog10()
    }

    /// It gets that number, which fits.
    pub fn number(mut self, topic: &Arc<str>, seq: u64) -> Entry {
        if let Some(at) = self.digits_at.filter(|_| seq != self.seq) {
            self.framed.chunk.patch(at, seq.to_string().as_bytes());
        }
        self.framed.number(topic, seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an event is sent as that was framed for one number and got another.
    fn sent(own: bool, event: &Event<'_>, framed: u64, got: u64) -> Option<String> {
        let ids = Ids::new("epoch", own);
        let draft = Draft::new(&ids, "t", 0, event, &Put::default(), framed);
        let fits = draft.fits(got);
        let entry = fits.then(|| draft.number(&"t".into(), got))?;
        assert_eq!((entry.seq, &*entry.topic), (got, "t"));
        Some(String::from_utf8(entry.chunk().bytes(true).to_vec()).unwrap())
    }

    #[test]
    fn a_draft_takes_any_number_of_as_many_digits() {
        let event = Event {
            data: Some("x"),
            event: Some("type"),
            ..Event::default()
        };
        let as_framed = |seq| sent(false, &event, seq, seq);
        for (framed, got) in [(1, 9), (9, 1), (10, 99), (123, 987), (42, 42)] {
            assert_eq!(sent(false, &event, framed, got), as_framed(got));
        }
        let text = as_framed(42).unwrap();
        assert!(
            text.contains("event: type\nid: epoch.42\ndata: x\n\n"),
            "{text}"
        );
        for (framed, got) in [(9, 10), (10, 9), (99, 100), (1000, 999)] {
            assert_eq!(sent(false, &event, framed, got), None);
        }
    }

    #[test]
    fn an_id_of_the_applications_or_none_takes_any() {
        let event = Event {
            data: Some("x"),
            ..Event::default()
        };
        let with_id = Event {
            id: Some("epoch.7"),
            ..event
        };
        for own in [false, true] {
            let text = sent(own, &with_id, 7, 1234).unwrap();
            assert!(text.contains("id: epoch.7\n"), "{text}");
        }
        let text = sent(true, &event, 7, 1234).unwrap();
        assert!(text.contains("data: x") && !text.contains("id"), "{text}");
    }
}
