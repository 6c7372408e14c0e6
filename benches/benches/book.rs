//! What a book of many records gives: a load, commits by size, and pushes beside a first save.
//!
//! `cargo bench -p ostia-benches --bench book -- 10000000` (the number of records; a million by default). It needs
//! 100 bytes of disk per record in `TMPDIR`, which is emptied again. Times depend on the disk's flush: the first line
//! says what one costs.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod drawn;

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use drawn::{GOOD, REVOKED, mixed, serial};
use precompute::{
    book::{Batch, Book, Owed, Pace},
    issuer_id::IssuerId,
    records::{Change, Origin, Records},
};

/// How long each size of chunks is measured.
const MEASURED: Duration = Duration::from_secs(4);
/// From one push to the next.
const PUSH_INTERVAL: Duration = Duration::from_millis(10);

fn quantile(times: &[Duration], share: f64) -> Duration {
    times[((times.len() - 1) as f64 * share) as usize]
}

fn in_ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

fn flushes(dir: &Path) {
    let mut file = File::create(dir.join("flushed")).unwrap();
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("a flush of 4 KiB: p50 {} ms, p99 {} ms", in_ms(quantile(&times, 0.5)), in_ms(quantile(&times, 0.99)));
}

fn commit(book: &mut Book, issuer: &IssuerId, changes: &[Change], owed: bool) {
    let identity = book.identity().unwrap();
    book.commit(&Batch { changes, owed, ..Batch::new(issuer, identity) }).unwrap();
}

fn good(from: u64, to: u64) -> Vec<Change> {
    (from..to).map(|number| Change::new(serial(number), Some(GOOD))).collect()
}

fn fill(book: &mut Book, issuer: &IssuerId, records: u64) {
    const CHUNK: u64 = 100_000;
    let begun = Instant::now();
    for from in (0..records).step_by(CHUNK as usize) {
        commit(book, issuer, &good(from, (from + CHUNK).min(records)), false);
    }
    println!("{records} records written in chunks of {CHUNK}: {:.1} s", begun.elapsed().as_secs_f64());
}

fn load(state_dir: &Path, issuer: &IssuerId) {
    let begun = Instant::now();
    let mut book = Book::open(state_dir).unwrap();
    println!("opened: {:.3} s", begun.elapsed().as_secs_f64());
    for round in 0..2 {
        let (begun, mut count, mut cpu) = (Instant::now(), 0, cpu_seconds());
        book.load(issuer, |_, _, _| count += 1).unwrap();
        cpu = cpu_seconds() - cpu;
        println!(
            "{count} records loaded and compared with their seal, round {round}: {:.2} s, CPU {cpu:.2} s",
            begun.elapsed().as_secs_f64()
        );
    }
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let (records, mut writer) = Records::new();
    writer.reserve(book.reader().unwrap().room_for(issuer).unwrap());
    let held = book.load(issuer, |serial, record, origin| {
        writer.apply([Change::new(serial, Some(record)).by(origin)]);
    });
    held.unwrap();
    println!(
        "{} records loaded into memory: {:.2} s, CPU {:.2} s",
        records.counts().good + records.counts().revoked,
        begun.elapsed().as_secs_f64(),
        cpu_seconds() - cpu
    );
}

/// What this process has used, all threads together.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn by_size(book: &mut Book, issuer: &IssuerId, records: u64) {
    println!(
        "\n| random records in a commit | commits | p50 ms | p99 ms | with outbox: p50 ms | p99 ms |\n|---|---|---|---|---|---|"
    );
    let mut seed = 0;
    for size in [1u64, 10, 100, 1000, 10_000] {
        let rounds = (2000 / size).clamp(12, 300);
        let measured = [false, true].map(|owed| {
            let mut times: Vec<_> = (0..rounds)
                .map(|_| {
                    seed += 1;
                    let mut changes: Vec<_> = (0..size)
                        .map(|n| Change::new(serial(mixed(seed << 20 | n) % records), Some(REVOKED)).by(Origin::PUSHED))
                        .collect();
                    changes.sort_by_key(|change| change.serial);
                    let begun = Instant::now();
                    commit(book, issuer, &changes, owed);
                    begun.elapsed()
                })
                .collect();
            let rows = book.owed(usize::MAX).unwrap();
            book.told(None, &rows).unwrap();
            times.sort();
            (in_ms(quantile(&times, 0.5)), in_ms(quantile(&times, 0.99)))
        });
        let [(p50, p99), (owed_p50, owed_p99)] = measured;
        println!("| {size} | {rounds} | {p50} | {p99} | {owed_p50} | {owed_p99} |");
    }
    assert_eq!(book.outbox(issuer, 1).unwrap(), Vec::<Owed>::new());
}

