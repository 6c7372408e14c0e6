//! The ledger of an issuer: what is known of its certificates, and the one way in which that changes.
//!
//! Purpose: sources and pushes propose, the ledger decides (`reconcile`), shows (`shown`), keeps (`saving`) and tells
//! (`changes`). Invariants:
//!
//! - A change of a source shows at once, and is saved when there is room: a full disk or another's commit delays no
//!   revocation, and a restart reads the source again.
//! - A push is durable, then it shows, then it is acknowledged.
//! - The records have one writer, and it is here; so are the rules of what may become of a record.
//! - Nothing here waits for a source that is read.
//!
//! A ledger lives as long as its issuer is configured, whatever its sources are. It does not know files, keys or
//! clients.
//!
//! Locks, in this order: `commit` (one commit of the issuer at a time; of several issuers, in the order of their ids), the
//! book (one commit of all issuers at a time), `shown` (the records' writer, for moments).

mod changes;
mod comparing;
mod contradictions;
mod fetching;
mod health;
mod leading;
mod of_feed;
mod push;
mod pushing;
pub(crate) mod reconcile;
mod saver;
mod saving;
mod shown;
mod state;
#[cfg(test)]
mod steps;
mod unsaved;
mod untold;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

#[cfg(test)]
pub(crate) use self::steps::Step;
pub use self::{
    changes::{Changed, Changes, Listener, Wake},
    comparing::{Compared, NotCompared, Walk},
    fetching::{FetchKind, FetchReport, Fetching},
    health::{Health, HealthReport, Pass},
    of_feed::{Applied, Section},
    push::{Order, Outcome, Push, PushError, Refusal},
    state::{IssuerState, NotFollowed, States},
};
pub(crate) use self::{contradictions::News as OfContradictions, saver::Saver, saving::SharedBook};
use self::{
    pushing::Request,
    saver::Bell,
    saving::Saved,
    shown::{News, Part, Shown},
    unsaved::Unsaved,
};
#[cfg(test)]
use crate::book::Pace;
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::{Record, Serial, Status, UnixTime},
    records::{Change, Counts, Found, Stated},
    source::CrlMarks,
    state_dir::StateError,
};

/// The ledger of one issuer. Copies are of the same ledger.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: IssuerId,
    /// For logs.
    name: ArcSwap<String>,
    state: IssuerState,
    book: Arc<SharedBook>,
    /// One of [`PREPARED`], [`SERVED`] and [`LEFT`].
    stage: AtomicU8,
    commit: Mutex<Saved>,
    shown: Mutex<Shown>,
    /// News from before it was served.
    untold: Mutex<News>,
    /// Requests whose pushes nobody has begun to carry out.
    waiting: Mutex<VecDeque<Arc<Request>>>,
    bell: Arc<Bell>,
    #[cfg(test)]
    steps: steps::Steps,
}

/// Its configuration is not adopted: nothing is saved or logged, and nobody pushes.
const PREPARED: u8 = 0;
/// It is in the present configuration.
const SERVED: u8 = 1;
/// It was, and the rest is saved.
const LEFT: u8 = 2;

/// What a read of an issuer's sources found.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// What the sources say of the certificates whose records say something else; in order of serial. `None` for those
    /// that they do not list.
    pub(crate) said: Vec<Stated>,
    /// Which of their holds it ends.
    pub(crate) releases: Releases,
    /// What is taken over from the issuer's records under its former tenant.
    pub(crate) carried: Vec<Change>,
    /// The newest CRLs taken; `None` if there are no others.
    pub(crate) crl_marks: Option<CrlMarks>,
    /// The predecessors of the issuer.
    pub(crate) succeeds: Vec<IssuerId>,
}

/// Which holds of the sources a read of them ends. One may have been stated since the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Releases {
    /// Those that they do not state, listed or not.
    #[default]
    LeftOut,
    /// Those of certificates that they list as good.
    Said,
    /// None: another reader has spoken for the issuer since the comparison, and may have shown a newer hold. The next read
    /// finds them again.
    None,
}

