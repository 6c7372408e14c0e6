//! Whether what an upstream has answered may leave, RFC 6960 section 3.2: the checks of a careful client.
//!
//! Invariant: what passes is about exactly what was asked, is signed by the CA or by somebody whom it has authorised for that
//! (or whom the configuration names), counts now by this machine's clock, and has the nonce that was sent. The certificates
//! that an answer carries are not signed: it leaves with those alone that are known here or were verified, byte for byte, and
//! others are left out. Pure: time is a parameter. It does not know what the records here say, which its caller compares, nor
//! where the answer comes from.

use std::fmt;

use aws_lc_rs::digest;
use der::Decode;
use precompute::{
    ocsp::{CertStatus, OcspError},
    pki::{Certificate, UnixTime, is_same_name, verify_signed},
};

use super::{
    answer::{Basic, Responder, Response, Single, Unreadable, carrying},
    question::{Asked, Question},
};
use crate::limits::upstream as limits;

/// What an answer has to fulfil.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What was asked.
    pub question: &'a Question,
    /// The issuers of the certificates asked for, each once; at least one.
    pub issuers: &'a [&'a Certificate],
    /// The certificate of a signer that may answer for all of them, whoever has issued it; DER.
    pub signer: Option<&'a [u8]>,
    /// What answers of that signer carry: the whole field, or nothing.
    pub carried: &'a [u8],
    /// Whether an answer without the nonce that was sent counts: most responders of public CAs have no nonces.
    pub may_lack_nonce: bool,
}

/// An answer that may leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// What it says of each certificate, in the order of the question.
    pub statuses: Vec<CertStatus>,
    /// When that was right, thisUpdate.
    pub updates: Vec<UnixTime>,
    /// When it was signed, or this machine's time if that is earlier.
    pub signed_at: UnixTime,
    /// Until when all of it counts; `None` where newer information is always available.
    pub next_update: Option<UnixTime>,
    /// When the first of the certificates ends by which clients verify it: its signer's, and the CA's.
    pub verifiable_until: UnixTime,
    /// The answer as it leaves.
    pub body: Vec<u8>,
    /// Whether the signer of the rules has signed it.
    pub is_by_signer: bool,
    /// The signature's bits.
    pub signature: Vec<u8>,
    /// The certificate of who has signed it, if it is a delegate's.
    pub delegate: Option<Certificate>,
}

/// Why an answer does not leave. The texts complete "its answer is refused: …".
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Objection {
    /// Not DER, or something in it that nobody understands.
    Unreadable(&'static str),
    /// It does not speak of a certificate that was asked for.
    OtherCertificate,
    /// It says two things of a certificate that was asked for.
    Contradiction,
    /// It has another nonce, or none.
    Nonce,
    /// thisUpdate or producedAt is in the future.
    Early { this_update: UnixTime },
    /// nextUpdate is past, or not after thisUpdate.
    Expired { next_update: UnixTime },
    /// There is no nextUpdate, and it is not new.
    Old { this_update: UnixTime },
    /// Nobody who may answer has the name or key that it names.
    Stranger,
    /// A certificate whose key is named may not answer: whose, and why.
    Unauthorised { subject: String, why: String },
    /// The signature does not verify.
    Signature,
    /// A time-stamp is not what was asked for, or not by whom.
    Token(&'static str),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => f.write_str(why),
            Self::OtherCertificate => f.write_str("it does not speak of the certificate asked for"),
            Self::Contradiction => f.write_str("it says two things of one certificate"),
            Self::Nonce => f.write_str("it has another nonce than the request, or none"),
            Self::Early { this_update } => {
                write!(f, "its thisUpdate {this_update} is in the future; look at the clocks of both machines")
            }
            Self::Expired { next_update } => {
                write!(f, "its nextUpdate {next_update} is past; look at the clocks of both machines")
            }
            Self::Old { this_update } => {
                write!(f, "it has no nextUpdate, and its thisUpdate {this_update} is too long ago")
            }
            Self::Stranger => f.write_str("who has signed it is neither the CA nor one of its delegates"),
            Self::Unauthorised { subject, why } => write!(f, "its signer `{subject}` {why}"),
            Self::Token(why) => f.write_str(why),
            Self::Signature => f.write_str("its signature does not verify"),
        }
    }
}

impl Objection {
    /// The certificate of a delegate is revoked by what is known here (RFC 6960 section 4.2.2.2.1). id-pkix-ocsp-nocheck spares
    /// clients the look, and takes back nothing that they know.
    pub fn revoked(delegate: &Certificate) -> Self {
        Self::Unauthorised { subject: told(delegate), why: "has a certificate that is revoked".to_owned() }
    }

    /// Its label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::OtherCertificate | Self::Contradiction => "other_certificate",
            Self::Nonce => "nonce",
            Self::Early { .. } | Self::Expired { .. } | Self::Old { .. } => "time",
            Self::Token(_) => "token",
            Self::Stranger | Self::Unauthorised { .. } | Self::Signature => "signer",
        }
    }
}

