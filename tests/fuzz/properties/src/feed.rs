//! The feed: what comes from Redis, and from whoever gives out snapshots.
//!
//! Invariant: as elsewhere here; and what is decoded takes no more memory than its bytes account for. The cluster and the
//! writer's key are known to everyone, so that an input may lie behind a signature that holds: random bytes would hardly
//! ever come past it.

mod chunk;
mod entry;
mod manifest;
mod redis;
mod shelf;

use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use precompute::feed::{Cluster, KeyId, Refusal, Trusted, WriterKey};

pub use self::{chunk::chunk, entry::entry, manifest::manifest, redis::redis, shelf::shelf};

/// The secret key of the writer, of RFC 8032.
const SECRET: [u8; 32] = [7; 32];
/// What stands before the secret key in PKCS#8 (RFC 8410 section 7).
const PKCS8: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&SECRET).expect("every seed is a key"));
static KEY: LazyLock<WriterKey> =
    LazyLock::new(|| WriterKey::from_pkcs8(&[PKCS8, &SECRET].concat()).expect("a key of Ed25519"));
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::new("fuzz").expect("a name"));
static TRUSTED: LazyLock<Trusted> = LazyLock::new(|| Trusted::of(&[KEY.public()]).expect("one key"));

/// The cluster of all inputs.
pub fn cluster() -> &'static Cluster {
    &CLUSTER
}

/// The key of their writer.
pub fn key() -> &'static WriterKey {
    &KEY
}

/// `unsigned` and its signature, made without the code that is tested.
fn signed(purpose: &str, unsigned: &[u8]) -> Vec<u8> {
    let message = [purpose.as_bytes(), &[0], unsigned].concat();
    [unsigned, PAIR.sign(&message).as_ref()].concat()
}

/// What holds of all that is signed: nothing lacks, nothing follows, no bit is another, no other key and no other cluster
/// counts.
fn is_as_signed(bytes: &[u8], open: impl Fn(&[u8], &Cluster, &Trusted) -> Option<Refusal>) {
    let refuses = |bytes: &[u8]| open(bytes, &CLUSTER, &TRUSTED);
    assert!(refuses(&[bytes, &[0]].concat()).is_some(), "something behind it");
    assert!(refuses(&bytes[..bytes.len() - 1]).is_some(), "cut short");
    // Somewhere, and not always in the same place.
    let flipped =
        bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into())) % bytes.len();
    let mut other = bytes.to_vec();
    other[flipped] ^= 1 << (flipped % 8);
    assert!(refuses(&other).is_some(), "changed at {flipped}");
    assert_eq!(open(bytes, &CLUSTER, &Trusted::default()), Some(Refusal::UntrustedKey(key().id())));
    let elsewhere = Cluster::new("elsewhere").expect("a name");
    assert_eq!(open(bytes, &elsewhere, &TRUSTED), Some(Refusal::NotOurCluster(CLUSTER.clone())));
}

/// A refusal can be logged.
fn is_printable(refusal: &Refusal) {
    let said = refusal.to_string();
    assert!(said.len() < 400 && !said.contains(char::is_control), "{said:?}");
}

/// `KeyId` of the writer, as it stands in what it signs.
fn key_id() -> KeyId {
    KEY.id()
}
