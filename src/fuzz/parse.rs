//! The parser: chunk borders mean nothing, limits hold, and all that is found
//! is what the standard's text finds; through the C functions too.

use super::naive::naive;
use crate::core::error::Result;
use crate::core::parse::{Parsed, Parser};
use crate::ffi;
use arbitrary::{Arbitrary, Unstructured};

#[derive(Arbitrary, Debug)]
pub(crate) struct Stream<'a> {
    /// Of a line, an event, an id.
    pub limits: Option<[u8; 3]>,
    /// Of the chunks, used over and over.
    pub sizes: [u8; 4],
    pub wire: &'a [u8],
}

impl Stream<'_> {
    fn parser(&self) -> Parser {
        let mut parser = Parser::new();
        if let Some(limits) = self.limits {
            let [line, event, id] = limits.map(usize::from);
            (parser.line_limit, parser.event_limit, parser.id_limit) = (line, event, id);
        }
        parser
    }

    /// The wire in pieces, some of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        pieces(self.wire, self.sizes)
    }
}

/// Bytes in pieces of those sizes, some of them empty.
pub(crate) fn pieces(bytes: &[u8], sizes: [u8; 4]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.into_iter().cycle();
    std::iter::from_fn(move || {
        let mut size = usize::from(sizes.next()?);
        if sizes.clone().take(4).all(|size| size == 0) {
            size = rest.len();
        }
        if rest.is_empty() {
            return None;
        }
        let (piece, others) = rest.split_at(size.min(rest.len()));
        rest = others;
        Some(piece)
    })
}

pub fn run(data: &[u8]) {
    let Ok(stream) = Stream::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut whole = stream.parser();
    let items: Vec<Result<Parsed>> = whole.push(stream.wire).collect();

    let mut parts = stream.parser();
    let mut in_parts = Vec::new();
    for piece in stream.pieces() {
        in_parts.extend(parts.push(piece));
    }
    assert_eq!(in_parts, items);

    let mut slow = stream.parser();
    let (mut one_by_one, mut rest) = (Vec::new(), stream.wire);
    while !rest.is_empty() {
        let mut items = slow.push(rest);
        one_by_one.extend(items.next());
        let left = items.left();
        assert!(left < rest.len());
        rest = &rest[rest.len() - left..];
    }
    assert_eq!(one_by_one, items);

    for other in [parts, slow] {
        assert_eq!(other.last_event_id(), whole.last_event_id());
        assert_eq!(other.retry(), whole.retry());
    }
    for item in &items {
        match item {
            Ok(Parsed::Event(m)) => {
                assert!(m.data.len() <= whole.event_limit);
                assert!(m.event.len() <= 3 * whole.line_limit || m.event == "message");
                assert!(m.last_event_id.len() <= whole.id_limit);
            }
            Ok(Parsed::Comment(text)) => assert!(text.len() <= 3 * whole.line_limit),
            Err(_) => {}
        }
    }
    if stream.limits.is_none() && items.iter().all(Result::is_ok) {
        let (all, last, retry) = naive(stream.wire);
        assert_eq!(
            items.iter().flatten().collect::<Vec<_>>(),
            Vec::from_iter(&all)
        );
        assert_eq!((whole.last_event_id(), whole.retry()), (&*last, retry));
    }
    // To C, 0 is the default.
    if !stream.limits.is_some_and(|limits| limits.contains(&0)) {
        assert_eq!(ffi::fuzz::parse(&stream), items);
    }
}
