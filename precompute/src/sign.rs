//! Keys that sign, whatever holds them.
//!
//! Purpose: one way to have bytes signed, for keys in software and for keys on tokens.
//! Invariant: a signature handed out was made by the key whose certificate the signer carries
//! (compared before it first signs, and a signature made and verified). It does not know what is signed.
//!
//! - [`Algorithm`]: with what they sign.
//! - [`Holder`]: what holds a key, a token or this process; [`Session`]: one thread's access to it; [`Fault`]: what its
//!   failures mean.
//! - [`Pool`]: threads with a session each behind one bounded queue.
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

    /// Whether nothing that holds the key has been at work for so long that another signer, if there is one, is to sign.
    fn is_away(&self) -> bool {
        false
    }

    /// Where the key is and how it is used, as text to be compared.
    fn setting(&self) -> &str {
        ""
    }

    /// How it does.
    fn status(&self) -> PoolStatus {
        PoolStatus::default()
    }
}
