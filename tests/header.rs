//! The C header: committed as generated, and fit for the compilers that read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files beside src/ffi whose enums and structs are in the header; cbindgen.toml
/// names these.
const TYPES: &[&str] = &[
    "src/client/item.rs",
    "src/client/options.rs",
    "src/core/counts.rs",
    "src/core/error.rs",
    "src/core/level.rs",
    "src/core/reason.rs",
    "src/core/state.rs",
    "src/host/record.rs",
    "src/wire/mod.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn include() -> PathBuf {
    root().join("include")
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    // cbindgen follows `pub mod` from mod.rs by itself.
    let builder = TYPES.iter().fold(cbindgen::Builder::new(), |b, file| {
        b.with_src(root().join(file))
    });
    let mut header = Vec::new();
    builder
        .with_config(config)
        .with_src(root().join("src/ffi/mod.rs"))
        .generate()
        .unwrap()
        .write(&mut header);
    plain(&String::from_utf8(header).unwrap())
}

const GUARD_ENDS: &str = "#endif  /* PAGI_SSE_H */\n";

/// Rust doc comments as a C programmer reads them: no link brackets, and
/// what stands under clippy's `# Safety` as a paragraph like the others.
fn plain(header: &str) -> String {
    let enum_begins = " {\n  // A pointer was NULL";
    assert!(header.contains(enum_begins), "the enum of results");
    // cbindgen puts its trailer behind the guard.
    let (header, helpers) = header.split_once(GUARD_ENDS).expect("the guard");
    let bytes_end = "} pagi_sse_bytes;\n";
    assert!(header.contains(bytes_end), "the struct of bytes");
    (header.to_owned() + GUARD_ENDS)
        .replace(bytes_end, &format!("{bytes_end}{helpers}\n"))
        .replace("[`", "`")
        .replace("`]", "`")
        .replace("# Safety\n// ", "*Parameters*: ")
        // In Rust it is no error.
        .replace(
            enum_begins,
            &enum_begins.replace('{', "{\n  // Fine.\n  PAGI_SSE_RESULT_OK = 0,"),
        )
}

#[test]
#[ignore = "for script/header"]
fn write_the_header() {
    fs::write(include().join("pagi_sse.h"), generated()).unwrap();
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let committed = fs::read_to_string(include().join("pagi_sse.h")).unwrap_or_default();
    let generated = generated();
    if committed == generated {
        return;
    }
    let at = committed
        .lines()
        .zip(generated.lines())
        .take_while(|(a, b)| a == b)
        .count();
    panic!(
        "include/pagi_sse.h is not what src/ffi gives; run script/header.\n\
         Line {}:\n committed: {}\n generated: {}",
        at + 1,
        committed.lines().nth(at).unwrap_or("(end)"),
        generated.lines().nth(at).unwrap_or("(end)"),
    );
}

/// What the header has beside what cbindgen makes.
const USES_BYTES: &str = "\
size_t both(const char *text);
size_t both(const char *text)
{
  pagi_sse_bytes bytes[2] = {PAGI_SSE_BYTES(\"ab\"), PAGI_SSE_BYTES(\"\")};
  bytes[1] = pagi_sse_text(text);
  bytes[0] = PAGI_SSE_BYTES(\"c\");
  return bytes[0].len + bytes[1].len;
}
";

/// Compiles a file that includes the header `times` times, and little else.
fn compiles(compiler: &str, standard: &str, extension: &str, times: usize) {
    let name = format!(
        "header_{}x{times}.{extension}",
        standard.replace("++", "pp")
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let body = "#include <pagi_sse.h>\n".repeat(times) + USES_BYTES;
    fs::write(&file, body).unwrap();
    let result = Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args(["-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wpedantic"])
        .arg("-fsyntax-only")
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
