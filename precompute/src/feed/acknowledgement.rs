//! What a standby has on disk, said by itself.
//!
//! Purpose: a push may have to be on more disks than the leader's before it is acknowledged (rule 18), and a leader that
//! hands over has to know who is at hand. Invariant: what is counted was signed by a trusted key for this cluster, so whoever can
//! write to Redis cannot make a push count; and it names an entry by its hash, so it counts only for who remembers that entry
//! as one of its own chain. It does not know where it is kept, or how many are needed.
//!
//! In this order, numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 + n | the cluster's name behind its length |
//! | 16 | the standby's server id |
//! | 8 | which key signed |
//! | 8, 8 | epoch and sequence of the last entry whose records are on disk |
//! | 32 | SHA-256 of that entry |
//! | 64 | Ed25519 over `Ostia feed acknowledgement`, a zero, and all of the above |

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Chain, Cluster, Position, Trusted, WriterKey,
    entry::{VERSION, our_cluster, put_cluster, version},
    keys::{KeyId, Purpose, SIGNATURE},
    store::Place,
    transport::UnderKey,
    wire::{Input, Refusal},
};
use crate::state_dir::ServerId;

/// What a standby has on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledgement {
    /// Whose disk.
    pub server: ServerId,
    /// The last entry of which it has everything.
    pub place: Place,
}

impl Acknowledgement {
    /// Signs it for a cluster.
    pub fn seal(&self, cluster: &Cluster, key: &WriterKey) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_cluster(&mut bytes, cluster);
        bytes.extend_from_slice(&self.server.bytes());
        bytes.extend_from_slice(&key.id().0);
        bytes.extend_from_slice(&self.place.position.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.place.position.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.place.chain.0);
        let signature = key.sign(Purpose::Acknowledgement, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Reads and verifies what was found under a key's name.
    pub fn open(by: KeyId, bytes: &[u8], cluster: &Cluster, trusted: &Trusted) -> Result<Self, Refusal> {
        let mut input = Input::new(bytes);
        let version = version(&mut input)?;
        if version != VERSION {
            return Err(Refusal::UnknownVersion(version));
        }
        our_cluster(&mut input, cluster)?;
        let server = ServerId::from_bytes(input.array()?);
        let key = KeyId(input.array()?);
        let position = Position { epoch: input.u64()?, sequence: input.u64()? };
        let place = Place { position, chain: Chain(input.array()?) };
        let signed = &bytes[..bytes.len() - input.left()];
        let signature = input.take(SIGNATURE)?;
        input.end()?;
        if key != by {
            return Err(Refusal::Absurd("it stands under the name of another key"));
        }
        trusted.check(key, Purpose::Acknowledgement, signed, signature)?;
        Ok(Self { server, place })
    }
}

/// What is known of standbys: the last word of each, by the key that it signs with.
#[derive(Default, Debug)]
pub struct Acknowledgements(BTreeMap<KeyId, Found>);

/// The bytes, and what they say.
type Found = (Arc<[u8]>, Option<Acknowledgement>);

impl Acknowledgements {
    /// Takes what was found under these names. What has not changed is not verified again; what nobody trusted signed is
    /// nothing.
    pub fn take(&mut self, found: Vec<UnderKey>, cluster: &Cluster, trusted: &Trusted) {
        let mut before = std::mem::take(&mut self.0);
        let opened = found.into_iter().map(|(key, bytes)| {
            let same = before.remove(&key).filter(|(former, _)| *former == bytes);
            let open = || Acknowledgement::open(key, &bytes, cluster, trusted).ok();
            let said = same.map_or_else(open, |(_, said)| said);
            (key, (bytes, said))
        });
        self.0 = opened.collect();
    }

    /// The last word of each.
    pub fn all(&self) -> impl Iterator<Item = &Acknowledgement> {
        self.0.values().filter_map(|(_, said)| said.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::keys::PublicKey;

    fn cluster() -> Cluster {
        Cluster::new("production").unwrap()
    }

    fn key(seed: u8) -> WriterKey {
        WriterKey::from_seed(&[seed; 32])
    }

    fn trusted() -> Trusted {
        let keys: Vec<PublicKey> = [1, 2].map(|seed| key(seed).public()).into();
        Trusted::of(&keys).unwrap()
    }

    fn sample() -> Acknowledgement {
        let position = Position { epoch: 1_800_000_000_000_000, sequence: 7 };
        Acknowledgement { server: ServerId::from_bytes([9; 16]), place: Place { position, chain: Chain([3; 32]) } }
    }

    #[test]
    fn what_a_trusted_standby_says_is_read_as_it_was_written() {
        let bytes = sample().seal(&cluster(), &key(1));
        assert_eq!(Acknowledgement::open(key(1).id(), &bytes, &cluster(), &trusted()), Ok(sample()));
    }

    #[test]
    fn whatever_is_changed_or_cut_off_in_it_is_refused() {
        let bytes = sample().seal(&cluster(), &key(1));
        for end in 0..bytes.len() {
            assert!(Acknowledgement::open(key(1).id(), &bytes[..end], &cluster(), &trusted()).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Acknowledgement::open(key(1).id(), &changed, &cluster(), &trusted()).is_err(), "{at}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Acknowledgement::open(key(1).id(), &longer, &cluster(), &trusted()).is_err());
    }

    #[test]
    fn what_was_said_for_another_cluster_or_by_another_key_or_as_an_entry_does_not_count() {
        let other = Cluster::new("staging").unwrap();
        let open = |bytes: &[u8], by| Acknowledgement::open(by, bytes, &cluster(), &trusted());
        assert!(matches!(open(&sample().seal(&other, &key(1)), key(1).id()), Err(Refusal::NotOurCluster(_))));
        assert!(open(&sample().seal(&cluster(), &key(3)), key(3).id()).is_err(), "nobody trusts it");
        assert!(open(&sample().seal(&cluster(), &key(1)), key(2).id()).is_err(), "one is not counted for two");
        // The same bytes, signed as an entry is.
        let bytes = sample().seal(&cluster(), &key(1));
        let (signed, _) = bytes.split_at(bytes.len() - SIGNATURE);
        let forged = [signed, &key(1).sign(Purpose::Entry, signed)].concat();
        assert_eq!(open(&forged, key(1).id()), Err(Refusal::Forged));
    }

    #[test]
    fn the_last_word_of_each_counts_and_rubbish_is_nothing() {
        let mut all = Acknowledgements::default();
        let [first, second] = [1, 2].map(|seed| (key(seed).id(), Arc::from(sample().seal(&cluster(), &key(seed)))));
        all.take(vec![first, (second.0, Arc::from(&b"rubbish"[..]))], &cluster(), &trusted());
        assert_eq!(all.all().collect::<Vec<_>>(), [&sample()]);
        all.take(vec![second.clone()], &cluster(), &trusted());
        assert_eq!(all.all().count(), 1, "who is not there any more has said nothing");
        // It is not looked at again, whoever is trusted by now.
        all.take(vec![second], &cluster(), &Trusted::of(&[key(3).public()]).unwrap());
        assert_eq!(all.all().count(), 1);
    }
}
