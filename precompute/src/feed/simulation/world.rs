//! What happens: a clock, a CA, three writers, three replicas, and whatever a seed draws.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Rng, Stats,
    disk::{Disk, Key},
    oracle::{Checked, Shown, States, difference},
    redis::{Link, Redis},
    shelf::{Fetcher, Shelf},
};
use crate::{
    feed::{
        Body, Chain, Cluster, Freshness, Issuer, Manifest, Moment, Position, Reader, Trusted, Writer, WriterKey,
        reader::{Condition, Event},
        rule::{Rule, Rules, is_final},
        store::{Book as _, Store as _},
        transport::Raw,
        writer::{Notice, Role, Settings},
    },
    issuer_id::IssuerId,
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{Change, Origin},
    state_dir::ServerId,
};

const TICK_MICROS: u64 = 500_000;
const TICKS: u64 = 400;
/// How long it may take at the end until all agree.
const QUIET_TICKS_MAX: u64 = 500;
/// How long they have to agree.
const AGREED_TICKS: u32 = 6;
const ACTORS: usize = 3;
/// Certificates that are pushed.
const PUSHED: usize = 10;
/// And those that a source lists.
const SOURCED: usize = 3;
const NEW_YEAR: u64 = 1_800_000_000_000_000;
/// A clock that is not further off is right enough for rule 25.
const RIGHT_MICROS: u64 = 300 * 1_000_000;
/// So many ticks of real time are within any skew of clocks.
const SKEW_TICKS: u64 = 800 * 1_000_000 / TICK_MICROS;

#[derive(Debug)]
struct SimWriter {
    machine: Writer,
    book: Disk,
    backup: Option<Disk>,
    asked: BTreeMap<Chain, u64>,
    /// Revocations that were pushed, and after how many entries of this writer each was told.
    pending: Vec<(Key, Option<u64>)>,
    written: u64,
    side: usize,
    /// Until this tick it does nothing.
    pause: u64,
    /// By how much its clock is wrong, in microseconds.
    clock: i64,
    /// A snapshot that is being made.
    making: Option<(u64, Manifest)>,
    /// What it may be expected to continue from, and do.
    witness: witness::OfWriter,
}

#[derive(Debug)]
struct SimReplica {
    machine: Reader,
    table: Disk,
    shown: Shown,
    asked: BTreeMap<Chain, u64>,
    side: usize,
    clock: i64,
    is_damaged: bool,
    /// Since when the stream that it sees has ended before its place.
    behind_since: Option<u64>,
}

#[derive(Debug)]
struct Acknowledged {
    by: usize,
    confirmed: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) trace: Vec<String>,
    pub(super) stats: Stats,
    rules: Rules,
    tick: u64,
    is_quiet: bool,
    redis: Redis,
    shelf: Shelf,
    writers: Vec<SimWriter>,
    replicas: Vec<SimReplica>,
    source: BTreeMap<Key, Change>,
    acknowledged: BTreeMap<Key, Acknowledged>,
    /// Writers whose disk was lost or rolled back.
    lost: Vec<usize>,
    states: States,
    /// When each heartbeat was written.
    beats: BTreeMap<Chain, u64>,
    begun: witness::Begun,
    /// For how many ticks nobody could join although there is a leader.
    closed: u32,
    /// Whether anybody ever releases a hold, and whether standbys confirm pushes.
    releases: bool,
    standbys_confirm: bool,
    damages: bool,
}

fn issuer(number: usize) -> IssuerId {
    IssuerId::new("tenant", [number as u8; 32])
}

fn key(number: usize) -> Key {
    (Issuer::from(&issuer(number % 2)), Serial::from_magnitude(&[1, number as u8]).expect("not 0"))
}

fn settings(number: usize, life: u64) -> Settings {
    Settings {
        cluster: Cluster::new("simulated").expect("a name"),
        server: ServerId::from_bytes([number as u8 + 1; 16]),
        key: WriterKey::quick(number as u8 + 1),
        address: format!("http://w{number}"),
        takeover_after: Some(Duration::from_secs(6)),
        priority: 0,
        snapshot_interval: Duration::from_secs(20),
        seed: life,
    }
}

fn trusted() -> Trusted {
    Trusted::quick(&(0..ACTORS).map(|number| WriterKey::quick(number as u8 + 1).public()).collect::<Vec<_>>())
}

fn writer(number: usize, life: u64, rules: Rules, book: &Disk) -> Writer {
    Writer::new(settings(number, life), trusted(), book).by(rules)
}

