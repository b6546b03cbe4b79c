//! Writes the C header into OUT_DIR (a test holds `include/` against it) and
//! keeps the library loaded once it is: it has threads.

use std::env;
use std::fs;
use std::path::PathBuf;

/// Files whose enums are in the header; cbindgen.toml names these.
const ENUMS: &[&str] = &[
    "src/core/error.rs",
    "src/core/state.rs",
    "src/host/record.rs",
    "src/wire/mod.rs",
];

fn main() {
    println!("cargo:rerun-if-changed=src/ffi");
    for file in ENUMS {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-changed=cbindgen.toml");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let config = cbindgen::Config::from_file("cbindgen.toml").expect("cbindgen.toml is readable");
    let mut header = Vec::new();
    // cbindgen follows `pub mod` from mod.rs by itself.
    let builder = ENUMS.iter().fold(cbindgen::Builder::new(), |b, file| {
        b.with_src(format!("{root}/{file}"))
    });
    builder
        .with_config(config)
        .with_src(format!("{root}/src/ffi/mod.rs"))
        .generate()
        .expect("cbindgen understands src/ffi")
        .write(&mut header);
    let header = String::from_utf8(header).expect("cbindgen writes UTF-8");
    fs::write(out.join("pagi_sse.h"), plain(&header)).expect("OUT_DIR is writable");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

/// Rust doc comments as a C programmer reads them: no link brackets, and
/// what stands under clippy's `# Safety` as a paragraph like the others.
fn plain(header: &str) -> String {
    header
        .replace("[`", "`")
        .replace("`]", "`")
        .replace("# Safety\n// ", "*Parameters*: ")
}
