//! A head: what the map amounts to at a time, signed by the server that keeps it.
//!
//! Invariant: a head is read from one form of bytes alone; its signature is over all of it and counts for nothing else that
//! this server signs. It does not know what is in the map.
//!
//! In bytes, numbers big-endian: the version, 1; the cluster's name behind its length, u16; the server, 16 bytes; its number,
//! u64, from 1 on; the time, milliseconds since 1970, u64; the count of leaves, u64; the root, 32 bytes; SHA-256 of the head
//! before with its signature, 32 bytes, zeros for the first; and since when statements may be missing, u64, or 0. The signature is
//! that of Ed25519 over [`TRANSPARENCY_PREFIX`] and these bytes.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::{content::millis, map::Hash, sha256};
use crate::{
    feed::{Input, Refusal, put_text},
    journal::{HeadKey, TRANSPARENCY_PREFIX},
    limits::feed as limits,
    state_dir::ServerId,
};

const VERSION: u8 = 1;
/// Bytes of a signature.
const SIGNATURE: usize = 64;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The cluster's name.
    pub cluster: String,
    /// Who keeps the map.
    pub server: ServerId,
    /// One more than that of the head before.
    pub number: u64,
    /// When it was made, milliseconds since 1970: not before any statement that is in it, and before any that is not.
    pub at: u64,
    /// How many certificates are in the map.
    pub leaves: u64,
    /// The root of the map.
    pub root: Hash,
    /// SHA-256 of the head before.
    pub previous: Hash,
    /// Since when statements may be missing, milliseconds since 1970; `None` if none is.
    pub gap: Option<u64>,
}

/// A head with its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// By whom is for the verifier to know.
    pub signature: [u8; SIGNATURE],
}

impl Head {
    /// As bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_text(&mut bytes, &self.cluster, limits::CLUSTER_OCTETS_MAX);
        bytes.extend_from_slice(&self.server.bytes());
        [self.number, self.at, self.leaves].iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        bytes.extend_from_slice(&self.root);
        bytes.extend_from_slice(&self.previous);
        bytes.extend_from_slice(&self.gap.unwrap_or(0).to_be_bytes());
        bytes
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Refusal> {
        match input.u8()? {
            VERSION => {}
            version => return Err(Refusal::UnknownVersion(version)),
        }
        let cluster = input.text(limits::CLUSTER_OCTETS_MAX, "the name of its cluster")?.to_owned();
        let server = ServerId::from_bytes(input.array()?);
        let (number, at, leaves) = (input.u64()?, millis(input)?, input.u64()?);
        let (root, previous, gap) = (input.array()?, input.array()?, millis(input)?);
        let gap = Some(gap).filter(|since| *since != 0);
        Ok(Self { cluster, server, number, at, leaves, root, previous, gap })
    }

    /// Signs it.
    pub fn sign(self, key: &HeadKey) -> SignedHead {
        let signature = key.sign_transparency(&self.write());
        SignedHead { head: self, signature }
    }
}

impl SignedHead {
    /// As bytes.
    pub fn write(&self) -> Vec<u8> {
        [&self.head.write()[..], &self.signature].concat()
    }

    /// From bytes. The signature is not verified.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut input = Input::new(bytes);
        let head = Head::read(&mut input)?;
        let signature = input.array()?;
        input.end()?;
        Ok(Self { head, signature })
    }

    /// Whether this key has signed it.
    pub fn is_by(&self, key: &[u8; 32]) -> bool {
        let message = [TRANSPARENCY_PREFIX, &self.head.write()].concat();
        UnparsedPublicKey::new(&ED25519, key).verify(&message, &self.signature).is_ok()
    }

    /// What the next head has of it.
    pub fn hash(&self) -> Hash {
        sha256(&[&self.write()])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::transparency) fn head(number: u64) -> Head {
        Head {
            cluster: "pki-1".into(),
            server: ServerId::from_bytes([0x47; 16]),
            number,
            at: 1_800_000_000_123,
            leaves: 3,
            root: [1; 32],
            previous: [2; 32],
            gap: None,
        }
    }

    #[test]
    fn a_head_comes_back_from_its_bytes_and_every_byte_of_it_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        let key = HeadKey::for_tests(dir.path());
        for gap in [None, Some(5)] {
            let signed = Head { gap, ..head(9) }.sign(&key);
            let bytes = signed.write();
            assert_eq!(SignedHead::read(&bytes).as_ref(), Ok(&signed));
            assert!(signed.is_by(&key.public()) && !signed.is_by(&[9; 32]));
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= 1;
                assert!(
                    SignedHead::read(&changed).is_ok_and(|read| !read.is_by(&key.public()))
                        || SignedHead::read(&changed).is_err()
                );
                SignedHead::read(&bytes[..place]).unwrap_err();
            }
            SignedHead::read(&[&bytes[..], &[0]].concat()).unwrap_err();
        }
    }

    #[test]
    fn what_this_server_signs_elsewhere_is_no_head() {
        let dir = tempfile::tempdir().unwrap();
        let key = HeadKey::for_tests(dir.path());
        let head = head(1);
        let signature = key.sign_notice(&head.write());
        assert!(!SignedHead { head, signature }.is_by(&key.public()));
    }
}
