//! Manifests of snapshots, and what standbys say of their disks.
//!
//! - What is taken was signed, whole, for this cluster, and is the same bytes when it is written again.
//! - Its chunks follow each other without a gap, up to its length, and none is longer than a chunk may be.
//! - Its name can be read.

use precompute::{
    feed::{Manifest, Refusal, acknowledgement::Acknowledgement, shelf::SnapshotId},
    limits::feed as limits,
};

use super::{CLUSTER, TRUSTED, is_as_signed, is_printable, key, signed};

/// Reads the input as what its first byte says: `m` a manifest as it is kept, `u` one that lacks its signature; `a` and
/// `v` the same of an acknowledgement.
pub fn manifest(input: &[u8]) -> bool {
    let Some((form, rest)) = input.split_first() else { return false };
    let bytes = match form {
        b'm' => rest.to_vec(),
        b'u' => signed("Ostia feed manifest", rest),
        b'a' => return acknowledgement(rest),
        b'v' => return acknowledgement(&signed("Ostia feed acknowledgement", rest)),
        _ => return false,
    };
    let verdict = Manifest::open(&bytes, &CLUSTER, &TRUSTED);
    match &verdict {
        Err(refusal) => is_printable(refusal),
        Ok(manifest) => {
            is_as_signed(&bytes, |bytes, cluster, trusted| Manifest::open(bytes, cluster, trusted).err());
            assert_eq!(manifest.seal(&CLUSTER, key()), bytes, "{manifest:?}");
            assert!(bytes.len() <= limits::MANIFEST_OCTETS_MAX);
            chunks_follow_each_other(manifest);
            let id = SnapshotId::of(manifest);
            assert_eq!((id.to_string().parse(), id.position()), (Ok(id), manifest.position));
        }
    }
    verdict.is_ok()
}

fn acknowledgement(bytes: &[u8]) -> bool {
    let verdict = Acknowledgement::open(key().id(), bytes, &CLUSTER, &TRUSTED);
    match &verdict {
        Err(refusal) => is_printable(refusal),
        Ok(said) => {
            is_as_signed(bytes, |bytes, cluster, trusted| {
                Acknowledgement::open(key().id(), bytes, cluster, trusted).err()
            });
            assert_eq!(said.seal(&CLUSTER, key()), bytes, "{said:?}");
        }
    }
    verdict.is_ok()
}

fn chunks_follow_each_other(manifest: &Manifest) {
    let count = manifest.chunks.len();
    let mut end = 0;
    for chunk in 0..count {
        let (start, length) = manifest.place(chunk).expect("there is such a chunk");
        assert!(start == end && (1..=limits::CHUNK_OCTETS).contains(&length), "{chunk} of {manifest:?}");
        end = start + length as u64;
        assert_eq!(manifest.check(chunk, &[]), Err(Refusal::Truncated));
    }
    assert_eq!(end, manifest.octets);
    assert!(manifest.record_chunks as usize <= count && manifest.records * 33 <= manifest.octets, "{manifest:?}");
    assert!(manifest.place(count).is_none() && manifest.check(count, &[]).is_err());
}
