//! A client's URL: what is taken can be asked for and reads the same again,
//! wherever redirections lead; what is not says why, and no password.

use crate::client::url::Target;
use http::{HeaderValue, Uri};

/// Not in UTF-8: it ends the URL, and each `Location`.
const END: u8 = 0xFF;

/// `!` before the URL allows redirections from https to http.
pub fn run(data: &[u8]) {
    let (insecure, data) = match data.strip_prefix(b"!") {
        Some(rest) => (true, rest),
        None => (false, data),
    };
    let mut parts = data.split(|&b| b == END);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else {
        return;
    };
    let mut at = match Target::parse(text) {
        Ok(target) => target,
        Err(failure) => return hides(&failure.detail.expect("a reason"), text),
    };
    holds(&at);
    for location in parts {
        match at.join(location, insecure) {
            Ok(next) => {
                holds(&next);
                assert_eq!(next.socket(), at.socket());
                assert!(!at.is_https() || next.is_https() || insecure);
                assert!(at.socket().is_none() || next.same_origin(&at));
                at = next;
            }
            Err(words) => hides(&words, &String::from_utf8_lossy(location)),
        }
    }
}

/// A name and a password are not shown: what stands between a scheme and an `@`.
fn hides(words: &str, text: &str) {
    assert!(!words.contains(char::is_control), "{words:?}");
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let rest = rest.trim_start_matches(['/', '\\']);
    let (login, shown) = rest.rsplit_once('@').unwrap_or_default();
    // No words of ours, nor a path.
    let is_pair = login.contains(':') && login.len() > 8;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":-".contains(&b);
    let is_unix = scheme.eq_ignore_ascii_case("http+unix");
    if is_pair && login.bytes().all(plain) && !is_unix && !shown.contains(login) {
        assert!(!words.contains(login), "{words:?}");
    }
}

fn holds(target: &Target) {
    // What hyper is given, with a proxy and without.
    let uri: Uri = target.absolute().parse().expect("a URI");
    let authority = target.authority();
    assert_eq!(
        uri.authority().map(http::uri::Authority::as_str),
        Some(&*authority)
    );
    assert!(target.path().starts_with('/'));
    assert!(target.path().parse::<Uri>().is_ok(), "{target}");
    assert!(HeaderValue::try_from(authority).is_ok());
    assert!(!target.host().is_empty());
    let port = format!(":{}", target.port());
    assert!(target.host_and_port().ends_with(&port));
    let shown = target.to_string();
    let again = Target::parse(&shown).unwrap_or_else(|e| panic!("{shown}: {e}"));
    assert_eq!(again.to_string(), shown);
    assert_eq!((again.path(), again.login()), (target.path(), None));
    for same in [again, target.join(b"", false).expect("here")] {
        assert!(same.same_origin(target));
        assert_eq!(same.path(), target.path());
    }
}
