//! Whether a time-stamp that an upstream has made may leave: the checks of a careful client (RFC 3161 sections 2.2 and 2.4.2).
//!
//! Invariant: what passes is a whole TimeStampResp, granted, over the imprint, nonce and policy that were asked for, of a time
//! that this machine's clock has now, signed by the key of the certificate that the configuration names. Its other parts are
//! not signed: certificates pass only if they are those of the configuration, byte for byte, and CRLs and unsigned attributes
//! do not pass. A rejection passes as what it is. Pure: time is a parameter. It does not know where the token comes from.

use aws_lc_rs::digest;
use der::{Decode as _, asn1::ObjectIdentifier};
use precompute::pki::{
    Certificate, UnixTime,
    elements::{DerError, Elements, algorithm_identifier},
    encode::wrapped,
    is_same_name, tag, verify_signed,
};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::limits::upstream as limits;

/// What a token has to be for.
#[derive(Clone, Copy, Debug)]
pub struct TokenRules<'a> {
    /// messageImprint, the whole element.
    pub imprint: &'a [u8],
    /// Content bytes of the nonce.
    pub nonce: Option<&'a [u8]>,
    /// Content bytes of the policies, of which it has one.
    pub policies: &'a [&'a [u8]],
    /// The authority's certificate.
    pub signer: &'a Certificate,
    /// That, and those above it: what a token may carry.
    pub certificates: &'a [Certificate],
    /// Whether it has to carry the authority's (certReq).
    pub wants_certificate: bool,
}

/// What an upstream's bytes are, if they may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// A token.
    Granted,
    /// None, for a reason that lies with the request.
    Rejected,
    /// None, for a reason that lies with the upstream: another one may do better.
    Away,
}

/// Why a token does not leave. The texts complete "its token is refused: …".
pub type Wrong = &'static str;

/// Not the DER of what it should be.
struct NotDer;

impl From<DerError> for NotDer {
    fn from(_: DerError) -> Self {
        Self
    }
}

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// rsaEncryption, which CMS allows where the digest is named beside it (RFC 5754 section 3.2).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The digests of content and attributes, by the content bytes of their identifiers: with the number of the RSA signature.
const DIGESTS: [(&[u8], &digest::Algorithm, &str); 3] = [
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01], &digest::SHA256, "1.2.840.113549.1.1.11"),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02], &digest::SHA384, "1.2.840.113549.1.1.12"),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03], &digest::SHA512, "1.2.840.113549.1.1.13"),
];

/// Judges a whole TimeStampResp.
pub fn verify_token(der: &[u8], rules: &TokenRules<'_>, now: UnixTime) -> Result<Stamp, Wrong> {
    let (status, token) = response(der).map_err(|NotDer| "it is not the DER of a TimeStampResp")?;
    match (status, token) {
        (Status::Granted, Some(token)) => judge(token, rules, now).map(|()| Stamp::Granted),
        (Status::Granted, None) => Err("it is granted and has no token"),
        (_, Some(_)) => Err("it is rejected and has a token"),
        (Status::Rejected, None) => Ok(Stamp::Rejected),
        (Status::Away, None) => Ok(Stamp::Away),
    }
}

enum Status {
    Granted,
    Rejected,
    Away,
}

fn response(der: &[u8]) -> Result<(Status, Option<&[u8]>), NotDer> {
    let mut outer = Elements::only(der, tag::SEQUENCE)?;
    let mut info = Elements::new(outer.expect(tag::SEQUENCE)?);
    let status = info.expect(tag::INTEGER)?;
    info.optional(tag::SEQUENCE)?;
    let failure = info.optional(tag::BIT_STRING)?;
    info.finish()?;
    let token = if outer.is_finished() { None } else { Some(outer.whole()?) };
    outer.finish()?;
    // timeNotAvailable (14) and systemFailure (25) are the authority's own.
    let has =
        |bit: usize| failure.and_then(|bits| bits.get(1 + bit / 8)).is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0);
    let status = match status {
        // Never grantedWithMods: it would not be what was asked for.
        [0] => Status::Granted,
        [2] if !has(14) && !has(25) => Status::Rejected,
        [2..=5] => Status::Away,
        _ => return Err(NotDer),
    };
    Ok((status, token))
}

