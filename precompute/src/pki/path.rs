//! The path from a certificate to its root through the certificates in its file, judged as clients judge it.
//!
//! Purpose: finds what makes clients refuse every token, before the first token is issued. Invariant: a path with an
//! [`Path::error`] is refused by `openssl verify` and every other RFC 5280 client that gets these certificates. What
//! may be wrong, or is refused by some clients only, is one of [`Path::doubts`]. A client trusts its own root: one in
//! the file is a copy. It does not know what the certificate is for.

use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName,
    SubjectKeyIdentifier,
};

use super::{Certificate, UnixTime, VerifyError, is_same_name};

mod names;

/// The findings along the path. The texts complete "certificate …".
#[derive(Default, Debug)]
pub struct Path {
    /// Why every client refuses it.
    pub error: Option<String>,
    /// What some clients may refuse, or what is useless.
    pub doubts: Vec<String>,
    /// The indices of the other certificates that were examined.
    places: Vec<usize>,
}

/// Critical extensions that clients know: those that `openssl verify` of 3.0 knows, except for proxy certificates.
const KNOWN: [ObjectIdentifier; 13] = [
    ObjectIdentifier::new_unwrap("2.5.29.14"),             // subjectKeyIdentifier
    ObjectIdentifier::new_unwrap("2.5.29.15"),             // keyUsage
    ObjectIdentifier::new_unwrap("2.5.29.17"),             // subjectAltName
    ObjectIdentifier::new_unwrap("2.5.29.19"),             // basicConstraints
    ObjectIdentifier::new_unwrap("2.5.29.30"),             // nameConstraints
    ObjectIdentifier::new_unwrap("2.5.29.31"),             // cRLDistributionPoints
    ObjectIdentifier::new_unwrap("2.5.29.32"),             // certificatePolicies
    ObjectIdentifier::new_unwrap("2.5.29.33"),             // policyMappings
    ObjectIdentifier::new_unwrap("2.5.29.35"),             // authorityKeyIdentifier
    ObjectIdentifier::new_unwrap("2.5.29.36"),             // policyConstraints
    ObjectIdentifier::new_unwrap("2.5.29.37"),             // extendedKeyUsage
    ObjectIdentifier::new_unwrap("2.5.29.54"),             // inhibitAnyPolicy
    ObjectIdentifier::new_unwrap("2.16.840.1.113730.1.1"), // Netscape's certificate type
];
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

impl Path {
    /// The path of `certificate` through `others`, in any order, for this extended key usage.
    pub fn of(certificate: &Certificate, others: &[Certificate], usage: ObjectIdentifier, now: UnixTime) -> Self {
        let unknown = unknown_critical(certificate).map(|what| {
            format!("has the critical extension {what}, which clients do not know; have the CA issue it without")
        });
        let mut path = Self { error: unknown, ..Self::default() };
        if path.error.is_none() {
            path.error = path.walk(certificate, others, usage, now).err();
        }
        let off = others.iter().enumerate().filter(|(place, _)| !path.places.contains(place));
        let off: Vec<_> = off.map(|(_, other)| other.subject()).collect();
        path.doubts.extend(off.into_iter().map(|name| {
            format!("is followed in its file by `{name}`, which is not on the way from it to a root; remove that")
        }));
        path
    }

