//! See `properties/src/admin.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    ostia_properties::admin(octets);
});
