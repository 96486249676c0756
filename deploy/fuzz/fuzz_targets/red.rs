//! libFuzzer around [`weever_fuzz::red`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::red(data));
