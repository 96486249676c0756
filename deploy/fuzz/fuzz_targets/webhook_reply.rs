//! libFuzzer around [`weever_fuzz::webhook_reply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::webhook_reply(data));
