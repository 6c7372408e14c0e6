//! Signing ahead beside bare threads that do nothing but sign, and reading back what was stored.
//!
//! `cargo bench -p ostia-benches --bench presign -- 1000000 5`: so many records, so many rounds (by default 200,000 and
//! 3; with 0 rounds only reading back is measured). In each round the bare threads, a pass without a store and a pass with one take turns, so that they share whatever
//! else the machine does. Needs openssl.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "ahead/mod.rs"]
mod ahead;

use std::{
    hash::RandomState,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ahead::serial;
use precompute::{
    answers::{Answers, Entry},
    ocsp::{HashAlgorithm, Policy, profile::Times},
    pki::UnixTime,
    presign::{
        End, PresignRunner, Progress, StoreWriter, Subject,
        store::{AnswerStore, Run, Stored},
    },
    sign::SoftwareKey,
};

/// About what ResponseData of one certificate takes.
const MESSAGE: [u8; 200] = [7; 200];

fn runner(store: Option<&Path>) -> PresignRunner {
    let progress = Arc::new(Progress::default());
    let writer = store.map(|dir| StoreWriter::open(dir.to_owned(), 1 << 40, &progress).unwrap());
    PresignRunner {
        answers: Arc::new(Answers::new(1 << 40)),
        writer,
        progress,
        heard_by: None,
        spread: RandomState::new(),
    }
}

fn bare(key: &SoftwareKey, count: u64, threads: u64) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..count / threads).for_each(|_| drop(key.sign(&MESSAGE).unwrap())));
        }
    });
    began.elapsed()
}

fn pass(runner: &PresignRunner, subject: &Arc<Subject>, count: u64) -> Duration {
    let began = Instant::now();
    let passed = runner.pass(&[Arc::clone(subject)], &|| false);
    assert_eq!((passed.end, passed.due), (End::Done, count));
    assert_eq!(runner.answers.len(), count);
    began.elapsed()
}

/// Stores an answer for each record, with bytes for a signature that nobody looks at, and reads them back.
fn read_back(subject: &Arc<Subject>, count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let now = UnixTime::now();
    let form = &subject.forms(now)[0];
    let policy = Policy { validity: DAY, ..Policy::DEFAULT };
    let Times { signed_at: this_update, next_update, refresh_at } =
        Times::plan(now, &policy, UnixTime::MAX, 0).unwrap();
    let mut store = AnswerStore::open(dir.path(), 1 << 40).unwrap();
    let mut run = Run::new(form.fingerprint);
    for place in 0..count {
        let serial = serial(place);
        let state = subject.issuer.state.records.get(&serial).unwrap().state;
        let entry = Entry { state, this_update, next_update, refresh_at };
        run.push(&Stored { serial, entry, packed: vec![7; 64] });
        if run.octets() > 2_000_000 || place + 1 == count {
            store.append(&[std::mem::replace(&mut run, Run::new(form.fingerprint))]).unwrap();
        }
    }
    drop(store);
    let octets = std::fs::metadata(dir.path().join("answers.redb")).unwrap().len();
    let again = runner(Some(dir.path()));
    let began = Instant::now();
    again.writer.as_ref().unwrap().restore(subject, &subject.forms(now), &again.answers, now, &|| false);
    let took = began.elapsed();
    assert_eq!(again.answers.len(), count);
    println!("{count} answers of {} MiB taken back in {:.2} s", octets >> 20, took.as_secs_f64());
}

const DAY: Duration = Duration::from_secs(86_400);

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(200_000);
    let rounds = numbers.get(1).copied().unwrap_or(3);
    let threads = thread::available_parallelism().unwrap().get() as u64;
    let dir = tempfile::tempdir().unwrap();
    let (issuer, key) = ahead::issuer(dir.path(), &ahead::P256, 1, Policy::DEFAULT, count);
    let subject = Arc::new(Subject { issuer, ahead: vec![HashAlgorithm::Sha1] });
    read_back(&subject, count);
    if rounds == 0 {
        return;
    }
    println!("P-256, {count} records, {threads} threads; answers a second");
    println!("| round | bare threads | pass | of bare | pass with store | of bare | store, MiB |");
    println!("|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let rate = |took: Duration| count as f64 / took.as_secs_f64();
        let raw = rate(bare(&key, count, threads));
        let alone = rate(pass(&runner(None), &subject, count));
        let stored = tempfile::tempdir().unwrap();
        let with_store = {
            let runner = runner(Some(stored.path()));
            let began = Instant::now();
            pass(&runner, &subject, count);
            // All of it is on disk then.
            drop(runner);
            rate(began.elapsed())
        };
        let octets = std::fs::metadata(stored.path().join("answers.redb")).unwrap().len();
        println!(
            "| {round} | {raw:.0} | {alone:.0} | {:.3} | {with_store:.0} | {:.3} | {} |",
            alone / raw,
            with_store / raw,
            octets >> 20
        );
        ratios.push(with_store / raw);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median with store: {:.3} of bare threads", ratios[ratios.len() / 2]);
}
