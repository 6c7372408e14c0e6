//! Converts keys and values of the book's tables to bytes and back.
//!
//! Invariant: an unreadable status is read as revoked. It does not know files.
//!
//! A version takes seven bytes, because the byte before it holds a record's origin: formats 1 and 2 had an eighth byte
//! of the version there, which was always 0, and 0 is a source alone.

use super::layout::{KEY, MARK, VALUE};
use crate::{
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::Origin,
    source::{CrlMark, CrlNumber},
};

/// `issuer`: its number in this file.
pub(super) fn key(issuer: u32, serial: [u8; Serial::MAX_OCTETS]) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&issuer.to_be_bytes());
    key[4..].copy_from_slice(&serial);
    key
}

/// The first and the last possible key of an issuer's records.
pub(super) fn range(issuer: u32) -> ([u8; KEY], [u8; KEY]) {
    (key(issuer, [0; Serial::MAX_OCTETS]), key(issuer, [0xff; Serial::MAX_OCTETS]))
}

/// The key under which the mark of a scope is sealed.
pub(super) fn scope_key(issuer: u32, kind: u8, scope: &[u8; 32]) -> [u8; 37] {
    let mut key = [kind; 37];
    key[..4].copy_from_slice(&issuer.to_be_bytes());
    key[5..].copy_from_slice(scope);
    key
}

/// The key under which a mark of a format before 5 is sealed.
pub(super) fn mark_key(issuer: u32, kind: u8) -> [u8; 5] {
    let mut key = [kind; 5];
    key[..4].copy_from_slice(&issuer.to_be_bytes());
    key
}

/// The highest version that a value has room for: a commit each microsecond for two thousand years.
pub(super) const VERSION_MAX: u64 = (1 << 56) - 1;
/// Where a value has its origin; its version follows.
const ORIGIN: usize = 18;

pub(super) fn encode(record: &Record, origin: Origin, version: u64) -> [u8; VALUE] {
    let (tag, reason, time) = match record.status {
        Status::Good => (0, 0, 0),
        Status::Revoked { time, reason } => (1, reason.code(), time.0),
    };
    let mut value = [0; VALUE];
    value[0] = tag;
    value[1] = reason;
    value[2..10].copy_from_slice(&time.to_be_bytes());
    value[10..18].copy_from_slice(&record.not_after.map_or(0, |time| time.0).to_be_bytes());
    value[ORIGIN..].copy_from_slice(&(version & VERSION_MAX).to_be_bytes());
    value[ORIGIN] = origin.bits();
    value
}

/// The version of a record's value.
pub(super) fn version_of(value: &[u8; VALUE]) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|at| value[ORIGIN + at])) & VERSION_MAX
}

/// The byte of a record's value that has its origin.
pub(super) fn origin_byte(value: &[u8; VALUE]) -> u8 {
    value[ORIGIN]
}

pub(super) fn encode_mark(mark: &CrlMark) -> [u8; MARK] {
    let mut value = [0; MARK];
    value[0] = u8::from(mark.number.is_some());
    value[1..21].copy_from_slice(&mark.number.map_or([0; 20], |number| *number.padded()));
    value[21..29].copy_from_slice(&mark.this_update.0.to_be_bytes());
    value[29..].copy_from_slice(&mark.digest);
    value
}

pub(super) fn decode_mark(value: &[u8; MARK]) -> CrlMark {
    let number = CrlNumber::from_padded(std::array::from_fn(|at| value[1 + at]));
    CrlMark {
        number: Some(number).filter(|_| value[0] != 0),
        this_update: UnixTime(u64::from_be_bytes(std::array::from_fn(|at| value[21 + at]))),
        digest: std::array::from_fn(|at| value[29 + at]),
    }
}

pub(super) fn decode(key: &[u8; KEY], value: &[u8; VALUE]) -> Option<(Serial, Record, Origin)> {
    let (record, origin) = decode_value(value);
    Some((Serial::from_magnitude(&key[4..])?, record, origin))
}

pub(super) fn decode_value(value: &[u8; VALUE]) -> (Record, Origin) {
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| value[at + i]));
    let status = match value[0] {
        0 => Status::Good,
        // An unknown tag or reason is read as revoked: the safe side.
        _ => Status::Revoked {
            time: UnixTime(number(2)),
            reason: Reason::from_code(value[1]).unwrap_or(Reason::Unspecified),
        },
    };
    let not_after = Some(UnixTime(number(10))).filter(|time| time.0 != 0);
    (Record { status, not_after }, Origin::from_bits(origin_byte(value)))
}
