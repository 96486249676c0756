//! libFuzzer around [`weever_fuzz::from_shard`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::from_shard(data));
