//! An issuer whose answers are signed ahead: what to sign, and what happens to the signature.
//!
//! Invariant: a signature is kept only if the record still says what was signed when the signature arrives. It does not
//! know what signs, or in what order.

use aws_lc_rs::digest;

use super::store::Stored;
use crate::{
    answers::{AnswerKey, Answers, Entry},
    issuer::ActiveIssuer,
    limits,
    ocsp::{
        Carried, Carries, Carrying, Content, HashAlgorithm, Policy, Refresh, Single,
        profile::{Kept, Statement, Times, single, statement},
    },
    pki::{Serial, UnixTime},
    records::Found,
    signers::OcspSigner,
    transparency::Answer,
};
use std::sync::Arc;

/// One issuer of one tenant, and what is signed ahead for it.
#[derive(Debug)]
pub struct Subject {
    /// Its records, its signers and its policy.
    pub issuer: Arc<ActiveIssuer>,
    /// The hash algorithms of the CertIDs whose answers are signed ahead.
    pub ahead: Vec<HashAlgorithm>,
}

/// Answers of one issuer that differ only in the certificate.
#[derive(Clone, Debug)]
pub struct Form {
    /// The hash algorithm of the CertID, or the first of those that are answered together.
    pub hash: HashAlgorithm,
    /// The signer's place among the issuer's signers.
    pub place: u8,
    /// Who signs.
    pub signer: Arc<OcspSigner>,
    /// Equal for two forms, here or in another process, if and only if answers signed in one can be served for the
    /// other.
    pub fingerprint: [u8; 32],
}

/// An answer without its signature.
#[derive(Debug)]
pub struct Draft {
    serial: Serial,
    statement: Statement,
    times: Times,
    carried: Carried,
}

/// The outcome of a signature.
#[derive(Debug)]
pub enum Outcome {
    /// The answer is kept; the value is for a store.
    Kept(Stored),
    /// The record has changed in the meantime; nothing is kept.
    Changed,
    /// There is no more room.
    Full,
}

impl Form {
    /// A hash over everything that answers of an issuer by a signer depend on, except the certificate and the times. `hash`:
    /// of the CertID.
    pub fn fingerprint_of(issuer: &ActiveIssuer, hash: HashAlgorithm, signer: &OcspSigner) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut add = |octets: &[u8]| {
            context.update(&(octets.len() as u64).to_be_bytes());
            context.update(octets);
        };
        add(b"Ostia answers 1");
        add(issuer.id().tenant().as_bytes());
        let (name_hash, key_hash) = issuer.hashes.get(HashAlgorithm::Sha256);
        add(name_hash);
        add(key_hash);
        let first = issuer.policy.together.first(hash);
        issuer.policy.together.of(first).for_each(|hash| add(hash.oid()));
        add(signer.certificate_der());
        add(signer.algorithm().identifier());
        add(signer.template().fingerprint());
        add(&signer.not_after().0.to_be_bytes());
        let Policy { validity, retain_expired, archive_cutoff, refresh, backdate, serve_for, carries, .. } =
            issuer.policy;
        add(&validity.as_secs().to_be_bytes());
        if archive_cutoff {
            add(&retain_expired.as_secs().to_be_bytes());
            add(&issuer.not_before.0.to_be_bytes());
        }
        // What was signed before these could be set is as if they were not.
        for (name, seconds, default) in
            [("backdate", backdate, Policy::DEFAULT.backdate), ("serve_for", serve_for, Policy::DEFAULT.serve_for)]
        {
            if seconds != default {
                add(name.as_bytes());
                add(&seconds.as_secs().to_be_bytes());
            }
        }
        if let Refresh::Share(share) = refresh {
            add(b"refresh");
            add(&share.thousandths().to_be_bytes());
        }
        if carries != Carries::NONE {
            add(b"carries");
            add(&[carries.bits()]);
            if carries.crl_reference {
                issuer.crl_urls.iter().for_each(|url| add(url.as_bytes()));
            }
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }
}

impl Form {
    /// What is stated of an answer in this form; `packed`: its signature as it is kept.
    pub fn stated(&self, entry: &Entry, packed: &[u8]) -> Answer {
        let mut signature = Vec::with_capacity(packed.len() + 8);
        self.signer.packing().unpack(packed, &mut signature);
        let (mut form, mut hash) = ([0; 8], [0; 32]);
        form.copy_from_slice(&self.fingerprint[..8]);
        hash.copy_from_slice(digest::digest(&digest::SHA256, &signature).as_ref());
        let Entry { this_update, next_update, .. } = *entry;
        Answer { hash: self.hash, form, signature: hash, this_update, next_update }
    }
}

impl Subject {
    /// The forms of the answers that clients get `now`: those of the signer for clients without preferences. From the
    /// moment that this signer is noted as revoked, it is another signer. Empty if no signer is valid.
    pub fn forms(&self, now: UnixTime) -> Vec<Form> {
        let chosen = self.issuer.signers.choose(now, self.issuer.policy.validity, std::iter::empty());
        chosen.map_or_else(Vec::new, |(place, signer)| self.forms_of(place, signer))
    }

    /// The forms of the signer that now signs new answers for such clients.
    pub fn forms_at_work(&self, now: UnixTime) -> Vec<Form> {
        let chosen = self.issuer.signers.choose_at_work(now, self.issuer.policy.validity, std::iter::empty());
        chosen.map_or_else(Vec::new, |(place, signer)| self.forms_of(place, signer))
    }

