//! See `properties/src/feed/redis.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    ostia_properties::feed::redis(octets);
});