/// The parts of a token that count.
struct Token<'a> {
    tst_info: &'a [u8],
    /// Each whole.
    certificates: Vec<&'a [u8]>,
    /// Content of the SET.
    attributes: &'a [u8],
    digest: &'a [u8],
    issuer: &'a [u8],
    serial: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn judge(der: &[u8], rules: &TokenRules<'_>, now: UnixTime) -> Result<(), Wrong> {
    let token = read(der).map_err(|NotDer| "it is not the DER of a TimeStampToken with one signer")?;
    check_info(token.tst_info, rules, now)?;
    let signer = rules.signer;
    if !is_same_name(token.issuer, signer.issuer_der()) || token.serial != signer.serial_content() {
        return Err("it is signed by another certificate than the one that `signer` names here");
    }
    check_certificates(&token.certificates, rules)?;
    if now < signer.not_before() || signer.not_after() <= now {
        return Err("the certificate of its signer is not valid now");
    }
    let (_, digest, rsa) = DIGESTS.iter().find(|(oid, ..)| *oid == token.digest).ok_or("its digest is not SHA-2")?;
    let stated = attribute(token.attributes, MESSAGE_DIGEST, tag::OCTET_STRING).ok_or("it has no messageDigest")?;
    if digest::digest(digest, token.tst_info).as_ref() != stated {
        return Err("its messageDigest is that of something else");
    }
    if attribute(token.attributes, CONTENT_TYPE, tag::OBJECT_IDENTIFIER) != Some(TST_INFO) {
        return Err("its contentType is not id-ct-TSTInfo");
    }
    let mut algorithm =
        AlgorithmIdentifierOwned::from_der(token.algorithm).map_err(|_| "its signatureAlgorithm cannot be read")?;
    if algorithm.oid == RSA {
        algorithm.oid = ObjectIdentifier::new_unwrap(rsa);
    }
    // RFC 5652 section 5.4: the universal form is signed.
    let signed = wrapped(tag::SET, &[token.attributes]);
    let verified = verify_signed(signer.spki_der(), &algorithm, &signed, token.signature);
    verified.map_err(|_| "its signature does not verify under the key of the certificate that `signer` names here")
}

/// They are not signed.
fn check_certificates(carried: &[&[u8]], rules: &TokenRules<'_>) -> Result<(), Wrong> {
    if carried.iter().any(|der| rules.certificates.iter().all(|known| known.der() != *der)) {
        return Err(
            "it carries a certificate that is not in the file that `signer` names here; has that file all of the chain?",
        );
    }
    if rules.wants_certificate && !carried.contains(&rules.signer.der()) {
        return Err("it does not carry the certificate of its signer, which was asked for");
    }
    Ok(())
}

