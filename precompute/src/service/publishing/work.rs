//! The thread of a writer: steps its machine, and does what that says.
//!
//! Invariant: who stops leading closes the gate to sources and pushes, and says so to those that wait, in the step in which
//! it notices, before another entry is applied. It does not know what became of a push.
//!
//! `making` has snapshots made, `beside` tells answers and the condition of sources, `looking` tells operators what is the matter,
//! and `handing_over` sees to it who leads next.

mod beside;
mod handing_over;
mod looking;
mod making;

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{
    Parts, Shared,
    debts::Debts,
    ending::Ending,
    events::Events,
    held::{Held, TooSoon},
    lacking::Lacking,
    receiving::Receiving,
    retelling::Retelling,
    snapshots::{Sealing, Snapshots},
    standbys::Standbys,
    statuses::Statuses,
    telling::Kind,
    trouble::Trouble,
};
use crate::journal::trail;
use crate::{
    answers::Answers,
    assemble::AssembledFeed,
    engine::Engine,
    feed::{
        Body, Moment, Writer,
        ledgers::LedgerBook,
        reader::Event,
        redis::Stream,
        shelf::{Chunks, Directory, Fetcher},
        store::{Place, Store as _},
        writer::{Notice, Role, Settings},
    },
    issuer_id::IssuerId,
    ledger::Ledgers,
    limits::feed as limits,
    pki::UnixTime,
    service::{
        change::{Handle, Order},
        engine_thread::tell,
        noted::{Noted, Noting},
        rim,
    },
    state_dir::ServerId,
};

/// What the thread has.
pub(super) struct Work {
    writer: Writer,
    stream: Stream,
    book: LedgerBook,
    fetcher: Fetcher,
    /// What the snapshot says beside records with which the book is compared.
    noted: Noted,
    began: Instant,
    shared: Arc<Shared>,
    ledgers: Ledgers,
    handle: Handle,
    answers: Arc<Answers>,
    /// The answers that are being told,
    answers_told: Option<Body>,
    /// and those after them, whose records may not have been told yet.
    held: Option<Held>,
    /// When an entry was written last.
    wrote: Option<UnixTime>,
    /// The feed may lack answers that were signed since then.
    answers_lost_since: Option<UnixTime>,
    /// Answers that were told before their records.
    too_soon: TooSoon,
    statuses: Statuses,
    statuses_at: Duration,
    strangers_at: Duration,
    snapshots: Snapshots,
    /// The issuers that the newest snapshot lists, or the one that is being made.
    in_snapshot: HashSet<IssuerId>,
    debts: Debts,
    /// When this writer told something last.
    told_at: Option<Duration>,
    events: Events,
    received: Receiving,
    /// Whether sources are read and pushes taken.
    leads: bool,
    /// Whether the book had a place in the feed before this writer took over.
    had_place: bool,
    /// While this writer begins a feed: whether its sources have been read.
    beginning: Option<Arc<AtomicBool>>,
    /// Whether a snapshot is wanted, and waits for that.
    wants_snapshot: bool,
    /// Until when none is begun: the last one was too long.
    snapshots_rest: Duration,
    /// Tells the present answers once more.
    retelling: Retelling,
    /// Set when the sources of a leadership could not be read at all.
    gives_up: Arc<AtomicBool>,
    trouble: Trouble,
    lacking: Lacking,
    /// The connection whose server was asked what it does when its memory is full.
    asked_of_eviction: Option<u64>,
    standbys: Standbys,
    /// Another writer is to lead: this one says so when it has told what is committed.
    hands_over: bool,
    /// Which one, once this one has said so.
    successor: Option<ServerId>,
}

impl Work {
    pub(super) fn new(parts: Parts, shared: Arc<Shared>, directory: Directory) -> io::Result<Self> {
        let Parts { feed, server, ledgers, handle, answers, token } = parts;
        let AssembledFeed { cluster, redis, trusted, key, snapshots: places, .. } = feed;
        let key = key.ok_or_else(|| io::Error::other("a writer of a feed needs `feed.key`"))?;
        let book = LedgerBook::new(ledgers.clone());
        let sealing = Sealing { cluster: cluster.clone(), server, key: key.clone() };
        let settings = Settings {
            cluster: cluster.clone(),
            server,
            key,
            address: feed.api_url.clone().unwrap_or_default(),
            takeover_after: feed.takeover_after,
            priority: feed.priority,
            snapshot_interval: feed.snapshot_interval,
            seed: u64::from_be_bytes(std::array::from_fn(|at| server.bytes()[at])),
        };
        Ok(Self {
            writer: Writer::new(settings, trusted, &book),
            stream: Stream::new(redis, &cluster).waiting(limits::STANDBY_PATIENCE),
            book,
            fetcher: Fetcher::start(Some(directory.clone()), &rim::snapshot_sources(&places), &feed.https)?,
            noted: Noted::default(),
            began: Instant::now(),
            answers_told: None,
            held: None,
            wrote: None,
            answers_lost_since: None,
            too_soon: TooSoon::default(),
            statuses: Statuses::default(),
            statuses_at: Duration::ZERO,
            strangers_at: Duration::ZERO,
            snapshots: Snapshots::new(directory, sealing),
            in_snapshot: HashSet::new(),
            debts: Debts::new(token, feed.https),
            told_at: None,
            events: Events::default(),
            received: Receiving::default(),
            leads: false,
            had_place: false,
            beginning: None,
            wants_snapshot: false,
            snapshots_rest: Duration::ZERO,
            retelling: Retelling::default(),
            gives_up: Arc::default(),
            trouble: Trouble::default(),
            lacking: Lacking::default(),
            asked_of_eviction: None,
            standbys: Standbys::default(),
            hands_over: false,
            successor: None,
            shared,
            ledgers,
            handle,
            answers,
        })
    }