/// A first save in chunks in order, beside a push every 10 ms that goes first.
fn beside_pushes(book: Book, issuer: &IssuerId, records: u64) -> Book {
    println!(
        "\n| records a chunk | records/s | chunk p50 ms | p99 ms | pushes | push p50 ms | p99 ms | most ms |\n|---|---|---|---|---|---|---|---|"
    );
    let (book, mut from) = (Mutex::new(book), records);
    for fixed in [64u64, 128, 256, 512, 1024, 2048, 4096, 16_384, 0] {
        let (waiting, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let begun = Instant::now();
        let first = from;
        let (mut pushes, mut chunks) = thread::scope(|scope| {
            let pusher = scope.spawn(|| {
                let (mut times, mut due) = (Vec::new(), Instant::now());
                while !ended.load(SeqCst) {
                    due += PUSH_INTERVAL;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let number = mixed(times.len() as u64 ^ fixed << 32) % records;
                    let change = Change::new(serial(number), Some(REVOKED)).by(Origin::PUSHED);
                    waiting.fetch_add(1, SeqCst);
                    let begun = Instant::now();
                    let mut book = book.lock().unwrap();
                    waiting.fetch_sub(1, SeqCst);
                    commit(&mut book, issuer, &[change], false);
                    drop(book);
                    times.push(begun.elapsed());
                    due = due.max(Instant::now() - PUSH_INTERVAL);
                }
                times
            });
            let (mut chunks, mut pace) = (Vec::new(), Pace::default());
            while begun.elapsed() < MEASURED {
                let chunk = if fixed == 0 { pace.size() as u64 } else { fixed };
                let changes = good(from, from + chunk);
                while waiting.load(SeqCst) > 0 {
                    thread::yield_now();
                }
                let mut book = book.lock().unwrap();
                let begun = Instant::now();
                commit(&mut book, issuer, &changes, false);
                chunks.push(begun.elapsed());
                pace.took(chunk as usize, begun.elapsed());
                from += chunk;
            }
            ended.store(true, SeqCst);
            (pusher.join().unwrap(), chunks)
        });
        let rate = (from - first) as f64 / begun.elapsed().as_secs_f64();
        pushes.sort();
        chunks.sort();
        println!(
            "| {} | {rate:.0} | {} | {} | {} | {} | {} | {} |",
            if fixed == 0 { "as `Pace` says".into() } else { fixed.to_string() },
            in_ms(quantile(&chunks, 0.5)),
            in_ms(quantile(&chunks, 0.99)),
            pushes.len(),
            in_ms(quantile(&pushes, 0.5)),
            in_ms(quantile(&pushes, 0.99)),
            in_ms(quantile(&pushes, 1.0)),
        );
    }
    book.into_inner().unwrap()
}

fn main() {
    let records = std::env::args().filter_map(|argument| argument.parse().ok()).next_back().unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    flushes(dir.path());
    let (state_dir, issuer) = (dir.path().join("state"), IssuerId::new("bench", [7; 32]));
    let mut book = Book::open(&state_dir).unwrap();
    fill(&mut book, &issuer, records);
    drop(book);
    println!("book: {:.0} MB", std::fs::metadata(state_dir.join("book.redb")).unwrap().len() as f64 / 1e6);
    load(&state_dir, &issuer);
    let mut book = Book::open(&state_dir).unwrap();
    by_size(&mut book, &issuer, records);
    drop(beside_pushes(book, &issuer, records));
}