    /// The forms of the answers that clients will get soon, if those differ. A quarter of the validity before another
    /// signer takes over, its answers begin to be signed, so that they are ready then.
    pub fn next_forms(&self, now: UnixTime) -> Vec<Form> {
        let soon = now.after(self.issuer.policy.validity / 4);
        let chosen = |at| self.issuer.signers.choose(at, self.issuer.policy.validity, std::iter::empty());
        match (chosen(now), chosen(soon)) {
            (Some((place, _)), Some((next, signer))) if next != place && signer.check_validity(now).is_ok() => {
                self.forms_of(next, signer)
            }
            _ => Vec::new(),
        }
    }

    /// The forms of all signers, valid or not.
    pub fn all_forms(&self) -> Vec<Form> {
        let all = self.issuer.signers.all().iter().enumerate();
        all.flat_map(|(place, signer)| self.forms_of(place as u8, signer)).collect()
    }

    /// Whether its answers are stored: not those that are replaced so often that the disk would do little else, and that a
    /// restart signs again as fast as it did before.
    pub fn is_stored(&self) -> bool {
        let policy = &self.issuer.policy;
        policy.refresh_after(policy.validity) >= limits::ANSWER_STORED_MIN
    }

    fn forms_of(&self, place: u8, signer: &Arc<OcspSigner>) -> Vec<Form> {
        let form = |hash: &HashAlgorithm| Form {
            hash: *hash,
            place,
            signer: Arc::clone(signer),
            fingerprint: Form::fingerprint_of(&self.issuer, *hash, signer),
        };
        self.ahead.iter().map(form).collect()
    }

    /// The key under which an answer is kept.
    #[inline]
    pub fn key(&self, form: &Form, serial: &Serial) -> AnswerKey {
        self.issuer.key(form.hash, form.place, serial)
    }

    /// The answer that is kept already; `packed` is overwritten.
    #[inline]
    pub fn kept(&self, answers: &Answers, form: &Form, serial: &Serial, packed: &mut Vec<u8>) -> Option<Entry> {
        answers.get(&self.key(form, serial), self.packed_length(form), packed)
    }

    /// The same unless it carries something else of the certificate than is known now: a source has corrected that.
    #[inline]
    pub(super) fn kept_as_known(
        &self,
        answers: &Answers,
        form: &Form,
        serial: &Serial,
        packed: &mut Vec<u8>,
    ) -> Option<Entry> {
        let entry = self.kept(answers, form, serial, packed)?;
        let carries = self.issuer.policy.carries;
        if carries == Carries::NONE {
            return Some(entry);
        }
        // Of what is not known yet, nothing is said.
        let known = Kept::of(&entry).and_then(|kept| self.issuer.carried(serial, &kept.statement).ok());
        let tail = packed.get(form.signer.packing().length()..).unwrap_or_default();
        known.is_none_or(|known| Carried::of_tail(carries, tail).agrees_with(&known)).then_some(entry)
    }

    /// Bytes of a kept answer of this form: its packed signature, and what it carries beside.
    pub fn packed_length(&self, form: &Form) -> usize {
        self.issuer.packed_length(&form.signer)
    }

    /// What has to be signed for the present state; `None` if nothing, or nothing yet. `spread`: see [`Times::plan`].
    pub fn prepare(
        &self,
        form: &Form,
        serial: &Serial,
        found: Found,
        now: UnixTime,
        spread: u32,
    ) -> Option<(Draft, Vec<u8>)> {
        // What is too old to be served is not signed ahead.
        self.issuer.may_be_signed(now).ok()?;
        let statement = statement(&self.issuer.policy, Some(found), now).ok()?;
        let times = self.times(form, now, spread)?;
        let carried = self.issuer.carried(serial, &statement).ok()?;
        let message = self.response_data(form, serial, &statement, &times, &carried);
        Some((Draft { serial: *serial, statement, times, carried }, message))
    }

    /// The times of an answer of this form signed `now`; `spread`: see [`Times::plan`].
    pub(super) fn times(&self, form: &Form, now: UnixTime, spread: u32) -> Option<Times> {
        Times::plan(now, &self.issuer.policy, form.signer.not_after().min(self.issuer.told_until()), spread)
    }

    /// The bytes to be signed.
    pub(super) fn response_data(
        &self,
        form: &Form,
        serial: &Serial,
        statement: &Statement,
        times: &Times,
        carried: &Carried,
    ) -> Vec<u8> {
        let policy = &self.issuer.policy;
        let carrying = (!carried.is_empty()).then_some(Carrying { carried, urls: &self.issuer.crl_urls });
        serial.with_der_content(|serial| {
            let of = |hash| {
                let cert_id = self.issuer.hashes.cert_id(hash, serial);
                Single { carrying, ..single(cert_id, policy, self.issuer.not_before, statement, times) }
            };
            let singles: Vec<_> = policy.together.of(form.hash).map(of).collect();
            form.signer.template().response_data(&Content {
                produced_at: times.signed_at,
                singles: &singles,
                extended_revoke: statement.extended_revoke,
                nonce: None,
            })
        })
    }

    /// Keeps the answer with its signature, if the record still says the same.
    pub fn complete(&self, form: &Form, draft: &Draft, signature: &[u8], now: UnixTime, answers: &Answers) -> Outcome {
        // The later look-up counts, as for an answer that a client waits for.
        let found = self.issuer.listed(&draft.serial);
        if statement(&self.issuer.policy, found, now) != Ok(draft.statement) {
            return Outcome::Changed;
        }
        let kept = Kept { statement: draft.statement, times: draft.times };
        let (Some(entry), Some(mut packed)) = (kept.entry(), form.signer.packing().pack(signature)) else {
            return Outcome::Full;
        };
        draft.carried.write_tail(self.issuer.policy.carries, &mut packed);
        if !answers.insert(&self.key(form, &draft.serial), &entry, &packed) {
            return Outcome::Full;
        }
        Outcome::Kept(Stored { serial: draft.serial, entry, packed })
    }
}

impl Draft {
    /// The serial of the certificate.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }
}
