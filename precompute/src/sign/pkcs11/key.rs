//! Finds the private key on a token, and verifies that it is the key of the certificate.
//!
//! Invariant: a returned handle names exactly one key, which may sign, and whose public half is the expected one if the
//! token shows it. It does not know modules, slots or PINs.

use cryptoki::{
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use der::{Decode as _, Encode as _, asn1::OctetStringRef, asn1::UintRef};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::{fault::Failure, uri::KeyWanted};
use crate::{limits, sign::Algorithm};

/// The one wanted key. `token` names the token in messages.
pub(super) fn find(session: &Session, wanted: &KeyWanted, token: &str) -> Result<ObjectHandle, Failure> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    let any_count = template.len();
    template.extend(wanted.label.iter().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(wanted.id.iter().map(|id| Attribute::Id(id.clone())));
    let found = some_of(session, &template).map_err(|error| Failure::of(token, &error))?;
    if let [key] = found[..] {
        return Ok(key);
    }
    let what = if template.len() == any_count { "private key".into() } else { format!("private key with {wanted}") };
    Err(Failure::defect(if found.is_empty() {
        let all = some_of(session, &template[..any_count]).map_err(|error| Failure::of(token, &error))?;
        format!("{token} holds no {what}; it holds {}", list(session, &all))
    } else {
        format!("{token} holds more than one {what}: {}; name the one by object=… and id=…", list(session, &found))
    }))
}

/// As many as a message names, and one more.
fn some_of(session: &Session, template: &[Attribute]) -> cryptoki::error::Result<Vec<ObjectHandle>> {
    session.iter_objects(template)?.take(limits::TOKEN_OBJECTS_TOLD_MAX + 1).collect()
}

fn list(session: &Session, keys: &[ObjectHandle]) -> String {
    let named = keys.iter().take(limits::TOKEN_OBJECTS_TOLD_MAX).map(|key| {
        let mut is = KeyWanted::default();
        let attributes = session.get_attributes(*key, &[AttributeType::Label, AttributeType::Id]);
        for attribute in attributes.unwrap_or_default() {
            match attribute {
                Attribute::Label(label) => is.label = Some(String::from_utf8_lossy(&label).into_owned()),
                Attribute::Id(id) => is.id = Some(id),
                _ => {}
            }
        }
        format!("`{is}`")
    });
    let named: Vec<_> = named.collect();
    let more = if keys.len() > limits::TOKEN_OBJECTS_TOLD_MAX { " and more" } else { "" };
    if named.is_empty() { "none at all".into() } else { named.join(", ") + more }
}

/// Checks that the key may sign with `algorithm`, and is not a different key from that of this subjectPublicKey.
pub(super) fn check(
    session: &Session,
    key: ObjectHandle,
    algorithm: Algorithm,
    public_key_octets: &[u8],
    named: &str,
) -> Result<(), Failure> {
    let asked = [
        AttributeType::KeyType,
        AttributeType::Sign,
        AttributeType::AlwaysAuthenticate,
        AttributeType::Label,
        AttributeType::Id,
    ];
    let attributes = session.get_attributes(key, &asked).map_err(|error| Failure::of(named, &error))?;
    let mut same = KeyWanted::default();
    for attribute in attributes {
        match attribute {
            Attribute::KeyType(is) if is != key_type(algorithm) => {
                return Err(Failure::defect(format!(
                    "{named} is of type {is}, and the certificate's key signs with {algorithm}; name the key that belongs to the certificate"
                )));
            }
            Attribute::Sign(false) => {
                return Err(Failure::defect(format!(
                    "{named} may not sign (its CKA_SIGN is false); name a key that was made for signing"
                )));
            }
            Attribute::AlwaysAuthenticate(true) => {
                return Err(Failure::defect(format!(
                    "{named} wants the PIN for each signature (its CKA_ALWAYS_AUTHENTICATE is true), which no responder can give; use a key without that"
                )));
            }
            Attribute::Label(label) => same.label = String::from_utf8(label).ok(),
            Attribute::Id(id) => same.id = Some(id).filter(|id| !id.is_empty()),
            _ => {}
        }
    }
    match shown(session, key, algorithm, same).map_err(|error| Failure::of(named, &error))? {
        Some(shown) if !shown.iter().any(|octets| octets == public_key_octets) => Err(Failure::defect(format!(
            "{named} is not the key of the certificate: the token shows another public key with it; name the pair that belongs together"
        ))),
        _ => Ok(()),
    }
}

fn key_type(algorithm: Algorithm) -> KeyType {
    match algorithm {
        Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP384Sha384 => KeyType::EC,
        Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256 => KeyType::RSA,
        Algorithm::Ed25519 => KeyType::EC_EDWARDS,
        Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => KeyType::ML_DSA,
    }
}

/// The public half that the token shows, as in a subjectPublicKey; several if it can be read in several ways. `None` if
/// the token shows none.
fn shown(
    session: &Session,
    key: ObjectHandle,
    algorithm: Algorithm,
    same: KeyWanted,
) -> cryptoki::error::Result<Option<Vec<Vec<u8>>>> {
    let own = session.get_attributes(key, &[AttributeType::PublicKeyInfo])?;
    let own: Vec<_> = own.iter().filter_map(from_info).collect();
    if !own.is_empty() {
        return Ok(Some(own));
    }
    let public = if algorithm_is_rsa(algorithm) { [key].into() } else { Vec::new() };
    let public = if public.is_empty() { public_objects(session, same)? } else { public };
    let mut octets = Vec::new();
    for object in public {
        octets.extend(public_key_of(session, object, algorithm)?);
    }
    Ok(Some(octets).filter(|octets| !octets.is_empty()))
}

fn algorithm_is_rsa(algorithm: Algorithm) -> bool {
    key_type(algorithm) == KeyType::RSA
}

/// The public keys with the private key's CKA_ID, or with its label if it has no CKA_ID.
fn public_objects(session: &Session, same: KeyWanted) -> cryptoki::error::Result<Vec<ObjectHandle>> {
    let by = match same {
        KeyWanted { id: Some(id), .. } => Attribute::Id(id),
        KeyWanted { label: Some(label), .. } => Attribute::Label(label.into_bytes()),
        _ => return Ok(Vec::new()),
    };
    some_of(session, &[Attribute::Class(ObjectClass::PUBLIC_KEY), by])
}

/// The public half of a private key, if the token shows it.
pub(super) fn public_octets(
    session: &Session,
    key: ObjectHandle,
    algorithm: Algorithm,
) -> cryptoki::error::Result<Option<Vec<u8>>> {
    let mut same = KeyWanted::default();
    for attribute in session.get_attributes(key, &[AttributeType::Label, AttributeType::Id])? {
        match attribute {
            Attribute::Label(label) => same.label = String::from_utf8(label).ok(),
            Attribute::Id(id) => same.id = Some(id).filter(|id| !id.is_empty()),
            _ => {}
        }
    }
    let shown = shown(session, key, algorithm, same)?.unwrap_or_default();
    Ok(shown.into_iter().find(|octets| is_plausible(octets, algorithm)))
}

/// Whether these bytes can be a public key of the algorithm: a point may have been read in two ways.
pub(super) fn is_plausible(octets: &[u8], algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::EcdsaP256Sha256 => octets.len() == 65 && octets[0] == 4,
        Algorithm::EcdsaP384Sha384 => octets.len() == 97 && octets[0] == 4,
        Algorithm::Ed25519 => octets.len() == 32,
        _ => true,
    }
}

