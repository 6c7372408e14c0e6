//! A writer takes over: a fence, everything before it, and a `begin`.
//!
//! Invariant: between the fence and the `begin` nobody else has written on this connection, because each of them is
//! refused if a higher ID is there. It does not know why it takes over.

use std::collections::{BTreeMap, HashSet};

use super::{
    Appended, Body, Book, Chain, Event, Gone, Issuer, Leading, Moment, Notice, Place, Position, Rule, Sealed,
    Snapshots, State, Transport, Writer, limits, state_of,
};
use crate::{
    feed::{
        Entry, Manifest,
        body::Begin,
        chain::Ring,
        reader::sections,
        rule::is_final,
        snapshot::{Part, each_part},
    },
    pki::Serial,
    records::Change,
};

impl Writer {
    /// Rules 9 and 11.
    pub(super) fn fence(
        &mut self,
        connection: Option<u64>,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        let last = transport.info()?.map_or(Position::START, |info| info.last);
        let latest = now.wall.saturating_add(limits::POISON_AHEAD.as_micros() as u64);
        if last.epoch > latest && self.rules.keep(Rule::Poison) {
            self.absorb(None, transport, book, now, notices)?;
            transport.unlink()?;
            notices.push(Notice::Poisoned(last));
            return Ok(());
        }
        let place = book.place().unwrap_or(Place::START);
        // Who has led undoes what it did not tell before it takes anything from another one (rule 16), and reads its
        // sources again before it leads.
        let is_anothers = last.epoch > place.position.epoch.max(self.epoch) && last.epoch <= latest;
        if self.has_led && is_anothers && self.rules.keep(Rule::Undo) {
            self.stand_down(notices);
            return Ok(());
        }
        let seen = [last.epoch, place.position.epoch, self.epoch, self.reader.epoch_seen()];
        let seen = seen.into_iter().filter(|epoch| *epoch <= latest).max().unwrap_or(0);
        self.epoch = seen.saturating_add(1);
        if self.rules.keep(Rule::TimeEpoch) {
            self.epoch = self.epoch.max(now.wall);
        }
        let fence = Position { epoch: self.epoch, sequence: 0 };
        let sealed = self.seal(fence, place.chain, Body::Fence);
        if self.is_appended(&sealed, true, transport)? {
            self.connection = connection;
            self.reader.rewind(book);
            self.state = State::Reading { fence };
        } else {
            self.stand_down(notices);
        }
        Ok(())
    }

    /// Appends one of the entries of a take-over; whether it stands there. Without room for it there may be some the next time.
    fn is_appended(&self, sealed: &Sealed, may_create: bool, transport: &mut impl Transport) -> Result<bool, Gone> {
        match transport.append(sealed, may_create) {
            Appended::Written => Ok(true),
            Appended::Ambiguous => self.is_there(sealed, transport),
            Appended::Full => {
                self.make_room(transport);
                Ok(false)
            }
            Appended::Lower | Appended::NoStream | Appended::Gone => Ok(false),
        }
    }

    /// Rule 12.
    pub(super) fn read_up(
        &mut self,
        fence: Position,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        snapshots: &mut impl Snapshots,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        if transport.info()?.map(|info| info.last) != Some(fence) {
            self.defeats = self.defeats.saturating_add(1);
            self.stand_down(notices);
            return Ok(());
        }
        if self.rules.keep(Rule::ReadUp) {
            let mut events = Vec::new();
            let followed = self.reader.follow(Some(fence), now, transport, book, &mut events)?;
            self.note(now, &events);
            let mine = self.settings.server;
            let is_anothers = |event: &Event| matches!(event, Event::Linked(opened) if opened.entry.author != mine);
            let came_between = self.has_led && events.iter().any(is_anothers);
            notices.extend(events.into_iter().map(Notice::Read));
            // Nor does it lead with a book that lacks what another one told.
            if came_between || followed.untaken.is_some_and(|author| author != mine) {
                self.stand_down(notices);
                return Ok(());
            }
            if !followed.is_all {
                return Ok(());
            }
        }
        if self.rules.keep(Rule::Absorb) {
            let told = notices.len();
            self.absorb(Some(fence), transport, book, now, notices)?;
            self.absorb_snapshot(transport, book, snapshots, notices)?;
            if notices[told..].iter().any(|notice| matches!(notice, Notice::Fault(_))) {
                self.stand_down(notices);
                return Ok(());
            }
        }
        let owed = if self.rules.keep(Rule::Submit) { book.owe_debts() } else { Ok(()) };
        if let Err(fault) = owed {
            notices.push(Notice::Fault(fault));
        }
        self.state = State::Beginning { fence };
        Ok(())
    }

