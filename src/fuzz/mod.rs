//! What is tried with any bytes. A fuzzer gives them (`script/fuzz`), and
//! `cargo test` what it has kept in `fuzz/corpus/`. Each function panics when
//! something does not hold.

mod frame;
mod handles;
mod hub;
#[cfg(feature = "client")]
mod model;
pub(crate) mod naive;
mod parse;
#[cfg(feature = "client")]
mod url;

use crate::core::parse::{Message, Parsed};
pub(crate) use parse::Stream;
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use parse::pieces;

/// What is done with some bytes.
type Target = fn(&[u8]);

/// The targets, by the names that they have in `fuzz/`.
const TARGETS: &[(&str, Target)] = &[
    ("parse", parse::run),
    ("frame", frame::run),
    ("record", crate::ffi::fuzz::run),
    #[cfg(feature = "server")]
    ("http", crate::server::fuzz::run),
    ("handles", handles::run),
    ("hub", hub::run),
    #[cfg(feature = "client")]
    ("url", url::run),
    #[cfg(feature = "client")]
    ("model", model::run),
];

/// Runs one of them.
///
/// # Panics
/// When something does not hold, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.expect("a target").1(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn what_fuzzers_have_kept_holds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        if !root.exists() {
            // In a package: cargo puts no other package into it.
            return;
        }
        for (name, target) in TARGETS {
            let files = fs::read_dir(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            paths.sort();
            assert!(paths.len() > 9, "{name}: {} files", paths.len());
            for path in paths {
                let data = fs::read(&path).unwrap();
                let held = std::panic::catch_unwind(|| target(&data));
                assert!(held.is_ok(), "{}", path.display());
            }
        }
    }
}
