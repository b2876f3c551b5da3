//! See `integration_tests::fuzz::wire::stream_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::wire::stream_frames(bytes));
