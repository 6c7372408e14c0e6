//! A requested answer: from the present records to the bytes to sign, and from the signature to the answer, if the
//! records still say the same.
//!
//! It does not know who waits, or what signs.

use std::sync::Arc;

use precompute::{
    answers::AnswerKey,
    ocsp::{
        Carried, Carries, Carrying, CertId, Content, HashAlgorithm, OcspError, Policy, Single,
        profile::{Statement, Times, single, statement},
    },
    pki::{Serial, UnixTime},
    signers::OcspSigner,
};

use super::{
    answer::statements,
    store::{Answer, Etag},
};
use crate::{limits, site::Issuer};

/// CertIDs, and the signer of the answer for all of them.
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// The signer; one of every issuer in `ids`.
    pub signer: Arc<OcspSigner>,
    /// The key under which the answer is kept and shared; `None` if it is not.
    pub key: Option<AnswerKey>,
    ids: Vec<RequestedId>,
    nonce: Option<Box<[u8]>>,
}

#[derive(Clone, Debug)]
struct RequestedId {
    issuer: Arc<Issuer>,
    hash: HashAlgorithm,
    /// Content bytes of the serialNumber, which the response repeats unchanged.
    serial: Vec<u8>,
}

impl RequestedId {
    fn new(issuer: &Arc<Issuer>, id: &CertId<'_>) -> Self {
        Self { issuer: Arc::clone(issuer), hash: id.hash, serial: id.serial.to_vec() }
    }

    fn cert_id(&self) -> CertId<'_> {
        self.issuer.hashes.cert_id(self.hash, &self.serial)
    }
}

/// A response without its signature.
#[derive(Debug)]
pub struct Unsigned {
    /// The bytes to sign.
    pub response_data: Vec<u8>,
    statements: Box<[Statement]>,
    times: Times,
    /// For each statement; empty if they carry nothing.
    carried: Vec<Carried>,
}

impl Unsigned {
    /// Whether it is about one certificate, which is listed.
    pub fn is_listed(&self) -> bool {
        matches!(*self.statements, [Statement { state: Some(_), .. }])
    }
}

impl SignRequest {
    /// An answer for one certificate; `signer`: the issuer's signer at this place.
    pub fn one(issuer: &Arc<Issuer>, (place, signer): (u8, &Arc<OcspSigner>), id: &CertId<'_>) -> Self {
        Self {
            signer: Arc::clone(signer),
            key: id.serial().ok().map(|serial| issuer.key(id.hash, place, &serial)),
            ids: vec![RequestedId::new(issuer, id)],
            nonce: None,
        }
    }

