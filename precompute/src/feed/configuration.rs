//! A version of the configuration that is everybody's, as a writer publishes it.
//!
//! Purpose: beside the stream, in `ostia:{cluster}:configuration`, is the newest version, whole: whoever comes later finds it,
//! whatever was trimmed, and programs that know no versions never look there. Invariant: what counts was signed by a trusted
//! writer for this cluster. That a number does not go back is for readers to see to, as Redis may be an old one. It does not know
//! what a version says.
//!
//! In this order, numbers big-endian: one byte, 1, the version of the format; the cluster's name behind its length; which key signed, 8
//! bytes; the number, 8 bytes; when it was published, seconds since 1970, 8 bytes; the content; and Ed25519 over
//! `Ostia feed configuration`, a zero, and all of that.

use std::sync::Arc;

use super::{
    Cluster, KeyId, Refusal, Trusted, WriterKey,
    entry::{VERSION, our_cluster, put_cluster, version},
    keys::{Purpose, SIGNATURE},
    wire::Input,
};
use crate::pki::UnixTime;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its number: one more than that of the version before.
    pub number: u64,
    /// When it was published.
    pub made: UnixTime,
    /// What it says.
    pub content: Arc<[u8]>,
}

impl Version {
    /// Signs it for a cluster.
    pub fn seal(&self, cluster: &Cluster, key: &WriterKey) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_cluster(&mut bytes, cluster);
        bytes.extend_from_slice(&key.id().0);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.made.0.to_be_bytes());
        bytes.extend_from_slice(&self.content);
        let signature = key.sign(Purpose::Configuration, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// The number that its beginning names; nothing is verified.
    pub fn number_in(head: &[u8], cluster: &Cluster) -> Option<u64> {
        let mut input = Input::new(head);
        version(&mut input).ok()?;
        our_cluster(&mut input, cluster).ok()?;
        let _: [u8; 8] = input.array().ok()?;
        input.u64().ok()
    }

    /// Reads and verifies it.
    pub fn open(bytes: &[u8], cluster: &Cluster, trusted: &Trusted) -> Result<Self, Refusal> {
        let mut input = Input::new(bytes);
        let format = version(&mut input)?;
        if format != VERSION {
            return Err(Refusal::UnknownVersion(format));
        }
        our_cluster(&mut input, cluster)?;
        let key = KeyId(input.array()?);
        let (number, made) = (input.u64()?, UnixTime(input.u64()?));
        let content = input.take(input.left().checked_sub(SIGNATURE).ok_or(Refusal::Truncated)?)?;
        let signed = &bytes[..bytes.len() - SIGNATURE];
        trusted.check(key, Purpose::Configuration, signed, input.take(SIGNATURE)?)?;
        if number == 0 || number == u64::MAX {
            return Err(Refusal::Absurd("no version has this number"));
        }
        Ok(Self { number, made, content: content.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{configuration::HEAD_OCTETS, feed::CLUSTER_OCTETS_MAX};

    #[test]
    fn a_version_counts_as_it_was_signed_by_a_trusted_writer_and_in_no_other_form() {
        let (cluster, key) = (Cluster::new("pki-1").unwrap(), WriterKey::from_seed(&[1; 32]));
        let trusted = Trusted::of(&[key.public()]).unwrap();
        let version = Version { number: 7, made: UnixTime(1_800_000_000), content: b"{}".as_slice().into() };
        let sealed = version.seal(&cluster, &key);
        assert_eq!(Version::open(&sealed, &cluster, &trusted), Ok(version.clone()));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            Version::open(&changed, &cluster, &trusted).unwrap_err();
            Version::open(&sealed[..place], &cluster, &trusted).unwrap_err();
        }
        let stranger = version.seal(&cluster, &WriterKey::from_seed(&[2; 32]));
        Version::open(&stranger, &cluster, &trusted).unwrap_err();
        Version::open(&sealed, &Cluster::new("pki-2").unwrap(), &trusted).unwrap_err();
        let last = Version { number: u64::MAX, ..version };
        Version::open(&last.seal(&cluster, &key), &cluster, &trusted).unwrap_err();
        let long = Cluster::new(&"c".repeat(CLUSTER_OCTETS_MAX)).unwrap();
        let sealed = Version { number: 9, ..last }.seal(&long, &key);
        assert_eq!(Version::number_in(&sealed[..HEAD_OCTETS], &long), Some(9));
        assert_eq!(Version::number_in(&sealed[..60], &long), None);
    }
}
