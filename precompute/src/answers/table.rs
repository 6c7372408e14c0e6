//! The answers whose signatures have one length.
//!
//! There are 64 segments, each with an index (open addressing, 32 bits per entry) over slots that are stored in chunks.
//! Chunks never move, so growing copies no answer: an index that is 80 % full is rebuilt and swapped in with the same
//! chunks. An index entry holds eight bits of the key's hash, which avoids nearly every access to another key's slot.
//! It does not know what an answer says.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use arc_swap::ArcSwap;

use super::{
    Entry, Inserted, Room,
    slot::{HEAD_WORDS, Head, SEQUENCE, head_of, key_of, read, write},
};
use crate::{pki::UnixTime, records::StateWord, sync::AtomicU64};

/// A power of two: the top bits of a hash choose one.
const SEGMENTS: usize = 64;

/// Slots that are allocated together. The first chunk is small, so that a process with few answers stays small. Later
/// chunks are large enough that their addresses stay in the nearest caches (28 KiB each for P-256; on average the last
/// of a segment is half empty).
const FIRST_CHUNK_SLOTS: usize = 32;
const CHUNK_SLOTS: usize = 256;

/// The chunk with a slot, and the slot's place in it.
#[inline]
fn chunk_of(slot: usize) -> (usize, usize) {
    let (chunk, place) =
        ((slot + CHUNK_SLOTS - FIRST_CHUNK_SLOTS) / CHUNK_SLOTS, slot + CHUNK_SLOTS - FIRST_CHUNK_SLOTS);
    if chunk == 0 { (0, slot) } else { (chunk, place % CHUNK_SLOTS) }
}

/// The number of slots in a chunk.
fn slots_of(chunk: usize) -> usize {
    if chunk == 0 { FIRST_CHUNK_SLOTS } else { CHUNK_SLOTS }
}

/// The largest share of an index in use, in percent.
const LOAD_PERCENT_MAX: usize = 80;

/// How often a slot that is being written is read again before the reader gives up: a write takes some tens of
/// nanoseconds, unless the writer was interrupted in the middle.
const READ_ATTEMPTS_MAX: usize = 100;

/// Values of an index place: these two, or a tag in the top byte and the slot's number from 2 on below it.
const EMPTY: u32 = 0;
const REMOVED: u32 = 1;
const NUMBER_BITS: u32 = 24;
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;

type Chunk = Arc<[AtomicU64]>;
type HashOf<'a> = &'a dyn Fn(&[u64; 3]) -> u64;

#[derive(Debug)]
pub(super) struct Table {
    slot_words: usize,
    segments: Box<[Segment]>,
}

#[derive(Debug)]
struct Segment {
    shape: ArcSwap<Shape>,
    writer: Mutex<Writer>,
    live: AtomicU64,
}

/// What readers see of a segment.
#[derive(Debug)]
struct Shape {
    index: Box<[AtomicU32]>,
    chunks: Box<[OnceLock<Chunk>]>,
}

/// What only the writer needs to know.
#[derive(Debug, Default)]
struct Writer {
    /// Places of the index that are not empty.
    used: usize,
    /// Slots that were given out, and those that were returned.
    slots: usize,
    free: Vec<u32>,
    /// How much of the memory budget the present shape takes.
    shape_octets: usize,
}

