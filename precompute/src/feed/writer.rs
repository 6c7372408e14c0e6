//! A writer: Following → Fencing → Reading → Beginning → Leading → Following.
//!
//! Purpose: who writes the feed, and what. A standby is a reader with a book. Invariants:
//!
//! - The book first: what an entry says is committed before it is appended, with a row in the outbox until it is known
//!   that it was (rule 14). What an outbox has is told, or undone before anything foreign is applied (rule 16).
//! - It writes only behind an entry of its own, on the connection on which it knows that this was the last (rules 9, 15).
//! - A final revocation that it knows is never lost by its own doing: it is told, or owed to who leads (rule 17).
//!
//! Each step does at most one append, so that whatever happens in between happens between two steps. It does not know
//! sources, pushes or signers: they change the book, whoever writes.

mod leading;
mod taking_over;

use std::{collections::VecDeque, time::Duration};

use self::leading::Leading;
use super::{
    Body, Chain, Cluster, Entry, Issuer, KeyId, Position, Sealed, Trusted, WriterKey,
    acknowledgement::{Acknowledgement, Acknowledgements},
    body::Section,
    chain::{LastTold, Ring},
    pulse::Moment,
    reader::{Event, Reader},
    rule::{Rule, Rules},
    store::{Book, Fault, Owed, Place, Snapshots},
    transport::{Appended, Gone, Raw, Transport},
};
use crate::{limits::feed as limits, records::Change, state_dir::ServerId};

/// What a writer is by its configuration.
#[derive(Debug)]
pub struct Settings {
    /// Whose feed it is.
    pub cluster: Cluster,
    /// The writer's identity.
    pub server: ServerId,
    /// What it signs with.
    pub key: WriterKey,
    /// Where debts and pushes reach it: a URL, or nothing. Its heartbeats say so.
    pub address: String,
    /// How long the writer at work is silent before this one takes over; `None`: it does so if it is asked to, or wrote last.
    pub takeover_after: Option<Duration>,
    /// 0 takes over first.
    pub priority: u32,
    /// How old the newest snapshot may be.
    pub snapshot_interval: Duration,
    /// Where the spread of take-overs begins: any number that differs between writers.
    pub seed: u64,
}

/// What a writer is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It stands by, and follows the one at work.
    Following,
    /// It begins an epoch.
    Fencing,
    /// It reads what stands before its fence.
    Reading,
    /// It says where it goes on from.
    Beginning,
    /// It writes.
    Leading,
}

/// What a writer has to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// What it read.
    Read(Event),
    /// It leads from here.
    Leads(Place),
    /// It did, and another one does now, or the stream is not to be had. Nobody is acknowledged anything.
    Deposed,
    /// The feed ends here now. Pushes whose rows have left the outbox are in it.
    Written(Place),
    /// So many final revocations were taken over from entries, or a snapshot, that this writer does not continue from.
    Absorbed(usize),
    /// The stream was removed: its last ID kept every writer out.
    Poisoned(Position),
    /// A snapshot of the book is wanted; see [`Writer::snapshot_made`]. It has what was told: of a record with a row in
    /// the outbox what was told last, not what it says now, or whoever takes it has other records than its place stands
    /// for.
    SnapshotWanted,
    /// The book cannot be written.
    Fault(Fault),
}

#[derive(Debug)]
enum State {
    Following,
    Fencing,
    Reading { fence: Position },
    Beginning { fence: Position },
    Leading(Box<Leading>),
}

/// One of the writers of a feed.
#[derive(Debug)]
pub struct Writer {
    settings: Settings,
    rules: Rules,
    reader: Reader,
    ring: Ring,
    state: State,
    /// The connection that it writes on.
    connection: Option<u64>,
    /// What was not told has been undone since this process stands by.
    has_undone: bool,
    /// Since when the writer at work has been silent.
    silent_since: Option<Duration>,
    /// By how much this take-over is later.
    jitter: Duration,
    dice: u64,
    /// Whether it has led, and did not stand down since.
    has_led: bool,
    /// Whether it has looked whose entry the last one is that its book has.
    has_looked_back: bool,
    /// It was asked to lead, whoever does.
    is_promoted: bool,
    /// How often in a row another one came between its fence and its `begin`.
    defeats: u32,
    /// The highest epoch of its own.
    epoch: u64,
    /// The manifest of the newest snapshot of its own.
    manifest: Option<leading::Head>,
    /// What is to be told beside records.
    beside: VecDeque<Body>,
    /// Of a standby: what it has said that is on its disk, and on which connection.
    acknowledged: Option<(u64, Place)>,
    /// Of who leads: what standbys have on disk.
    standbys: Acknowledgements,
}

