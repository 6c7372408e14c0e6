//! Pages of a damaged book, read without redb.
//!
//! Purpose: a leaf still exists when no path through its table's tree leads to it any more. Invariant: a page counts
//! only if most of it makes sense as a leaf of its table. It may be an older copy, or left over: the caller judges.
//!
//! The layout is that of redb's file format 3: a page is 4096 bytes times a power of two. A leaf with keys and values
//! of fixed widths has a byte of type, an unused byte, the number of pairs (16 bits, little-endian), all keys, all
//! values.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use super::{LAST_TIME, RecordKey, Value, number_of, u64_at};
use crate::{
    book::{
        codec::{origin_byte, version_of},
        layout::{KEY, VALUE},
    },
    records::Origin,
};

const PAGE: usize = 4096;
const LEAF: u8 = 1;
/// Bytes before the pairs.
const HEAD: usize = 4;
const FINGERPRINT: usize = 32;
/// No book has as many issuers, because each has its certificate in the configuration.
const PLAUSIBLE_ISSUERS_MAX: u32 = 1 << 20;
/// A commit each microsecond for nine years.
const VERSION_MAX: u64 = 1 << 48;

/// Calls `each` with the contents of every page that looks like a leaf of the records.
pub(super) fn records(path: &Path, mut each: impl FnMut(RecordKey, Value)) {
    every(path, |file, offset, page| {
        let needed = HEAD + pairs(page) * (KEY + VALUE);
        let found = if needed <= page.len() {
            leaf_of_records(page)
        } else if page[0] == LEAF && page[HEAD..].chunks_exact(KEY).all(is_key) {
            let mut larger = vec![0; needed];
            file.read_exact_at(&mut larger, offset).ok().and_then(|()| leaf_of_records(&larger))
        } else {
            None
        };
        for (key, value) in found.unwrap_or_default() {
            each(key, value);
        }
    });
}

/// Calls `each` with the contents of every page that may be a leaf of the issuers, or anything else.
pub(super) fn issuers(path: &Path, mut each: impl FnMut([u8; FINGERPRINT], u32)) {
    every(path, |_, _, page| {
        let pairs = pairs(page);
        let numbers = HEAD + pairs * FINGERPRINT;
        let Some(numbers) = page.get(numbers..numbers + pairs * 4) else { return };
        for (fingerprint, number) in page[HEAD..].chunks_exact(FINGERPRINT).zip(numbers.chunks_exact(4)) {
            each(std::array::from_fn(|at| fingerprint[at]), little(number));
        }
    });
}

/// Calls `each` with the contents of every page that may be a leaf of the tenants: number, fingerprint, name. Its
/// values have no fixed width: their ends are listed before the keys.
pub(super) fn tenants(path: &Path, mut each: impl FnMut(u32, [u8; FINGERPRINT], &str)) {
    every(path, |_, _, page| {
        let pairs = pairs(page);
        let first = HEAD + pairs * 8;
        let Some(head) = page.get(HEAD..first) else { return };
        let (ends, numbers) = head.split_at(pairs * 4);
        let mut start = first;
        for (end, number) in ends.chunks_exact(4).zip(numbers.chunks_exact(4)) {
            let end = little(end) as usize;
            let Some((fingerprint, name)) = page.get(start..end).and_then(|value| value.split_at_checked(FINGERPRINT))
            else {
                return;
            };
            if let Ok(name) = std::str::from_utf8(name) {
                each(little(number), std::array::from_fn(|at| fingerprint[at]), name);
            }
            start = end;
        }
    });
}

/// Calls `each` with every page that is at least partly there; an unreadable page is left out.
fn every(path: &Path, mut each: impl FnMut(&File, u64, &[u8])) {
    let Ok(file) = File::open(path) else { return };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    for offset in (0..length).step_by(PAGE) {
        let mut page = vec![0; PAGE.min((length - offset) as usize)];
        if page.len() > HEAD && file.read_exact_at(&mut page, offset).is_ok() {
            each(&file, offset, &page);
        }
    }
}

fn pairs(page: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([page[2], page[3]]))
}

fn little(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|at| bytes[at]))
}

/// All pairs, if more than half of them make sense. The type may be the damaged part.
fn leaf_of_records(page: &[u8]) -> Option<Vec<(RecordKey, Value)>> {
    let pairs = pairs(page);
    let (keys, values) = page.get(HEAD..HEAD + pairs * (KEY + VALUE))?.split_at(pairs * KEY);
    let found: Vec<(RecordKey, Value)> = keys
        .chunks_exact(KEY)
        .zip(values.chunks_exact(VALUE))
        .map(|(key, value)| (std::array::from_fn(|at| key[at]), std::array::from_fn(|at| value[at])))
        .collect();
    let sensible = found.iter().filter(|(key, value)| is_key(key) && is_value(value)).count();
    let in_order = found.windows(2).filter(|pair| pair[0].0 < pair[1].0).count();
    (sensible * 2 > pairs && (in_order + 1) * 2 > pairs).then_some(found)
}

fn is_key(key: &[u8]) -> bool {
    let key: RecordKey = std::array::from_fn(|at| key[at]);
    number_of(&key) < PLAUSIBLE_ISSUERS_MAX && key[4..].iter().any(|byte| *byte != 0)
}

fn is_value(value: &Value) -> bool {
    let is_record = match value[0] {
        0 => value[..10] == [0; 10],
        1 => value[1] <= 10 && u64_at(value, 2) <= LAST_TIME,
        _ => false,
    };
    let is_origin = Origin::from_bits(origin_byte(value)).bits() == origin_byte(value);
    is_record && u64_at(value, 10) <= LAST_TIME && is_origin && (1..VERSION_MAX).contains(&version_of(value))
}
