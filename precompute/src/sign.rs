//! Keys that sign, whatever holds them.
//!
//! Purpose: one way to have octets signed, for keys in software and for keys on tokens.
//! Invariant: a signature handed out was made by the key whose certificate the signer carries
//! (compared at start, and a signature made and verified). It does not know what is signed.
//!
//! - [`Session`]: one thread's access to one key; what a PKCS#11 session is, too.
//! - [`Pool`]: threads with a session each behind one bounded queue.
//! - [`SoftwareKey`]: a key from a file.
//! - [`OcspSigner`]: a key with the certificate that lets it speak for an issuer.

mod ocsp_signer;
mod pool;
mod software;

pub use ocsp_signer::{OcspSigner, ResponseForm, SignerError};
pub use pool::{Done, Job, Pool, Priority};
pub use software::{KeyError, SoftwareKey};

use std::fmt;

/// Signature algorithms, RFC 6960 section 4.3 and its successors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// ecdsa-with-SHA256 on P-256
    EcdsaP256Sha256,
    /// ecdsa-with-SHA384 on P-384
    EcdsaP384Sha384,
    /// sha256WithRSAEncryption, RSA 2048–4096
    RsaPkcs1Sha256,
    /// Ed25519
    Ed25519,
}

impl Algorithm {
    /// The whole AlgorithmIdentifier, DER.
    pub const fn identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256Sha256 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
            Self::EcdsaP384Sha384 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
            Self::RsaPkcs1Sha256 => {
                &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00]
            }
            Self::Ed25519 => &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70],
        }
    }

    /// Whether a software key signs in tens of microseconds, so that a serving thread may wait for
    /// it (measured: Ed25519 7 µs, P-256 14 µs; P-384 takes 72 µs, RSA hundreds and more).
    pub const fn is_cheap(self) -> bool {
        matches!(self, Self::EcdsaP256Sha256 | Self::Ed25519)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
            Self::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
            Self::RsaPkcs1Sha256 => "RSA PKCS#1 v1.5 with SHA-256",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// Why there is no signature; named for what the asker does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignError {
    /// Shed: too much is waiting, or this waited too long.
    Busy,
    /// The key did not sign; its holder has been told in the log.
    Failed,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the signing queue is full or too slow",
            Self::Failed => "the key did not sign",
        })
    }
}

impl std::error::Error for SignError {}

/// One thread's access to one key. May block; is never used by two threads at once.
pub trait Session: Send {
    /// Signs `message` (hashing is the session's business).
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A key to be used from any thread.
pub trait Signing: Send + Sync + fmt::Debug {
    /// With what it signs.
    fn algorithm(&self) -> Algorithm;

    /// Whether [`Signing::sign_here`] signs.
    fn signs_here(&self) -> bool;

    /// Signs on the calling thread where that is cheap; `None` where it is not, and
    /// [`Signing::submit`] is the way.
    fn sign_here(&self, message: &[u8]) -> Option<Result<Vec<u8>, SignError>>;

    /// Puts a job in the queue; its `done` is called exactly once, on another thread, or on this
    /// one with [`SignError::Busy`] if the queue is full.
    fn submit(&self, job: Job);
}
