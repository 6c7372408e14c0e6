//! Servers that were decommissioned.
//!
//! Invariant: the list is signed by a trusted writer for one cluster, and only grows, up to a bound; then the oldest is dropped.
//! It does not know where it is kept.
//!
//! In this order, numbers big-endian: one byte, 1, the version; the cluster's name behind its length; which key signed, 8 bytes;
//! for each server its identity, 16 bytes, and when, seconds since 1970, 8 bytes; and Ed25519 over `Ostia feed gone`, a zero,
//! and all of that.

use std::collections::BTreeMap;

use crate::{
    feed::{
        Cluster, KeyId, Refusal, Trusted, WriterKey,
        entry::{VERSION, our_cluster, put_cluster, version},
        keys::{Purpose, SIGNATURE},
        wire::Input,
    },
    limits::servers as limits,
    pki::UnixTime,
    state_dir::ServerId,
};

/// When each was.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Gone(BTreeMap<[u8; 16], u64>);

impl Gone {
    /// When this one was, if it was.
    pub fn since(&self, server: ServerId) -> Option<UnixTime> {
        self.0.get(&server.bytes()).map(|at| UnixTime(*at))
    }

    /// From now on this one is.
    pub fn add(&mut self, server: ServerId, at: UnixTime) {
        self.0.entry(server.bytes()).or_insert(at.0);
        self.bound();
    }

    /// Takes what another list has. Whether it had anything new.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        for (server, at) in &other.0 {
            self.0.entry(*server).or_insert(*at);
        }
        let has_grown = self.0.len() > before;
        self.bound();
        has_grown
    }

    fn bound(&mut self) {
        while self.0.len() > limits::GONE_MAX {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at).map(|(server, _)| *server);
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
    }

    /// Whether everybody in it is in the other one.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.keys().all(|server| other.0.contains_key(server))
    }

    /// Signs it for a cluster.
    pub fn seal(&self, cluster: &Cluster, key: &WriterKey) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_cluster(&mut bytes, cluster);
        bytes.extend_from_slice(&key.id().0);
        for (server, at) in &self.0 {
            bytes.extend_from_slice(server);
            bytes.extend_from_slice(&at.to_be_bytes());
        }
        let signature = key.sign(Purpose::Gone, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Reads and verifies it.
    pub fn open(bytes: &[u8], cluster: &Cluster, trusted: &Trusted) -> Result<Self, Refusal> {
        let mut input = Input::new(bytes);
        let version = version(&mut input)?;
        if version != VERSION {
            return Err(Refusal::UnknownVersion(version));
        }
        our_cluster(&mut input, cluster)?;
        let key = KeyId(input.array()?);
        let mut gone = Self::default();
        while input.left() > SIGNATURE {
            let server = input.array()?;
            gone.0.insert(server, input.u64()?);
        }
        let signed = &bytes[..bytes.len() - input.left()];
        trusted.check(key, Purpose::Gone, signed, input.take(SIGNATURE)?)?;
        gone.bound();
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_only_grows_and_counts_by_a_trusted_signature_alone() {
        let (cluster, key) = (Cluster::new("pki-1").unwrap(), WriterKey::from_seed(&[1; 32]));
        let trusted = Trusted::of(&[key.public()]).unwrap();
        let id = |number: u64| {
            ServerId::from_bytes(std::array::from_fn(|at| if at < 8 { 0 } else { number.to_be_bytes()[at - 8] }))
        };
        let mut gone = Gone::default();
        gone.add(id(1), UnixTime(10));
        gone.add(id(1), UnixTime(20));
        let mut other = Gone::default();
        other.add(id(2), UnixTime(30));
        assert!(!other.is_within(&gone) && gone.merge(&other) && !gone.merge(&other) && other.is_within(&gone));
        assert_eq!(gone.since(id(1)), Some(UnixTime(10)), "what was said first stays");
        let sealed = gone.seal(&cluster, &key);
        assert_eq!(Gone::open(&sealed, &cluster, &trusted), Ok(gone.clone()));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            Gone::open(&changed, &cluster, &trusted).unwrap_err();
            Gone::open(&sealed[..place], &cluster, &trusted).unwrap_err();
        }
        let stranger = WriterKey::from_seed(&[2; 32]);
        Gone::open(&gone.seal(&cluster, &stranger), &cluster, &trusted).unwrap_err();
        (0..2 * limits::GONE_MAX as u64).for_each(|number| gone.add(id(number), UnixTime(100 + number)));
        let sealed = gone.seal(&cluster, &key);
        assert!(sealed.len() <= limits::GONE_OCTETS_MAX && gone.since(id(1)).is_none(), "the oldest is dropped");
        assert_eq!(Gone::open(&sealed, &cluster, &trusted), Ok(gone));
    }
}
