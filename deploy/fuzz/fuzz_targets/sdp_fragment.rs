//! libFuzzer around [`weever_fuzz::sdp_fragment`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::sdp_fragment(data));
