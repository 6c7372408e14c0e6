//! Walks through what a snapshot and the entries after it say.
//!
//! Invariant: each record comes once, and as the entries after the snapshot have it, where they have it. Of two hashes of a
//! certificate the later one comes last. A chunk that is missing or wrong ends the walk with an error. Chunks are read ahead by a thread of their own. It does not know what
//! becomes of the records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::{
    Issuer, Manifest, Refusal,
    ahead::ahead,
    body::RECORD,
    snapshot::{Part, each_part},
    store::{Snapshots, Walked},
};
use crate::{
    pki::Serial,
    records::{CertificateHash, Change},
};

/// How many records or hashes are handed over at once.
const AT_ONCE: usize = 1024;
/// How often that may be read ahead.
const AHEAD: usize = 64;

/// What entries after a snapshot say.
pub type Later = BTreeMap<(Issuer, Serial), Change>;
/// The hashes of certificates that they tell.
pub type LaterHashes = BTreeMap<(Issuer, Serial), CertificateHash>;

enum Piece {
    Coming(Issuer, usize),
    Records(Issuer, Vec<Change>),
    Hashes(Issuer, Vec<(Serial, CertificateHash)>),
}

/// Calls `each` with everything. `merged`: what is said of a record by what the snapshot and the entries after it say.
pub fn walk(
    manifest: &Manifest,
    snapshots: &mut impl Snapshots,
    later: &Later,
    merged: impl Fn(&Change, &Change) -> Change,
    each: &mut dyn FnMut(Walked<'_>),
) -> Result<(), Refusal> {
    let mut met = BTreeSet::new();
    let mut take = |piece: Piece| match piece {
        Piece::Coming(issuer, records) => each(Walked::Coming(issuer, records)),
        Piece::Records(issuer, mut changes) => {
            if !later.is_empty() {
                for change in &mut changes {
                    let key = (issuer, change.serial);
                    if let Some(said) = later.get(&key) {
                        *change = merged(change, said);
                        met.insert(key);
                    }
                }
            }
            each(Walked::Records(issuer, &changes));
        }
        Piece::Hashes(issuer, hashes) => each(Walked::Hashes(issuer, &hashes)),
    };
    let snapshots = Mutex::new(snapshots);
    let read = |give: &mut dyn FnMut(Piece) -> bool| {
        read(manifest, &mut **snapshots.lock().unwrap_or_else(PoisonError::into_inner), give)
    };
    ahead("chunks", AHEAD, read, |piece| {
        take(piece);
        true
    })?;
    for (key, change) in later.iter().filter(|(key, _)| !met.contains(key)) {
        each(Walked::Records(key.0, std::slice::from_ref(change)));
    }
    Ok(())
}

/// Calls `each` with what the entries after a snapshot tell, behind [`walk`].
pub fn walk_hashes(later: &LaterHashes, each: &mut dyn FnMut(Walked<'_>)) {
    let all: Vec<_> = later.iter().map(|((issuer, serial), hash)| (*issuer, (*serial, *hash))).collect();
    for of_one in all.chunk_by(|(one, _), (other, _)| one == other) {
        let hashes: Vec<_> = of_one.iter().map(|(_, hash)| *hash).collect();
        hashes.chunks(AT_ONCE).for_each(|some| each(Walked::Hashes(of_one[0].0, some)));
    }
}

/// Reads the chunks with records, until `give` returns false.
fn read(
    manifest: &Manifest,
    snapshots: &mut impl Snapshots,
    give: &mut dyn FnMut(Piece) -> bool,
) -> Result<(), Refusal> {
    let records_max = (manifest.octets as usize).div_ceil(RECORD);
    let mut goes_on = true;
    for number in 0..manifest.record_chunks as usize {
        let chunk = snapshots.chunk(manifest, number).ok_or(Refusal::Truncated)?;
        manifest.check(number, &chunk)?;
        each_part(&chunk, |part| {
            match part {
                Part::Issuers(all) => {
                    let coming = |records: u64| (records as usize).min(records_max);
                    goes_on &= all.iter().all(|(status, count)| give(Piece::Coming(status.issuer(), coming(*count))));
                }
                Part::Records(issuer, mut rows) => {
                    while goes_on && rows.len() > 0 {
                        let changes = rows.by_ref().take(AT_ONCE).collect::<Result<Vec<_>, _>>()?;
                        goes_on = give(Piece::Records(issuer, changes));
                    }
                }
                Part::Hashes(issuer, hashes) => {
                    goes_on = goes_on && hashes.chunks(AT_ONCE).all(|some| give(Piece::Hashes(issuer, some.to_vec())));
                }
                Part::Answers(_) => {}
            }
            Ok(())
        })?;
        if !goes_on {
            break;
        }
    }
    Ok(())
}
