//! JSON text, checked and made one line.

use crate::core::error::{Error, Failure};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// `text` without the white space between its tokens. Numbers, member order
/// and string escapes stay as they are, so nothing is lost. The result has no
/// line break: a JSON string cannot hold one.
///
/// # Errors
/// [`Error::Json`]; the detail says what is wrong at which line and column.
pub fn compact(text: &str) -> Result<Cow<'_, str>, Failure> {
    let json: &RawValue =
        serde_json::from_str(text).map_err(|e| Failure::new(Error::Json, e.to_string()))?;
    // Without the white space around it.
    let json = json.get();
    if !json.bytes().any(is_space) {
        return Ok(json.into());
    }
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let c = *c;
        if escaped {
            escaped = false;
        } else if in_string {
            escaped = c == '\\';
            in_string = c != '"';
        } else {
            in_string = c == '"';
            return !c.is_ascii() || !is_space(c as u8);
        }
        true
    };
    Ok(json.chars().filter(keep).collect::<String>().into())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_all_else_stays() {
        for (given, expected) in [
            (
                " { \"a\" : [ 1 , 2.50 , -0e+10 ] ,\r\n\t\"a\":null } ",
                r#"{"a":[1,2.50,-0e+10],"a":null}"#,
            ),
            (r#"" a \" b \\" "#, r#"" a \" b \\""#),
            (r#"{"k \\": "v : ,"}"#, r#"{"k \\":"v : ,"}"#),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("\"\u{e9} \u{1f600}\\u00e9\"", "\"\u{e9} \u{1f600}\\u00e9\""),
            ("true", "true"),
        ] {
            assert_eq!(compact(given).unwrap(), expected);
        }
    }

    #[test]
    fn what_needs_no_change_is_not_copied() {
        assert!(matches!(compact("\n[1]\n").unwrap(), Cow::Borrowed("[1]")));
    }

    #[test]
    fn the_error_says_where() {
        for (bad, line, column) in [
            ("", 1, 0),
            ("{\"a\":\n 1,}", 2, 4),
            ("[1] x", 1, 5),
            ("\"a\nb\"", 1, 2),
            ("\u{FEFF}1", 1, 1),
            ("'a'", 1, 1),
            ("NaN", 1, 1),
            ("[1", 1, 2),
        ] {
            let failure = compact(bad).unwrap_err();
            assert_eq!(failure.error, Error::Json);
            let place = format!("line {line} column {column}");
            let words = failure.to_string();
            assert!(words.contains(&place), "{bad:?}: {words}");
        }
    }

    #[test]
    fn depth_needs_no_stack() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert_eq!(compact(&deep).unwrap(), deep);
    }
}
