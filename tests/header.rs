//! The C header: committed as generated, and fit for the compilers that read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/pagi_sse.h"));

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let committed = fs::read_to_string(include().join("pagi_sse.h")).unwrap_or_default();
    if committed == GENERATED {
        return;
    }
    let at = committed
        .lines()
        .zip(GENERATED.lines())
        .take_while(|(a, b)| a == b)
        .count();
    panic!(
        "include/pagi_sse.h is not what src/ffi gives; run script/header.\n\
         Line {}:\n committed: {}\n generated: {}",
        at + 1,
        committed.lines().nth(at).unwrap_or("(end)"),
        GENERATED.lines().nth(at).unwrap_or("(end)"),
    );
}

/// Compiles a file that includes the header `times` times, and nothing else.
fn compiles(compiler: &str, standard: &str, extension: &str, times: usize) {
    let name = format!(
        "header_{}x{times}.{extension}",
        standard.replace("++", "pp")
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let body = "#include <pagi_sse.h>\n".repeat(times) + "int unused_but_not_empty;\n";
    fs::write(&file, body).unwrap();
    let result = Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"])
        .arg("-I")
        .arg(include())
        .arg(&file)
        .output();
    match result {
        Err(e) => eprintln!("skipped: {compiler} does not start ({e})"),
        Ok(out) => assert!(
            out.status.success(),
            "{compiler} -std={standard}, included {times} times:\n{}",
            String::from_utf8_lossy(&out.stderr)
        ),
    }
}

#[test]
fn c99_reads_the_header_alone_and_twice() {
    compiles("gcc", "c99", "c", 1);
    compiles("gcc", "c99", "c", 2);
}

#[test]
fn the_newest_c_reads_the_header() {
    compiles("gcc", "c2x", "c", 1);
}

#[test]
fn cpp17_reads_the_header_alone_and_twice() {
    compiles("g++", "c++17", "cpp", 1);
    compiles("g++", "c++17", "cpp", 2);
}
