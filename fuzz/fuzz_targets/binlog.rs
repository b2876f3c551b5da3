//! See `integration_tests::fuzz::binlog::binlog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::binlog::binlog(bytes));
