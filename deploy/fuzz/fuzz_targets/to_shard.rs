//! libFuzzer around [`weever_fuzz::to_shard`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weever_fuzz::to_shard(data));