fn reader(rules: Rules) -> Reader {
    Reader::new(Cluster::new("simulated").expect("a name"), trusted()).by(rules)
}

impl World {
    pub(super) fn new(seed: u64, rules: Rules) -> Self {
        let mut rng = Rng(seed);
        let writers = (0..ACTORS).map(|number| {
            let book = Disk::new(rules);
            SimWriter {
                machine: writer(number, rng.next(), rules, &book),
                book,
                backup: None,
                asked: BTreeMap::new(),
                pending: Vec::new(),
                written: 0,
                side: 0,
                pause: 0,
                clock: 0,
                making: None,
                witness: witness::OfWriter::default(),
            }
        });
        let writers = writers.collect();
        let replica = || SimReplica {
            machine: reader(rules),
            table: Disk::new(rules),
            shown: Shown::default(),
            asked: BTreeMap::new(),
            side: 0,
            clock: 0,
            is_damaged: false,
            behind_since: None,
        };
        Self {
            trace: Vec::new(),
            stats: Stats::new(),
            rules,
            tick: 0,
            is_quiet: false,
            redis: Redis::new(),
            shelf: Shelf::default(),
            writers,
            replicas: (0..ACTORS).map(|_| replica()).collect(),
            source: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            lost: Vec::new(),
            states: States::default(),
            beats: BTreeMap::new(),
            begun: witness::Begun::default(),
            closed: 0,
            releases: rng.chance(60),
            standbys_confirm: rng.chance(50),
            damages: rng.chance(30),
            rng,
        }
    }

    pub(super) fn run(&mut self) -> Checked {
        for _ in 0..TICKS {
            self.tick += 1;
            if self.rng.chance(6) {
                self.fault();
            }
            if self.rng.chance(60) {
                self.redis.replicate(&mut self.rng, false);
            }
            self.ca();
            self.act()?;
        }
        self.quiet()
    }

    pub(super) fn note(&mut self, what: impl std::fmt::Display) {
        self.trace.push(format!("{:>4} {what}", self.tick));
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.stats.entry(what).or_default() += 1;
    }

    fn moment(&self, clock: i64) -> Moment {
        let passed = self.tick * TICK_MICROS;
        Moment {
            monotonic: Duration::from_micros(passed),
            wall: NEW_YEAR.saturating_add(passed).saturating_add_signed(clock),
        }
    }

    /// Pushes, and what sources say.
    fn ca(&mut self) {
        let rank = |rng: &mut Rng, releases: bool| match rng.below(4) {
            0 | 1 => Some(Reason::KeyCompromise),
            2 => Some(Reason::CertificateHold),
            _ if releases => None,
            _ => Some(Reason::CertificateHold),
        };
        let time = UnixTime(1_800_000_000 + self.tick);
        let change = |number: usize, reason: Option<Reason>, origin| {
            let status = reason.map_or(Status::Good, |reason| Status::Revoked { time, reason });
            Change::new(key(number).1, Some(Record { status, not_after: None })).by(origin)
        };
        if self.rng.chance(4) {
            let number = PUSHED + self.rng.below(SOURCED);
            let said = change(number, rank(&mut self.rng, self.releases), Origin::SOURCE);
            self.note(format_args!("the source says {:?}", said.record.map(|record| record.status)));
            self.source.insert(key(number), said);
        }
        if !self.rng.chance(30) {
            return;
        }
        let (at, number) = (self.rng.below(ACTORS), self.rng.below(PUSHED));
        let pushed = change(number, rank(&mut self.rng, self.releases), Origin::PUSHED);
        let writer = &mut self.writers[at];
        if writer.machine.role() != Role::Leading || writer.pause > self.tick {
            return;
        }
        writer.book.push(key(number), pushed);
        if is_final(&pushed) {
            writer.pending.push((key(number), None));
        }
        self.note(format_args!("W{at} is asked for {number}: {:?}", pushed.record.map(|record| record.status)));
    }

    fn act(&mut self) -> Checked {
        for _ in 0..3 {
            for number in 0..ACTORS {
                if self.rng.chance(80) {
                    self.step_writer(number)?;
                }
            }
        }
        for number in 0..ACTORS {
            if self.rng.chance(80) {
                self.step_replica(number)?;
            }
        }
        self.submit();
        self.anybody_can_join()
    }

