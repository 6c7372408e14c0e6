//! Which issuer that is, and the condition of its sources.
//!
//! Invariant: the tenant and the CA are those that the fingerprint is of, because it is computed from them. It does not
//! know when an issuer's sources are out of order.

use crate::{
    feed::{
        Issuer,
        wire::{Input, Read, Refusal, put_count, put_text},
    },
    issuer_id::IssuerId,
    limits::{CRL_SCOPES_MAX, feed as limits},
    pki::UnixTime,
    source::{CrlMark, CrlMarks, CrlNumber, CrlScope, ScopeMarks},
};

/// What is known of an issuer beside its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerStatus {
    /// The issuer.
    pub id: IssuerId,
    /// When its sources were last in order; `None` if never.
    pub verified: Option<UnixTime>,
    /// The nextUpdate of its CRL, if it has one.
    pub crl_next_update: Option<UnixTime>,
    /// Whether that CRL is its only source: then no answer is valid for longer.
    pub is_crl_alone: bool,
    /// The newest CRLs taken.
    pub crl_marks: CrlMarks,
}

impl IssuerStatus {
    /// What the issuer is called.
    pub fn issuer(&self) -> Issuer {
        Issuer::from(&self.id)
    }

    pub(in crate::feed) fn write(&self, bytes: &mut Vec<u8>) {
        put_text(bytes, self.id.tenant(), limits::NAME_OCTETS_MAX);
        bytes.extend_from_slice(self.id.ca());
        for time in [self.verified, self.crl_next_update] {
            bytes.extend_from_slice(&time.map_or(0, |time| time.0).to_be_bytes());
        }
        bytes.push(u8::from(self.is_crl_alone));
        write_marks(&self.crl_marks, bytes);
    }

    pub(in crate::feed) fn read(input: &mut Input<'_>) -> Read<Self> {
        let tenant = input.text(limits::NAME_OCTETS_MAX, "a tenant's name is impossible")?;
        let id = IssuerId::new(tenant, input.array()?);
        let mut time = || Ok(Some(UnixTime(input.u64()?)).filter(|time| time.0 != 0));
        let (verified, crl_next_update) = (time()?, time()?);
        let is_crl_alone = flag(input)?;
        Ok(Self { id, verified, crl_next_update, is_crl_alone, crl_marks: read_marks(input)? })
    }

    /// Bytes of it at most, as written.
    pub fn octets(&self) -> usize {
        let (scopes, holds) = (self.crl_marks.scopes().len(), self.crl_marks.holds().map_or(0, <[_]>::len));
        OCTETS_MIN + self.id.tenant().len() + 2 * 4 + scopes * (32 + 2 * MARK_OCTETS) + holds * 32
    }
}

/// Bytes of a mark at most.
const MARK_OCTETS: usize = 2 + CrlNumber::MAX_OCTETS + 8 + 32;
/// Begins marks by scope; earlier versions began with a flag, 0 or 1.
const SCOPES: u8 = 2;
const _: () = assert!(
    limits::NAME_OCTETS_MAX + OCTETS_MIN + CRL_SCOPES_MAX * (2 * 32 + 2 * MARK_OCTETS) + 64
        < limits::ENTRY_BODY_OCTETS_MAX
);

fn write_marks(marks: &CrlMarks, bytes: &mut Vec<u8>) {
    bytes.push(SCOPES);
    put_count(bytes, marks.scopes().len());
    for ScopeMarks { scope, complete, delta } in marks.scopes() {
        bytes.extend_from_slice(&scope.0);
        write_mark(complete.as_ref(), bytes);
        write_mark(delta.as_ref(), bytes);
    }
    bytes.push(u8::from(marks.holds().is_some()));
    if let Some(holds) = marks.holds() {
        put_count(bytes, holds.len());
        holds.iter().for_each(|scope| bytes.extend_from_slice(&scope.0));
    }
}

fn write_mark(mark: Option<&CrlMark>, bytes: &mut Vec<u8>) {
    bytes.push(u8::from(mark.is_some()));
    if let Some(CrlMark { number, this_update, digest }) = mark {
        bytes.push(u8::from(number.is_some()));
        bytes.extend_from_slice(&number.map_or([0; CrlNumber::MAX_OCTETS], |number| *number.padded()));
        bytes.extend_from_slice(&this_update.0.to_be_bytes());
        bytes.extend_from_slice(digest);
    }
}

