#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawgate_tests::fuzz::config_edit(data));