impl Writer {
    /// One that stands by, with what the book has.
    pub fn new(settings: Settings, trusted: Trusted, book: &impl Book) -> Self {
        let reader = Reader::new(settings.cluster.clone(), trusted);
        let mut writer = Self {
            rules: Rules::default(),
            reader,
            ring: Ring::new(book.place().unwrap_or(Place::START).chain),
            state: State::Following,
            connection: None,
            has_undone: false,
            silent_since: None,
            jitter: Duration::ZERO,
            dice: settings.seed,
            has_led: false,
            has_looked_back: false,
            is_promoted: false,
            defeats: 0,
            epoch: 0,
            manifest: None,
            beside: VecDeque::new(),
            acknowledged: None,
            standbys: Acknowledgements::default(),
            settings,
        };
        writer.draw();
        writer
    }

    #[cfg(test)]
    pub(crate) fn by(mut self, rules: Rules) -> Self {
        self.reader = self.reader.by(rules);
        self.rules = rules;
        self
    }

    /// What it is doing.
    pub fn role(&self) -> Role {
        match self.state {
            State::Following => Role::Following,
            State::Fencing => Role::Fencing,
            State::Reading { .. } => Role::Reading,
            State::Beginning { .. } => Role::Beginning,
            State::Leading(_) => Role::Leading,
        }
    }

    /// The reader that it is while it stands by.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Tells this beside records, once it leads: answers, or the status of issuers. Records go first, but do not keep it
    /// waiting for more than one entry. It is kept through a new epoch; what was not told when it stands down is forgotten.
    pub fn tell(&mut self, body: Body) {
        if self.role() != Role::Following {
            self.beside.push_back(body);
        }
    }

    /// How much of what it was to tell beside records is not told yet.
    pub fn untold_beside(&self) -> usize {
        self.beside.len()
    }

    /// Where the other writer takes pushes whose heartbeat was read last, whenever it began to lead; empty if it does not
    /// say. `None` before the first, and if that was of this writer's own past.
    pub fn leader_address(&self) -> Option<&str> {
        self.reader.leader().filter(|(author, _)| *author != self.settings.server).map(|(_, address)| address)
    }

    /// Whether the next step appends an entry, or prepares one.
    pub fn has_more(&self) -> bool {
        matches!(&self.state, State::Leading(leading) if leading.is_telling() || !self.beside.is_empty())
    }

    /// Does the next thing.
    pub fn step(
        &mut self,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        snapshots: &mut impl Snapshots,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let connection = transport.connection();
        if connection.is_none() {
            // Rule 10: silence counts only while somebody could be heard.
            self.silent_since = None;
            // Who asked for it has heard by now that it was not done.
            self.is_promoted = false;
            return notices;
        }
        let is_leading = matches!(self.state, State::Leading(_));
        let outcome = match self.state {
            State::Following => {
                self.stand_by(now, transport, book, snapshots, &mut notices);
                Ok(())
            }
            State::Fencing => self.fence(connection, now, transport, book, &mut notices),
            State::Reading { fence } if connection == self.connection => {
                self.read_up(fence, now, transport, book, snapshots, &mut notices)
            }
            State::Beginning { fence } if connection == self.connection => {
                self.begin(fence, now, transport, book, &mut notices)
            }
            State::Reading { .. } | State::Beginning { .. } => {
                self.state = State::Fencing;
                Ok(())
            }
            State::Leading(_) => self.lead(connection, now, transport, book, &mut notices),
        };
        if outcome == Err(Gone) && !is_leading {
            self.stand_down(&mut notices);
        }
        notices
    }

    /// Follows whoever leads, and looks for silence.
    fn stand_by(
        &mut self,
        now: Moment,
        transport: &mut impl Transport,
        book: &mut impl Book,
        snapshots: &mut impl Snapshots,
        notices: &mut Vec<Notice>,
    ) {
        // Rule 16: before anything foreign is applied.
        if !self.has_undone && self.rules.keep(Rule::Undo) {
            if let Err(fault) = book.undo_untold() {
                notices.push(Notice::Fault(fault));
                return;
            }
            self.has_undone = true;
        }
        self.look_back(now, transport, book);
        let events = self.reader.step(now, transport, book, snapshots);
        self.note(now, &events);
        notices.extend(events.into_iter().map(Notice::Read));
        self.acknowledge(transport, book);
        if self.may_take_over(now, transport, book) {
            self.state = State::Fencing;
        }
    }

    /// Reads the entry once more that its book has as the last one: whoever wrote it and finds nothing behind it led last.
    fn look_back(&mut self, now: Moment, transport: &mut impl Transport, book: &impl Book) {
        if std::mem::replace(&mut self.has_looked_back, true) {
            return;
        }
        let Some(place) = book.place() else { return };
        match self.there(place.position, transport) {
            Ok(Some(raw)) if Chain::of(&raw.bytes) == place.chain => _ = self.reader.open(&raw, now, &mut Vec::new()),
            Ok(_) => {}
            Err(Gone) => self.has_looked_back = false,
        }
    }

