//! The tree: a compressed binary trie over keys of 256 bits.
//!
//! A node stands only at a bit where two keys that are there differ; so the root depends on the set of keys and contents
//! alone, and not on the order in which they came. With SHA-256:
//!
//! ```text
//! leaf  = H(0x00 ‖ key ‖ H(content))
//! inner = H(0x01 ‖ number of the bit as u16 ‖ left ‖ right)     left: keys with a 0 there
//! empty = H(0x02)                                               the root of a map without leaves
//! ```
//!
//! **Proofs.** A walk from the root to a leaf goes by the bits of the key that is asked for, whether it is there or not. A
//! proof has the number of the bit and the other side's hash at each node, from the root on, and the leaf. If the leaf has the
//! key, it is there; if it has another one, it is not. Both cannot be proven against one root: as long as nobody finds two
//! inputs with one hash, the root fixes the bit and both sides, the bit of the key that is asked for fixes on which side to go
//! on, and so down to the leaf, which fixes its key. That holds for any root, also one that nobody computed in this way.
//!
//! **Memory.** Leaves lie in 65,536 buckets by their first 16 bits, each sorted, 72 bytes a leaf; there are no inner nodes.
//! A bucket that changes is hashed again at the next root, and then the trie above the buckets.
//!
//! It does not know what keys and contents are.

use super::sha256;

/// SHA-256.
pub type Hash = [u8; 32];

/// A node on the way from the root to a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The bit at which keys differ there, 0 to 255 from the first on.
    pub bit: u16,
    /// The hash of the side that the way does not take.
    pub sibling: Hash,
}

/// One key with what stands under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The key.
    pub key: Hash,
    /// SHA-256 of the content.
    pub content: Hash,
    /// Where the content is kept, below [`Leaf::PLACES`]; no part of any hash.
    pub place: u64,
}

impl Leaf {
    /// Places are below this: the highest bit is the map's own.
    pub const PLACES: u64 = 1 << 63;

    /// Its hash.
    pub fn hash(&self) -> Hash {
        leaf(&self.key, &self.content)
    }
}

/// The hash of a leaf.
pub fn leaf(key: &Hash, content: &Hash) -> Hash {
    sha256(&[&[0], key, content])
}

/// The hash of an inner node.
pub fn inner(bit: u16, left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &bit.to_be_bytes(), left, right])
}

/// The root of an empty map.
pub fn empty() -> Hash {
    sha256(&[&[2]])
}

/// Whether this bit of a key is set; bit 0 is the highest of the first byte.
pub fn bit(key: &Hash, number: u16) -> bool {
    key.get(usize::from(number / 8)).is_some_and(|byte| byte & (0x80 >> (number % 8)) != 0)
}

/// The root that these steps lead to from `hash`, for this key; `None` if they are no way: bits have to increase.
pub fn climb(key: &Hash, hash: Hash, steps: &[Step]) -> Option<Hash> {
    let increase = steps.windows(2).all(|two| two[0].bit < two[1].bit);
    let possible = increase && steps.last().is_none_or(|last| last.bit < 256);
    possible.then(|| {
        steps.iter().rev().fold(hash, |below, step| match bit(key, step.bit) {
            false => inner(step.bit, &below, &step.sibling),
            true => inner(step.bit, &step.sibling, &below),
        })
    })
}

/// What a sorted run consists of: leaves, or buckets of them.
trait Node {
    fn key(&self) -> &Hash;
    fn hash(&self) -> Hash;
}

impl Node for Leaf {
    fn key(&self) -> &Hash {
        &self.key
    }
    fn hash(&self) -> Hash {
        Self::hash(self)
    }
}

/// A bucket with a leaf: one of its keys, and its root.
struct Top {
    key: Hash,
    root: Hash,
}

impl Node for Top {
    fn key(&self) -> &Hash {
        &self.key
    }
    fn hash(&self) -> Hash {
        self.root
    }
}

/// The bit at which a sorted run divides, and how many stand before it; `None` of one or none.
fn split<N: Node>(sorted: &[N]) -> Option<(u16, usize)> {
    let (first, last) = (sorted.first()?.key(), sorted.last()?.key());
    let byte = (0..32).find(|at| first[*at] != last[*at])?;
    let number = 8 * byte as u16 + (first[byte] ^ last[byte]).leading_zeros() as u16;
    Some((number, sorted.partition_point(|node| !bit(node.key(), number))))
}

fn root_of<N: Node>(sorted: &[N]) -> Hash {
    match split(sorted) {
        None => sorted.first().map_or_else(empty, N::hash),
        Some((number, middle)) => {
            let (left, right) = sorted.split_at(middle);
            inner(number, &root_of(left), &root_of(right))
        }
    }
}

/// Walks by the bits of `key`; adds a step for each node, and returns where it ends.
fn descend<'n, N: Node>(mut sorted: &'n [N], key: &Hash, steps: &mut Vec<Step>) -> Option<&'n N> {
    while let Some((number, middle)) = split(sorted) {
        let (left, right) = sorted.split_at(middle);
        let (next, other) = if bit(key, number) { (right, left) } else { (left, right) };
        steps.push(Step { bit: number, sibling: root_of(other) });
        sorted = next;
    }
    sorted.first()
}

