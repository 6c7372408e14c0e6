//! What it costs a replica to keep what it says, and anybody to prove and verify it.
//!
//! `cargo bench -p ostia-benches --bench transparency -- 10000000` (the number of certificates; a million by default). It needs 72
//! bytes of memory and some 200 of disk, in the directory of temporary files, for each.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::{fs, hint::black_box, time::Instant};

use precompute::{
    journal::Identity,
    ocsp::HashAlgorithm,
    pki::{Reason, Serial, Status, UnixTime},
    state_dir::ServerId,
    transparency::{
        Answer, Keeper, Map, Proof, Said, Statement,
        keeper::{Noted, Whose},
        key,
        map::Leaf,
        prove::prove,
    },
};

const ISSUER: [u8; 32] = [7; 32];
const BEGIN: u64 = 1_800_000_000_000;

fn serial(number: u64) -> Serial {
    Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap()
}

fn leaf(number: u64, content: u8) -> Leaf {
    Leaf { key: key(&ISSUER, &serial(number)), content: [content; 32], place: number }
}

fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn say(what: &str, begun: Instant, count: u64) {
    let took = begun.elapsed();
    let each = took.as_nanos() as f64 / count as f64;
    println!("{what:<52} {:>9.3} ms  {each:>9.0} ns each", took.as_secs_f64() * 1000.0);
}

/// The tree alone.
fn tree(count: u64) {
    let (before, begun) = (resident(), Instant::now());
    let mut map = Map::default();
    (0..count).for_each(|number| map.set(leaf(number, 1)));
    say("put into the tree", begun, count);
    println!("{:<52} {:>9} bytes each", "memory", (resident() - before) / count);
    let begun = Instant::now();
    black_box(map.root());
    say("the first root", begun, count);
    for changed in [1, 100, 10_000] {
        (0..changed).for_each(|number| map.set(leaf(number * 31 % count, 2)));
        let begun = Instant::now();
        black_box(map.root());
        say(&format!("a root after {changed} have changed"), begun, changed);
    }
    let begun = Instant::now();
    (0..100).for_each(|number| _ = black_box(map.walk(&leaf(number, 0).key)));
    say("a way to a leaf", begun, 100);
}

fn good(number: u64) -> Said {
    let mut signature = [0; 32];
    signature[..8].copy_from_slice(&number.to_be_bytes());
    let (this_update, next_update) = (UnixTime(BEGIN / 1000), UnixTime(BEGIN / 1000 + 86_400));
    Said::Answer(Answer { hash: HashAlgorithm::Sha1, form: [1; 8], signature, this_update, next_update })
}

/// With files.
fn files(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut id = [7; 16];
    (id[6], id[8]) = (0x40, 0x80);
    let server = ServerId::from_bytes(id);
    let signs = Identity::of(server, dir.path()).unwrap().key;
    let public = signs.public();
    let directory = dir.path().join("map");
    let whose = Whose { cluster: "bench".into(), server, key: signs };
    let mut keeper = Keeper::open(&directory, whose.clone(), BEGIN).unwrap();
    let begun = Instant::now();
    let mut at = BEGIN;
    for number in 0..count {
        let key = key(&ISSUER, &serial(number));
        for said in [Said::Record(Some(Status::Good)), good(number)] {
            if keeper.note(key, Statement { at: at + 1, said }).unwrap() == Noted::Full {
                at += 2;
                keeper.head(at).unwrap();
            }
        }
    }
    at += 2;
    keeper.head(at).unwrap();
    say("a load: a record and an answer of each, with heads", begun, count);
    let begun = Instant::now();
    keeper.tidy(0).unwrap();
    say("another file, if it has grown enough", begun, count);
    let octets: u64 = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    println!("{:<52} {:>9} bytes each", "disk, with a file before this one", octets / count);
    let revoked = Said::Record(Some(Status::Revoked { time: UnixTime(1), reason: Reason::Superseded }));
    for changed in [0, 1, 100, 10_000] {
        let statement = |number: u64| if number.is_multiple_of(2) { revoked } else { good(number + count) };
        for number in 0..changed {
            keeper.note(key(&ISSUER, &serial(number)), Statement { at: at + 1, said: statement(number) }).unwrap();
        }
        at += 2;
        let begun = Instant::now();
        keeper.head(at).unwrap();
        say(&format!("a head after {changed} have changed, on disk"), begun, changed.max(1));
    }
    drop(keeper);
    let begun = Instant::now();
    drop(Keeper::open(&directory, whose, at).unwrap());
    say("a start", begun, count);
    let begun = Instant::now();
    let proof = prove(&directory, &[ISSUER], &serial(0), at - 1).unwrap().remove(0);
    say("a proof, from the files", begun, 1);
    let json = serde_json::to_string_pretty(&proof).unwrap();
    let begun = Instant::now();
    for _ in 0..100 {
        let read: Proof = serde_json::from_str(black_box(&json)).unwrap();
        black_box(read.verify(&public).unwrap());
    }
    say("a proof read and verified", begun, 100);
    println!("{:<52} {:>9} bytes", "its file", json.len());
}

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    tree(count);
    files(count);
}
