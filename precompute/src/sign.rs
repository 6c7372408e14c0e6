//! Keys that sign, and what holds them.
//!
//! Purpose: one way to have bytes signed, for keys in software and for keys on tokens. Invariant: a signature handed
//! out was made by the key of the signer's certificate (the keys are compared before the first signature, and one
//! signature is made and verified). It does not know what is signed.
//!
//! - [`Algorithm`]: the signature algorithms.
//! - [`Holder`]: what holds a key: a token or this process; [`Session`]: one thread's access to it; [`Fault`]: what its
//!   failures mean.
//! - [`Pool`]: threads with one session each, behind one bounded queue.
//! - [`SoftwareKey`]: a key from a file.
//! - [`Pkcs11Token`]: a key on a PKCS#11 token, named by a URI.
//! - [`KeyKind`]: keys that can be made, in a file ([`generate_file`]) or on a token ([`Pkcs11Token::generate`]).

mod generate;
mod holder;
mod key_file;
pub mod pkcs11;
mod pool;
mod purpose;
mod software;

pub use crate::pki::Algorithm;
pub use generate::{KeyKind, generate_file};
pub use holder::{Fault, FaultClass, Holder, Session};
pub use key_file::read_private_key;
pub use pkcs11::Pkcs11Token;
pub use pool::{Done, Health, Job, MemberStatus, Pool, PoolSettings, PoolStatus, Priority, Times, Verify};
pub use purpose::KeyPurpose;
pub use software::{KeyError, SoftwareKey};

use std::fmt;

/// Why there is no signature, named after what the caller does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignError {
    /// Refused under load: too much is waiting, or this job waited too long.
    Busy,
    /// The key did not sign. The holder's fault is in the log.
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

/// A key that any thread can use.
pub trait Signing: Send + Sync + fmt::Debug {
    /// The algorithm it signs with.
    fn algorithm(&self) -> Algorithm;

    /// Whether [`Signing::sign_here`] signs.
    fn signs_here(&self) -> bool;

    /// Signs on the calling thread if that is cheap; otherwise `None`, and the caller uses [`Signing::submit`].
    fn sign_here(&self, message: &[u8]) -> Option<Result<Vec<u8>, SignError>>;

    /// Puts a job in the queue. Its `done` is called exactly once, on another thread, or on this one with
    /// [`SignError::Busy`] if the queue is full.
    fn submit(&self, job: Job);

    /// Whether no holder of the key has been at work for so long that another signer, if there is one, should sign.
    fn is_away(&self) -> bool {
        false
    }

    /// Whether the key is outside of this process, as on a token: a signature is dear then.
    fn is_apart(&self) -> bool {
        false
    }

    /// Whether this key has made the signature, as far as can be told here.
    fn has_signed(&self, _message: &[u8], _signature: &[u8]) -> bool {
        false
    }

    /// Where the key is and how it is used, as text for comparison.
    fn setting(&self) -> &str {
        ""
    }

    /// The condition of the pool.
    fn status(&self) -> PoolStatus {
        PoolStatus::default()
    }
}
