//! libFuzzer around [`weever_fuzz::sdp_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::sdp_answer(data));
