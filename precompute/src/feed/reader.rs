//! A reader: Empty → Reconciling → Following ⇄ Waiting.
//!
//! Purpose: from the stream and snapshots to a store, whatever carries them. Invariants:
//!
//! - A record changes only by an entry that follows the store's place, or by a snapshot with all entries after it
//!   (rule 19). What no trusted key signed for this cluster and place changes nothing, and is passed over (rule 22).
//! - The place goes back only when the chain behind it has been outlived by another (rule 20).
//! - A reader that cannot follow keeps what it has. One that can goes on with it while it fetches a snapshot to compare
//!   itself with.
//!
//! What was read last (the cursor) is apart from what is known (the store's place): entries may be read and not count. It
//! does not know what answers are made of the records, or how a snapshot travels.

mod reconciling;

use std::time::Duration;

pub use self::reconciling::Compared;
use self::reconciling::{Reconciling, Why};
use super::{
    Body, Cluster, Entry, Issuer, Opened, Position, Refusal, Trusted,
    body::Section,
    pulse::{Apart, Freshness, Lease, Moment, Pulse, is_current},
    rule::{Rule, Rules},
    store::{Fault, Place, Snapshots, Store},
    transport::{Gone, Raw, Transport},
};
use crate::{limits::feed as limits, state_dir::ServerId};

/// What a reader has to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An entry was applied. Its answers and the status of issuers are the caller's.
    Linked(Box<Opened>),
    /// Everything was compared with a snapshot and what follows it.
    Reconciled(Place),
    /// One of the entries behind that snapshot, for what it says beside records.
    Told(Box<Opened>),
    /// An entry does not follow this place: what is between is not to be had. A snapshot is needed.
    Lost(Place, Position),
    /// An entry was passed over. An alarm.
    Refused(Position, Refusal),
    /// A manifest was refused. An alarm.
    HeadRefused(Refusal),
    /// The records are not what the writer has. An alarm; they are compared as a whole.
    DigestDiffers(Issuer, Place),
    /// The store cannot be written.
    Fault(Fault),
}

/// What a reader is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It has nothing yet.
    Empty,
    /// It compares itself with a snapshot, and serves what it had.
    Reconciling,
    /// It has applied every entry that it has read.
    Following,
    /// What it has is ahead of the stream.
    Waiting,
}

/// Follows a feed.
#[derive(Debug)]
pub struct Reader {
    cluster: Cluster,
    trusted: Trusted,
    rules: Rules,
    connection: Option<u64>,
    /// What was read last.
    cursor: Position,
    reconciling: Option<Reconciling>,
    /// A chain below the own place.
    lower: Option<Lower>,
    /// What was heard last while there is nothing to follow with; `None` before.
    listened: Option<Position>,
    /// Signs of life of any writer,
    lease: Lease,
    /// and of the one whose entries are followed.
    followed: Pulse,
    /// When to look for a snapshot again.
    retry: Duration,
    /// The highest epoch that a trusted writer has begun.
    epoch_seen: u64,
    resigned: Option<(Position, Option<ServerId>)>,
    last_author: Option<(Position, ServerId)>,
    /// Whose heartbeat was read last, and where it takes pushes.
    leader: Option<(ServerId, String)>,
    /// Until somebody takes it.
    compared: Option<Compared>,
}

/// A chain that goes on below the own place.
#[derive(Clone, Copy, Debug)]
struct Lower {
    /// What was read of it last.
    cursor: Position,
    since: Option<Duration>,
    heard: Duration,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    Applied,
    /// It changes nothing.
    Passed,
    /// It does not follow.
    Stranger,
    /// It cannot be known, and nothing behind it.
    Stopped,
    /// The store cannot be written: an entry of this writer, which is tried again.
    Faulted(ServerId),
}

/// How far a reader came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Followed {
    /// The first entry that does not follow, unless a `begin` after it goes on from the store's place (rule 19).
    pub(super) stranger: Option<Position>,
    /// There was nothing more, or the store cannot be written.
    pub(super) is_all: bool,
    /// Who wrote the entry that the store could not take.
    pub(super) untaken: Option<ServerId>,
}

impl Followed {
    fn to(stranger: Option<Position>, is_all: bool) -> Self {
        Self { stranger, is_all, untaken: None }
    }
}

/// Whether an entry follows a place.
pub(super) fn follows(rules: Rules, place: Place, entry: &Entry) -> bool {
    if !rules.keep(Rule::Follow) {
        return true;
    }
    entry.follows(place.chain)
}

