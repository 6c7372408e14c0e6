//! A reader compares everything with a snapshot and the entries after it (rule 8).
//!
//! Invariant: the store changes once the snapshot's records are at hand and every entry after it has been read, each
//! following the one before; so what it becomes is what a writer had at one moment. It does not know which records
//! differ.

use std::{collections::HashMap, time::Duration};

use super::{
    Body, Event, Gone, Moment, Opened, Place, Position, Pulse, Reader, Rule, Snapshots, Store, Transport, follows,
    is_flooded, limits, sections,
};
use crate::{
    feed::{
        Issuer, Manifest,
        walking::{Later, LaterHashes, walk, walk_hashes},
    },
    pki::Serial,
};

/// A comparison that has begun.
#[derive(Debug)]
pub(super) struct Reconciling {
    why: Why,
    since: Duration,
    tail: Option<Tail>,
    /// The snapshot that is fetched while entries are applied,
    wanted: Option<Manifest>,
    /// and when to look for another one, where nobody has it.
    next_look: Duration,
}

/// Why everything is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// An entry does not follow, or there is nothing yet. What comes out has to be ahead of the store's place.
    Lost,
    /// The present records are known to be wrong. What comes out may be of the same place.
    Damaged,
    /// A chain behind the store's place has outlived it (rule 20).
    Outlived,
}

/// What everything was compared with. Whoever takes answers of the snapshot and of the entries after it needs it: an
/// answer that was told before its record changed is of the past, even if the record says the same again.
#[derive(Debug)]
pub struct Compared {
    /// The snapshot.
    pub manifest: Manifest,
    /// What the entries after it say of records.
    pub later: Later,
    /// Where each of those was changed last.
    pub changed: HashMap<(Issuer, Serial), Position>,
    /// The last of those entries; `None` if no answers are among them. Their number has no bound, so they are for the
    /// taker to read again.
    pub answers_until: Option<Position>,
}

/// A snapshot, and what the entries after it say.
#[derive(Debug)]
struct Tail {
    manifest: Manifest,
    place: Place,
    cursor: Position,
    said: Later,
    hashes: LaterHashes,
    changed: HashMap<(Issuer, Serial), Position>,
    has_answers: bool,
    entries: Vec<Opened>,
}

impl Tail {
    fn of(manifest: Manifest) -> Self {
        let place = Place { position: manifest.position, chain: manifest.chain };
        let (said, hashes, changed, entries) = Default::default();
        Self { manifest, place, cursor: place.position, said, hashes, changed, has_answers: false, entries }
    }
}

impl Reconciling {
    /// Whether that holds wherever the connection goes.
    pub(super) fn is_of_any_stream(&self) -> bool {
        self.why != Why::Outlived
    }

    pub(super) fn begin(why: Why, now: Moment) -> Self {
        Self { why, since: now.monotonic, tail: None, wanted: None, next_look: now.monotonic }
    }

    /// Whether entries are applied until a snapshot is here: they follow what the store has.
    pub(super) fn waits_beside(&self, place: Option<Place>) -> bool {
        self.why == Why::Damaged && self.tail.is_none() && place.is_some()
    }

    /// Whether nobody has had the snapshot for so long that it is given up.
    pub(super) fn is_late(&self, now: Moment) -> bool {
        now.monotonic.saturating_sub(self.since) > limits::SNAPSHOT_PATIENCE
    }

    /// Whether that is so of the one that is fetched while entries are applied.
    pub(super) fn is_given_up(&self, now: Moment) -> bool {
        self.wanted.is_none() && self.is_late(now)
    }

    /// Whether the store may go from one position to another.
    fn allows(&self, from: Position, to: Position) -> bool {
        match self.why {
            Why::Lost => to > from,
            Why::Damaged => to >= from,
            Why::Outlived => true,
        }
    }

    /// Whether the stream is ahead of the store's place again: who wrote that may have come back.
    fn is_overtaken(&self, place: Option<Place>, last: Position) -> bool {
        self.why == Why::Outlived && place.is_some_and(|place| last >= place.position)
    }
}

impl Reader {
    #[allow(clippy::too_many_arguments, reason = "everything that the machine has at hand")]
    pub(super) fn reconcile(
        &mut self,
        mut reconciling: Reconciling,
        last: Position,
        now: Moment,
        transport: &mut impl Transport,
        store: &mut impl Store,
        snapshots: &mut impl Snapshots,
        events: &mut Vec<Event>,
    ) -> Result<(), Gone> {
        if reconciling.is_overtaken(store.place(), last) {
            self.lower = None;
            return Ok(());
        }
        let tail = match reconciling.tail.take() {
            Some(tail) => Some(tail),
            None => self.look_for_a_snapshot(transport, events)?,
        };
        let Some(mut tail) = tail else {
            self.retry = now.monotonic + limits::HEAD_RETRY;
            return Ok(());
        };
        // It is fetched meanwhile.
        snapshots.here(&tail.manifest);
        let is_whole = self.read_tail(&mut tail, now, transport, events)?;
        let chunks = snapshots.here(&tail.manifest);
        if !is_whole || chunks.is_none() && reconciling.is_late(now) {
            // Another snapshot may do.
            self.retry = now.monotonic + limits::HEAD_RETRY;
            return Ok(());
        }
        let is_read =
            tail.cursor >= last && chunks.is_some_and(|chunks| chunks >= tail.manifest.record_chunks as usize);
        if !is_read {
            reconciling.tail = Some(tail);
            self.reconciling = Some(reconciling);
            return Ok(());
        }
        if store.place().is_some_and(|from| !reconciling.allows(from.position, tail.place.position)) {
            self.retry = now.monotonic + limits::HEAD_RETRY;
            return Ok(());
        }
        self.adopt(tail, now, store, snapshots, events);
        Ok(())
    }

