use super::*;
use crate::{records::Change, state_dir::ServerId};

fn at(sequence: u64) -> Position {
    Position { epoch: 5, sequence }
}

/// Of three chunks, the first of which has all records.
fn manifest() -> Manifest {
    Manifest {
        position: at(1),
        chain: Chain([1; 32]),
        author: ServerId::from_bytes([1; 16]),
        made: 0,
        records: 0,
        octets: 12,
        chunk_octets: 4,
        record_chunks: 1,
        chunks: [[0; 32]; 3].into(),
    }
}

/// The answers that were left were taken for complete: without a key, a replica said `tryLater` of those certificates until
/// each was signed anew, days later. A journal of many changes was enough, and the next sign of life.
#[test]
fn where_too_many_records_change_the_missing_answers_come_with_another_snapshot() {
    let manifest = manifest();
    let issuer = Issuer([1; 32]);
    let serial = |number: usize| Serial::from_magnitude(&(number as u32 + 1).to_be_bytes()).unwrap();
    let changed = (0..=limits::OVERLAY_RECORDS_MAX).map(|number| ((issuer, serial(number)), at(2))).collect();
    let loading = Loading { job: Arc::new(Job::new(manifest.clone(), changed)) };
    loading.job.changes(at(3), &[]);
    assert!(!loading.job.stop.load(Relaxed) && loading.is_outlived().is_none(), "nothing has changed");
    let changes = vec![Change::new(serial(0), None)];
    loading.job.changes(at(4), &[Section::new(issuer, changes)]);
    assert!(loading.job.stop.load(Relaxed));
    assert_eq!(loading.is_outlived(), Some(&manifest));
}

#[test]
fn who_only_waits_for_redis_keeps_no_other_snapshot_from_being_fetched() {
    let loading = Loading { job: Arc::new(Job::new(manifest(), HashMap::new())) };
    for (taken, wants) in [(0, true), (2, true), (3, false)] {
        loading.job.taken.store(taken, Relaxed);
        assert_eq!((loading.job().is_some(), loading.wants_chunks()), (true, wants), "{taken} chunks");
    }
}