    /// Walks from issuer to issuer. The error says why no client gets further.
    fn walk(
        &mut self,
        leaf: &Certificate,
        others: &[Certificate],
        usage: ObjectIdentifier,
        now: UnixTime,
    ) -> Result<(), String> {
        let mut below = vec![leaf];
        while let Some(lowest) = below.last().copied()
            && !is_self_issued(lowest)
        {
            // Of several certificates with one name, such as a CA's old and new one, one suitable certificate is
            // enough.
            let mut unfit = None;
            let mut fit = None;
            for (place, other) in others.iter().enumerate() {
                if fit.is_some() || self.places.contains(&place) || !is_named_as_issuer(lowest, other) {
                    continue;
                }
                self.places.push(place);
                match check_issuer(other, &below, usage, now) {
                    Ok(doubts) => fit = Some((other, doubts)),
                    Err(problem) => unfit = unfit.or(Some((other, problem))),
                }
            }
            let told = |other: &Certificate, problem: &str| {
                let what = if is_self_issued(other) { "the root " } else { "" };
                format!("is followed in its file by {what}`{}`, {problem}", other.subject())
            };
            match (fit, unfit) {
                (Some((other, doubts)), unfit) => {
                    // Clients that look no further, openssl among them, take the first that is valid now.
                    let first =
                        unfit.filter(|(other, _)| is_valid(other, now)).map(|(other, problem)| told(other, &problem));
                    self.doubts.extend(first.into_iter().chain(doubts));
                    below.push(other);
                }
                // Clients trust a root of their own, perhaps another with this name.
                (None, Some((other, problem))) if is_self_issued(other) => {
                    self.doubts.push(told(other, &problem));
                    break;
                }
                (None, Some((other, problem))) => return Err(told(other, &problem)),
                // Clients know the rest of the path.
                (None, None) => break,
            }
        }
        Ok(())
    }
}

fn is_self_issued(certificate: &Certificate) -> bool {
    is_same_name(certificate.issuer_der(), certificate.subject_der())
}

fn is_valid(certificate: &Certificate, now: UnixTime) -> bool {
    certificate.not_before() <= now && now <= certificate.not_after()
}

/// Whether `other` has the name, and the key identifier if there is one, of the issuer that a certificate names.
fn is_named_as_issuer(certificate: &Certificate, other: &Certificate) -> bool {
    if !is_same_name(certificate.issuer_der(), other.subject_der()) {
        return false;
    }
    let authority = certificate.tbs().get::<AuthorityKeyIdentifier>().ok().flatten().map(|(_, authority)| authority);
    let wanted = authority.and_then(|authority| authority.key_identifier);
    let own = other.tbs().get::<SubjectKeyIdentifier>().ok().flatten().map(|(_, own)| own.0);
    wanted.is_none_or(|wanted| own.is_none_or(|own| own == wanted))
}

/// Whether a certificate may be above the others, the last of which it should have issued. Collects what some clients
/// may mind, or returns why all do; that text completes "`name`, …".
fn check_issuer(
    issuer: &Certificate,
    below: &[&Certificate],
    usage: ObjectIdentifier,
    now: UnixTime,
) -> Result<Vec<String>, String> {
    let mut minded = Vec::new();
    minded.extend(below.last().map(|lowest| check_signature(lowest, issuer)).transpose()?.flatten());
    check_ca(issuer, below, &mut minded)?;
    if !is_valid(issuer, now) {
        let (not_before, not_after) = (issuer.not_before(), issuer.not_after());
        return Err(format!("which is valid from {not_before} until {not_after} and not now; renew it"));
    }
    if let Some(what) = unknown_critical(issuer) {
        return Err(format!("which has the critical extension {what} that clients do not know"));
    }
    check_names(issuer, below, &mut minded)?;
    if let Ok(Some((_, usages))) = issuer.tbs().get::<ExtendedKeyUsage>()
        && !usages.0.iter().any(|own| [usage, ANY_USAGE].contains(own))
    {
        minded.push(
            "whose extendedKeyUsage has not that of this certificate; some clients, Windows among them, refuse that"
                .into(),
        );
    }
    let name = issuer.subject();
    Ok(minded.into_iter().map(|minded| format!("is followed in its file by `{name}`, {minded}")).collect())
}

/// Checks that the key signed it; returns what could not be checked.
fn check_signature(certificate: &Certificate, issuer: &Certificate) -> Result<Option<String>, String> {
    let name = certificate.subject();
    match certificate.verify_issued_by(issuer) {
        Ok(()) => Ok(None),
        Err(VerifyError::Signature) if can_verify(issuer) => {
            Err(format!("whose key did not sign `{name}`; put the certificate of the CA that issued it in its place"))
        }
        Err(error) => Ok(Some(format!("and whether that issued `{name}` could not be checked here: it {error}"))),
    }
}

