//! A parser that does as it is written, and nothing else.

use super::{Message, Parsed};

/// The standard's text (9.2.6), read naively: decode all, cut lines, go.
pub fn naive(wire: &[u8]) -> (Vec<Parsed>, String, Option<u64>) {
    let text = String::from_utf8_lossy(wire);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut items, mut retry, mut last) = (Vec::new(), None, String::new());
    let (mut data, mut event, mut id) = (String::new(), String::new(), String::new());
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop(); // what follows the last line end is no line yet
    for line in lines {
        if line.is_empty() {
            last = id.clone();
            if !data.is_empty() {
                items.push(Parsed::Event(Message {
                    event: if event.is_empty() {
                        "message".into()
                    } else {
                        event
                    },
                    data: data[..data.len() - 1].to_owned(),
                    last_event_id: last.as_str().into(),
                }));
            }
            (data, event) = (String::new(), String::new());
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.is_empty() {
            items.push(Parsed::Comment(value.to_owned()));
            continue;
        }
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => data = data + value + "\n",
            "event" => event = value.to_owned(),
            "id" if !value.contains('\0') => id = value.to_owned(),
            "retry" if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() => {
                retry = Some(value.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }
    (items, last, retry)
}