    /// The entry that stands at this position.
    fn there(&self, position: Position, transport: &mut impl Transport) -> Result<Option<Raw>, Gone> {
        let Position { epoch, sequence } = position;
        let before = match sequence.checked_sub(1) {
            Some(sequence) => Position { epoch, sequence },
            None => Position { epoch: epoch.saturating_sub(1), sequence: u64::MAX },
        };
        let there = transport.read_after(before, 1)?;
        Ok(there.into_iter().next().filter(|raw| raw.position == position))
    }

    /// Remembers what was applied.
    fn note(&mut self, now: Moment, events: &[Event]) {
        for event in events {
            match event {
                Event::Linked(opened) => {
                    let sections = super::reader::sections(&opened.entry.body);
                    self.ring.push(opened.chain, opened.octets, now.monotonic, sections);
                }
                Event::Reconciled(place) => self.ring = Ring::new(place.chain),
                _ => {}
            }
        }
    }

    /// Says what is on disk here (rule 18), once of each place and to each server. If that fails, it follows the next entry.
    fn acknowledge(&mut self, transport: &mut impl Transport, book: &impl Book) {
        let (Some(place), Some(connection)) = (book.place(), transport.connection()) else { return };
        if self.acknowledged == Some((connection, place)) {
            return;
        }
        let Settings { cluster, server, key, .. } = &self.settings;
        let said = Acknowledgement { server: *server, place }.seal(cluster, key);
        let _ = transport.acknowledge(key.id(), &said);
        self.acknowledged = Some((connection, place));
    }

    /// It takes over with the next step, whoever leads.
    pub fn promote(&mut self) {
        self.is_promoted = self.role() == Role::Following;
    }

    /// How many entries each standby that follows this writer lacks on its disk, the fewest first, and which it is. Of who
    /// leads.
    pub fn standbys(&mut self, transport: &mut impl Transport, book: &impl Book) -> Result<Vec<(u64, ServerId)>, Gone> {
        let Settings { cluster, server, key, .. } = &self.settings;
        let others: Vec<KeyId> = self.reader.trusted().ids().filter(|id| *id != key.id()).collect();
        self.standbys.take(transport.acknowledgements(&others)?, cluster, self.reader.trusted());
        let Some(Place { position, .. }) = book.place().filter(|_| self.role() == Role::Leading) else {
            return Ok(Vec::new());
        };
        // It counts for the epoch that this writer began, and the entry has to be its own.
        let behind = |said: &&Acknowledgement| {
            let there = said.place.position;
            if !self.rules.keep(Rule::Confirm) {
                return Some((0, said.server));
            }
            let follows = said.server != *server && there.epoch == position.epoch && self.ring.has(said.place.chain);
            Some((position.sequence.checked_sub(there.sequence).filter(|_| follows)?, said.server))
        };
        let mut all: Vec<_> = self.standbys.all().filter_map(|said| behind(&said)).collect();
        all.sort_unstable_by_key(|(behind, server)| (*behind, server.bytes()));
        // One whose key was exchanged has its former word there as well.
        let mut seen = std::collections::HashSet::new();
        all.retain(|(_, server)| seen.insert(server.bytes()));
        Ok(all)
    }

    /// Rule 10.
    fn may_take_over(&mut self, now: Moment, transport: &mut impl Transport, book: &impl Book) -> bool {
        if std::mem::take(&mut self.is_promoted) || self.is_successor(transport) {
            return true;
        }
        let since = *self.silent_since.get_or_insert(now.monotonic);
        let since = self.reader.heard().map_or(since, |heard| heard.max(since));
        self.silent_since = Some(since);
        let silence = now.monotonic.saturating_sub(since);
        if silence <= self.jitter {
            return false;
        }
        let Some(takeover_after) = self.settings.takeover_after else { return self.is_left_alone(silence, transport) };
        let mut patience = takeover_after + limits::TAKEOVER_PRIORITY_STEP * self.settings.priority + self.jitter;
        if book.place().is_none() && transport.head().is_ok_and(|head| head.is_some()) {
            // Who has the records goes first.
            patience *= limits::TAKEOVER_EMPTY_FACTOR;
        }
        // Who has begun to take over says nothing until it has read up, which may take long: if each of two began anew
        // before the other one is done, nobody would ever lead.
        let is_another = |author| author != self.settings.server;
        if self.reader.last_author().is_some_and(|(at, author)| at.sequence == 0 && is_another(author)) {
            patience *= 1 << self.defeats.min(limits::TAKEOVER_DEFEATS_MAX);
        }
        silence > patience || self.is_left_alone(silence, transport)
    }

