//! The fuzz target `frames`: what it does stands in `bop_fuzz_targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bop_fuzz_targets::frames(data));
