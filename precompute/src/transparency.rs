//! What a replica said of a certificate at a time, so that it can be proven later.
//!
//! Purpose: a replica keeps a map from certificates to what it had of them from the feed (records and signed answers), and
//! signs a head of it each minute. A [`Proof`] shows what stands of one certificate under two heads that follow one another,
//! one before a time and one after it. Invariants:
//!
//! - The root of a map depends on what is in it, and on nothing else.
//! - Against one root it can be proven of a key that it is there with one content, or that it is not there, and never both
//!   ([`map`] has the argument).
//! - A content has every statement about its certificate since the head before its last change, so that what came and went
//!   within a minute is in it as well.
//! - A head is told to others once it is on disk with everything that it vouches for.
//!
//! The modules: [`map`] is the tree, [`content`] what stands in a leaf, [`head`] what is signed, [`proof`] what is handed out
//! and verified: all of them pure. [`segment`] is a file of leaves and heads, [`keeper`] appends to the newest one, and
//! [`prove`] reads them. [`tap`] is where statements wait for the keeper. None of it knows Redis, a clock, or who asks.

pub mod content;
pub mod head;
pub mod keeper;
pub mod map;
pub mod proof;
pub mod prove;
pub mod segment;
pub mod tap;

use aws_lc_rs::digest;

pub use self::{
    content::{Answer, Content, Said, Statement},
    head::{Head, SignedHead},
    keeper::Keeper,
    map::{Hash, Map},
    proof::Proof,
    tap::Tap,
};
use crate::pki::Serial;

/// The key of a certificate: SHA-256 over the issuer's fingerprint and the serial number in 20 bytes.
pub fn key(issuer: &[u8; 32], serial: &Serial) -> Hash {
    sha256(&[issuer, serial.padded()])
}

/// SHA-256 over these, one behind the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
