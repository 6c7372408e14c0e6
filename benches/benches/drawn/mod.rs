//! Certificates that look drawn at random, by number.

use precompute::pki::{Reason, Record, Serial, Status, UnixTime};

pub(crate) const GOOD: Record = Record { status: Status::Good, not_after: Some(UnixTime(1_900_000_000)) };
pub(crate) const REVOKED: Record = Record {
    status: Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::KeyCompromise },
    not_after: Some(UnixTime(1_900_000_000)),
};

pub(crate) fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Serials of 16 bytes that look drawn at random; a higher number has a higher one.
pub(crate) fn serial(number: u64) -> Serial {
    let mut magnitude = [0; 16];
    magnitude[..8].copy_from_slice(&((number + 1) << 34 | mixed(number) >> 30).to_be_bytes());
    magnitude[8..].copy_from_slice(&mixed(!number).to_be_bytes());
    Serial::from_magnitude(&magnitude).unwrap()
}