/// What cannot be read here, others may be able to read.
fn unreadable(what: &str, error: impl std::fmt::Display) -> String {
    format!("whose {what} could not be read here ({error}); clients may refuse it")
}

/// Checks that it is a CA, and allows this many below it.
fn check_ca(issuer: &Certificate, below: &[&Certificate], minded: &mut Vec<String>) -> Result<(), String> {
    let tbs = issuer.tbs();
    let signs = match tbs.get::<KeyUsage>() {
        Ok(usage) => usage.map(|(_, usage)| usage.key_cert_sign()),
        Err(error) => {
            minded.push(unreadable("keyUsage", error));
            None
        }
    };
    let constraints = tbs.get::<BasicConstraints>();
    match &constraints {
        Err(error) => minded.push(unreadable("basicConstraints", error)),
        Ok(Some((_, constraints))) if constraints.ca => {}
        Ok(Some(_)) => return Err("which is no CA (basicConstraints), so that clients refuse what it issued".into()),
        // Some clients accept version 1, or a keyUsage that says so.
        Ok(None) if signs == Some(true) || tbs.extensions.is_none() && is_self_issued(issuer) => {
            minded.push("which has no basicConstraints; some clients take it for no CA".into());
        }
        Ok(None) => {
            return Err("which is no CA (it has no basicConstraints), so that clients refuse what it issued".into());
        }
    }
    if signs == Some(false) {
        return Err("whose keyUsage has no keyCertSign, so that clients refuse what it issued".into());
    }
    // Those between it and the first, except a CA's own certificates for other keys (RFC 5280 section 6.1.4).
    let between = below.iter().skip(1).filter(|certificate| !is_self_issued(certificate)).count();
    let allowed = constraints.ok().flatten().and_then(|(_, constraints)| constraints.path_len_constraint);
    match allowed.filter(|allowed| usize::from(*allowed) < between) {
        Some(allowed) => Err(format!("which allows {allowed} CAs below it (pathlen), and there are {between}")),
        None => Ok(()),
    }
}

/// Checks that it may issue to those below it.
fn check_names(issuer: &Certificate, below: &[&Certificate], minded: &mut Vec<String>) -> Result<(), String> {
    let constraints = match issuer.tbs().get::<NameConstraints>() {
        Ok(None) => return Ok(()),
        Ok(Some((_, constraints))) => constraints,
        Err(error) => {
            minded.push(unreadable("nameConstraints", error));
            return Ok(());
        }
    };
    for (place, certificate) in below.iter().enumerate().filter(|(place, other)| *place == 0 || !is_self_issued(other))
    {
        let (tbs, name) = (certificate.tbs(), certificate.subject());
        names::check(&constraints, tbs, place == 0)
            .map_err(|problem| format!("whose nameConstraints do not allow `{name}`: {problem}"))?;
        if let Err(error) = tbs.get::<SubjectAltName>() {
            minded.push(format!("which has nameConstraints, and the subjectAltName of `{name}` could not be read here ({error}); clients may refuse it"));
        }
    }
    Ok(())
}

/// Whether a signature that does not verify here is wrong: RSA keys under 2048 bits are not used here at all.
fn can_verify(issuer: &Certificate) -> bool {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    let is_rsa = issuer.tbs().subject_public_key_info.algorithm.oid == RSA;
    // The modulus with two headers and an exponent.
    !is_rsa || (256 + 9..1024 + 32).contains(&issuer.public_key_octets().len())
}

/// A critical extension that clients do not know.
fn unknown_critical(certificate: &Certificate) -> Option<ObjectIdentifier> {
    let extensions = certificate.tbs().extensions.as_deref().unwrap_or_default();
    extensions
        .iter()
        .find(|extension| extension.critical && !KNOWN.contains(&extension.extn_id))
        .map(|extension| extension.extn_id)
}