const BUCKETS: usize = 1 << 16;
/// Of [`Leaf::place`]: in which of two rounds the leaf was seen last.
const ROUND: u64 = Leaf::PLACES;

fn bucket_of(key: &Hash) -> usize {
    usize::from(u16::from_be_bytes([key[0], key[1]]))
}

/// The map.
#[derive(Debug)]
pub struct Map {
    buckets: Vec<Vec<Leaf>>,
    /// The roots of buckets; `None` of one that has changed since.
    roots: Vec<Option<Hash>>,
    leaves: u64,
    round: u64,
}

impl Default for Map {
    fn default() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], roots: vec![None; BUCKETS], leaves: 0, round: 0 }
    }
}

impl Map {
    /// How many keys are there.
    pub fn len(&self) -> u64 {
        self.leaves
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.leaves == 0
    }

    /// What stands under a key.
    pub fn get(&self, key: &Hash) -> Option<Leaf> {
        let bucket = &self.buckets[bucket_of(key)];
        let at = bucket.binary_search_by(|leaf| leaf.key.cmp(key)).ok()?;
        Some(Leaf { place: bucket[at].place & !ROUND, ..bucket[at] })
    }

    /// Puts a leaf in, in place of what stands under its key.
    pub fn set(&mut self, leaf: Leaf) {
        let number = bucket_of(&leaf.key);
        let bucket = &mut self.buckets[number];
        let leaf = Leaf { place: leaf.place & !ROUND | self.round, ..leaf };
        match bucket.binary_search_by(|there| there.key.cmp(&leaf.key)) {
            Ok(at) => bucket[at] = leaf,
            Err(at) => {
                bucket.insert(at, leaf);
                self.leaves += 1;
            }
        }
        self.roots[number] = None;
    }

    /// The same content is kept elsewhere now.
    pub fn moved(&mut self, key: &Hash, place: u64) {
        if let Some(there) = self.find(key) {
            there.place = place & !ROUND | there.place & ROUND;
        }
    }

    /// Begins a round: no leaf was seen in it.
    pub fn begin_round(&mut self) {
        self.round ^= ROUND;
    }

    /// This key was seen in this round.
    pub fn see(&mut self, key: &Hash) {
        let round = self.round;
        if let Some(there) = self.find(key) {
            there.place = there.place & !ROUND | round;
        }
    }

    /// The keys in a bucket, 0 to 65,535, that were not seen in this round.
    pub fn unseen(&self, bucket: u16) -> Vec<Hash> {
        let leaves = self.buckets[usize::from(bucket)].iter();
        leaves.filter(|leaf| leaf.place & ROUND != self.round).map(|leaf| leaf.key).collect()
    }