impl Shape {
    /// An index of so many places, with at least so many slots.
    fn new(capacity: usize, slots: usize) -> Self {
        Self {
            index: (0..capacity).map(|_| AtomicU32::new(EMPTY)).collect(),
            chunks: (0..Self::chunks(capacity, slots)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The bytes that such a shape takes.
    fn octets(capacity: usize, slots: usize) -> usize {
        capacity * size_of::<AtomicU32>() + Self::chunks(capacity, slots) * size_of::<OnceLock<Chunk>>()
    }

    fn chunks(capacity: usize, slots: usize) -> usize {
        chunk_of(slots.max(capacity * LOAD_PERCENT_MAX / 100)).0 + 1
    }

    /// The places to look at for a hash, in order.
    #[inline]
    fn places(&self, hash: u64) -> impl Iterator<Item = &AtomicU32> {
        let start = ((u128::from(hash << 6) * self.index.len() as u128) >> 64) as usize;
        let (before, after) = self.index.split_at(start);
        after.iter().chain(before)
    }

    #[inline]
    fn slot(&self, number: u32, slot_words: usize) -> Option<&[AtomicU64]> {
        let (chunk, place) = chunk_of(number as usize - 2);
        let start = place * slot_words;
        self.chunks.get(chunk)?.get()?.get(start..start + slot_words)
    }
}

/// The low bits of a hash; the others choose the segment and the place in the index.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash as u32 & 0xff) << NUMBER_BITS
}

fn segment_of(hash: u64) -> usize {
    (hash >> 58) as usize % SEGMENTS
}

impl Table {
    /// For signatures of so many words.
    pub(super) fn new(signature_words: usize) -> Self {
        let segment = |_| Segment {
            shape: ArcSwap::from_pointee(Shape::new(0, 0)),
            writer: Mutex::default(),
            live: AtomicU64::new(0),
        };
        Self { slot_words: HEAD_WORDS + signature_words, segments: (0..SEGMENTS).map(segment).collect() }
    }

    pub(super) fn len(&self) -> u64 {
        self.segments.iter().map(|segment| segment.live.load(Relaxed)).sum()
    }

    #[inline]
    pub(super) fn get(&self, hash: u64, key: &[u64; 3], packed: &mut Vec<u8>) -> Option<Entry> {
        let shape = self.segments[segment_of(hash)].shape.load();
        for place in shape.places(hash) {
            let place = place.load(Acquire);
            if place == EMPTY {
                break;
            }
            if place & !NUMBER == tag(hash)
                && place > REMOVED
                && let Some(slot) = shape.slot(place & NUMBER, self.slot_words)
                && let Some(head) = read(slot, key, packed, READ_ATTEMPTS_MAX)
            {
                return Some(entry_of(&head));
            }
        }
        None
    }

    pub(super) fn insert(
        &self,
        hash: u64,
        key: &[u64; 3],
        packed: &[u8],
        room: &Room,
        hash_of: HashOf<'_>,
        decide: impl FnOnce(Option<Entry>) -> Option<Entry>,
    ) -> Inserted {
        let segment = &self.segments[segment_of(hash)];
        let mut writer = segment.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let shape = segment.shape.load();
        let slot = self.find(&shape, hash, key).map(|(_, slot)| slot);
        // The writer's lock is held, so the entry is read whole.
        let Some(entry) = decide(slot.map(|slot| entry_of(&head_of(slot)))) else { return Inserted::Unwanted };
        let Some(head) = head(key, &entry) else { return Inserted::NoRoom };
        if let Some(slot) = slot {
            write(slot, &head, packed);
            return Inserted::Written;
        }
        drop(shape);
        let Some(number) = self.free_slot(segment, &mut writer, room, hash_of) else { return Inserted::NoRoom };
        let shape = segment.shape.load();
        let Some(slot) = shape.slot(number, self.slot_words) else { return Inserted::NoRoom };
        write(slot, &head, packed);
        // A removed place is not reused, so that a reader never meets a key twice; the next index is built without it.
        if let Some(place) = shape.places(hash).find(|place| place.load(Relaxed) == EMPTY) {
            // Publishes the slot: readers load the place with Acquire.
            place.store(tag(hash) | number, Release);
            writer.used += 1;
            segment.live.fetch_add(1, Relaxed);
        }
        Inserted::Written
    }

    /// Makes the indices large enough for so many more, if there is memory.
    pub(super) fn reserve(&self, additional: usize, room: &Room, hash_of: HashOf<'_>) {
        let share = additional / SEGMENTS;
        // Segments are filled by a hash: four standard deviations of room each.
        let share = share + 4 * share.isqrt();
        for segment in &self.segments {
            let mut writer = segment.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = (writer.used + share + 1) * 100 / LOAD_PERCENT_MAX + 1;
            if share > 0 && wanted > segment.shape.load().index.len() {
                let _ = self.rebuild_index(segment, &mut writer, wanted, room, hash_of);
            }
        }
    }

    /// Where a key is; the writer's lock is held.
    fn find<'s>(&self, shape: &'s Shape, hash: u64, key: &[u64; 3]) -> Option<(&'s AtomicU32, &'s [AtomicU64])> {
        for place in shape.places(hash) {
            let value = place.load(Relaxed);
            if value == EMPTY {
                break;
            }
            if value & !NUMBER == tag(hash) && value > REMOVED {
                let slot = shape.slot(value & NUMBER, self.slot_words)?;
                if key_of(slot) == *key {
                    return Some((place, slot));
                }
            }
        }
        None
    }

    /// The number of an unused slot, with a free place in the index for it. `None` if there is no memory.
    fn free_slot(&self, segment: &Segment, writer: &mut Writer, room: &Room, hash_of: HashOf<'_>) -> Option<u32> {
        if (writer.used + 1) * 100 > segment.shape.load().index.len() * LOAD_PERCENT_MAX {
            let live = segment.live.load(Relaxed) as usize;
            // Half as many again until the next rebuild.
            let capacity = (live + live / 2 + 16) * 100 / LOAD_PERCENT_MAX;
            self.rebuild_index(segment, writer, capacity, room, hash_of)?;
        }
        if let Some(number) = writer.free.pop() {
            return Some(number);
        }
        let number = u32::try_from(writer.slots + 2).ok().filter(|&number| number <= NUMBER)?;
        let shape = segment.shape.load();
        let (place, _) = chunk_of(writer.slots);
        let chunk = shape.chunks.get(place)?;
        if chunk.get().is_none() {
            let words = slots_of(place) * self.slot_words;
            if !room.take(words * size_of::<u64>()) {
                return None;
            }
            chunk.get_or_init(|| (0..words).map(|_| AtomicU64::new(0)).collect());
        }
        writer.slots += 1;
        Some(number)
    }

    fn rebuild_index(
        &self,
        segment: &Segment,
        writer: &mut Writer,
        capacity: usize,
        room: &Room,
        hash_of: HashOf<'_>,
    ) -> Option<()> {
        let old = segment.shape.load_full();
        let octets = Shape::octets(capacity, writer.slots);
        if !room.take(octets) {
            return None;
        }
        let new = Shape::new(capacity, writer.slots);
        for (old, new) in old.chunks.iter().zip(&new.chunks) {
            if let Some(chunk) = old.get() {
                let _ = new.set(Arc::clone(chunk));
            }
        }
        writer.used = 0;
        for place in &old.index {
            let place = place.load(Relaxed);
            if place <= REMOVED {
                continue;
            }
            let Some(slot) = new.slot(place & NUMBER, self.slot_words) else { continue };
            let hash = hash_of(&key_of(slot));
            if let Some(free) = new.places(hash).find(|place| place.load(Relaxed) == EMPTY) {
                free.store(place, Relaxed);
                writer.used += 1;
            }
        }
        segment.shape.store(Arc::new(new));
        room.give_back(std::mem::replace(&mut writer.shape_octets, octets));
        Some(())
    }

    pub(super) fn remove_expired(&self, now: UnixTime) {
        for segment in &self.segments {
            let mut writer = segment.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let shape = segment.shape.load_full();
            for place in &shape.index {
                let value = place.load(Relaxed);
                if value <= REMOVED {
                    continue;
                }
                let Some(slot) = shape.slot(value & NUMBER, self.slot_words) else { continue };
                if entry_of(&head_of(slot)).next_update <= now {
                    place.store(REMOVED, Relaxed);
                    writer.free.push(value & NUMBER);
                    segment.live.fetch_sub(1, Relaxed);
                }
            }
        }
    }
}

/// The words of a slot before the signature: the key, refresh_at, this_update with next_update, the state. `None` for
/// times after 2106.
fn head(key: &[u64; 3], entry: &Entry) -> Option<Head> {
    let seconds = |time: UnixTime| u32::try_from(time.0).ok().map(u64::from);
    let times = seconds(entry.this_update)? << 32 | seconds(entry.next_update)?;
    Some([key[0], key[1], key[2], seconds(entry.refresh_at)?, times, entry.state.word()])
}

fn entry_of(head: &Head) -> Entry {
    let half = |word: u64| UnixTime(word & u64::from(u32::MAX));
    let times = head[SEQUENCE + 1];
    Entry {
        state: StateWord::from_word(head[SEQUENCE + 2]),
        this_update: UnixTime(times >> 32),
        next_update: half(times),
        refresh_at: half(head[SEQUENCE]),
    }
}