    /// An answer for one client alone: with its nonce, or for several certificates, in order, each with its issuer.
    pub fn once<'i>(
        signer: Arc<OcspSigner>,
        ids: impl Iterator<Item = (&'i Arc<Issuer>, CertId<'i>)>,
        nonce: Option<&[u8]>,
    ) -> Self {
        Self {
            signer,
            key: None,
            ids: ids.map(|(issuer, id)| RequestedId::new(issuer, &id)).collect(),
            nonce: nonce.map(Into::into),
        }
    }

    /// Every certificate with its issuer, in order.
    pub(super) fn requested(&self) -> impl Iterator<Item = (&Arc<Issuer>, CertId<'_>)> {
        self.ids.iter().map(|id| (&id.issuer, id.cert_id()))
    }

    /// The client's nonce, if the answer repeats it.
    pub(super) fn nonce(&self) -> Option<&[u8]> {
        self.nonce.as_deref()
    }

    /// The statements for the present state.
    pub fn statements(&self, now: UnixTime) -> Result<Box<[Statement]>, OcspError> {
        let found = |id: &RequestedId| id.issuer.find(&id.cert_id().serial()?);
        // An issuer of which nothing is known yet: one that may be revoked must not be unknown among others.
        if self.ids.iter().any(|id| found(id) == Err(OcspError::TryLater)) {
            return Err(OcspError::TryLater);
        }
        match &self.ids[..] {
            [one] => Ok(Box::new([statement(&one.issuer.policy, found(one)?, now)?])),
            // Issuers in one request belong to one tenant; each has its own setting for unlisted serials.
            [_, ..] => statements(self.ids.iter().map(|id| (&id.issuer.policy, found(id))), now),
            [] => Err(OcspError::MalformedRequest),
        }
    }

    /// The bytes to sign for the present state. `spread`: see [`Times::plan`].
    pub fn prepare(&self, now: UnixTime, spread: u32) -> Result<Unsigned, OcspError> {
        let told_until = self.may_be_signed(now)?;
        let statements = self.statements(now)?;
        let lasting = statements.iter().all(Statement::may_be_kept);
        // Of several issuers, the one whose answers end first.
        let policies = self.ids.iter().map(|id| &id.issuer.policy);
        let policy = *policies.min_by_key(|policy| policy.validity).ok_or(OcspError::MalformedRequest)?;
        let at_most = if lasting { policy.validity } else { limits::UNLISTED_VALIDITY };
        let policy = Policy { validity: policy.validity.min(at_most), ..policy };
        let times = Times::plan(now, &policy, self.signer.not_after().min(told_until), spread);
        let times = times.ok_or(OcspError::InternalError)?;
        let carried = self.carried(&statements)?;
        Ok(self.unsigned(statements, times, carried))
    }

    /// What the answers with these statements carry; empty if nothing.
    pub(super) fn carried(&self, statements: &[Statement]) -> Result<Vec<Carried>, OcspError> {
        if self.ids.iter().all(|id| id.issuer.policy.carries == Carries::NONE) {
            return Ok(Vec::new());
        }
        let carried = |(id, statement): (&RequestedId, &Statement)| match id.cert_id().serial() {
            Ok(serial) => id.issuer.carried(&serial, statement),
            Err(_) => Ok(Carried::default()),
        };
        self.ids.iter().zip(statements).map(carried).collect()
    }

    /// Whether anything may be said with the present time: data that is too old is not, while answers signed earlier state
    /// their own. Gives the latest nextUpdate that the sources allow.
    pub(super) fn may_be_signed(&self, now: UnixTime) -> Result<UnixTime, OcspError> {
        let mut told_until = self.ids.iter().map(|id| id.issuer.may_be_signed(now));
        told_until.try_fold(UnixTime::MAX, |first, until| Ok(first.min(until?)))
    }

    /// The bytes to sign for these values.
    pub(super) fn unsigned(&self, statements: Box<[Statement]>, times: Times, carried: Vec<Carried>) -> Unsigned {
        let mut unsigned = Unsigned { statements, times, carried, response_data: Vec::new() };
        unsigned.response_data = self.with_content(&unsigned, |content| self.signer.template().response_data(content));
        unsigned
    }

    /// The answer with its signature; `None` if its statements have changed in the meantime.
    pub fn complete(&self, unsigned: &Unsigned, signature: &[u8], now: UnixTime) -> Option<Answer> {
        // The later look-up counts: nothing older is served.
        if self.statements(now).ok()? != unsigned.statements {
            return None;
        }
        let template = self.signer.template();
        let body = self.with_content(unsigned, |content| template.response(content, signature));
        Some(Answer {
            statements: unsigned.statements.clone(),
            times: unsigned.times,
            etag: Etag::of(template, signature),
            body: body.into(),
            tail: self.tail(&unsigned.carried),
        })
    }

    /// What stands behind the packed signature of an answer that can be kept.
    fn tail(&self, carried: &[Carried]) -> Vec<u8> {
        let mut tail = Vec::new();
        if let (Some((issuer, _)), [carried]) = (self.only(), carried) {
            carried.write_tail(issuer.policy.carries, &mut tail);
        }
        tail
    }

    fn with_content<T>(&self, unsigned: &Unsigned, then: impl FnOnce(&Content<'_>) -> T) -> T {
        let Unsigned { statements, times, carried, .. } = unsigned;
        let mut singles = Vec::with_capacity(statements.len());
        for (place, (id, statement)) in self.ids.iter().zip(statements).enumerate() {
            let carried = carried.get(place).filter(|carried| !carried.is_empty());
            let carrying = carried.map(|carried| Carrying { carried, urls: &id.issuer.crl_urls });
            let mut add = |cert_id| {
                let single = single(cert_id, &id.issuer.policy, id.issuer.not_before, statement, times);
                singles.push(Single { carrying, ..single });
            };
            // What can be kept is for everybody who asks by one of the algorithms that are answered together.
            if self.key.is_none() {
                add(id.cert_id());
            } else {
                let set = id.issuer.policy.together.of(id.hash);
                set.for_each(|hash| add(id.issuer.hashes.cert_id(hash, &id.serial)));
            }
        }
        then(&Content {
            produced_at: times.signed_at,
            singles: &singles,
            extended_revoke: statements.iter().any(|statement| statement.extended_revoke),
            nonce: self.nonce.as_deref(),
        })
    }

    /// The certificate of an answer that can be kept.
    pub fn only(&self) -> Option<(&Arc<Issuer>, CertId<'_>)> {
        self.ids.first().filter(|_| self.key.is_some()).map(|id| (&id.issuer, id.cert_id()))
    }

    /// The certificates, in order: the issuer, and the serial number if certificates can have it.
    pub fn asked(&self) -> impl Iterator<Item = (&Arc<Issuer>, Option<Serial>)> {
        self.ids.iter().map(|id| (&id.issuer, id.cert_id().serial().ok()))
    }

    /// Content bytes of the first serialNumber.
    pub fn first_serial(&self) -> &[u8] {
        self.ids.first().map_or(&[], |id| &id.serial)
    }
}
