//! libFuzzer around [`weever_fuzz::relay`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::relay(data));
