//! See `integration_tests::fuzz::wire::request_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::wire::request_frames(bytes));