impl Releases {
    /// Whether a hold stays when this is said of its certificate.
    fn keeps(self, said: Option<Record>) -> bool {
        match self {
            Self::LeftOut => false,
            Self::Said => said.is_none(),
            Self::None => said.is_none_or(|record| record.status == Status::Good),
        }
    }
}

/// What the book holds of an issuer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) ledger: Ledger,
    /// Whether the book knew it at all.
    pub(crate) known: bool,
    /// When its sources were last in order.
    pub(crate) verified: Option<UnixTime>,
    /// What its sources looked like when everything that they said had been saved.
    pub(crate) stamps: Option<Vec<u8>>,
}

impl Ledger {
    /// Opens it with what the book holds. Other ledgers write to it meanwhile.
    pub(crate) fn open(id: &IssuerId, name: &str, book: &Arc<SharedBook>, saver: &Saver) -> Result<Opened, StateError> {
        let (state, writer, held) = book.read(|reader| {
            let (state, mut writer) = IssuerState::new(id.clone());
            writer.reserve(reader.room_for(id)?);
            let mut filling = writer.filling();
            let held =
                reader.load(id, |serial, record, origin| filling.add(Change::new(serial, Some(record)).by(origin)))?;
            drop(filling);
            reader.load_hashes(id, |serial, hash| state.details.note_hash(serial, hash))?;
            Ok((state, writer, held))
        })?;
        if held.known {
            state.health.is_known_now();
        }
        let inner = Inner {
            id: id.clone(),
            name: ArcSwap::from_pointee(name.to_owned()),
            state,
            book: Arc::clone(book),
            stage: AtomicU8::new(PREPARED),
            commit: Mutex::new(Saved::in_book(held.book)),
            shown: Mutex::new(Shown::new(writer, held.crl_marks)),
            untold: Mutex::default(),
            waiting: Mutex::default(),
            bell: Arc::clone(saver.bell()),
            #[cfg(test)]
            steps: steps::Steps::default(),
        };
        Ok(Opened { ledger: Self(Arc::new(inner)), known: held.known, verified: held.verified, stamps: held.stamps })
    }

    /// The issuer.
    pub fn id(&self) -> &IssuerId {
        &self.0.id
    }

    /// The issuer's name in the configuration.
    pub fn name(&self) -> String {
        self.0.name().to_string()
    }

    /// Its records, and the condition of its sources.
    pub fn state(&self) -> &IssuerState {
        &self.0.state
    }

    /// The record of a certificate.
    pub fn look_up(&self, serial: &Serial) -> Option<Found> {
        self.0.state.records.get(serial)
    }

