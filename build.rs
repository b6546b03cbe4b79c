//! Writes the C header into OUT_DIR (a test holds `include/` against it) and
//! keeps the library loaded once it is: it has threads.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=src/ffi");
    println!("cargo:rerun-if-changed=src/error.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let config = cbindgen::Config::from_file("cbindgen.toml").expect("cbindgen.toml is readable");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["error.rs", "ffi/mod.rs", "ffi/conn.rs", "ffi/server.rs"] {
        builder = builder.with_src(format!("{root}/src/{file}"));
    }
    builder
        .generate()
        .expect("cbindgen understands src/ffi")
        .write_to_file(out.join("pagi_sse.h"));
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
