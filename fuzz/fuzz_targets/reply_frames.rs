//! See `integration_tests::fuzz::wire::reply_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::wire::reply_frames(bytes));
