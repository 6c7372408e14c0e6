//! What the fuzzer does for hours, for a moment: random bytes, and seeds with a few of their bytes changed.

use std::{fs, path::Path, sync::LazyLock};

use ostia_properties::{PROPERTIES, Property};
use proptest::{collection::vec, prelude::*, sample::Index};

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    /// A part of it once more in another place: lists get more elements, and some twice.
    Repeat(Index, Index, Index),
}

impl Change {
    fn apply(&self, octets: &mut Vec<u8>) {
        let place = |index: &Index, octets: &[u8]| index.index(octets.len() + 1);
        let part = |one: &Index, other: &Index, octets: &[u8]| {
            let (one, other) = (place(one, octets), place(other, octets));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Set(at, octet) => {
                let at = place(at, octets);
                octets.splice(at..octets.len().min(at + 1), [*octet]);
            }
            Self::Insert(at, inserted) => {
                let at = place(at, octets);
                octets.splice(at..at, inserted.iter().copied());
            }
            Self::Remove(from, to) => {
                octets.drain(part(from, to, octets));
            }
            Self::Repeat(from, to, at) => {
                let repeated = octets[part(from, to, octets)].to_vec();
                let at = place(at, octets);
                octets.splice(at..at, repeated);
            }
        }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, octet)| Change::Set(at, octet)),
        2 => (at(), vec(any::<u8>(), 1..4)).prop_map(|(at, octets)| Change::Insert(at, octets)),
        1 => (at(), at()).prop_map(|(from, to)| Change::Remove(from, to)),
        1 => (at(), at(), at()).prop_map(|(from, to, at)| Change::Repeat(from, to, at)),
    ]
}

/// Contents of a target's seeds, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

static TARGETS: LazyLock<Vec<(Property, Vec<Vec<u8>>)>> =
    LazyLock::new(|| PROPERTIES.into_iter().map(|(name, property)| (property, seeds(name))).collect());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn seeds_with_some_octets_changed_keep_the_promises(seed in any::<Index>(), changes in vec(any_change(), 1..5)) {
        for (property, seeds) in TARGETS.iter() {
            let mut octets = seed.get(seeds).clone();
            changes.iter().for_each(|change| change.apply(&mut octets));
            property(&octets);
        }
    }

    #[test]
    fn random_octets_keep_the_promises(octets in vec(any::<u8>(), 0..300)) {
        for (property, _) in TARGETS.iter() {
            property(&octets);
        }
    }
}