/// Reads marks, also as earlier versions wrote them: of one complete and one delta CRL, and the scope of all holds.
fn read_marks(input: &mut Input<'_>) -> Read<CrlMarks> {
    if input.rest().first() != Some(&SCOPES) {
        let (complete, delta) = (read_mark(input)?, read_mark(input)?);
        let holds = flag(input)?.then(|| input.array().map(CrlScope)).transpose()?;
        return Ok(CrlMarks::of_one(complete, delta, holds));
    }
    input.u8()?;
    let count = input.count(CRL_SCOPES_MAX, 34, "it has too many scopes of CRLs")?;
    let mut scopes = Vec::with_capacity(count);
    for _ in 0..count {
        let scope = CrlScope(input.array()?);
        scopes.push(ScopeMarks { scope, complete: read_mark(input)?, delta: read_mark(input)? });
    }
    let mut holds = None;
    if flag(input)? {
        let count = input.count(CRL_SCOPES_MAX, 32, "it has too many scopes of holds")?;
        holds = Some((0..count).map(|_| input.array().map(CrlScope)).collect::<Read<Vec<_>>>()?);
    }
    // Out of order, twice, or without a mark.
    let known = holds.as_ref().map(Vec::len);
    let marks = CrlMarks::new(scopes.iter().copied(), holds);
    let is_as_written = marks.scopes() == scopes && marks.holds().map(<[_]>::len) == known;
    if is_as_written { Ok(marks) } else { Err(IMPOSSIBLE) }
}

fn read_mark(input: &mut Input<'_>) -> Read<Option<CrlMark>> {
    if !flag(input)? {
        return Ok(None);
    }
    let has_number = flag(input)?;
    let number = input.array()?;
    if !has_number && number != [0; CrlNumber::MAX_OCTETS] {
        return Err(IMPOSSIBLE);
    }
    let number = has_number.then(|| CrlNumber::from_padded(number));
    Ok(Some(CrlMark { number, this_update: UnixTime(input.u64()?), digest: input.array()? }))
}

const IMPOSSIBLE: Refusal = Refusal::Absurd("the mark of a CRL is impossible");

/// The fewest bytes of one.
pub(in crate::feed) const OCTETS_MIN: usize = 2 + 32 + 2 * 8 + 1 + 3;

fn flag(input: &mut Input<'_>) -> Read<bool> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(IMPOSSIBLE),
    }
}

pub(super) fn write(all: &[IssuerStatus], bytes: &mut Vec<u8>) {
    put_count(bytes, all.len());
    all.iter().for_each(|status| status.write(bytes));
}

pub(super) fn read(input: &mut Input<'_>) -> Read<Vec<IssuerStatus>> {
    let count = input.count(limits::ENTRY_ISSUERS_MAX, OCTETS_MIN, "it has too many issuers")?;
    (0..count).map(|_| IssuerStatus::read(input)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_earlier_versions_are_read_and_the_most_that_there_can_be_fit_an_entry() {
        let mark = CrlMark { number: Some(CrlNumber::from_padded([9; 20])), this_update: UnixTime(7), digest: [3; 32] };
        let mut earlier = Vec::new();
        write_mark(Some(&mark), &mut earlier);
        write_mark(None, &mut earlier);
        earlier.push(1);
        earlier.extend_from_slice(&[5; 32]);
        let read = read_marks(&mut Input::new(&earlier));
        assert_eq!(read, Ok(CrlMarks::of_one(Some(mark), None, Some(CrlScope([5; 32])))));
        assert_eq!(read_marks(&mut Input::new(&[0, 0, 0])), Ok(CrlMarks::default()));

        let scopes =
            (0..CRL_SCOPES_MAX).map(|at| CrlScope(std::array::from_fn(|i| (at >> (8 * (31 - i).min(3))) as u8)));
        let scopes: Vec<_> = scopes.collect();
        let of = |scope: &CrlScope| ScopeMarks { scope: *scope, complete: Some(mark), delta: Some(mark) };
        let status = IssuerStatus {
            id: IssuerId::new(&"t".repeat(limits::NAME_OCTETS_MAX), [7; 32]),
            verified: Some(UnixTime(1)),
            crl_next_update: None,
            is_crl_alone: true,
            crl_marks: CrlMarks::new(scopes.iter().map(of), Some(scopes.clone())),
        };
        let mut bytes = Vec::new();
        write(std::slice::from_ref(&status), &mut bytes);
        assert!(bytes.len() - 4 <= status.octets() && bytes.len() < limits::ENTRY_BODY_OCTETS_MAX, "{}", bytes.len());
        assert_eq!(super::read(&mut Input::new(&bytes)), Ok(vec![status]));
    }
}
