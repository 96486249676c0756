//! libFuzzer around [`weever_fuzz::sdp_offer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::sdp_offer(data));
