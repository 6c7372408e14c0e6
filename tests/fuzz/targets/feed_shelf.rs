//! See `properties/src/feed/shelf.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    ostia_properties::feed::shelf(octets);
});
