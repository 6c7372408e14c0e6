//! What it costs a replica to be filled from a snapshot that is at hand.
//!
//! `cargo bench -p ostia-benches --bench replica -- 10000000` (the number of records; a million by default). It needs 45
//! bytes of memory per record for the snapshot and as many for the table. A second pass compares the same with what is
//! there.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod drawn;

use std::time::Instant;

use drawn::{GOOD, REVOKED, serial};
use precompute::{
    feed::{
        Chain, Issuer, Later, Manifest, Position,
        body::IssuerStatus,
        replica::Replica,
        snapshot::{SnapshotWriter, each_part},
        store::{Place, Snapshots, Store as _},
        walk,
    },
    issuer_id::IssuerId,
    pki::UnixTime,
    records::Change,
    source::CrlMarks,
    state_dir::ServerId,
};

/// One in ten is revoked. A higher number has a higher serial, as in a book.
fn change(number: u64) -> Change {
    Change::new(serial(number), Some(if number.is_multiple_of(10) { REVOKED } else { GOOD }))
}

struct InMemory(Vec<Vec<u8>>);

impl Snapshots for InMemory {
    fn here(&mut self, _: &Manifest) -> Option<usize> {
        Some(self.0.len())
    }

    fn chunk(&mut self, _: &Manifest, number: usize) -> Option<Vec<u8>> {
        self.0.get(number).cloned()
    }
}

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let id = IssuerId::new("tenant", [7; 32]);
    let issuer = Issuer::from(&id);
    let status = IssuerStatus {
        id: id.clone(),
        verified: Some(UnixTime(1_700_000_000)),
        crl_next_update: None,
        is_crl_alone: false,
        crl_marks: CrlMarks::default(),
    };
    let mut chunks = Vec::new();
    let mut done = |chunk: &[u8]| {
        chunks.push(chunk.to_vec());
        Ok::<_, ()>(())
    };
    let mut writer = SnapshotWriter::default();
    writer.issuer(&status, count, &mut done).unwrap();
    let begun = Instant::now();
    (0..count).for_each(|number| writer.record(issuer, &change(number), &mut done).unwrap());
    let written = writer.finish(&mut done).unwrap();
    let say = |what: &str, begun: Instant| {
        let took = begun.elapsed();
        println!(
            "{what:<44} {:>7.2} s  {:>5.0} ns a record",
            took.as_secs_f64(),
            took.as_nanos() as f64 / count as f64
        );
    };
    say("made and written into chunks", begun);
    let manifest = Manifest {
        position: Position { epoch: 1, sequence: 1 },
        chain: Chain([1; 32]),
        author: ServerId::from_bytes([1; 16]),
        made: 1_700_000_000_000_000,
        records: written.records,
        octets: written.octets,
        chunk_octets: written.chunk_octets,
        record_chunks: written.record_chunks,
        chunks: written.hashes.into(),
    };

    let begun = Instant::now();
    chunks.iter().enumerate().for_each(|(number, chunk)| manifest.check(number, chunk).unwrap());
    say("hashed", begun);
    let begun = Instant::now();
    chunks.iter().for_each(|chunk| each_part(chunk, |_| Ok(())).unwrap());
    say("looked through", begun);
    let (mut snapshots, later, mut read) = (InMemory(chunks), Later::new(), 0);
    let begun = Instant::now();
    walk(&manifest, &mut snapshots, &later, |_, later| *later, &mut |_| read += 1).unwrap();
    say("hashed and read", begun);
    let mut replica = Replica::new([id]);
    for what in ["the same, and filled into an empty table", "the same, and compared with what is there"] {
        let place = Place { position: manifest.position, chain: manifest.chain };
        let begun = Instant::now();
        replica.reconcile(place, &mut |each| walk(&manifest, &mut snapshots, &later, |_, later| *later, each)).unwrap();
        say(what, begun);
    }
}