    /// The chunks that it fetches while it stands by.
    pub(super) fn chunks(&self) -> Chunks {
        self.fetcher.chunks()
    }

    fn now(&self) -> Moment {
        rim::moment(self.began)
    }

    pub(super) fn run(mut self) {
        let mut ending = None;
        loop {
            let has_done = self.step();
            let stops = self.shared.stop.load(Relaxed);
            if stops || self.hands_over {
                let now = self.began.elapsed();
                let ending = *ending.get_or_insert_with(|| Ending::begin(now));
                // Who leads next signs answers of its own.
                self.shared.outgoing.close();
                let is_time = ending.resigns(now, !has_done && !self.writer.has_more());
                if is_time && self.writer.role() == Role::Leading {
                    self.resign(self.now());
                }
                let is_over =
                    self.writer.role() != Role::Leading || self.stream.fault().is_some() || ending.is_over(now);
                if is_over && stops {
                    break;
                }
                if is_over {
                    self.handed_over();
                }
            } else {
                ending = None;
            }
            if !has_done && !self.writer.has_more() {
                let is_awaited = self.leads && self.shared.telling.unconfirmed(Kind::Standbys).is_some();
                let pause = if is_awaited { limits::STANDBYS_LOOK_INTERVAL } else { limits::LOOK_INTERVAL };
                self.shared.bell.wait(pause);
            }
        }
        self.end_leading();
        self.snapshots.stop();
    }

    /// Returns whether anything came of it.
    fn step(&mut self) -> bool {
        let now = self.now();
        if self.writer.role() == Role::Following {
            self.had_place = self.book.place().is_some();
        }
        let mut snapshots = Noting { fetcher: &mut self.fetcher, noted: &mut self.noted };
        let notices = self.writer.step(now, &mut self.stream, &mut self.book, &mut snapshots);
        let has_done = notices.iter().any(is_progress);
        notices.into_iter().for_each(|notice| self.take(notice, now));
        let leads_no_more = self.writer.role() == Role::Following || self.gives_up.swap(false, Relaxed);
        if self.leads && leads_no_more {
            self.end_leading();
        }
        self.confirm();
        self.look_at_standbys(now);
        self.look_at_operator(now);
        self.look_at_redis(now);
        self.events.rest(now.monotonic);
        self.look_at_snapshots(now);
        if self.leads {
            self.debts.none(now.monotonic);
            self.feed_beside(now);
        } else {
            if let Some(address) = self.writer.leader_address() {
                self.shared.telling.led_at(address);
            }
            self.debts.look(now.monotonic, &self.ledgers, self.shared.telling.leader());
        }
        self.look_at_strangers(now);
        self.look_at_lack(now);
        let role = self.writer.role();
        self.shared.telling.takes_over(matches!(role, Role::Fencing | Role::Reading | Role::Beginning));
        let (place, fault) = (self.book.place(), self.trouble.fault().map(str::to_owned));
        let heard = self.heard().map(|heard| now.monotonic.saturating_sub(heard));
        let (waiting, lacks) = (self.shared.outgoing.octets(), self.lacking.what().map(str::to_owned));
        let debts = (self.debts.waiting(), self.debts.refused(), self.debts.fault());
        self.shared.note(|report| {
            (report.role, report.place, report.redis, report.heard) = (role, place, fault, heard);
            report.lacks = lacks;
            (report.debts, report.debts_refused, report.debts_fault) = debts;
            report.answers_waiting = waiting;
        });
        has_done
    }