    /// Whether the records of a snapshot are here. If not, they begin to be fetched; what is being fetched goes on, also
    /// when there is a newer one.
    pub(super) fn is_at_hand(
        &mut self,
        reconciling: &mut Reconciling,
        now: Moment,
        transport: &mut impl Transport,
        snapshots: &mut impl Snapshots,
        events: &mut Vec<Event>,
    ) -> Result<bool, Gone> {
        let mut wanted = reconciling.wanted.take();
        if wanted.is_none() && now.monotonic >= reconciling.next_look {
            reconciling.next_look = now.monotonic + limits::HEAD_RETRY;
            wanted = self.look_for_a_snapshot(transport, events)?.map(|tail| tail.manifest);
        }
        let Some(wanted) = wanted else { return Ok(false) };
        let here = snapshots.here(&wanted);
        if here.is_some_and(|here| here >= wanted.record_chunks as usize) {
            reconciling.tail = Some(Tail::of(wanted));
            return Ok(true);
        }
        // Where nobody has it another one is looked for.
        reconciling.wanted = here.map(|_| wanted);
        Ok(false)
    }

    fn look_for_a_snapshot(
        &mut self,
        transport: &mut impl Transport,
        events: &mut Vec<Event>,
    ) -> Result<Option<Tail>, Gone> {
        let Some(bytes) = transport.head()? else { return Ok(None) };
        match Manifest::open(&bytes, &self.cluster, &self.trusted) {
            Ok(manifest) => Ok(Some(Tail::of(manifest))),
            Err(refusal) => {
                events.push(Event::HeadRefused(refusal));
                Ok(None)
            }
        }
    }

    /// Reads what follows the snapshot, or as much of it as one step may; false if an entry does not follow.
    fn read_tail(
        &mut self,
        tail: &mut Tail,
        now: Moment,
        transport: &mut impl Transport,
        events: &mut Vec<Event>,
    ) -> Result<bool, Gone> {
        loop {
            let batch = transport.read_after(tail.cursor, limits::READ_ENTRIES_MAX)?;
            let is_last = batch.len() < limits::READ_ENTRIES_MAX;
            for raw in batch {
                tail.cursor = raw.position;
                let Some(mut opened) = self.open(&raw, now, events) else {
                    if self.rules.keep(Rule::Forged) {
                        continue;
                    }
                    return Ok(false);
                };
                if opened.entry.body == Body::Fence {
                    continue;
                }
                if !follows(self.rules, tail.place, &opened.entry) || tail.said.len() > limits::OVERLAY_RECORDS_MAX {
                    return Ok(false);
                }
                tail.place = Place { position: opened.entry.position, chain: opened.chain };
                for section in sections(&opened.entry.body) {
                    let told = section.told_hashes().map(|(serial, hash)| ((section.issuer, serial), hash));
                    tail.hashes.extend(told);
                    for change in &section.changes {
                        let key = (section.issuer, change.serial);
                        tail.said.insert(key, *change);
                        tail.changed.insert(key, opened.entry.position);
                    }
                }
                match &mut opened.entry.body {
                    Body::Records(_) => continue,
                    Body::Answers(_) => {
                        tail.has_answers = true;
                        continue;
                    }
                    // Who leads; what it states again is taken.
                    Body::Begin(begin) => (begin.continues, begin.again) = Default::default(),
                    _ => {}
                }
                tail.entries.push(opened);
            }
            if is_last || is_flooded(events) {
                return Ok(true);
            }
        }
    }

    fn adopt(
        &mut self,
        tail: Tail,
        now: Moment,
        store: &mut impl Store,
        snapshots: &mut impl Snapshots,
        events: &mut Vec<Event>,
    ) {
        let Tail { manifest, place, cursor, said, hashes, changed, has_answers, entries } = tail;
        let walked = store.reconcile(place, &mut |each| {
            walk(&manifest, snapshots, &said, |_, said| *said, each)?;
            walk_hashes(&hashes, each);
            Ok(())
        });
        if let Err(fault) = walked {
            self.retry = now.monotonic + limits::HEAD_RETRY;
            events.push(Event::Fault(fault));
            return;
        }
        self.cursor = cursor;
        self.lower = None;
        // How fresh this is, its own heartbeats tell.
        self.followed = Pulse::default();
        let answers_until = has_answers.then_some(place.position);
        self.compared = Some(Compared { manifest, later: said, changed, answers_until });
        events.push(Event::Reconciled(place));
        for opened in entries {
            if let Body::Heartbeat(heartbeat) = &opened.entry.body {
                self.followed.beat(self.rules, heartbeat.time, now);
            }
            events.push(Event::Told(Box::new(opened)));
        }
    }
}
