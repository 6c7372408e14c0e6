//! Records and marks of CRLs as bytes.
//!
//! Invariant: what is read is written back as the same bytes; anything else is refused. It does not know the tables of a
//! book: those may change, and files stay.
//!
//! A row is the serial in 20 bytes, the reason's code in one (255 for good), the time of the revocation in 8, the end of
//! validity in 8 (0 if unknown) and the origin in one. A mark is a byte that says what there is (0 none, 1 without a
//! number, 2 with one), and then the number in 20 bytes, thisUpdate in 8 and a digest in 32. The marks of an issuer are a
//! byte 3, the number of scopes in two bytes, of each its 32 bytes and two marks, a byte that says whether it is known under
//! which scopes holds were listed, and these scopes behind their number. The hash of a certificate is the serial in 20 bytes,
//! and SHA-256 in 32.

use crate::{
    limits,
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{CertificateHash, Change, Origin},
    source::{CrlMark, CrlMarks, CrlNumber, CrlScope, ScopeMarks},
};

/// Bytes of a record.
pub(super) const ROW: usize = Serial::MAX_OCTETS + 1 + 8 + 8 + 1;
const GOOD: u8 = 0xff;
/// Begins the marks of an issuer; earlier versions began them with a mark, 0 to 2.
const SCOPES: u8 = 3;

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

/// Bytes of the hash of a certificate.
pub(super) const HASH_ROW: usize = Serial::MAX_OCTETS + 32;

/// Appends the hash of a certificate.
pub(super) fn put_hash(bytes: &mut Vec<u8>, serial: &Serial, hash: &CertificateHash) {
    bytes.extend_from_slice(serial.padded());
    bytes.extend_from_slice(hash);
}

/// Reads one; `None` if it is none that [`put_hash`] writes.
pub(super) fn read_hash(row: &[u8]) -> Option<(Serial, CertificateHash)> {
    let mut input = Input(row);
    let (serial, hash) = (Serial::from_magnitude(&input.array::<{ Serial::MAX_OCTETS }>()?)?, input.array()?);
    input.is_empty().then_some((serial, hash))
}

/// Appends the marks of an issuer.
pub(super) fn put_marks(bytes: &mut Vec<u8>, marks: &CrlMarks) {
    bytes.push(SCOPES);
    put_count(bytes, marks.scopes().len());
    for ScopeMarks { scope, complete, delta } in marks.scopes() {
        bytes.extend_from_slice(&scope.0);
        put_mark(bytes, complete.as_ref());
        put_mark(bytes, delta.as_ref());
    }
    bytes.push(u8::from(marks.holds().is_some()));
    if let Some(holds) = marks.holds() {
        put_count(bytes, holds.len());
        holds.iter().for_each(|scope| bytes.extend_from_slice(&scope.0));
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

fn put_mark(bytes: &mut Vec<u8>, mark: Option<&CrlMark>) {
    let Some(CrlMark { number, this_update, digest }) = mark else {
        bytes.push(0);
        return;
    };
    bytes.push(if number.is_some() { 2 } else { 1 });
    bytes.extend_from_slice(&number.map_or([0; CrlNumber::MAX_OCTETS], |number| *number.padded()));
    bytes.extend_from_slice(&this_update.0.to_be_bytes());
    bytes.extend_from_slice(digest);
}

/// Reads them, also as earlier versions wrote them: the complete CRL, the delta and the scope of holds, each as a mark.
pub(super) fn read_marks(input: &mut Input<'_>) -> Option<CrlMarks> {
    if input.0.first() != Some(&SCOPES) {
        let (complete, delta, holds) = (read_mark(input)?, read_mark(input)?, read_mark(input)?);
        return Some(CrlMarks::of_one(complete, delta, holds.map(|mark| CrlScope(mark.digest))));
    }
    input.byte()?;
    let count = read_count(input)?;
    let scopes: Option<Vec<_>> = (0..count)
        .map(|_| {
            let scope = CrlScope(input.array()?);
            Some(ScopeMarks { scope, complete: read_mark(input)?, delta: read_mark(input)? })
        })
        .collect();
    let holds = match input.byte()? {
        0 => None,
        1 => {
            let count = read_count(input)?;
            Some((0..count).map(|_| input.array().map(CrlScope)).collect::<Option<Vec<_>>>()?)
        }
        _ => return None,
    };
    // What is out of order, twice there or empty was not written by [`put_marks`].
    let (scopes, count) = (scopes?, holds.as_ref().map(Vec::len));
    let marks = CrlMarks::new(scopes.iter().copied(), holds);
    (marks.scopes() == scopes && marks.holds().map(<[_]>::len) == count).then_some(marks)
}

fn read_count(input: &mut Input<'_>) -> Option<usize> {
    let count = usize::from(u16::from_be_bytes(input.array()?));
    (count <= limits::CRL_SCOPES_MAX).then_some(count)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: Option<u8>) -> CrlMark {
        let number = number.map(|number| CrlNumber::from_padded([number; 20]));
        CrlMark { number, this_update: UnixTime(7), digest: [3; 32] }
    }

    #[test]
    fn marks_of_all_scopes_are_read_as_they_were_written_and_nothing_else_is() {
        let scope = |scope: u8| CrlScope([scope; 32]);
        let of = |at, complete, delta| ScopeMarks { scope: scope(at), complete, delta };
        let scopes = [of(1, Some(mark(Some(1))), None), of(2, None, Some(mark(None)))];
        for holds in [None, Some(vec![]), Some(vec![scope(2), scope(5)])] {
            for count in 0..=2 {
                let marks = CrlMarks::new(scopes[..count].iter().copied(), holds.clone());
                let mut bytes = Vec::new();
                put_marks(&mut bytes, &marks);
                let mut input = Input(&bytes);
                assert_eq!((read_marks(&mut input), input.is_empty()), (Some(marks), true));
                for end in 0..bytes.len() {
                    assert_eq!(read_marks(&mut Input(&bytes[..end])), None, "{end}");
                }
            }
        }
        // Out of order, and more than there may be.
        let mut bytes = Vec::new();
        put_marks(&mut bytes, &CrlMarks::new(scopes, None));
        bytes[3] = 9;
        assert_eq!(read_marks(&mut Input(&bytes)), None);
        assert_eq!(read_marks(&mut Input(&[SCOPES, 1, 1])), None);
    }

    #[test]
    fn marks_of_earlier_versions_are_of_the_scope_of_holds() {
        let mut bytes = Vec::new();
        put_mark(&mut bytes, Some(&mark(Some(9))));
        put_mark(&mut bytes, None);
        put_mark(&mut bytes, Some(&CrlMark { number: None, this_update: UnixTime(0), digest: [5; 32] }));
        let wanted = CrlMarks::of_one(Some(mark(Some(9))), None, Some(CrlScope([5; 32])));
        assert_eq!(read_marks(&mut Input(&bytes)), Some(wanted));
        assert_eq!(read_marks(&mut Input(&[0, 0, 0])), Some(CrlMarks::default()));
    }
}
