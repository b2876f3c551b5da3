//! See `integration_tests::fuzz::texts::graph_schema`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::texts::graph_schema(bytes));
