//! A holder of a key: how it is reached, and what its failures mean.
//!
//! Invariant: a [`Session`] signs with the key whose public half the holder was made for; the holder verifies that each
//! time it opens one. It does not know who waits for the signature, or whether there are other holders.

use std::fmt;

/// What holds one signer's key: a token, or this process. Several can hold the same key.
pub trait Holder: Send + Sync + fmt::Debug {
    /// Its name in logs and metrics: for a token its label.
    fn name(&self) -> &str;

    /// How many sessions can be open at once; a pool opens no more.
    fn sessions_max(&self) -> usize;

    /// Whether it can hang or go away while this process lives. Then it is watched, and tested when idle.
    fn is_apart(&self) -> bool {
        true
    }

    /// The fault that was found before there was a pool; the pool begins with a probe.
    fn fault_at_first(&self) -> Option<&Fault> {
        None
    }

    /// Opens a session with the key. It looks for the key again, because an old handle may name another key. May block.
    fn open(&self) -> Result<Box<dyn Session>, Fault>;
}

/// One thread's access to one key. May block; two threads never use it at once.
pub trait Session: Send {
    /// Signs `message` (the session computes any hash). Returns the bytes as they are in a response: for ECDSA the DER
    /// of Ecdsa-Sig-Value.
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// Why a holder did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What to do about it.
    pub class: FaultClass,
    /// For people: what was asked, and the holder's answer.
    pub message: String,
}

impl Fault {
    /// A fault with a text for people.
    pub fn new(class: FaultClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Faults by what is done about them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultClass {
    /// The session is useless: open another, find the key again, retry once.
    Session,
    /// The holder is at its limit: wait a little, and ask for less at once.
    Throttle,
    /// The holder is gone or broken: use another, and probe it now and then.
    Device,
    /// Asking again makes it worse (a wrong PIN locks the token): never before somebody has fixed it.
    Locked,
    /// It cannot do this at all, today or tomorrow: the configuration is wrong.
    Defect,
}