    /// Whether who led has resigned, and named this one: it need not wait for anybody.
    fn is_successor(&self, transport: &mut impl Transport) -> bool {
        let named = self.reader.resigned().filter(|(_, successor)| *successor == Some(self.settings.server));
        named.is_some_and(|(position, _)| is_last(position, transport))
    }

    /// Whether the last entry is its own, or a `resign`. Others may have come to the same conclusion, so the spread
    /// counts all the same; and whoever was named goes first.
    fn is_left_alone(&self, silence: Duration, transport: &mut impl Transport) -> bool {
        let mine = self.reader.last_author().filter(|(_, author)| *author == self.settings.server);
        // Who takes over by hand does not do so because another one has ended.
        let resigned = self.reader.resigned().filter(|_| self.settings.takeover_after.is_some());
        let (resigned, successor) = resigned.unzip();
        let goes_first = successor.flatten().is_some_and(|successor| successor != self.settings.server);
        let rest = if goes_first { limits::SUCCESSOR_WITHIN } else { Duration::ZERO };
        let is_alone = |position: Position| {
            let after = if resigned == Some(position) { rest } else { Duration::ZERO };
            silence > self.jitter + after && is_last(position, transport)
        };
        [resigned, mine.map(|(position, _)| position)].into_iter().flatten().max().is_some_and(is_alone)
    }

    /// Stands by from now on.
    fn stand_down(&mut self, notices: &mut Vec<Notice>) {
        if matches!(self.state, State::Leading(_)) {
            notices.push(Notice::Deposed);
        }
        self.state = State::Following;
        self.has_led = false;
        self.connection = None;
        self.beside.clear();
        self.has_undone = false;
        self.silent_since = None;
        self.draw();
    }

    /// Another spread for the next take-over. SplitMix64.
    fn draw(&mut self) {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = (mixed >> 32) as u32;
        self.jitter = limits::TAKEOVER_JITTER / 1024 * (share % 1024);
    }

    fn seal(&self, position: Position, prev: Chain, body: Body) -> Sealed {
        let entry = Entry { position, author: self.settings.server, prev, body };
        entry.seal(&self.settings.cluster, &self.settings.key)
    }

    /// Whether this very entry stands in the stream, where it was not said that it was written (rule 15).
    fn is_there(&self, sealed: &Sealed, transport: &mut impl Transport) -> Result<bool, Gone> {
        if !self.rules.keep(Rule::SameBlob) {
            return Ok(false);
        }
        Ok(self.there(sealed.position, transport)?.is_some_and(|raw| raw.bytes == sealed.bytes))
    }
}

/// Whether the stream ends there.
fn is_last(position: Position, transport: &mut impl Transport) -> bool {
    transport.info().is_ok_and(|info| info.is_some_and(|info| info.last == position))
}

/// What these records say now, in sections. Of an issuer that the book does not have it is what was told last: to say
/// nothing would lose what a reader had not heard yet, and to say that there is none would have all of them remove it.
fn state_of(rules: Rules, book: &impl Book, records: LastTold) -> Vec<Section> {
    let now = |((issuer, serial), told)| (issuer, book.present(issuer, &serial).unwrap_or(told));
    with_hashes(rules, book, in_sections(records.into_iter().map(now)), limits::BEGIN_HASHES_MAX)
}

/// The same with the hashes that the book has of their certificates, at most so many. Records that come with one stand in
/// a section of their own, so that they make no other one longer. None of these may be spoken of twice.
pub(super) fn with_hashes(rules: Rules, book: &impl Book, sections: Vec<Section>, mut most: usize) -> Vec<Section> {
    if !rules.keep(Rule::Hash) {
        return sections;
    }
    let mut told = Vec::with_capacity(sections.len());
    for Section { issuer, changes, .. } in sections {
        let known = book.hashes(issuer, &changes);
        let (mut bare, mut hashed) = (Section::new(issuer, Vec::new()), Section::new(issuer, Vec::new()));
        for (number, change) in changes.into_iter().enumerate() {
            match known.get(number).copied().flatten().filter(|_| change.record.is_some() && most > 0) {
                Some(hash) => {
                    most -= 1;
                    hashed.changes.push(change);
                    hashed.hashes.push(hash);
                }
                None => bare.changes.push(change),
            }
        }
        told.extend([bare, hashed].into_iter().filter(|section| !section.changes.is_empty()));
    }
    told
}

/// Changes in the order of issuers, in sections.
pub(super) fn in_sections(changes: impl IntoIterator<Item = (Issuer, Change)>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (issuer, change) in changes {
        match sections.last_mut() {
            Some(last) if last.issuer == issuer => last.changes.push(change),
            _ => sections.push(Section::new(issuer, vec![change])),
        }
    }
    sections
}

#[cfg(test)]
mod tests;
