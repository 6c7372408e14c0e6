//! Every seed of the fuzz targets, and every truncation of it, keeps what is promised.
//!
//! A seed's name begins with `taken-` or `refused-`, and so it must fare: a decoder that refuses
//! everything would keep all promises.

use std::{fs, path::PathBuf, thread};

use ostia_properties::{PROPERTIES, Property};

struct Seed {
    name: String,
    octets: Vec<u8>,
}

impl Seed {
    fn is_taken(&self) -> bool {
        self.name.starts_with("taken-")
    }
}

/// A broken promise tells itself; this tells of which input.
struct ShownOnPanic(String);

impl Drop for ShownOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("with {}", self.0);
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../seeds")
}

fn seeds(target: &str) -> Vec<Seed> {
    let entries = fs::read_dir(directory().join(target)).expect("every target has seeds");
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Seed { name, octets: fs::read(path).unwrap() }
        })
        .collect();
    seeds.sort_by(|one, other| one.name.cmp(&other.name));
    seeds
}

fn property(target: &str) -> Property {
    PROPERTIES.into_iter().find(|(name, _)| *name == target).expect("is one of them").1
}

/// Runs the property with each seed and all that is left of it when it is cut.
fn keeps_its_promises(target: &str) {
    let property = property(target);
    let seeds = seeds(target);
    for taken in [true, false] {
        assert!(seeds.iter().any(|seed| seed.is_taken() == taken), "{target}: seeds of both kinds");
    }
    for seed in seeds {
        let mut shown = ShownOnPanic(format!("{target}/{}", seed.name));
        assert!(seed.is_taken() || seed.name.starts_with("refused-"), "{}: taken- or refused-", seed.name);
        assert_eq!(property(&seed.octets), seed.is_taken(), "{target}/{}", seed.name);
        for cut in 0..seed.octets.len() {
            shown.0 = format!("{target}/{}, cut at {cut}", seed.name);
            property(&seed.octets[..cut]);
        }
    }
}

#[test]
fn http_keeps_its_promises() {
    keeps_its_promises("http");
}

#[test]
fn request_keeps_its_promises() {
    keeps_its_promises("request");
}

#[test]
fn get_keeps_its_promises() {
    keeps_its_promises("get");
}

#[test]
fn query_keeps_its_promises() {
    keeps_its_promises("query");
}

#[test]
fn index_keeps_its_promises() {
    keeps_its_promises("index");
}

#[test]
fn crl_keeps_its_promises() {
    keeps_its_promises("crl");
}

#[test]
fn admin_keeps_its_promises() {
    keeps_its_promises("admin");
}

#[test]
fn config_keeps_its_promises() {
    keeps_its_promises("config");
}

#[test]
fn journal_keeps_its_promises() {
    keeps_its_promises("journal");
}

#[test]
fn feed_entry_keeps_its_promises() {
    keeps_its_promises("feed_entry");
}

#[test]
fn feed_manifest_keeps_its_promises() {
    keeps_its_promises("feed_manifest");
}

#[test]
fn feed_chunk_keeps_its_promises() {
    keeps_its_promises("feed_chunk");
}

#[test]
fn feed_redis_keeps_its_promises() {
    keeps_its_promises("feed_redis");
}

#[test]
fn proof_keeps_its_promises() {
    keeps_its_promises("proof");
}

#[test]
fn feed_shelf_keeps_its_promises() {
    keeps_its_promises("feed_shelf");
}

#[test]
fn seeds_are_few_and_small_and_every_target_is_run() {
    let mut targets: Vec<_> =
        fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut names = PROPERTIES.map(|(name, _)| name);
    targets.sort();
    names.sort_unstable();
    assert_eq!(targets, names, "directories of seeds");
    for target in targets {
        let seeds = seeds(&target);
        assert!(seeds.len() <= 30, "{target}");
        assert!(seeds.iter().map(|seed| seed.octets.len()).sum::<usize>() <= 64 << 10, "{target}");
    }
}
