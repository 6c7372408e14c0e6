//! A writer at work.
//!
//! Invariant: every entry follows the one before, on one connection; who finds that this is not so stops to write before
//! anybody is acknowledged anything. Signs of life wait for nothing else. It does not know what a snapshot consists of.

use std::time::Duration;

use super::{
    Appended, Body, Book, Gone, Moment, Notice, Owed, Place, Position, Rule, Sealed, State, Transport, Writer,
    in_sections, limits, with_hashes,
};
use crate::feed::{
    Manifest,
    body::{Heartbeat, Section, SnapshotTold},
};
use crate::state_dir::ServerId;

/// What a writer at work remembers.
#[derive(Debug)]
pub(super) struct Leading {
    /// An entry that is to be appended, or was perhaps.
    flight: Option<Flight>,
    /// The next sign of life.
    beat: Duration,
    /// When the manifest was last put into its place.
    asserted: Option<Duration>,
    /// Bytes told since the last snapshot,
    octets: u64,
    /// and records.
    records: usize,
    snapshot: SnapshotState,
    /// Whether the last entry was of records: then what waits beside them is next.
    was_records: bool,
    /// Whether it was a sign of life: then that waits for one of anything else.
    was_beat: bool,
    /// Whether the writer stops after this, and who is to take over.
    resigns: Option<Option<ServerId>>,
    /// There was no room for an entry, and what could be trimmed was.
    made_room: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SnapshotState {
    Due,
    Wanted,
    /// There is one, and readers are to be told.
    Made,
    Told {
        at: Duration,
    },
    /// It could not be made.
    Failed {
        at: Duration,
    },
}

#[derive(Debug)]
struct Flight {
    sealed: Sealed,
    owed: Vec<Owed>,
    said: Vec<Section>,
    body: Body,
}

/// A snapshot of one's own.
#[derive(Debug)]
pub(super) struct Head {
    bytes: Vec<u8>,
    told: SnapshotTold,
    /// The one before: readers may still fetch it.
    before: Option<Position>,
}

impl Leading {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            flight: None,
            beat: now.monotonic,
            asserted: None,
            octets: 0,
            records: 0,
            snapshot: SnapshotState::Due,
            was_records: false,
            was_beat: false,
            resigns: None,
            made_room: false,
        }
    }

    pub(super) fn is_telling(&self) -> bool {
        self.flight.is_some()
    }

    /// Rule 7.
    fn wants_a_snapshot(&self, last: Option<&Head>, interval: Duration, now: Moment) -> bool {
        match self.snapshot {
            SnapshotState::Due => true,
            SnapshotState::Wanted | SnapshotState::Made => false,
            SnapshotState::Failed { at } => now.monotonic.saturating_sub(at) >= limits::SNAPSHOT_RETRY,
            SnapshotState::Told { at } => {
                let share = last.map_or(0, |head| head.told.octets / limits::SNAPSHOT_AFTER_SHARE);
                self.octets > limits::SNAPSHOT_AFTER_OCTETS.max(share)
                    || self.records > limits::SNAPSHOT_AFTER_RECORDS
                    || now.monotonic.saturating_sub(at) >= interval
            }
        }
    }
}

impl Writer {
    /// A snapshot of the book is at hand for readers. `manifest`: of a place at which this writer led.
    pub fn snapshot_made(&mut self, manifest: &Manifest) {
        let Manifest { position, chain, octets, .. } = *manifest;
        let before = self.manifest.as_ref().map(|head| head.told.position);
        let bytes = manifest.seal(&self.settings.cluster, &self.settings.key);
        self.manifest = Some(Head { bytes, told: SnapshotTold { position, chain, octets }, before });
        if let State::Leading(leading) = &mut self.state {
            leading.snapshot = SnapshotState::Made;
            leading.asserted = None;
        }
    }

    /// The snapshot that was wanted could not be made. It is wanted again later.
    pub fn snapshot_failed(&mut self, now: Moment) {
        if let State::Leading(leading) = &mut self.state
            && leading.snapshot == SnapshotState::Wanted
        {
            leading.snapshot = SnapshotState::Failed { at: now.monotonic };
        }
    }

    /// An issuer that was told is not in the newest snapshot: whoever has nothing of it needs another one.
    pub fn snapshot_lacks_an_issuer(&mut self, now: Moment) {
        if let State::Leading(leading) = &mut self.state
            && let SnapshotState::Told { at } = leading.snapshot
            && now.monotonic.saturating_sub(at) >= limits::SNAPSHOT_OF_ANOTHER_ISSUER
        {
            leading.snapshot = SnapshotState::Due;
        }
    }