pub(super) fn public_key_of(
    session: &Session,
    object: ObjectHandle,
    algorithm: Algorithm,
) -> cryptoki::error::Result<Vec<Vec<u8>>> {
    let asked = match key_type(algorithm) {
        KeyType::RSA => &[AttributeType::Modulus, AttributeType::PublicExponent][..],
        KeyType::ML_DSA => &[AttributeType::Value],
        _ => &[AttributeType::EcPoint],
    };
    let attributes = session.get_attributes(object, asked)?;
    Ok(match &attributes[..] {
        [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] => {
            from_rsa(modulus, exponent).into_iter().collect()
        }
        [Attribute::Value(octets)] => vec![octets.clone()],
        [point] => from_point(point),
        _ => Vec::new(),
    })
}

/// CKA_PUBLIC_KEY_INFO: a SubjectPublicKeyInfo; empty on tokens that do not set it.
fn from_info(attribute: &Attribute) -> Option<Vec<u8>> {
    let Attribute::PublicKeyInfo(info) = attribute else { return None };
    let info = SubjectPublicKeyInfoRef::from_der(info).ok()?;
    Some(info.subject_public_key.raw_bytes().to_vec())
}

/// CKA_EC_POINT: a DER OCTET STRING in the standard, only the point on some tokens.
fn from_point(attribute: &Attribute) -> Vec<Vec<u8>> {
    let Attribute::EcPoint(point) = attribute else { return Vec::new() };
    let within = OctetStringRef::from_der(point).ok().map(|octets| octets.as_bytes().to_vec());
    within.into_iter().chain([point.clone()]).filter(|octets| !octets.is_empty()).collect()
}

/// RSAPublicKey, RFC 8017 appendix A.1.1.
fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    if modulus.is_empty() || exponent.is_empty() {
        return None;
    }
    let [modulus, exponent] = [UintRef::new(modulus).ok()?, UintRef::new(exponent).ok()?];
    vec![modulus, exponent].to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_known_however_a_token_writes_it() {
        let point = [4, 1, 2];
        let wrapped = [4, 3, 4, 1, 2];
        assert!(from_point(&Attribute::EcPoint(wrapped.to_vec())).contains(&point.to_vec()));
        assert!(from_point(&Attribute::EcPoint(point.to_vec())).contains(&point.to_vec()));
        assert!(from_point(&Attribute::EcPoint(Vec::new())).is_empty());
        let rsa = [0x30, 0x09, 0x02, 0x02, 0, 0x80, 0x02, 0x03, 1, 0, 1];
        for (modulus, exponent) in [(&[0x80][..], &[1, 0, 1][..]), (&[0, 0x80], &[0, 0, 1, 0, 1])] {
            assert_eq!(from_rsa(modulus, exponent).unwrap(), rsa);
        }
        assert_eq!(from_rsa(&[], &[]), None);
        let info = [0x30, 0x0c, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x03, 0, 9, 8];
        assert_eq!(from_info(&Attribute::PublicKeyInfo(info.to_vec())), Some(vec![9, 8]));
        assert_eq!(from_info(&Attribute::PublicKeyInfo(Vec::new())), None);
    }
}
