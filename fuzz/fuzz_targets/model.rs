#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagi_sse::fuzz::run("model", data));
