//! libFuzzer around [`weever_fuzz::settings`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::settings(data));
