//! Entries of the stream.
//!
//! - What is taken was signed, whole, for this cluster and this place.
//! - Written again it is the same, byte for byte unless a later version added to its records, or wrote a kind that is
//!   passed over.
//! - What is read from it takes no more memory than its bytes account for.

use precompute::feed::{Body, Chain, Entry, Position, Refusal, body::Section, entry::VERSION};

use super::{CLUSTER, TRUSTED, is_as_signed, is_printable, key, key_id, signed};

/// Reads the input as what its first byte says: `e` an entry as it stands in the stream, `u` one that lacks its signature,
/// `b` the kind and the body of one.
pub fn entry(input: &[u8]) -> bool {
    let Some((form, rest)) = input.split_first() else { return false };
    let bytes = match form {
        b'e' => rest.to_vec(),
        b'u' => signed("Ostia feed entry", rest),
        b'b' => signed("Ostia feed entry", &unsigned(rest)),
        _ => return false,
    };
    let position = position_in(&bytes);
    let verdict = Entry::open(position, &bytes, &CLUSTER, &TRUSTED);
    match &verdict {
        Err(refusal) => is_printable(refusal),
        Ok(opened) => {
            assert_eq!((opened.octets, opened.chain), (bytes.len(), Chain::of(&bytes)));
            is_as_signed(&bytes, |bytes, cluster, trusted| Entry::open(position, bytes, cluster, trusted).err());
            let elsewhere = Position { sequence: position.sequence ^ 1, ..position };
            let moved = Entry::open(elsewhere, &bytes, &CLUSTER, &TRUSTED);
            assert!(matches!(moved, Err(Refusal::Absurd(_))), "at another position: {moved:?}");
            // A list that grows has up to twice the room, and at first for four.
            let most = 2 * bytes.len() + 4 * 70;
            assert!(octets_held(&opened.entry.body) <= most, "{} bytes: {:?}", bytes.len(), opened.entry);
            let again = opened.entry.seal(&CLUSTER, key());
            let reopened = Entry::open(position, &again.bytes, &CLUSTER, &TRUSTED);
            assert_eq!(reopened.as_ref().map(|opened| &opened.entry), Ok(&opened.entry), "written again");
            // Earlier versions wrote the marks of CRLs in another form.
            if matches!(opened.entry.body, Body::IssuerStatus(_)) {
                return true;
            }
            if again.bytes.len() == bytes.len() {
                assert_eq!(*again.bytes, bytes, "{:?}", opened.entry);
            } else {
                assert!(again.bytes.len() < bytes.len() && may_be_longer(&opened.entry.body), "{:?}", opened.entry);
            }
        }
    }
    verdict.is_ok()
}

/// An entry with this kind and body, up to its signature, by the table in the decoder's documentation.
fn unsigned(kind_and_body: &[u8]) -> Vec<u8> {
    let Some((kind, body)) = kind_and_body.split_first() else { return Vec::new() };
    let mut bytes = vec![VERSION, CLUSTER.name().len() as u8];
    bytes.extend_from_slice(CLUSTER.name().as_bytes());
    bytes.push(*kind);
    bytes.extend_from_slice(&1_800_000_000_000_000u64.to_be_bytes());
    bytes.extend_from_slice(&7u64.to_be_bytes());
    bytes.extend_from_slice(&[5; 16]);
    bytes.extend_from_slice(&key_id().0);
    bytes.extend_from_slice(&[9; 32]);
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Where an entry says that it stands.
fn position_in(bytes: &[u8]) -> Position {
    let start = 1 + 1 + usize::from(bytes.get(1).copied().unwrap_or(0)) + 1;
    let number =
        |at: usize| bytes.get(at..at + 8).and_then(|octets| octets.try_into().ok()).map_or(0, u64::from_be_bytes);
    Position { epoch: number(start), sequence: number(start + 8) }
}

/// Bytes of an entry that account for what its body holds, lists with all the room that they have.
fn octets_held(body: &Body) -> usize {
    let sections = |sections: &Vec<Section>| {
        let of = |section: &Section| section.changes.capacity() * 33 + section.hashes.capacity() * 32;
        let changes: usize = sections.iter().map(of).sum();
        sections.capacity() * 38 + changes
    };
    match body {
        Body::Fence | Body::Other(_) => 0,
        Body::Resign(successor) => successor.map_or(0, |_| 16),
        Body::Begin(begin) => begin.continues.capacity() * 32 + sections(&begin.again),
        Body::Heartbeat(heartbeat) => heartbeat.address.len() + heartbeat.digests.capacity() * 48,
        Body::Records(records) => sections(records),
        Body::Answers(answers) => {
            answers.capacity() * 70 + answers.iter().map(|section| section.entries.capacity()).sum::<usize>()
        }
        Body::IssuerStatus(all) => all.capacity() * 54,
        Body::Snapshot(_) => 56,
    }
}

/// Whether a later version may have written more than this one knows.
fn may_be_longer(body: &Body) -> bool {
    matches!(body, Body::Records(_) | Body::Begin(_) | Body::Other(_))
}
