//! libFuzzer around [`weever_fuzz::event_topics`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::event_topics(data));
