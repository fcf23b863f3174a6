//! No bytes make the decoder, the verifier, the comparison or the encoder panic, or contradict each other.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| crossthaw_image::exercise(bytes));