/// Whether so many entries were passed over in this step that the rest has to wait for the next one: whoever gives forged ones
/// without an end would keep the reader, and each is an event.
pub(super) fn is_flooded(events: &[Event]) -> bool {
    let refused = events.iter().filter(|event| matches!(event, Event::Refused(..)));
    refused.count() > limits::REFUSED_AT_ONCE_MAX
}

/// What an entry says of records.
pub(super) fn sections(body: &Body) -> &[Section] {
    match body {
        Body::Records(sections) => sections,
        Body::Begin(begin) => &begin.again,
        _ => &[],
    }
}

impl Reader {
    /// One that has read nothing yet.
    pub fn new(cluster: Cluster, trusted: Trusted) -> Self {
        Self {
            cluster,
            trusted,
            rules: Rules::default(),
            connection: None,
            cursor: Position::START,
            reconciling: None,
            lower: None,
            listened: None,
            lease: Lease::default(),
            followed: Pulse::default(),
            retry: Duration::ZERO,
            epoch_seen: 0,
            resigned: None,
            last_author: None,
            leader: None,
            compared: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn by(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// What it is doing.
    pub fn condition(&self, store: &impl Store) -> Condition {
        match store.place() {
            None => Condition::Empty,
            Some(_) if self.reconciling.is_some() => Condition::Reconciling,
            Some(_) if self.lower.is_some() => Condition::Waiting,
            Some(_) => Condition::Following,
        }
    }

    /// How fresh it is (rule 25).
    pub fn freshness(&self, now: Moment) -> Freshness {
        self.followed.freshness(now)
    }

    /// Whom it trusts.
    pub(super) fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// When a heartbeat of the writer that is followed counted last, on the monotonic clock.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.followed.heard()
    }

    /// How far the clock of the writer that is followed is off, if its last heartbeat did not count for that.
    pub fn apart(&self) -> Option<Apart> {
        self.followed.apart()
    }

    /// Has everything compared with a snapshot although every entry follows: the store has another issuer now, or wants
    /// what only a snapshot has. It is forgotten if there is no snapshot.
    pub fn compare_anew(&mut self, now: Moment) {
        self.reconciling.get_or_insert_with(|| Reconciling::begin(Why::Damaged, now));
    }

    /// The snapshot that everything was compared with last, if nobody has taken this yet.
    pub fn take_compared(&mut self) -> Option<Compared> {
        self.compared.take()
    }

    /// When a writer gave a sign of life last, whether it is followed or not.
    pub fn heard(&self) -> Option<Duration> {
        self.lease.heard()
    }

    /// The highest epoch of a trusted writer.
    pub fn epoch_seen(&self) -> u64 {
        self.epoch_seen
    }

    /// The last trusted entry that was read, and who wrote it.
    pub fn last_author(&self) -> Option<(Position, ServerId)> {
        self.last_author
    }

    /// Who gave the last heartbeat that was read, followed or not, and where it takes pushes; empty if it did not say.
    pub(super) fn leader(&self) -> Option<(ServerId, &str)> {
        self.leader.as_ref().map(|(author, address)| (*author, address.as_str()))
    }

    /// The last `resign` that was read, and whom it names.
    pub(super) fn resigned(&self) -> Option<(Position, Option<ServerId>)> {
        self.resigned
    }

    /// What the store has is from elsewhere now: it is read on from there.
    pub fn goes_on(&mut self, place: Place) {
        self.cursor = self.cursor.max(place.position);
        self.reconciling = None;
        self.lower = None;
        self.listened = None;
    }

    /// Reads once, and applies what follows.
    pub fn step(
        &mut self,
        now: Moment,
        transport: &mut impl Transport,
        store: &mut impl Store,
        snapshots: &mut impl Snapshots,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let connection = transport.connection();
        if connection != self.connection {
            self.connection = connection;
            // What lived on another server says nothing of this one.
            self.lower = None;
            self.reconciling = self.reconciling.take().filter(Reconciling::is_of_any_stream);
            self.rewind(store);
        }
        if connection.is_some() && self.read(now, transport, store, snapshots, &mut events).is_err() {
            self.connection = None;
        }
        events
    }

    /// Reads on from the store's place: entries that were read may be others now.
    pub(super) fn rewind(&mut self, store: &impl Store) {
        self.cursor = store.place().unwrap_or(Place::START).position;
    }

    fn read(
        &mut self,
        now: Moment,
        transport: &mut impl Transport,
        store: &mut impl Store,
        snapshots: &mut impl Snapshots,
        events: &mut Vec<Event>,
    ) -> Result<(), Gone> {
        let last = transport.info()?.map_or(Position::START, |info| info.last);
        if let Some(mut reconciling) = self.reconciling.take() {
            let waits = reconciling.waits_beside(store.place());
            if !waits || self.is_at_hand(&mut reconciling, now, transport, snapshots, events)? {
                return self.reconcile(reconciling, last, now, transport, store, snapshots, events);
            }
            // A revocation does not wait for a snapshot that others of the records are to be compared with.
            self.reconciling = Some(reconciling).filter(|reconciling| !reconciling.is_given_up(now));
        }
        let Some(place) = store.place() else {
            if now.monotonic >= self.retry {
                self.reconciling = Some(Reconciling::begin(Why::Lost, now));
            }
            return self.listen(last, now, transport, events);
        };
        // Rule 20.
        if last < place.position {
            if self.rules.keep(Rule::Wait) {
                return self.wait(last, now, transport, events);
            }
            self.reconciling = Some(Reconciling::begin(Why::Outlived, now));
            return Ok(());
        }
        self.lower = None;
        if now.monotonic < self.retry {
            // Whoever writes is heard all the same.
            return self.listen(last, now, transport, events);
        }
        if last < self.cursor {
            self.rewind(store);
        }
        let followed = self.follow(None, now, transport, store, events)?;
        if followed.untaken.is_none() {
            self.listened = None;
        }
        if let Some(at) = followed.stranger {
            events.push(Event::Lost(store.place().unwrap_or(place), at));
            self.reconciling = Some(Reconciling::begin(Why::Lost, now));
        }
        Ok(())
    }

    /// Reads up to the end of the stream, or to the position before `end`; of many entries that follow only as many as fit
    /// into memory with all that they say.
    pub(super) fn follow(
        &mut self,
        end: Option<Position>,
        now: Moment,
        transport: &mut impl Transport,
        store: &mut impl Store,
        events: &mut Vec<Event>,
    ) -> Result<Followed, Gone> {
        let (mut at, mut stranger) = (self.cursor, None);
        let mut octets = 0;
        loop {
            let batch = transport.read_after(at, limits::READ_ENTRIES_MAX)?;
            let is_last = batch.len() < limits::READ_ENTRIES_MAX;
            for raw in batch {
                at = raw.position;
                if end.is_some_and(|end| at >= end) {
                    return Ok(Followed::to(stranger, true));
                }
                octets += raw.bytes.len();
                match self.take(&raw, now, store, events) {
                    Taken::Applied => stranger = None,
                    Taken::Passed => {}
                    Taken::Stranger => stranger = stranger.or(Some(at)),
                    Taken::Stopped => return Ok(Followed::to(stranger.or(Some(at)), true)),
                    Taken::Faulted(author) => {
                        self.retry = now.monotonic + limits::HEAD_RETRY;
                        return Ok(Followed { untaken: Some(author), ..Followed::to(stranger, true) });
                    }
                }
                if stranger.is_none() {
                    self.cursor = at;
                }
            }
            let is_enough = is_flooded(events) || stranger.is_none() && octets > limits::FOLLOWED_OCTETS_MAX;
            if is_last || is_enough {
                return Ok(Followed::to(stranger, is_last));
            }
        }
    }

    fn take(&mut self, raw: &Raw, now: Moment, store: &mut impl Store, events: &mut Vec<Event>) -> Taken {
        let Some(opened) = self.open(raw, now, events) else {
            return if self.rules.keep(Rule::Forged) { Taken::Passed } else { Taken::Stopped };
        };
        let Opened { entry, chain, .. } = &opened;
        if entry.body == Body::Fence {
            return Taken::Passed;
        }
        let from = store.place().unwrap_or(Place::START);
        if !follows(self.rules, from, entry) {
            return Taken::Stranger;
        }
        let place = Place { position: entry.position, chain: *chain };
        if let Err(fault) = store.apply(place, sections(&entry.body)) {
            events.push(Event::Fault(fault));
            return Taken::Faulted(entry.author);
        }
        let differs = self.linked(&opened, now, store);
        events.push(Event::Linked(Box::new(opened)));
        // Once, until they were compared.
        if let Some(issuer) = differs.filter(|_| self.reconciling.is_none()) {
            events.push(Event::DigestDiffers(issuer, place));
            self.reconciling = Some(Reconciling::begin(Why::Damaged, now));
        }
        Taken::Applied
    }

    /// Looks at a heartbeat that was applied. Returns an issuer whose digest differs (rule 23).
    fn linked(&mut self, opened: &Opened, now: Moment, store: &impl Store) -> Option<Issuer> {
        let Body::Heartbeat(heartbeat) = &opened.entry.body else { return None };
        self.followed.beat(self.rules, heartbeat.time, now);
        if !self.rules.keep(Rule::Digest) {
            return None;
        }
        let differs = |(issuer, digest): &&(Issuer, _)| store.digest(*issuer).is_some_and(|mine| mine != *digest);
        heartbeat.digests.iter().find(differs).map(|(issuer, _)| *issuer)
    }

    /// Opens an entry, and notes whose it is. `None` if it is passed over (rule 22).
    pub(super) fn open(&mut self, raw: &Raw, now: Moment, events: &mut Vec<Event>) -> Option<Opened> {
        match Entry::open(raw.position, &raw.bytes, &self.cluster, &self.trusted) {
            Ok(opened) => {
                let entry = &opened.entry;
                self.last_author = Some((entry.position, entry.author));
                self.epoch_seen = self.epoch_seen.max(entry.position.epoch);
                self.lease.hear(entry.position, now);
                match &entry.body {
                    Body::Resign(successor) => self.resigned = Some((entry.position, *successor)),
                    Body::Heartbeat(heartbeat) if self.leader() != Some((entry.author, &heartbeat.address)) => {
                        self.leader = Some((entry.author, heartbeat.address.clone()));
                    }
                    _ => {}
                }
                Some(opened)
            }
            Err(refusal) => {
                if refusal.is_of_later_version() {
                    // Its writer lives, and nobody takes over from it for not understanding it.
                    self.lease.hear(raw.position, now);
                    self.epoch_seen = self.epoch_seen.max(raw.position.epoch);
                }
                events.push(Event::Refused(raw.position, refusal));
                None
            }
        }
    }

    /// Nothing can be followed yet, as without a snapshot. Whoever writes meanwhile is heard all the same, so that nobody
    /// takes over from a writer that lives.
    fn listen(
        &mut self,
        last: Position,
        now: Moment,
        transport: &mut impl Transport,
        events: &mut Vec<Event>,
    ) -> Result<(), Gone> {
        let after = self.listened.filter(|at| *at <= last).unwrap_or(last);
        self.listened = Some(self.hear(after, now, transport, events, |_| ())?);
        Ok(())
    }

    /// Hears entries that are not followed: each is a sign of life. Returns the position of the last.
    fn hear(
        &mut self,
        after: Position,
        now: Moment,
        transport: &mut impl Transport,
        events: &mut Vec<Event>,
        mut each: impl FnMut(&Opened),
    ) -> Result<Position, Gone> {
        let mut at = after;
        for raw in transport.read_after(after, limits::READ_ENTRIES_MAX)? {
            at = raw.position;
            if let Some(opened) = self.open(&raw, now, events) {
                self.lease.hear_new(now);
                each(&opened);
            }
        }
        Ok(at)
    }

    /// What is known is ahead of the stream: it is waited for, unless the chain there has lived for long (rule 20).
    fn wait(
        &mut self,
        last: Position,
        now: Moment,
        transport: &mut impl Transport,
        events: &mut Vec<Event>,
    ) -> Result<(), Gone> {
        let mut lower = self.lower.filter(|lower| lower.cursor <= last).unwrap_or(Lower {
            cursor: last,
            since: None,
            heard: now.monotonic,
        });
        let rules = self.rules;
        lower.cursor = self.hear(lower.cursor, now, transport, events, |opened| {
            if let Body::Heartbeat(heartbeat) = &opened.entry.body
                && is_current(rules, heartbeat.time, now)
            {
                lower.heard = now.monotonic;
                lower.since.get_or_insert(now.monotonic);
            }
        })?;
        if now.monotonic.saturating_sub(lower.heard) > limits::YIELD_PAUSE_MAX {
            lower.since = None;
        }
        self.lower = Some(lower);
        let has_lived = lower.since.is_some_and(|since| now.monotonic.saturating_sub(since) >= limits::YIELD_AFTER);
        if has_lived && self.rules.keep(Rule::Yield) && now.monotonic >= self.retry {
            self.reconciling = Some(Reconciling::begin(Why::Outlived, now));
        }
        Ok(())
    }
}