    /// Every leaf, by key.
    pub fn each(&self) -> impl Iterator<Item = Leaf> + '_ {
        self.buckets.iter().flatten().map(|leaf| Leaf { place: leaf.place & !ROUND, ..*leaf })
    }

    /// The root.
    pub fn root(&mut self) -> Hash {
        root_of(&self.tops())
    }

    /// The way by the bits of `key`: its steps, and the leaf where it ends, which may be another key's; `None` in an empty map.
    pub fn walk(&mut self, key: &Hash) -> (Vec<Step>, Option<Leaf>) {
        let (tops, mut steps) = (self.tops(), Vec::new());
        let bucket = descend(&tops, key, &mut steps).map(|top| &self.buckets[bucket_of(&top.key)]);
        let leaf = bucket.and_then(|bucket| descend(bucket, key, &mut steps)).copied();
        (steps, leaf.map(|leaf| Leaf { place: leaf.place & !ROUND, ..leaf }))
    }

    fn find(&mut self, key: &Hash) -> Option<&mut Leaf> {
        let bucket = &mut self.buckets[bucket_of(key)];
        let at = bucket.binary_search_by(|leaf| leaf.key.cmp(key)).ok()?;
        Some(&mut bucket[at])
    }

    /// The buckets with leaves, their roots computed.
    fn tops(&mut self) -> Vec<Top> {
        let filled = self.buckets.iter().zip(&mut self.roots);
        let top = |(bucket, root): (&Vec<Leaf>, &mut Option<Hash>)| {
            let key = bucket.first()?.key;
            Some(Top { key, root: *root.get_or_insert_with(|| root_of(bucket)) })
        };
        filled.filter_map(top).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Keys that share beginnings of every length, which random ones do not.
    fn a_key() -> impl Strategy<Value = Hash> {
        (any::<u8>(), 0..256u16, 0..4u8).prop_map(|(seed, flipped, kind)| {
            let mut key = match kind {
                0 => [0; 32],
                1 => [0xff; 32],
                2 => [seed & 3; 32],
                _ => sha256(&[&[seed]]),
            };
            key[usize::from(flipped / 8)] ^= 0x80 >> (flipped % 8);
            key
        })
    }

    fn put(map: &mut Map, key: Hash, content: u8) {
        map.set(Leaf { key, content: [content; 32], place: 7 });
    }

    fn map_of(model: &BTreeMap<Hash, u8>) -> Map {
        let mut map = Map::default();
        model.iter().for_each(|(key, content)| put(&mut map, *key, *content));
        map
    }

    /// The same root by the plainest means: bit for bit, without buckets or sorting.
    fn plain(leaves: &[(Hash, u8)], from: u16) -> Hash {
        match leaves {
            [] => empty(),
            [(key, content)] => leaf(key, &[*content; 32]),
            _ => {
                let number = (from..256).find(|n| leaves.iter().any(|(key, _)| bit(key, *n) != bit(&leaves[0].0, *n)));
                let number = number.unwrap();
                let (right, left): (Vec<_>, Vec<_>) = leaves.iter().partition(|(key, _)| bit(key, number));
                inner(number, &plain(&left, number + 1), &plain(&right, number + 1))
            }
        }
    }

    proptest! {
        #[test]
        fn the_root_is_of_what_is_there_and_of_no_order_or_history(
            steps in vec((a_key(), any::<u8>()), 0..60), order in any::<u64>(),
        ) {
            let mut map = Map::default();
            let mut model = BTreeMap::new();
            for (number, (key, content)) in steps.into_iter().enumerate() {
                put(&mut map, key, content);
                model.insert(key, content);
                if number % 7 == 0 {
                    map.root();
                }
            }
            let leaves: Vec<_> = model.iter().map(|(key, content)| (*key, *content)).collect();
            let root = map.root();
            prop_assert_eq!(root, plain(&leaves, 0));
            let mut shuffled = leaves;
            shuffled.sort_by_key(|(key, _)| sha256(&[key, &order.to_be_bytes()]));
            let mut again = Map::default();
            shuffled.into_iter().for_each(|(key, content)| put(&mut again, key, content));
            prop_assert_eq!((again.root(), again.len()), (root, model.len() as u64));
        }

        #[test]
        fn a_key_is_proven_there_or_not_there_and_never_both(
            model in proptest::collection::btree_map(a_key(), any::<u8>(), 0..60), asked in a_key(),
        ) {
            let mut map = map_of(&model);
            let root = map.root();
            for key in model.keys().chain([&asked]) {
                let (steps, end) = map.walk(key);
                let Some(end) = end else {
                    prop_assert!(model.is_empty() && steps.is_empty() && root == empty());
                    continue;
                };
                prop_assert_eq!(climb(key, end.hash(), &steps), Some(root));
                prop_assert_eq!(end.key == *key, model.contains_key(key));
                prop_assert_eq!(end.content, [model[&end.key]; 32]);
                // Nothing else leads to this root: neither another leaf, nor another way.
                for other in model.keys().filter(|other| **other != end.key) {
                    let others = leaf(other, &[model[other]; 32]);
                    prop_assert!(climb(key, others, &steps) != Some(root));
                }
                prop_assert!(climb(key, leaf(key, &[model[&end.key] ^ 1; 32]), &steps) != Some(root));
                for at in 0..steps.len() {
                    let mut changed = steps.clone();
                    changed[at].sibling[31] ^= 1;
                    prop_assert!(climb(key, end.hash(), &changed) != Some(root));
                    changed = steps.clone();
                    changed[at].bit ^= 1;
                    prop_assert!(climb(key, end.hash(), &changed) != Some(root));
                    changed = steps.clone();
                    changed.remove(at);
                    prop_assert!(climb(key, end.hash(), &changed) != Some(root));
                    changed = steps.clone();
                    changed.insert(at, steps[at]);
                    prop_assert_eq!(climb(key, end.hash(), &changed), None);
                }
            }
        }
    }

    #[test]
    fn a_way_has_bits_that_increase_and_are_of_a_key() {
        let step = |bit| Step { bit, sibling: [1; 32] };
        let climbs = |bits: &[u16]| climb(&[0; 32], [2; 32], &bits.iter().map(|bit| step(*bit)).collect::<Vec<_>>());
        assert!(climbs(&[0, 3, 255]).is_some() && climbs(&[]).is_some());
        for wrong in [&[3, 3][..], &[4, 3], &[256], &[0, 65535]] {
            assert_eq!(climbs(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_round_finds_who_was_not_seen_and_changes_no_root() {
        let keys: Vec<Hash> = (0..100u8).map(|number| sha256(&[&[number]])).collect();
        let mut map = Map::default();
        keys[..90].iter().for_each(|key| put(&mut map, *key, 1));
        let root = map.root();
        map.begin_round();
        keys[..50].iter().for_each(|key| map.see(key));
        map.moved(&keys[60], 99);
        let unseen = |map: &Map| (0..=u16::MAX).flat_map(|bucket| map.unseen(bucket)).count();
        assert_eq!((unseen(&map), map.root()), (40, root));
        keys[80..].iter().for_each(|key| put(&mut map, *key, 2));
        assert_eq!(unseen(&map), 30, "whoever changes is seen");
        assert_eq!(map.get(&keys[60]).unwrap().place, 99);
        assert!(map.each().all(|leaf| leaf.place == 7 || leaf.key == keys[60]));
    }
}
