//! See `properties/src/feed/chunk.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    ostia_properties::feed::chunk(octets);
});
