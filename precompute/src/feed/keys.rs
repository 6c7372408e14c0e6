//! Whose feed it is, and who may write it.
//!
//! Purpose: the cluster's name, a writer's Ed25519 key, and the public keys that a reader trusts. Invariant: a signature
//! counts for one cluster and one kind of thing only: both are signed along. A reader holds no secret, so a replica that
//! was broken into cannot write. It does not know files or configuration.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};

use super::{sha256, wire::Refusal};
use crate::{limits::feed as limits, pki::hex::Hex};

/// The name of a cluster: what it is called in the keys of Redis and in every entry. Letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cluster(Arc<str>);

impl Cluster {
    /// `None` if it is empty, too long, or has other characters.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty()
            && name.len() <= limits::CLUSTER_OCTETS_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        fits.then(|| Self(name.into()))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is signed, so that no signature counts for another kind of thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Entry,
    Manifest,
    Acknowledgement,
    Gone,
    Configuration,
}

impl Purpose {
    /// What stands before the bytes that are signed. The cluster's name is among those.
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Entry => b"Ostia feed entry\0",
            Self::Manifest => b"Ostia feed manifest\0",
            Self::Acknowledgement => b"Ostia feed acknowledgement\0",
            Self::Gone => b"Ostia feed gone\0",
            Self::Configuration => b"Ostia feed configuration\0",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.prefix(), bytes].concat()
    }
}

/// Bytes of a signature.
pub(super) const SIGNATURE: usize = 64;

/// The first eight bytes of SHA-256 of a public key: enough to find it among those that are trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// A writer's public key, of Ed25519 (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PublicKey(pub [u8; 32]);

/// What stands before the bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 section 4). It is always the same.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl PublicKey {
    /// From a SubjectPublicKeyInfo, DER. `None` if that is no key of Ed25519.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI)?.try_into().ok().map(Self)
    }

    /// As a SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }

    /// What it is called in entries.
    pub fn id(&self) -> KeyId {
        let hash = sha256(&self.0);
        KeyId(std::array::from_fn(|at| hash[at]))
    }
}

/// The key that a writer signs with. Copies are of the same key.
#[derive(Clone)]
pub struct WriterKey {
    id: KeyId,
    public: PublicKey,
    pair: Arc<Pair>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    /// A hash in place of a signature, for simulations of millions of entries.
    #[cfg(test)]
    Quick,
}

impl WriterKey {
    /// From PKCS#8. `None` if that is no key of Ed25519.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        Some(Self::of(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?))
    }

    fn of(pair: Ed25519KeyPair) -> Self {
        let mut public = PublicKey([0; 32]);
        public.0.copy_from_slice(pair.public_key().as_ref());
        Self { id: public.id(), public, pair: Arc::new(Pair::Ed25519(pair)) }
    }

    /// For tests: from the 32 bytes of RFC 8032's secret key.
    #[cfg(test)]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self::of(Ed25519KeyPair::from_seed_unchecked(seed).unwrap())
    }

    /// One whose signatures are hashes.
    #[cfg(test)]
    pub(crate) fn quick(name: u8) -> Self {
        let public = PublicKey([name; 32]);
        Self { id: public.id(), public, pair: Arc::new(Pair::Quick) }
    }

    /// What readers have to trust.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// What it is called in entries.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn sign(&self, purpose: Purpose, bytes: &[u8]) -> [u8; SIGNATURE] {
        let mut signature = [0; SIGNATURE];
        match &*self.pair {
            Pair::Ed25519(pair) => signature.copy_from_slice(pair.sign(&purpose.message(bytes)).as_ref()),
            #[cfg(test)]
            Pair::Quick => signature[..16].copy_from_slice(&quick(self.public, purpose, bytes)),
        }
        signature
    }
}

/// Without the secret.
impl fmt::Debug for WriterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys that a reader trusts.
#[derive(Clone, Debug, Default)]
pub struct Trusted(Vec<(KeyId, Verifier)>);

#[derive(Clone, Debug)]
enum Verifier {
    Ed25519(ParsedPublicKey),
    #[cfg(test)]
    Quick(PublicKey),
}

impl Trusted {
    /// Those of these keys; `None` if there are too many, or one is no key.
    pub fn of(keys: &[PublicKey]) -> Option<Self> {
        if keys.len() > limits::TRUSTED_KEYS_MAX {
            return None;
        }
        let verifier =
            |key: &PublicKey| Some((key.id(), Verifier::Ed25519(ParsedPublicKey::new(&ED25519, key.0).ok()?)));
        keys.iter().map(verifier).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether this key is among them.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.0.iter().any(|(_, verifier)| match verifier {
            Verifier::Ed25519(public) => public.as_ref() == key.0,
            #[cfg(test)]
            Verifier::Quick(public) => public == key,
        })
    }

    /// What they are called.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.0.iter().map(|(id, _)| *id)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those whose signatures are hashes.
    #[cfg(test)]
    pub(crate) fn quick(keys: &[PublicKey]) -> Self {
        Self(keys.iter().map(|key| (key.id(), Verifier::Quick(*key))).collect())
    }

    /// Whether a trusted key with this name signed the bytes.
    pub(super) fn check(&self, key: KeyId, purpose: Purpose, bytes: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        let mut is_known = false;
        // Nearly always one; eight bytes alone do not tell keys apart for sure.
        for (_, verifier) in self.0.iter().filter(|(id, _)| *id == key) {
            is_known = true;
            let fits = match verifier {
                Verifier::Ed25519(public) => public.verify_sig(&purpose.message(bytes), signature).is_ok(),
                #[cfg(test)]
                Verifier::Quick(public) => {
                    signature[..16] == quick(*public, purpose, bytes) && signature[16..] == [0; 48]
                }
            };
            if fits {
                return Ok(());
            }
        }
        Err(if is_known { Refusal::Forged } else { Refusal::UntrustedKey(key) })
    }
}

#[cfg(test)]
fn quick(key: PublicKey, purpose: Purpose, bytes: &[u8]) -> [u8; 16] {
    let mut hasher = siphasher::sip128::SipHasher13::new_with_keys(key.0[0].into(), purpose as u64);
    std::hash::Hasher::write(&mut hasher, bytes);
    siphasher::sip128::Hasher128::finish128(&hasher).as_bytes()
}