    fn take(&mut self, notice: Notice, now: Moment) {
        match notice {
            Notice::Leads(place) => self.lead(place),
            Notice::Written(_) => {
                self.wrote = Some(UnixTime::now());
                self.told_at = Some(now.monotonic);
                self.shared.telling.written();
            }
            // It ends with the step, by its role.
            Notice::Deposed => {}
            Notice::SnapshotWanted => {
                self.wants_snapshot = true;
                // One that is still being made is of an earlier epoch.
                self.snapshots.abandon();
            }
            Notice::Absorbed(count) => warn!(
                count,
                "final revocations were taken over from entries that this writer does not continue from: they are told again"
            ),
            Notice::Poisoned(last) => error!(
                %last,
                "the stream was removed, because the ID of its last entry lies more than a day ahead and kept every writer out; it is written anew"
            ),
            Notice::Fault(fault) => self.events.fault(&fault, now.monotonic),
            // What was under way has ended with it.
            Notice::Read(Event::Fault(_)) if self.shared.stop.load(Relaxed) => {}
            Notice::Read(event) => {
                let refused = {
                    let Self { events, book, received, noted, .. } = self;
                    events.take(event, book, noted, received.of(&self.handle, &self.answers), now.monotonic)
                };
                self.shared.note(|report| report.refused += refused);
            }
        }
    }

    /// This writer leads: sources are read, pushes taken, answers signed ahead.
    fn lead(&mut self, place: Place) {
        // The end of the stream may have been lost, and what was to be told when this writer stood down was forgotten:
        // records are told again by the `begin`, their answers and the sources' condition here.
        // A process that was started just now does not know what the one before has told.
        let wrote = self.wrote.map(|wrote| wrote.before(limits::RING_TIME_MIN));
        self.answers_lost_since = Some(wrote.unwrap_or_else(|| UnixTime::now().before(limits::ANSWERS_TOLD_AGAIN)));
        self.statuses = Statuses::default();
        if std::mem::replace(&mut self.leads, true) {
            info!(%place, "this writer goes on leading in a new epoch");
            return;
        }
        trail::tell("leadership", |event| event.text("state", "leads").text("position", place));
        info!(%place, "this writer leads: it reads the sources and takes pushes");
        self.shared.note(|report| report.led += 1);
        // Here and not in an order, which may be carried out when this writer stands by again.
        if self.had_place {
            self.ledgers.lead();
            self.shared.telling.leads(true);
            self.shared.outgoing.open();
        } else {
            self.shared.telling.begins();
            self.ledgers.begin();
            self.ledgers.lead();
        }
        // Whatever was set for an earlier leadership is of no interest.
        self.gives_up = Arc::default();
        let (gives_up, is_read) = (Arc::clone(&self.gives_up), Arc::<AtomicBool>::default());
        self.beginning = (!self.had_place).then(|| Arc::clone(&is_read));
        self.order(move |engine| match engine.lead(tell) {
            Ok(()) => is_read.store(true, Relaxed),
            Err(error) => {
                error!("the sources cannot be read: {error}; this writer stands down, so that another may lead");
                gives_up.store(true, Relaxed);
            }
        });
        self.handle.signs_ahead(true);
    }

    fn end_leading(&mut self) {
        if !std::mem::take(&mut self.leads) {
            return;
        }
        trail::tell("leadership", |event| event.text("state", "leads no more"));
        (self.wants_snapshot, self.beginning, self.snapshots_rest) = (false, None, Duration::ZERO);
        self.snapshots.abandon();
        // It is for the one that leads to make one.
        self.shared.note(|report| report.snapshot_fault = None);
        // Before anything that another has told is applied: nobody is acknowledged anything from here on,
        self.shared.telling.leads(false);
        // and what is under way has ended.
        self.ledgers.stand_by();
        self.shared.outgoing.close();
        (self.answers_told, self.held) = (None, None);
        self.handle.signs_ahead(false);
        self.order(|engine| {
            if let Err(error) = engine.stand_by() {
                error!("the book cannot be read: {error}");
            }
        });
        self.writer.resign(None);
        if self.shared.stop.load(Relaxed) {
            // It has, if it follows.
            if self.writer.role() == Role::Following {
                match self.successor {
                    Some(successor) => {
                        info!(%successor, "this writer has resigned: it hands over to the standby that has everything")
                    }
                    None => info!("this writer has resigned; no standby is at hand that has everything"),
                }
            } else {
                warn!("this writer ends, and could not tell that it does: another one takes over once it misses it");
            }
        } else {
            warn!(
                "this writer leads no more: it stands by, reads no sources and takes no pushes until it leads again; what only it knows goes to the one that leads"
            );
        }
    }

    fn order(&self, order: impl FnOnce(&mut Engine) + Send + 'static) {
        let order: Order = Box::new(order);
        // Without an engine the service is ending.
        let _ = self.handle.orders.send(order);
    }
}

/// Whether something came of a step. A fault of the book stays: who tried again at once would keep a processor busy until
/// the disk has room.
fn is_progress(notice: &Notice) -> bool {
    !matches!(notice, Notice::Fault(_) | Notice::Read(Event::Fault(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    /// A standby with a full disk tried to undo the same rows again without a pause.
    #[test]
    fn a_fault_of_the_book_is_no_reason_to_go_on_at_once() {
        let fault = || crate::feed::store::Fault("the disk is full".to_owned());
        assert!(!is_progress(&Notice::Fault(fault())) && !is_progress(&Notice::Read(Event::Fault(fault()))));
        assert!(is_progress(&Notice::Deposed) && is_progress(&Notice::SnapshotWanted));
    }
}