    /// The newest snapshot is not to be had here any more. True if another one is wanted for that: not before this one
    /// is [`limits::SNAPSHOT_RETRY`] old, or a disk that fails would have one made after the other.
    pub fn snapshot_lost(&mut self, now: Moment) -> bool {
        if let State::Leading(leading) = &mut self.state
            && let SnapshotState::Told { at } = leading.snapshot
            && now.monotonic.saturating_sub(at) >= limits::SNAPSHOT_RETRY
        {
            leading.snapshot = SnapshotState::Due;
            return true;
        }
        false
    }

    /// The next entry is the last one: another writer need not wait for silence, and `successor` for nobody.
    pub fn resign(&mut self, successor: Option<ServerId>) {
        if let State::Leading(leading) = &mut self.state {
            leading.resigns = Some(successor);
        }
    }

    /// It goes on, if it has not resigned yet.
    pub fn stay(&mut self) {
        if let State::Leading(leading) = &mut self.state {
            leading.resigns = None;
            leading.flight = leading.flight.take().filter(|flight| !matches!(flight.body, Body::Resign(_)));
        }
    }

    pub(super) fn lead(
        &mut self,
        connection: Option<u64>,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        let State::Leading(mut leading) = std::mem::replace(&mut self.state, State::Fencing) else { return Ok(()) };
        let place = book.place().unwrap_or(Place::START);
        if connection != self.connection {
            // Rules 9 and 15: is what I wrote last the last? Else a new epoch begins, or another one leads.
            if let Some(flight) = leading.flight.take() {
                self.remember(&flight, now);
                return Ok(());
            }
            let last = transport.info()?.map(|info| info.last);
            if last != Some(place.position) || !self.is_last(place, transport)? {
                return Ok(());
            }
            self.connection = connection;
        }
        let Some(flight) = leading.flight.take() else {
            // The book first: what an entry says is committed, and it is appended in another step.
            leading.flight = self.next_entry(&mut leading, place, now, transport, book, notices)?;
            self.state = State::Leading(leading);
            return Ok(());
        };
        let is_written = match transport.append(&flight.sealed, !self.rules.keep(Rule::NoMkStream)) {
            Appended::Written => true,
            Appended::Lower | Appended::Ambiguous => self.is_there(&flight.sealed, transport).unwrap_or(false),
            Appended::Full if !leading.made_room => {
                leading.made_room = true;
                self.make_room(transport);
                leading.flight = Some(flight);
                self.state = State::Leading(leading);
                return Ok(());
            }
            // Rule 15: the stream is gone, or the connection; a new epoch begins.
            Appended::Full | Appended::NoStream | Appended::Gone => false,
        };
        if is_written {
            self.written(leading, flight, now, transport, book, notices)
        } else {
            self.remember(&flight, now);
            self.refused(leading, place, now, transport, notices)
        }
    }