    /// Takes over final revocations of entries that this writer does not continue from. Nobody writes meanwhile, so it looks
    /// at no more of a long stream than it has to: half a day of heartbeats would take seconds to verify.
    fn absorb(
        &mut self,
        end: Option<Position>,
        transport: &mut impl Transport,
        book: &mut impl Book,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        let (mut cursor, mut events) = (Position::START, Vec::new());
        let mine: HashSet<Chain> = self.ring.chains().collect();
        loop {
            let batch = transport.read_after(cursor, limits::READ_ENTRIES_MAX)?;
            let is_last = batch.len() < limits::READ_ENTRIES_MAX;
            for raw in batch {
                cursor = raw.position;
                if end.is_some_and(|end| cursor >= end) {
                    return Ok(());
                }
                // Of a stream that is removed each epoch counts.
                let may_count = end.is_none() || Entry::may_say_records(&raw.bytes);
                if may_count
                    && !mine.contains(&Chain::of(&raw.bytes))
                    && let Some(opened) = self.reader.open(&raw, now, &mut events)
                {
                    take_over(book, said(&opened.entry), notices);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// The same of the last snapshot, if it is not of this writer's own past. One that nobody has is not waited for.
    fn absorb_snapshot(
        &mut self,
        transport: &mut impl Transport,
        book: &mut impl Book,
        snapshots: &mut impl Snapshots,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        let Some(bytes) = transport.head()? else { return Ok(()) };
        let Ok(manifest) = Manifest::open(&bytes, &self.settings.cluster, self.reader.trusted()) else { return Ok(()) };
        let count = manifest.record_chunks as usize;
        if self.ring.has(manifest.chain) || snapshots.here(&manifest).is_none_or(|here| here < count) {
            return Ok(());
        }
        for chunk in (0..count).map_while(|number| {
            snapshots.chunk(&manifest, number).filter(|chunk| manifest.check(number, chunk).is_ok())
        }) {
            let mut all = Vec::new();
            let outcome = each_part(&chunk, |part| {
                if let Part::Records(issuer, rows) = part {
                    all.extend(rows.flatten().map(|change| (issuer, change)));
                }
                Ok(())
            });
            if outcome.is_ok() {
                take_over(book, all, notices);
            }
        }
        Ok(())
    }

    /// Rule 13.
    pub(super) fn begin(
        &mut self,
        fence: Position,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Gone> {
        let from = book.place().unwrap_or(Place::START);
        if book.place().is_none() {
            // Its book does not stand for what it remembers any more: an issuer was added, or the book was exchanged.
            self.ring = Ring::new(from.chain);
        }
        let (continues, mut changed) =
            if self.rules.keep(Rule::Restate) { self.ring.begin() } else { (vec![from.chain], Default::default()) };
        // What was never told comes along where it fits, and else in the entries that follow.
        let room = limits::BEGIN_RECORDS_MAX - changed.len();
        let owed = book.owed(room.min(limits::ENTRY_RECORDS_MAX));
        changed.extend(owed.iter().map(|owed| ((owed.issuer, owed.change.serial), owed.change)));
        let again = state_of(self.rules, book, changed);
        let begin = Begin { continues, again: again.clone() };
        let sealed = self.seal(fence.next(), from.chain, Body::Begin(begin));
        if !self.is_appended(&sealed, !self.rules.keep(Rule::NoMkStream), transport)? {
            let came_another = transport.info()?.is_some_and(|info| info.last > fence);
            self.defeats = self.defeats.saturating_add(u32::from(came_another));
            self.stand_down(notices);
            return Ok(());
        }
        let place = Place { position: sealed.position, chain: sealed.chain };
        // Readers are there from now on, whatever the book says.
        self.ring.push(sealed.chain, sealed.bytes.len(), now.monotonic, &again);
        if let Err(fault) = book.told(place, &owed) {
            notices.push(Notice::Fault(fault));
            self.stand_down(notices);
            return Ok(());
        }
        self.reader.goes_on(place);
        (self.has_led, self.defeats) = (true, 0);
        self.state = State::Leading(Box::new(Leading::new(now)));
        notices.push(Notice::Leads(place));
        Ok(())
    }
}

/// What an entry says in the end of each record.
fn said(entry: &Entry) -> Vec<(Issuer, Change)> {
    let mut all = BTreeMap::<(Issuer, Serial), Change>::new();
    for section in sections(&entry.body) {
        all.extend(section.changes.iter().map(|change| ((section.issuer, change.serial), *change)));
    }
    all.into_iter().map(|((issuer, _), change)| (issuer, change)).collect()
}

fn take_over(book: &mut impl Book, said: Vec<(Issuer, Change)>, notices: &mut Vec<Notice>) {
    // Of an issuer that this book does not have it can take nothing over.
    let is_stricter = |(issuer, said): &(Issuer, Change)| {
        is_final(said) && book.present(*issuer, &said.serial).is_some_and(|present| !is_final(&present))
    };
    let stricter: Vec<_> = said.into_iter().filter(is_stricter).collect();
    if stricter.is_empty() {
        return;
    }
    notices.push(match book.absorb(&stricter) {
        Ok(()) => Notice::Absorbed(stricter.len()),
        Err(fault) => Notice::Fault(fault),
    });
}