    /// Carries out pushes; blocks until they are on disk and show. Each has an outcome of its own: one that is refused
    /// does not stop the others. `key`: an idempotency key, for a single push; the same request with the same key has
    /// the same outcome, also after a restart.
    pub fn push(
        &self,
        pushes: &[Push],
        key: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Result<Outcome, Refusal>>, PushError> {
        if !self.0.is_served() {
            return Err(PushError::NotServed);
        }
        if pushes.is_empty() {
            return Ok(Vec::new());
        }
        self.0.carry_out(&Request::new(pushes, key, now))
    }

    /// The newest CRLs taken.
    pub(crate) fn crl_marks(&self) -> CrlMarks {
        self.0.shown().crl_marks.clone()
    }

    /// The same before its sources were ever read: those of its predecessor.
    pub(crate) fn set_crl_marks(&self, marks: CrlMarks) {
        self.0.shown().crl_marks = marks;
    }

    /// It is in the adopted configuration, under this name.
    pub(crate) fn serve(&self, name: &str) {
        self.0.name.store(Arc::new(name.to_owned()));
        self.0.stage.store(SERVED, Relaxed);
        let untold = std::mem::take(&mut *lock(&self.0.untold));
        untold.tell(&self.0.state, name);
        self.0.bell.ring();
    }

    /// It no longer is.
    pub(crate) fn leave(&self) {
        self.0.stage.store(LEFT, Relaxed);
    }

    /// When this returns, the records have every push that was under way.
    pub(crate) fn wait_for_pushes(&self) {
        drop(self.0.commit());
    }

    /// From now on changes are logged.
    pub(crate) fn tells(&self) {
        self.0.shown().tells = true;
    }

    /// Shows what sources say. It takes as long as the difference is, and pushes come in between.
    pub(crate) fn take(&self, difference: &Difference) {
        let inner = &*self.0;
        let Difference { said, releases, carried, crl_marks, succeeds } = difference;
        let mut news = News::default();
        let is_filled = {
            let mut shown = inner.shown();
            if !inner.book.leads() {
                return;
            }
            let nobody_waits = inner.stage.load(Relaxed) == PREPARED || inner.book.begins();
            let is_first = nobody_waits && inner.state.records.counts() == Counts::default();
            if is_first {
                inner.state.health.changed(shown.fill(said) as u64);
            }
            is_first
        };
        // Revocations first: no other change is urgent, and there may be millions.
        for part in [Part::Revoked, Part::Others].into_iter().filter(|_| !is_filled) {
            self.show(said, part, *releases, &mut news);
        }
        {
            let mut shown = inner.shown();
            if !inner.book.leads() {
                return;
            }
            let changed = shown.carry_over(carried, &mut news);
            inner.state.changes.tell(changed.len(), changed.iter().copied());
            shown.mark(changed);
            if let Some(marks) = crl_marks.as_ref().filter(|marks| **marks != shown.crl_marks) {
                shown.crl_marks = marks.clone();
                shown.unsaved.of_sources.crl_marks = Some(marks.clone());
            }
            if !succeeds.is_empty() {
                shown.unsaved.succeeds.clone_from(succeeds);
            }
            inner.state.health.unsaved(shown.unsaved.serials_left() as u64);
        }
        if inner.is_served() {
            news.tell(&inner.state, &inner.name());
        } else {
            lock(&inner.untold).add(news);
        }
        inner.bell.ring();
    }

    fn show(&self, said: &[Stated], part: Part, releases: Releases, news: &mut News) {
        let inner = &*self.0;
        let mut rest = said;
        while !rest.is_empty() {
            // Who unlocks and locks again at once is quicker than who was woken for it, time after time.
            let made_way = saver::make_way(inner, limits::SHOWING_MAKES_WAY);
            let some = &rest[..rest.len().min(limits::SHOWN_AT_ONCE)];
            let mut shown = inner.shown();
            if !inner.book.leads() {
                return;
            }
            // Whoever comes now has the lock before a commit has ended, if this thread is not kept from its core.
            let is_wanted = || made_way && inner.book.is_wanted();
            let (looked_at, changed) = shown.by_source(some, part, releases, news, is_wanted);
            rest = &rest[looked_at..];
            inner.state.changes.tell(changed.len(), changed.iter().copied());
            inner.state.health.changed(changed.len() as u64);
            shown.mark(changed);
        }
    }

    /// Notes when the sources were in order, to be saved after what they said.
    pub(crate) fn note_verified(&self, verified: UnixTime) {
        self.note(|unsaved| unsaved.of_sources.verified = Some(verified));
    }

    /// Notes what the sources look like now that everything they say shows, to be saved after that.
    pub(crate) fn note_stamps(&self, stamps: Vec<u8>) {
        self.note(|unsaved| unsaved.of_sources.stamps = Some(stamps));
    }

    /// The stamps that the book has are of other sources than those that speak from now on.
    pub(crate) fn forget_stamps(&self) {
        self.note(|unsaved| unsaved.forgets_stamps = true);
    }

    /// Notes something about the sources, to be saved.
    fn note(&self, note: impl FnOnce(&mut Unsaved)) {
        let mut shown = self.0.shown();
        if self.0.book.leads() {
            note(&mut shown.unsaved);
            drop(shown);
            self.0.bell.ring();
        }
    }

    /// Saves everything now.
    pub(crate) fn save(&self) -> Result<(), StateError> {
        while self.0.save_noted(false)? {}
        Ok(())
    }

    /// Whether everything that shows is saved.
    pub(crate) fn is_saved(&self) -> bool {
        self.0.shown().unsaved.is_empty()
    }

    /// The book that it was last written to.
    #[cfg(test)]
    pub(crate) fn saved_to(&self) -> crate::book::Identity {
        self.0.commit().identity
    }

    /// Saves at most so many records; true if more remains.
    #[cfg(test)]
    pub(crate) fn save_one_chunk(&self, records: usize) -> Result<bool, StateError> {
        self.0.commit().pace = Pace::of(records);
        self.0.save_noted(false)
    }

    /// What is to be done at a moment of the next push or save; `None` for nothing more.
    #[cfg(test)]
    pub(crate) fn plan(&self, planned: Option<(Step, Box<dyn FnOnce() + Send>)>) {
        self.0.steps.plan(planned);
    }

    /// Carries out requests that came at the same time.
    #[cfg(test)]
    #[allow(clippy::type_complexity)]
    pub(crate) fn push_together(
        &self,
        requests: &[(Vec<Push>, Option<String>)],
        now: UnixTime,
    ) -> Vec<Result<Vec<Result<Outcome, Refusal>>, PushError>> {
        let requests: Vec<_> = requests.iter().map(|(pushes, key)| Request::new(pushes, key.as_deref(), now)).collect();
        let Some((last, others)) = requests.split_last() else { return Vec::new() };
        self.0.waiting().extend(others.iter().cloned());
        let outcome = self.0.carry_out(last);
        others.iter().filter_map(|other| other.take()).chain([outcome]).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn name(&self) -> Arc<String> {
        self.name.load_full()
    }

    fn is_served(&self) -> bool {
        self.stage.load(Relaxed) == SERVED
    }

    fn may_be_saved(&self) -> bool {
        self.stage.load(Relaxed) != PREPARED
    }

    fn owes(&self) -> bool {
        self.book.owes()
    }

    fn commit(&self) -> MutexGuard<'_, Saved> {
        lock(&self.commit)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Arc<Request>>> {
        lock(&self.waiting)
    }

    /// Shows revocations that the book in place knows, with their origin there.
    fn show_as_they_are(&self, shown: &mut Shown, changes: &[Change]) {
        shown.show(changes.iter().copied());
        self.state.changes.tell(changes.len(), changes.iter().map(|change| change.serial));
        self.state.health.changed(changes.len() as u64);
    }

    /// Shows what the book has; a final revocation that shows meanwhile stays.
    fn show_by_feed(&self, shown: &mut Shown, changes: &[Change]) {
        let changed = shown.by_feed(changes);
        self.state.changes.tell(changed.len(), changed.iter().copied());
        self.state.health.changed(changed.len() as u64);
        self.state.health.unsaved(shown.unsaved.serials_left() as u64);
    }
}

/// All ledgers of the present configuration. Copies are of the same list.
#[derive(Clone, Debug, Default)]
pub struct Ledgers(Arc<ArcSwap<Listed>>);

#[derive(Debug, Default)]
struct Listed {
    all: Arc<Vec<Ledger>>,
    /// Where each is, by the fingerprint of its issuer: the feed asks for a hundred thousand records at a time.
    places: HashMap<[u8; 32], usize>,
}

impl Listed {
    fn of(&self, issuer: &[u8; 32]) -> Option<&Ledger> {
        self.places.get(issuer).and_then(|place| self.all.get(*place))
    }
}

impl Ledgers {
    /// As they are now.
    pub fn all(&self) -> Arc<Vec<Ledger>> {
        Arc::clone(&self.0.load().all)
    }

    pub(crate) fn set(&self, ledgers: Vec<Ledger>) {
        let places = ledgers.iter().enumerate().map(|(place, ledger)| (*ledger.id().fingerprint(), place)).collect();
        self.0.store(Arc::new(Listed { all: Arc::new(ledgers), places }));
    }
}

#[cfg(test)]
mod tests;
