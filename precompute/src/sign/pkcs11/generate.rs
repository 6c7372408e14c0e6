//! Makes a key on a token, and finds out what kind an existing key is.
//!
//! Invariant: a key made here never leaves its token, and takes no label that another object has. It does not know
//! signers.

use std::path::Path;

use aws_lc_rs::digest;
use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, MlDsaParameterSetType, ObjectClass, ObjectHandle, ParameterSetType},
    session::Session as Pkcs11Session,
};

use super::{Pkcs11Token, Uri, fault::Failure, key, token::PublicKey, uri::KeyWanted};
use crate::sign::{Algorithm, Fault, KeyKind};

impl Pkcs11Token {
    /// Makes a key on the token that `uri` names, under the label in it. Without a CKA_ID in the URI, it is the SHA-1
    /// of the public key's bytes, as in a subjectKeyIdentifier (RFC 5280 section 4.2.1.2). Relative paths are relative
    /// to `base`.
    pub fn generate(uri: &Uri, base: &Path, kind: KeyKind) -> Result<Self, Fault> {
        let algorithm = kind.algorithm();
        let mechanism = match kind {
            KeyKind::P256 | KeyKind::P384 => Mechanism::EccKeyPairGen,
            KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => Mechanism::RsaPkcsKeyPairGen,
            KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
            KeyKind::MlDsa44 | KeyKind::MlDsa65 | KeyKind::MlDsa87 => {
                return Err(Failure::defect(format!(
                    "{algorithm} keys can be made in files only; make this one with the token's own tools, and its request with --csr-only"
                ))
                .fault);
            }
        };
        let mut token = Self::with_public(uri, base, PublicKey::default(), algorithm)?;
        let Some(label) = &uri.key.label else {
            return Err(Failure::defect("the key has no label; add one to its URI: object=…").fault);
        };
        let octets = token.change(|session, called| {
            refuse_taken(session, &uri.key, called)?;
            let (public, private) = templates(kind, label, uri.key.id.as_deref());
            let asked = format!("{called}, a key for {algorithm}");
            let pair = session.generate_key_pair(&mechanism, &public, &private);
            let (public, private) = pair.map_err(|error| Failure::of(&asked, &error))?;
            let named = named(session, [public, private], algorithm, uri.key.id.is_none());
            named.map_err(|failure| {
                // Otherwise it would have no CKA_ID to be found by, and no request could be made for it.
                let _ = [public, private].map(|object| session.destroy_object(object));
                failure.told(&asked)
            })
        })?;
        token.set_public(PublicKey::of(algorithm, octets));
        Ok(token)
    }

    /// The key that `uri` names, of any kind.
    pub fn existing(uri: &Uri, base: &Path) -> Result<Self, Fault> {
        let mut token = Self::with_public(uri, base, PublicKey::default(), Algorithm::EcdsaP256Sha256)?;
        let (algorithm, octets) = token.change(|session, called| {
            let handle = key::find(session, &uri.key, called)?;
            let algorithm = algorithm_of(session, handle, called)?;
            let octets = key::public_octets(session, handle, algorithm);
            let octets = octets.map_err(|error| Failure::of(called, &error))?.ok_or_else(|| {
                Failure::defect(format!(
                    "{called} shows no public key with {}; the public key object has to have the same CKA_ID",
                    uri.key
                ))
            })?;
            Ok((algorithm, octets))
        })?;
        token.set_algorithm(algorithm);
        token.set_public(PublicKey::of(algorithm, octets));
        Ok(token)
    }
}

/// Refuses a label that an object already has; likewise a CKA_ID, if one is given.
fn refuse_taken(session: &Pkcs11Session, wanted: &KeyWanted, called: &str) -> Result<(), Failure> {
    let label = wanted.label.iter().map(|label| Attribute::Label(label.clone().into_bytes()));
    for attribute in label.chain(wanted.id.iter().map(|id| Attribute::Id(id.clone()))) {
        let found = session.find_objects(&[attribute]).map_err(|error| Failure::of(called, &error))?;
        if let Some(object) = found.first() {
            let class = session.get_attributes(*object, &[AttributeType::Class]).unwrap_or_default();
            let class = match class.first() {
                Some(Attribute::Class(ObjectClass::PRIVATE_KEY)) => "a private key",
                Some(Attribute::Class(ObjectClass::PUBLIC_KEY)) => "a public key",
                Some(Attribute::Class(ObjectClass::CERTIFICATE)) => "a certificate",
                _ => "an object",
            };
            return Err(Failure::defect(format!(
                "{called} already holds {class} with {wanted}, and nothing is overwritten; choose another object=…, or use --csr-only to make a request for the existing key"
            )));
        }
    }
    Ok(())
}

