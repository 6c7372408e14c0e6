//! A writer makes a snapshot, which takes its time.

use std::convert::Infallible;

use super::{World, issuer};
use crate::{
    feed::{Manifest, body::IssuerStatus, snapshot::SnapshotWriter, store::Store as _},
    source::CrlMarks,
    state_dir::ServerId,
};

impl World {
    pub(super) fn make_snapshot(&mut self, number: usize) {
        let writer = &self.writers[number];
        let Some(place) = writer.book.place() else { return };
        let mut chunks = Vec::new();
        let mut done = |chunk: &[u8]| {
            chunks.push(chunk.to_vec());
            Ok::<_, Infallible>(())
        };
        let mut snapshot = SnapshotWriter::with_chunks_of(900);
        for number in 0..2 {
            let id = issuer(number);
            let status = IssuerStatus {
                id,
                verified: None,
                crl_next_update: None,
                is_crl_alone: false,
                crl_marks: CrlMarks::default(),
            };
            let Ok(()) = snapshot.issuer(&status, 0, &mut done);
        }
        // What was not told is in no snapshot.
        for ((issuer, _), change) in writer.book.told_records() {
            let Ok(()) = snapshot.record(issuer, &change, &mut done);
        }
        for ((issuer, serial), hash) in writer.book.hashes() {
            let Ok(()) = snapshot.hash(*issuer, (serial, hash), &mut done);
        }
        let Ok(written) = snapshot.finish(&mut done);
        let manifest = Manifest {
            position: place.position,
            chain: place.chain,
            author: ServerId::from_bytes([number as u8 + 1; 16]),
            made: self.moment(writer.clock).wall,
            records: written.records,
            octets: written.octets,
            chunk_octets: written.chunk_octets,
            record_chunks: written.record_chunks,
            chunks: written.hashes.into(),
        };
        self.shelf.snapshots.insert(place.chain, chunks);
        let ready = self.tick + self.rng.below(12) as u64;
        self.writers[number].making = Some((ready, manifest));
        self.count("snapshots");
    }
}