    fn step_writer(&mut self, number: usize) -> Checked {
        let now = self.moment(self.writers[number].clock);
        let writer = &mut self.writers[number];
        if writer.pause > self.tick {
            return Ok(());
        }
        if let Some((_, manifest)) = writer.making.take_if(|(ready, _)| *ready <= self.tick) {
            writer.machine.snapshot_made(&manifest);
            writer.witness.has_snapshot = true;
        }
        let before = writer.machine.role();
        let from = writer.book.place();
        if before == Role::Leading {
            self.source.iter().for_each(|(key, change)| {
                writer.book.push(*key, *change);
            });
        }
        let mut link =
            Link { redis: &mut self.redis, side: writer.side, rng: &mut self.rng, is_doubtful: !self.is_quiet };
        let mut dice = Rng(link.rng.next());
        let mut shelf = Fetcher { shelf: &self.shelf, asked: &mut writer.asked, tick: self.tick, rng: &mut dice };
        let notices = writer.machine.step(now, &mut link, &mut writer.book, &mut shelf);
        let role = writer.machine.role();
        if role != before {
            self.note(format_args!("W{number} {before:?} → {role:?}"));
        }
        self.of_fence(number, before, role, from)?;
        for notice in notices {
            self.noticed(number, notice)?;
        }
        if role != Role::Leading {
            self.writers[number].pending.clear();
        } else {
            self.acknowledge(number)?;
        }
        self.states.look(&format!("W{number}"), &self.writers[number].book)
    }

    fn noticed(&mut self, number: usize, notice: Notice) -> Checked {
        match notice {
            Notice::Leads(place) => {
                self.note(format_args!("W{number} leads from {place}"));
                self.count("took over");
                self.leads(number, place)?;
            }
            Notice::Deposed => {
                self.note(format_args!("W{number} is deposed"));
                self.count("deposed");
            }
            Notice::Written(place) => {
                self.writers[number].written += 1;
                // What a wrong clock wrote may look new at any time.
                if self.writers[number].clock.unsigned_abs() < RIGHT_MICROS {
                    self.beats.insert(place.chain, self.tick);
                }
                self.writers[number].witness.history.insert(place.chain);
            }
            Notice::Poisoned(position) => {
                self.note(format_args!("W{number} removes the stream that ends with {position}"));
                self.count("poison");
            }
            Notice::Absorbed(count) => {
                self.note(format_args!("W{number} takes over {count} revocations"));
                self.count("absorbed");
            }
            Notice::SnapshotWanted => self.make_snapshot(number),
            Notice::Read(Event::Reconciled(place)) => {
                self.note(format_args!("W{number} reconciles to {place}"));
                self.count("writer reconciled");
                self.writers[number].witness.history = [place.chain].into();
            }
            Notice::Read(Event::Linked(opened)) => {
                self.writers[number].witness.history.insert(opened.chain);
            }
            Notice::Read(Event::Refused(..)) => self.count("refused"),
            Notice::Read(_) => {}
            Notice::Fault(fault) => return Err(format!("W{number}: {fault:?}")),
        }
        Ok(())
    }

    /// What is acknowledged is in the feed, and with a standby where that is asked for (rule 18).
    fn acknowledge(&mut self, number: usize) -> Checked {
        let writer = &mut self.writers[number];
        let mut pending = std::mem::take(&mut writer.pending);
        for (key, told) in &mut pending {
            if told.is_none() && !writer.book.owes(*key) {
                *told = Some(writer.written);
            }
        }
        let mut link =
            Link { redis: &mut self.redis, side: writer.side, rng: &mut self.rng, is_doubtful: !self.is_quiet };
        let is_awaited = self.standbys_confirm && pending.iter().any(|(_, told)| told.is_some());
        let standbys = if is_awaited { writer.machine.standbys(&mut link, &writer.book) } else { Ok(Vec::new()) };
        let standbys = standbys.unwrap_or_default();
        for (key, told) in pending {
            let writer = &self.writers[number];
            let has_it = |(behind, _): &&(u64, ServerId)| told.is_some_and(|told| writer.written >= told + behind);
            let confirmed: Vec<usize> =
                standbys.iter().filter(has_it).map(|(_, server)| usize::from(server.bytes()[0]) - 1).collect();
            if told.is_none() || self.standbys_confirm && confirmed.is_empty() {
                self.writers[number].pending.push((key, told));
                continue;
            }
            let lacks = |other: &&usize| !self.lost.contains(other) && !is_final(&self.writers[**other].book.get(key));
            if let Some(other) = confirmed.iter().find(lacks) {
                return Err(format!("W{other} has said that {} is on its disk, and it is not", key.1));
            }
            self.count("acknowledged");
            self.note(format_args!("W{number} acknowledges {}", key.1));
            self.acknowledged.insert(key, Acknowledged { by: number, confirmed });
        }
        Ok(())
    }