/// The templates of the public and the private half.
fn templates(kind: KeyKind, label: &str, id: Option<&[u8]>) -> (Vec<Attribute>, Vec<Attribute>) {
    let both = |mut template: Vec<Attribute>| {
        template.extend([Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())]);
        template.extend(id.map(|id| Attribute::Id(id.to_vec())));
        template
    };
    let mut public = vec![Attribute::Verify(true)];
    let mut private = vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    match kind {
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => {
            public.push(Attribute::ModulusBits(kind.modulus_bits().into()));
            public.push(Attribute::PublicExponent(vec![1, 0, 1]));
            // For signing only, whatever a token allows by default.
            private.extend([Attribute::Decrypt(false), Attribute::Unwrap(false)]);
        }
        _ => {
            public.push(Attribute::EcParams(curve(kind.algorithm()).to_vec()));
            private.push(Attribute::Derive(false));
        }
    }
    (both(public), both(private))
}

/// CKA_EC_PARAMS: the curve's OBJECT IDENTIFIER.
const fn curve(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::EcdsaP384Sha384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        Algorithm::Ed25519 => &[0x06, 0x03, 0x2b, 0x65, 0x70],
        _ => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    }
}

/// The new key's public bytes. Gives both halves their CKA_ID if they have none.
fn named(
    session: &Pkcs11Session,
    pair: [ObjectHandle; 2],
    algorithm: Algorithm,
    without_id: bool,
) -> Result<Vec<u8>, Failure> {
    let asked = "its public half";
    let read = key::public_key_of(session, pair[0], algorithm).map_err(|error| Failure::of(asked, &error))?;
    let octets = read.into_iter().find(|octets| key::is_plausible(octets, algorithm));
    let octets = octets.ok_or_else(|| Failure::defect(format!("{asked} is not shown")))?;
    if without_id {
        let id = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &octets).as_ref().to_vec();
        for object in pair {
            let updated = session.update_attributes(object, &[Attribute::Id(id.clone())]);
            updated.map_err(|error| Failure::of("its CKA_ID", &error))?;
        }
    }
    Ok(octets)
}

/// The algorithm a key signs with, by its type and curve.
fn algorithm_of(session: &Pkcs11Session, key: ObjectHandle, called: &str) -> Result<Algorithm, Failure> {
    let attribute = |asked| {
        let read = session.get_attributes(key, &[asked]).map_err(|error| Failure::of(called, &error))?;
        Ok::<_, Failure>(read.into_iter().next())
    };
    let kind = match attribute(AttributeType::KeyType)? {
        Some(Attribute::KeyType(kind)) => kind,
        _ => return Err(Failure::defect(format!("{called} does not give the key's type"))),
    };
    let curve_is = |algorithm, params: &[u8]| params == curve(algorithm);
    match kind {
        KeyType::RSA => Ok(Algorithm::RsaPkcs1Sha256),
        KeyType::EC_EDWARDS => Ok(Algorithm::Ed25519),
        KeyType::EC => match attribute(AttributeType::EcParams)? {
            Some(Attribute::EcParams(params)) if curve_is(Algorithm::EcdsaP256Sha256, &params) => {
                Ok(Algorithm::EcdsaP256Sha256)
            }
            Some(Attribute::EcParams(params)) if curve_is(Algorithm::EcdsaP384Sha384, &params) => {
                Ok(Algorithm::EcdsaP384Sha384)
            }
            _ => Err(Failure::defect(format!("the key on {called} is on another curve than P-256 or P-384"))),
        },
        KeyType::ML_DSA => {
            const SETS: [(MlDsaParameterSetType, Algorithm); 3] = [
                (MlDsaParameterSetType::ML_DSA_44, Algorithm::MlDsa44),
                (MlDsaParameterSetType::ML_DSA_65, Algorithm::MlDsa65),
                (MlDsaParameterSetType::ML_DSA_87, Algorithm::MlDsa87),
            ];
            let Some(Attribute::ParameterSet(is)) = attribute(AttributeType::ParameterSet)? else {
                return Err(Failure::defect(format!("{called} does not give the key's parameter set")));
            };
            let found = SETS.into_iter().find(|(set, _)| ParameterSetType::from(*set) == is);
            let unknown = || Failure::defect(format!("the key on {called} has an unknown parameter set {is}"));
            found.map(|(_, algorithm)| algorithm).ok_or_else(unknown)
        }
        other => Err(Failure::defect(format!(
            "the key on {called} is of type {other}; requests are made for ECDSA P-256, ECDSA P-384, RSA, Ed25519 and ML-DSA"
        ))),
    }
}
