//! Records and marks of CRLs as bytes.
//!
//! Invariant: what is read is written back as the same bytes; anything else is refused. It does not know the tables of a
//! book: those may change, and files stay.
//!
//! A row is the serial in 20 bytes, the reason's code in one (255 for good), the time of the revocation in 8, the end of
//! validity in 8 (0 if unknown) and the origin in one. A mark is a byte that says what there is (0 none, 1 without a
//! number, 2 with one), and then the number in 20 bytes, thisUpdate in 8 and a digest in 32.

use crate::{
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{Change, Origin},
    source::{CrlMark, CrlMarks, CrlNumber, CrlScope},
};

/// Bytes of a record.
pub(super) const ROW: usize = Serial::MAX_OCTETS + 1 + 8 + 8 + 1;
const GOOD: u8 = 0xff;

/// Appends a record.
pub(super) fn put(bytes: &mut Vec<u8>, serial: &Serial, record: &Record, origin: Origin) {
    let (code, time) = match record.status {
        Status::Good => (GOOD, 0),
        Status::Revoked { time, reason } => (reason.code(), time.0),
    };
    bytes.extend_from_slice(serial.padded());
    bytes.push(code);
    bytes.extend_from_slice(&time.to_be_bytes());
    bytes.extend_from_slice(&record.not_after.map_or(0, |end| end.0).to_be_bytes());
    bytes.push(origin.bits());
}

/// Reads one; `None` if it is none that [`put`] writes.
pub(super) fn read(row: &[u8]) -> Option<Change> {
    let mut input = Input(row);
    let serial = Serial::from_magnitude(&input.array::<{ Serial::MAX_OCTETS }>()?)?;
    let (code, time) = (input.byte()?, input.number()?);
    let status = match code {
        GOOD if time == 0 => Status::Good,
        GOOD => return None,
        code => Status::Revoked { time: UnixTime(time), reason: Reason::from_code(code)? },
    };
    let not_after = Some(UnixTime(input.number()?)).filter(|end| end.0 != 0);
    let bits = input.byte()?;
    let origin = Origin::from_bits(bits);
    (input.is_empty() && origin.bits() == bits)
        .then(|| Change::new(serial, Some(Record { status, not_after })).by(origin))
}

/// Appends the marks of an issuer.
pub(super) fn put_marks(bytes: &mut Vec<u8>, marks: &CrlMarks) {
    let scope = |scope: CrlScope| CrlMark { number: None, this_update: UnixTime(0), digest: scope.0 };
    for mark in [marks.complete, marks.delta, marks.holds.map(scope)] {
        let Some(CrlMark { number, this_update, digest }) = mark else {
            bytes.push(0);
            continue;
        };
        bytes.push(if number.is_some() { 2 } else { 1 });
        bytes.extend_from_slice(&number.map_or([0; CrlNumber::MAX_OCTETS], |number| *number.padded()));
        bytes.extend_from_slice(&this_update.0.to_be_bytes());
        bytes.extend_from_slice(&digest);
    }
}

/// Reads them.
pub(super) fn read_marks(input: &mut Input<'_>) -> Option<CrlMarks> {
    let (complete, delta, holds) = (read_mark(input)?, read_mark(input)?, read_mark(input)?);
    Some(CrlMarks { complete, delta, holds: holds.map(|mark| CrlScope(mark.digest)) })
}

fn read_mark(input: &mut Input<'_>) -> Option<Option<CrlMark>> {
    let has_number = match input.byte()? {
        0 => return Some(None),
        1 => false,
        2 => true,
        _ => return None,
    };
    let number = CrlNumber::from_padded(input.array()?);
    let this_update = UnixTime(input.number()?);
    Some(Some(CrlMark { number: has_number.then_some(number), this_update, digest: input.array()? }))
}

/// Bytes that are read from the front.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