    fn step_replica(&mut self, number: usize) -> Checked {
        let now = self.moment(self.replicas[number].clock);
        let replica = &mut self.replicas[number];
        let from = replica.table.place();
        let last = self.redis.data(replica.side).stream.as_ref().map_or(Position::START, |stream| stream.last);
        let is_behind = from.is_some_and(|from| last < from.position);
        replica.behind_since = replica.behind_since.or(Some(self.tick)).filter(|_| is_behind);
        let mut link =
            Link { redis: &mut self.redis, side: replica.side, rng: &mut self.rng, is_doubtful: !self.is_quiet };
        let mut dice = Rng(link.rng.next());
        let mut shelf = Fetcher { shelf: &self.shelf, asked: &mut replica.asked, tick: self.tick, rng: &mut dice };
        let events = replica.machine.step(now, &mut link, &mut replica.table, &mut shelf);
        if events.is_empty() {
            return Ok(());
        }
        let was_damaged = replica.is_damaged;
        let is_fresh = replica.machine.freshness(now) == Freshness::Fresh;
        // Where it changes over to another history, a hold of the former one may never have been.
        let mut may_release = self.releases;
        let (mut last_beat, mut reconciled) = (None, None);
        for event in &events {
            match event {
                Event::Linked(opened) | Event::Told(opened) => {
                    may_release |= matches!(opened.entry.body, Body::Begin(_));
                    if matches!(opened.entry.body, Body::Heartbeat(_)) {
                        last_beat = Some(opened.chain);
                    }
                }
                Event::Reconciled(place) => {
                    may_release = true;
                    replica.is_damaged = false;
                    reconciled = Some(*place);
                }
                _ => {}
            }
        }
        replica.shown.look(&format!("R{number}"), &replica.table, may_release || was_damaged)?;
        if let Some(place) = reconciled {
            self.count("reconciled");
            self.note(format_args!("R{number} reconciles from {from:?} to {place}"));
            if let Some(from) = from.filter(|_| !was_damaged) {
                self.went_back(number, from, place)?;
            }
            let contradictions = self.replicas[number].table.debts().len();
            if contradictions > 0 {
                self.count("contradiction");
            }
        }
        for event in &events {
            match event {
                Event::Refused(..) => self.count("refused"),
                Event::Lost(place, at) => self.needs_a_snapshot(number, *place, *at)?,
                Event::DigestDiffers(..) => self.count("digest differs"),
                Event::Fault(fault) => return Err(format!("R{number}: {fault:?}")),
                _ => {}
            }
        }
        // Rule 25: whoever follows a stream from long ago is not fresh by it.
        let written = last_beat.and_then(|chain| self.beats.get(&chain));
        let is_right = self.replicas[number].clock.unsigned_abs() < RIGHT_MICROS;
        if is_fresh && is_right && written.is_some_and(|written| written + SKEW_TICKS < self.tick) {
            return Err(format!("R{number} is fresh by a heartbeat of long ago"));
        }
        if !self.replicas[number].is_damaged {
            self.states.look(&format!("R{number}"), &self.replicas[number].table)?;
        }
        Ok(())
    }

    /// Standbys bring their debts to whoever leads (rule 17).
    fn submit(&mut self) {
        if !self.rules.keep(Rule::Submit) {
            return;
        }
        for number in 0..ACTORS {
            let standby = &self.writers[number];
            let debts = standby.book.debts();
            if debts.is_empty() || standby.pause > self.tick || standby.machine.role() != Role::Following {
                continue;
            }
            let side = standby.side;
            for other in (0..ACTORS).filter(|other| *other != number) {
                let leader = &mut self.writers[other];
                let is_reached = !self.redis.is_split || leader.side == side;
                if leader.machine.role() != Role::Leading || leader.pause > self.tick || !is_reached {
                    continue;
                }
                for (issuer, change) in &debts {
                    if !is_final(&leader.book.get((*issuer, change.serial))) {
                        leader.book.push((*issuer, change.serial), *change);
                        *self.stats.entry("submitted").or_default() += 1;
                    }
                }
            }
        }
    }
}

mod end;
mod faults;
mod making;
mod witness;