impl From<Unreadable> for Objection {
    fn from(Unreadable(why): Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

/// What an upstream's bytes are, if they may be used.
pub fn verify(der: &[u8], rules: &Rules<'_>, now: UnixTime) -> Result<Result<Verified, OcspError>, Objection> {
    let basic = match Response::read(der)? {
        Response::Refused(error) => return Ok(Err(error)),
        Response::Basic(basic) => basic,
    };
    let singles = answered(&basic, rules.question)?;
    let next_update = times(&basic, &singles, now)?;
    match (&rules.question.nonce, basic.nonce) {
        (Some(sent), Some(came)) if **sent == *came => {}
        (Some(_), None) if rules.may_lack_nonce => {}
        (None, None) => {}
        // Of another request, or the client's of somebody else.
        _ => return Err(Objection::Nonce),
    }
    let signer = signer(&basic, rules, now)?;
    let is_by_signer = rules.signer.is_some_and(|known| known == signer.der());
    let is_verified = |der: &&[u8]| *der == signer.der() || rules.issuers.iter().any(|issuer| *der == issuer.der());
    let body = if is_by_signer {
        basic.with(rules.carried)
    } else {
        let verified: Vec<_> = basic.certificates.iter().copied().filter(is_verified).collect();
        basic.with(&carrying(&verified))
    };
    // Where a CA's own has ended nobody minds: its clients have it, and know.
    let ends = rules.issuers.iter().map(|issuer| issuer.not_after()).chain([signer.not_after()]);
    Ok(Ok(Verified {
        statuses: singles.iter().map(|single| single.status).collect(),
        updates: singles.iter().map(|single| single.this_update).collect(),
        signed_at: basic.produced_at.min(now),
        next_update,
        verifiable_until: ends.filter(|end| now < *end).min().unwrap_or(UnixTime::MAX),
        body,
        is_by_signer,
        signature: basic.signature.to_vec(),
        delegate: (!rules.issuers[0].is_same_entity(&signer)).then_some(signer),
    }))
}

/// What it says of each certificate that was asked for; it may speak of others, too.
fn answered<'b, 'a>(basic: &'b Basic<'a>, question: &Question) -> Result<Vec<&'b Single<'a>>, Objection> {
    let of = |asked: &Asked| {
        let mut about = basic.singles.iter().filter(|single| single.id == asked.id());
        let first = about.next().ok_or(Objection::OtherCertificate)?;
        // One certificate may be asked about twice, but two answers to one question are none.
        if about.all(|other| other == first) { Ok(first) } else { Err(Objection::Contradiction) }
    };
    question.ids.iter().map(of).collect()
}

/// The earliest nextUpdate, if all of it counts now.
fn times(basic: &Basic<'_>, singles: &[&Single<'_>], now: UnixTime) -> Result<Option<UnixTime>, Objection> {
    let latest = now.after(limits::CLOCK_AHEAD_MAX);
    if basic.produced_at > latest {
        return Err(Objection::Early { this_update: basic.produced_at });
    }
    let mut first = None;
    for &Single { this_update, next_update, .. } in singles.iter().copied() {
        if this_update > latest {
            return Err(Objection::Early { this_update });
        }
        match next_update {
            Some(next_update) if next_update <= now || next_update <= this_update => {
                return Err(Objection::Expired { next_update });
            }
            Some(next_update) => first = Some(first.map_or(next_update, |first: UnixTime| first.min(next_update))),
            None if now.since(this_update) > limits::AGE_WITHOUT_END_MAX => return Err(Objection::Old { this_update }),
            None => {}
        }
    }
    // One that does not end goes with one that does: then nobody keeps it.
    Ok(first.filter(|_| singles.iter().all(|single| single.next_update.is_some())))
}

/// Who has signed it: the CA itself, the signer that is known, or a delegate whose certificate it carries.
fn signer(basic: &Basic<'_>, rules: &Rules<'_>, now: UnixTime) -> Result<Certificate, Objection> {
    let algorithm = Decode::from_der(basic.algorithm).map_err(|_| Objection::Signature)?;
    let known = rules.signer.iter().copied();
    let carried = basic.certificates.iter().copied().take(limits::CERTIFICATES_MAX);
    let others = known.chain(carried).filter_map(|der| Certificate::from_der(der).ok());
    let candidates = std::iter::once(rules.issuers[0].clone()).chain(others);
    let mut why = Objection::Stranger;
    for candidate in candidates.filter(|candidate| is_named(basic.responder, candidate)) {
        if verify_signed(candidate.spki_der(), &algorithm, basic.data, basic.signature).is_err() {
            why = if why == Objection::Stranger { Objection::Signature } else { why };
            continue;
        }
        match authorised(&candidate, rules, now) {
            Ok(()) => return Ok(candidate),
            Err(refusal) => why = Objection::Unauthorised { subject: told(&candidate), why: refusal },
        }
    }
    Err(why)
}

/// Whether a ResponderID is that of a certificate's key or subject.
fn is_named(responder: Responder<'_>, certificate: &Certificate) -> bool {
    match responder {
        Responder::Name(name) => is_same_name(name, certificate.subject_der()),
        Responder::KeyHash(hash) => {
            let octets = certificate.public_key_octets();
            digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets).as_ref() == hash
        }
    }
}

/// RFC 6960 section 4.2.2.2, for each of the issuers.
fn authorised(signer: &Certificate, rules: &Rules<'_>, now: UnixTime) -> Result<(), String> {
    if rules.issuers.iter().all(|issuer| signer.is_same_entity(issuer)) {
        return Ok(());
    }
    if now < signer.not_before() || signer.not_after() <= now {
        return Err(format!("has a certificate that is valid from {} to {}", signer.not_before(), signer.not_after()));
    }
    if rules.signer.is_some_and(|known| known == signer.der()) {
        return Ok(());
    }
    if !signer.has_ocsp_signing() {
        return Err("has a certificate without the extended key usage OCSPSigning".into());
    }
    if !signer.may_sign() {
        return Err("has a certificate whose keyUsage lacks digitalSignature".into());
    }
    for issuer in rules.issuers {
        signer
            .verify_issued_by(issuer)
            .map_err(|error| format!("is no delegate of this CA: its certificate {error}"))?;
    }
    Ok(())
}

/// A name that a stranger chose, made fit for a log: on one line, and short.
fn told(certificate: &Certificate) -> String {
    const CHARACTERS_MAX: usize = 100;
    certificate.subject().chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
pub(super) mod tests;
