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
    limits::feed as limits,
    pki::UnixTime,
    source::{CrlMark, CrlMarks, CrlNumber, CrlScope},
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
        let CrlMarks { complete, delta, holds } = &self.crl_marks;
        for mark in [complete, delta] {
            bytes.push(u8::from(mark.is_some()));
            if let Some(CrlMark { number, this_update, digest }) = mark {
                bytes.push(u8::from(number.is_some()));
                bytes.extend_from_slice(&number.map_or([0; CrlNumber::MAX_OCTETS], |number| *number.padded()));
                bytes.extend_from_slice(&this_update.0.to_be_bytes());
                bytes.extend_from_slice(digest);
            }
        }
        bytes.push(u8::from(holds.is_some()));
        if let Some(scope) = holds {
            bytes.extend_from_slice(&scope.0);
        }
    }

    pub(in crate::feed) fn read(input: &mut Input<'_>) -> Read<Self> {
        let tenant = input.text(limits::NAME_OCTETS_MAX, "a tenant's name is impossible")?;
        let id = IssuerId::new(tenant, input.array()?);
        let mut time = || Ok(Some(UnixTime(input.u64()?)).filter(|time| time.0 != 0));
        let (verified, crl_next_update) = (time()?, time()?);
        let is_crl_alone = flag(input)?;
        let mut mark = || {
            flag(input)?
                .then(|| {
                    let has_number = flag(input)?;
                    let number = input.array()?;
                    if !has_number && number != [0; CrlNumber::MAX_OCTETS] {
                        return Err(IMPOSSIBLE);
                    }
                    let number = has_number.then(|| CrlNumber::from_padded(number));
                    Ok(CrlMark { number, this_update: UnixTime(input.u64()?), digest: input.array()? })
                })
                .transpose()
        };
        let (complete, delta) = (mark()?, mark()?);
        let holds = flag(input)?.then(|| input.array().map(CrlScope)).transpose()?;
        Ok(Self { id, verified, crl_next_update, is_crl_alone, crl_marks: CrlMarks { complete, delta, holds } })
    }
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