/// ContentInfo, SignedData and SignerInfo, RFC 5652.
fn read(der: &[u8]) -> Result<Token<'_>, NotDer> {
    let mut content = Elements::only(der, tag::SEQUENCE)?;
    if content.expect(tag::OBJECT_IDENTIFIER)? != SIGNED_DATA {
        return Err(NotDer);
    }
    let mut data = Elements::only(content.expect(tag::explicit(0))?, tag::SEQUENCE)?;
    content.finish()?;
    let version = data.expect(tag::INTEGER)?;
    let digests = data.expect(tag::SET)?;
    let mut inner = Elements::new(data.expect(tag::SEQUENCE)?);
    if inner.expect(tag::OBJECT_IDENTIFIER)? != TST_INFO {
        return Err(NotDer);
    }
    let tst_info = Elements::only(inner.expect(tag::explicit(0))?, tag::OCTET_STRING)?.rest();
    inner.finish()?;
    let mut list = Elements::new(data.optional(tag::explicit(0))?.unwrap_or_default());
    let mut certificates = Vec::new();
    while !list.is_finished() {
        certificates.push(list.whole()?);
    }
    let mut signer = Elements::only(data.expect(tag::SET)?, tag::SEQUENCE)?;
    data.finish()?;
    if (version, signer.expect(tag::INTEGER)?) != (&[3], &[1]) {
        return Err(NotDer);
    }
    let mut sid = Elements::new(signer.expect(tag::SEQUENCE)?);
    let (issuer, serial) = (sid.whole()?, sid.expect(tag::INTEGER)?);
    sid.finish()?;
    let digest = signer.whole()?;
    if digests != digest {
        return Err(NotDer);
    }
    let (digest, _) = algorithm_identifier(Elements::only(digest, tag::SEQUENCE)?.rest())?;
    let attributes = signer.expect(tag::explicit(0))?;
    let algorithm = signer.whole()?;
    let signature = signer.expect(tag::OCTET_STRING)?;
    signer.finish()?;
    Ok(Token { tst_info, certificates, attributes, digest, issuer, serial, algorithm, signature })
}

/// The content of the one value of an attribute that is there once.
fn attribute<'a>(attributes: &'a [u8], oid: &[u8], of: u8) -> Option<&'a [u8]> {
    let mut list = Elements::new(attributes);
    let mut found = None;
    while !list.is_finished() {
        let mut attribute = Elements::new(list.expect(tag::SEQUENCE).ok()?);
        let is_it = attribute.expect(tag::OBJECT_IDENTIFIER).ok()? == oid;
        let values = attribute.expect(tag::SET).ok()?;
        if is_it {
            if found.is_some() {
                return None;
            }
            found = Some(Elements::only(values, of).ok()?.rest());
        }
    }
    found
}

/// TSTInfo against what was asked for, and against the clock.
fn check_info(der: &[u8], rules: &TokenRules<'_>, now: UnixTime) -> Result<(), Wrong> {
    let info = info(der).map_err(|NotDer| "its TSTInfo cannot be read")?;
    if info.imprint != rules.imprint {
        return Err("it is of another imprint than the request");
    }
    if info.nonce != rules.nonce {
        return Err("it has another nonce than the request, or none");
    }
    if !rules.policies.contains(&info.policy) {
        return Err("it is of another policy than the request");
    }
    let far = limits::CLOCK_AHEAD_MAX;
    if info.gen_time > now.after(far) || info.gen_time < now.before(far) {
        return Err("its genTime is far from this machine's clock; look at both clocks");
    }
    Ok(())
}

struct Info<'a> {
    policy: &'a [u8],
    imprint: &'a [u8],
    gen_time: UnixTime,
    nonce: Option<&'a [u8]>,
}

fn info(der: &[u8]) -> Result<Info<'_>, NotDer> {
    let mut fields = Elements::only(der, tag::SEQUENCE)?;
    if fields.expect(tag::INTEGER)? != [1] {
        return Err(NotDer);
    }
    let policy = fields.expect(tag::OBJECT_IDENTIFIER)?;
    let imprint = fields.whole()?;
    fields.expect(tag::INTEGER)?;
    let time = fields.expect(tag::GENERALIZED_TIME)?;
    let whole = time.get(..14).map(|digits| [digits, b"Z"].concat()).ok_or(NotDer)?;
    let gen_time = UnixTime::from_asn1_text(&whole).filter(|_| time.ends_with(b"Z")).ok_or(NotDer)?;
    fields.optional(tag::SEQUENCE)?;
    fields.optional(tag::BOOLEAN)?;
    let nonce = fields.optional(tag::INTEGER)?;
    fields.optional(tag::explicit(0))?;
    fields.optional(tag::explicit(1))?;
    fields.finish()?;
    Ok(Info { policy, imprint, gen_time, nonce })
}
