//! The C header: committed as generated, and fit for the compilers that read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The parts of the header, in the order that a reader needs, and the files that
/// each is made of.
const PARTS: &[(&str, &[&str])] = &[
    ("The library", &["core/error", "ffi/library"]),
    ("Servers", &["core/level", "core/counts", "ffi/server"]),
    (
        "Records, and who waits for them",
        &[
            "host/record",
            "core/reason",
            "ffi/record",
            "ffi/query",
            "ffi/wait",
        ],
    ),
    (
        "Connections",
        &["core/state", "wire/mod", "ffi/event", "ffi/conn"],
    ),
    ("Hubs", &["core/counts", "ffi/hub"]),
    ("Frames", &["ffi/frame"]),
    ("Parsers", &["ffi/parser"]),
    ("Runtimes", &["ffi/runtime"]),
    ("Scopes", &["ffi/scope"]),
    ("Clients", &["client/item", "client/options", "ffi/client"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn include() -> PathBuf {
    root().join("include")
}

fn generated() -> String {
    let mut header = fs::read_to_string(root().join("src/ffi/top.h")).unwrap();
    header += BEGIN;
    for (title, files) in PARTS {
        let rule = "-".repeat(66 - title.len());
        header.extend(["\n/* ---- ", title, " ", &rule, " */\n\n", &part(files)]);
    }
    header + END
}

const BEGIN: &str = r#"
#ifndef PAGI_SSE_H
#define PAGI_SSE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Defined before this header is read, it has compilers warn where a result is
// not used that says whether something was done.
#if !defined(PAGI_SSE_WARN_UNUSED)
#define PAGI_SSE_NODISCARD
#elif defined(__GNUC__)
#define PAGI_SSE_NODISCARD __attribute__((warn_unused_result))
#elif defined(__cplusplus) || __STDC_VERSION__ >= 202311L
#define PAGI_SSE_NODISCARD [[nodiscard]]
#else
#define PAGI_SSE_NODISCARD
#endif

// Enums have the size of the int32_t that functions take and structs hold.
#ifdef __cplusplus
#define PAGI_SSE_ENUM(name) enum name : int32_t
extern "C" {
#elif __STDC_VERSION__ >= 202311L
#define PAGI_SSE_ENUM(name) enum name : int32_t; typedef enum name name; enum name : int32_t
#else
#define PAGI_SSE_ENUM(name) typedef int32_t name; enum name
#endif
"#;

const END: &str = r#"
#ifdef __cplusplus
}  // extern "C"
#endif

#endif /* PAGI_SSE_H */
"#;

/// What these files give.
fn part(files: &[&str]) -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let src = |file: &&str| root().join("src").join(format!("{file}.rs"));
    let builder = files
        .iter()
        .map(src)
        .fold(cbindgen::Builder::new(), cbindgen::Builder::with_src);
    let mut header = Vec::new();
    builder
        .with_config(config)
        .generate()
        .unwrap()
        .write(&mut header);
    plain(&String::from_utf8(header).unwrap())
}

/// Each of these is there, and is something else.
fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

const INT32: &str = "\
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
";

/// What cbindgen makes as a C programmer reads it: one `extern "C"` for all, no
/// link brackets, and what stands under clippy's `# Safety` as a paragraph like
/// the others.
fn plain(header: &str) -> String {
    let bytes = fs::read_to_string(root().join("src/ffi/bytes.h")).unwrap();
    let bytes_end = "} pagi_sse_bytes;\n";
    let header = replaced(
        header,
        &[
            (
                "#ifdef __cplusplus\nextern \"C\" {\n#endif // __cplusplus\n\n",
                "",
            ),
            (
                "#ifdef __cplusplus\n}  // extern \"C\"\n#endif  // __cplusplus\n",
                "",
            ),
            ("PAGI_SSE_NODISCARD int", "PAGI_SSE_NODISCARD\nint"),
            ("[`", "`"),
            ("`]", "`"),
            ("# Safety\n// ", "*Parameters*: "),
            // In Rust it is no error.
            (
                "{\n  // A pointer was NULL",
                "{\n  // Fine.\n  PAGI_SSE_RESULT_OK = 0,\n  // A pointer was NULL",
            ),
            (bytes_end, &format!("{bytes_end}\n{bytes}")),
        ],
    );
    // A struct of another part is named by its type alone, so are all.
    let short = |line: &str| match line.starts_with("typedef struct") {
        true => line.to_owned() + "\n",
        false => line.replace("struct pagi_sse_", "pagi_sse_") + "\n",
    };
    let header: String = header.trim_end().lines().map(short).collect();
    let mut out = String::new();
    let mut rest = header.as_str();
    while let Some(at) = rest.find("\nenum pagi_sse_") {
        let (before, from) = rest.split_at(at + 1);
        let (name, body) = from["enum ".len()..].split_once('\n').unwrap();
        let body = body.strip_prefix(INT32).expect("an enum of that size");
        let (body, after) = body.split_once("};\n").unwrap();
        let (_, after) = after.split_once("#endif // __cplusplus\n").unwrap();
        let rows = table(body.trim_start());
        out.extend([before, "PAGI_SSE_ENUM(", name, ") ", &rows, "};\n"]);
        rest = after;
    }
    filled(&(out + rest))
}

/// With the paragraphs of comments filled again: what stood in Rust's comments
/// has grown or shrunk.
fn filled(text: &str) -> String {
    const WIDE: usize = 80;
    let (mut out, mut words, mut hang) = (String::new(), Vec::<&str>::new(), "");
    let mut indent = "";
    let mut end = |words: &mut Vec<&str>, indent: &str, hang: &str| {
        let mut row = String::new();
        for word in words.drain(..) {
            if row.is_empty() {
                row = format!("{indent}// {word}");
            } else if row.chars().count() + 1 + word.chars().count() > WIDE {
                out.extend([row.as_str(), "\n"]);
                row = format!("{indent}// {hang}{word}");
            } else {
                row.extend([" ", word]);
            }
        }
        if !row.is_empty() {
            out.extend([row.as_str(), "\n"]);
        }
        std::mem::take(&mut out)
    };
    let mut all = String::new();
    for line in text.lines() {
        let (before, comment) = line.split_once("//").unwrap_or((line, ""));
        let is_text = line.contains("//") && before.trim().is_empty() && before.len() < 9;
        let is_item = comment.starts_with(" - ");
        // Where another paragraph begins.
        if !is_text
            || comment.is_empty()
            || is_item
            || comment.starts_with(" *")
            || before != indent
        {
            all += &end(&mut words, indent, hang);
            hang = if is_item { "  " } else { "" };
        }
        if is_text && !comment.is_empty() {
            indent = before;
            words.extend(comment.split_whitespace());
        } else {
            all.extend([line, "\n"]);
        }
    }
    all + &end(&mut words, indent, hang)
}

/// The constants of an enum as a table: what each means stands behind it.
fn table(body: &str) -> String {
    const WIDE: usize = 100;
    let name = |line: &str| line.trim().to_owned();
    let is_comment = |line: &&str| line.trim().starts_with("//");
    let lines: Vec<&str> = body.lines().skip(1).collect();
    let names = lines.iter().filter(|l| !is_comment(l));
    let indent = names.map(|l| name(l).len()).max().unwrap_or(0) + 4;
    let (mut out, mut words) = ("{\n".to_owned(), Vec::new());
    for line in lines {
        if is_comment(&line) {
            words.extend(line.trim()[2..].split_whitespace());
            continue;
        }
        let mut row = format!("  {:width$}//", name(line), width = indent - 2);
        for word in words.drain(..) {
            if row.len() + 1 + word.len() > WIDE {
                out.extend([row.as_str(), "\n"]);
                row = format!("{:indent$}//", "");
            }
            row.extend([" ", word]);
        }
        out.extend([row.as_str(), "\n"]);
    }
    out
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
    let body = "#include <pagi_sse.h>\n".repeat(times) + USES_BYTES;
    if let Some(said) = said(compiler, standard, extension, times, &body) {
        assert!(
            said.is_empty(),
            "{compiler} -std={standard}, included {times} times:\n{said}"
        );
    }
}

/// What the compiler says to that program.
fn said(compiler: &str, standard: &str, extension: &str, n: usize, body: &str) -> Option<String> {
    let name = format!("header_{}x{n}.{extension}", standard.replace("++", "pp"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, body).unwrap();
    let result = Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args(["-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wpedantic"])
        .args(["-c", "-o", "/dev/null"])
        .arg("-I")
        .arg(include())
        .arg(&file)
        .output();
    match result {
        Err(e) => {
            eprintln!("skipped: {compiler} does not start ({e})");
            None
        }
        Ok(out) => Some(String::from_utf8_lossy(&out.stderr).into_owned()),
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

/// A result that is not looked at.
const IGNORES: &str = "\
#include <pagi_sse.h>
void ignores(void);
void ignores(void)
{
  pagi_sse_conn_send(1, \"x\", 1);
  pagi_sse_conn_free(1);
}
";

#[test]
fn a_result_that_is_not_used_is_told_to_who_wants_to_know() {
    let asked = format!("#define PAGI_SSE_WARN_UNUSED\n{IGNORES}");
    for (compiler, standard, extension) in [
        ("gcc", "c99", "c"),
        ("gcc", "c2x", "c"),
        ("g++", "c++17", "cpp"),
    ] {
        let said = |n, body: &str| said(compiler, standard, extension, n, body);
        assert_eq!(said(3, IGNORES).unwrap_or_default(), "");
        let Some(told) = said(4, &asked) else {
            continue;
        };
        assert!(told.contains("pagi_sse_conn_send"), "{told}");
        assert_eq!(told.matches("error:").count(), 1, "{told}");
    }
}

#[test]
fn c11_reads_the_header_alone_and_twice() {
    compiles("gcc", "c11", "c", 1);
    compiles("gcc", "c11", "c", 2);
}