    /// What is told next, if anything is.
    fn next_entry(
        &mut self,
        leading: &mut Leading,
        place: Place,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<Flight>, Gone> {
        self.assert_head(leading, place, now, transport)?;
        // Where each entry takes a second, one sign of life does not follow the other.
        let is_due = now.monotonic >= leading.beat;
        let other = if is_due && !leading.was_beat { None } else { self.next_other(leading, now, book, notices) };
        let (body, owed, said) = match other {
            Some(other) => other,
            None if is_due => {
                leading.beat = now.monotonic + limits::HEARTBEAT_INTERVAL;
                // Digests are of what was told.
                let is_told = book.owed(1).is_empty();
                let digests = if is_told { book.digests(limits::HEARTBEAT_DIGESTS_MAX) } else { Vec::new() };
                let address = self.settings.address.clone();
                (Body::Heartbeat(Heartbeat { time: now.wall, address, digests }), Vec::new(), Vec::new())
            }
            None => return Ok(None),
        };
        leading.was_beat = matches!(body, Body::Heartbeat(_));
        leading.was_records = matches!(body, Body::Records(_));
        let sealed = self.seal(place.position.next(), place.chain, body.clone());
        Ok(Some(Flight { sealed, owed, said, body }))
    }

    /// What is told next beside signs of life; with records, their rows in the outbox and what is said of them.
    fn next_other(
        &mut self,
        leading: &mut Leading,
        now: Moment,
        book: &impl Book,
        notices: &mut Vec<Notice>,
    ) -> Option<(Body, Vec<Owed>, Vec<Section>)> {
        if let Some(successor) = leading.resigns {
            return Some((Body::Resign(successor), Vec::new(), Vec::new()));
        }
        if leading.wants_a_snapshot(self.manifest.as_ref(), self.settings.snapshot_interval, now) {
            // What is told while it is made is not in it.
            (leading.snapshot, leading.octets, leading.records) = (SnapshotState::Wanted, 0, 0);
            notices.push(Notice::SnapshotWanted);
        }
        let beside = self.beside.front();
        // Records that come without end keep nothing else waiting.
        let others_wait = beside.is_some() || self.manifest.is_some() && leading.snapshot == SnapshotState::Made;
        if !(leading.was_records && others_wait) {
            let mut owed = book.owed(limits::ENTRY_RECORDS_MAX);
            if !owed.is_empty() {
                owed.sort_by_key(|owed| owed.issuer);
                let said = in_sections(owed.iter().map(|owed| (owed.issuer, owed.change)));
                let said = with_hashes(self.rules, book, said, limits::ENTRY_RECORDS_MAX);
                return Some((Body::Records(said.clone()), owed, said));
            }
        }
        let body = match (&self.manifest, leading.snapshot, beside) {
            (Some(head), SnapshotState::Made, _) => Body::Snapshot(head.told),
            (_, _, Some(beside)) => beside.clone(),
            _ => return None,
        };
        Some((body, Vec::new(), Vec::new()))
    }

    /// The server has no room for another entry, and nobody else makes any: whoever leads trims the stream, and nobody leads
    /// who cannot write. What is before the newest snapshot is in it; a reader that is further behind takes that. Whether it
    /// helped shows with the next attempt.
    pub(super) fn make_room(&self, transport: &mut impl Transport) {
        let Ok(Some(bytes)) = transport.head() else { return };
        if let Ok(manifest) = Manifest::open(&bytes, &self.settings.cluster, self.reader.trusted()) {
            let _ = transport.trim(manifest.position);
        }
    }

    /// Rule 14: somebody may have emptied Redis, or put an older manifest there.
    fn assert_head(
        &mut self,
        leading: &mut Leading,
        place: Place,
        now: Moment,
        transport: &mut impl Transport,
    ) -> Result<(), Gone> {
        let Some(head) = &self.manifest else { return Ok(()) };
        let is_new = leading.snapshot == SnapshotState::Made && leading.asserted.is_none();
        let is_due =
            leading.asserted.is_some_and(|at| now.monotonic.saturating_sub(at) >= limits::HEAD_ASSERT_INTERVAL);
        if !(is_new || is_due && self.rules.keep(Rule::AssertHead)) {
            return Ok(());
        }
        leading.asserted = Some(now.monotonic);
        // Who was deposed and does not know it yet must not replace another's.
        if transport.info()?.is_some_and(|info| info.last == place.position) {
            transport.set_head(&head.bytes)?;
        }
        Ok(())
    }

    fn written(
        &mut self,
        mut leading: Box<Leading>,
        flight: Flight,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        let Flight { sealed, owed, said, body } = flight;
        let place = Place { position: sealed.position, chain: sealed.chain };
        leading.made_room = false;
        self.ring.push(sealed.chain, sealed.bytes.len(), now.monotonic, &said);
        self.reader.goes_on(place);
        leading.octets += sealed.bytes.len() as u64;
        leading.records += owed.len();
        if let (Body::Snapshot(_), Some(head)) = (&body, &self.manifest) {
            leading.snapshot = SnapshotState::Told { at: now.monotonic };
            // Rule 7: who fetches the one before can still follow it.
            if let Some(before) = head.before {
                transport.trim(before)?;
            }
        }
        if self.beside.front() == Some(&body) {
            self.beside.pop_front();
        }
        self.state = State::Leading(leading);
        if let Err(fault) = book.told(place, &owed) {
            notices.push(Notice::Fault(fault));
            self.stand_down(notices);
        } else if matches!(body, Body::Resign(_)) {
            self.stand_down(notices);
        } else {
            notices.push(Notice::Written(place));
        }
        Ok(())
    }

    /// It was not written. Deposed, if another one has a higher epoch (rule 15); else a new epoch begins.
    fn refused(
        &mut self,
        leading: Box<Leading>,
        place: Place,
        now: Moment,
        transport: &mut impl Transport,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        let last = transport.info()?.map_or(Position::START, |info| info.last);
        let latest = now.wall.saturating_add(limits::POISON_AHEAD.as_micros() as u64);
        if last.epoch > place.position.epoch && last.epoch <= latest {
            self.state = State::Leading(leading);
            self.stand_down(notices);
        }
        Ok(())
    }

    /// Readers may have seen an entry of which it is not known whether it was written: the next `begin` continues from
    /// it as well, and what it says is still in the outbox.
    fn remember(&mut self, flight: &Flight, now: Moment) {
        let Flight { sealed, said, .. } = flight;
        self.ring.push(sealed.chain, sealed.bytes.len(), now.monotonic, said);
    }

    fn is_last(&self, place: Place, transport: &mut impl Transport) -> Result<bool, Gone> {
        Ok(self.there(place.position, transport)?.is_some_and(|raw| crate::feed::Chain::of(&raw.bytes) == place.chain))
    }
}
