//! See `properties/src/feed/manifest.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    ostia_properties::feed::manifest(octets);
});
