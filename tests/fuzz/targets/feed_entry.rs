//! See `properties/src/feed/entry.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    ostia_properties::feed::entry(octets);
});
