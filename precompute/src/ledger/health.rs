//! The condition of an issuer's sources, for health checks and metrics.
//!
//! Purpose: the engine writes it; readiness, metrics and the serving threads read it, the last without a lock.
//! Invariant: a source is never reported fresher than it was last seen. It does not know what the sources
//! say.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    contradictions::{News, Told},
    fetching::{FetchKind, FetchReport, Fetching},
    reconcile::Contradiction,
};
use crate::{limits, ocsp::Policy, pki::UnixTime, records::Counts};

/// What one pass over an issuer's sources did.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pass {
    /// Certificates that the sources list.
    pub listed: u64,
    /// Changed records.
    pub changed: u64,
    /// Whether unlisted records stay until the index has not changed for a while.
    pub held_back: bool,
    /// Records after the pass.
    pub counts: Counts,
    /// When the CRL goes out of date.
    pub crl_next_update: Option<UnixTime>,
    /// How long reading, comparing and showing took.
    pub took: Duration,
}

/// Written by the ledger, read by readiness and metrics, and without a lock by the serving threads.
#[derive(Debug)]
pub struct Health {
    report: Mutex<HealthReport>,
    /// From when on they grow stale, in seconds: [`HealthReport::fresh_until`].
    fresh_until: AtomicU64,
    /// When the CRL ends, if it is the only source, in seconds: [`HealthReport::crl_alone_until`].
    crl_alone_until: AtomicU64,
    /// Whether anything was ever known of the issuer.
    known: AtomicBool,
    /// What was told of each kind of contradiction.
    told: Mutex<[Told; Contradiction::KINDS]>,
    /// Its sources that are fetched.
    fetches: Mutex<Vec<Arc<Fetching>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            report: Mutex::default(),
            fresh_until: AtomicU64::new(0),
            crl_alone_until: AtomicU64::new(UnixTime::MAX.0),
            known: AtomicBool::new(false),
            told: Mutex::default(),
            fetches: Mutex::default(),
        }
    }
}

/// The sources of one issuer at one moment.
#[derive(Clone, Debug, Default)]
pub struct HealthReport {
    /// When the sources were last found in order, changed or not; also before this start, as the book says.
    pub verified: Option<UnixTime>,
    /// When the sources were last taken.
    pub last_read: Option<UnixTime>,
    /// What is wrong with the sources now.
    pub fault: Option<String>,
    /// What is wrong with the book now: changes are used in answers, but are not durable yet.
    pub book_fault: Option<String>,
    /// Changed records that are used in answers and wait to be saved; some may be counted more than once.
    pub unsaved: u64,
    /// When the sources were last looked at, changed or not.
    pub last_look: Option<UnixTime>,
    /// When the CRL goes out of date.
    pub crl_next_update: Option<UnixTime>,
    /// Whether a CRL is the only source.
    pub crl_alone: bool,
    /// Refused reads since the start.
    pub faults: u64,
    /// Reads taken since the start.
    pub reads: u64,
    /// Certificates that the sources listed at the last read.
    pub listed: u64,
    /// Records changed since the start.
    pub changed: u64,
    /// Revocations that the sources would take back, and that stay.
    pub contradictions: u64,
    /// Certificates that pushes have revoked, hold or listed, and that the sources call good or do not list.
    pub push_contradictions: u64,
    /// Pushes taken since the start.
    pub pushes: u64,
    /// When the last one was.
    pub last_push: Option<UnixTime>,
    /// Requests since the start whose pushes could not be made durable.
    pub pushes_failed: u64,
    /// Why the last one could not be; until one is taken again.
    pub push_fault: Option<String>,
    /// The time of [`HealthReport::verified`] that the book is to have.
    pub verified_saved: Option<UnixTime>,
    /// Entries that were skipped at the last read: no certificate can have their serial numbers.
    pub passed_over: u64,
    /// What was read differently from how the sources write it at the last read, or is kept although they do not say
    /// so.
    pub warnings: Vec<String>,
    /// Its sources that are fetched.
    pub fetches: Vec<FetchReport>,
    /// Since when all its certificates are answered as revoked with its own one.
    pub ca_revoked_since: Option<UnixTime>,
}

impl HealthReport {
    /// Until when the sources' statements are known: when they were last found in order, or when their CRL went out of
    /// date. Of a CRL that is the only source, until its end, which may be to come.
    pub(crate) fn known_until(&self) -> UnixTime {
        let verified = self.verified.unwrap_or(UnixTime(0));
        match self.crl_next_update {
            Some(end) if self.crl_alone => end,
            Some(end) => end.min(verified),
            None => verified,
        }
    }

    /// When the CRL ends, if it is the only source; forever if there is another source or the CRL names no end. Before
    /// the CRL is read: what the book has kept of [`HealthReport::known_until`].
    fn crl_alone_until(&self) -> UnixTime {
        match (self.crl_alone, self.last_read) {
            (false, _) => UnixTime::MAX,
            (true, Some(_)) => self.crl_next_update.unwrap_or(UnixTime::MAX),
            (true, None) => self.verified.unwrap_or(UnixTime(0)),
        }
    }

    /// From when on the sources grow stale: the same, but a CRL that is the only source ends what it says by itself
    /// ([`Health::told_until`]).
    fn fresh_until(&self) -> UnixTime {
        if self.crl_alone { self.verified.unwrap_or(UnixTime(0)) } else { self.known_until() }
    }

    /// Whether that is longer ago than the policy allows.
    fn is_stale(&self, now: UnixTime, policy: &Policy) -> bool {
        now.since(self.fresh_until()) > policy.stale_after
    }

    /// What is wrong `now`, one line each; `policy`: the issuer's.
    pub fn complaints(&self, now: UnixTime, policy: &Policy) -> Vec<String> {
        let mut lines: Vec<String> = [&self.fault, &self.book_fault].into_iter().flatten().cloned().collect();
        lines.extend(self.fetches.iter().filter_map(FetchReport::complaint));
        if let Some(look) = self.last_look.filter(|look| now.since(*look) > limits::LOOK_OVERDUE) {
            lines.push(format!("the sources were last checked at {look}: reading one of them takes long, or hangs"));
        }
        let alone_until = self.crl_alone_until();
        if self.is_stale(now, policy) {
            lines.push(if self.verified.is_some() {
                let until = self.fresh_until();
                format!(
                    "nothing new is signed: the sources were last in order at {until}, longer ago than `stale_after`"
                )
            } else {
                "nothing is signed: nobody here has heard yet that its sources are in order".to_owned()
            });
        } else if alone_until.after(policy.crl_grace) <= now {
            lines.push(format!(
                "nothing is signed: the CRL is the only source, and what it says was known until {alone_until}; \
                 publish a new one, or allow it for longer with `crl_grace`"
            ));
        }
        if let Some(end) = self.crl_next_update.filter(|end| *end <= now) {
            lines.push(format!("the CRL has been out of date since {end}"));
        }
        if let Some(fault) = &self.push_fault {
            lines.push(format!("pushes are refused: {fault}"));
        }
        if self.contradictions > 0 {
            lines.push(format!("the source takes back {} revocations, which stay", self.contradictions));
        }
        lines
    }
}

impl Health {
    /// Whether the sources were last in order longer ago than is allowed; asked for every answer that is signed.
    pub fn is_stale(&self, now: UnixTime, stale_after: Duration) -> bool {
        now.since(UnixTime(self.fresh_until.load(Relaxed))) > stale_after
    }

    /// The latest nextUpdate for this issuer's certificates: the end of a CRL that is the only source, plus what the
    /// policy allows.
    pub fn told_until(&self, crl_grace: Duration) -> UnixTime {
        UnixTime(self.crl_alone_until.load(Relaxed)).after(crl_grace)
    }

    /// The report as of now.
    pub fn report(&self) -> HealthReport {
        let fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let fetches = fetches.iter().map(|fetching| fetching.report()).filter(|report| !report.has_nothing).collect();
        HealthReport { fetches, ..self.lock().clone() }
    }

    /// Names the sources that are fetched.
    pub(crate) fn set_fetches(&self, fetches: Vec<Arc<Fetching>>) {
        *self.fetches.lock().unwrap_or_else(PoisonError::into_inner) = fetches;
    }

    pub(crate) fn read(&self, now: UnixTime, pass: &Pass) {
        self.is_known_now();
        let heard = self.heard(now);
        let mut report = self.lock();
        report.last_read = Some(now);
        report.verified = Some(heard);
        report.fault = None;
        report.reads += 1;
        report.listed = pass.listed;
        report.crl_next_update = pass.crl_next_update;
        self.publish(&report);
    }

    /// Sets what the book knows from before the start, and whether a CRL is the only source. Then it may be a time to come,
    /// which counts for nothing else.
    pub(crate) fn verified_before(&self, verified: Option<UnixTime>, crl_alone: bool, now: UnixTime) {
        let mut report = self.lock();
        let verified = if crl_alone { verified } else { verified.map(|verified| verified.min(now)) };
        (report.verified, report.crl_alone) = (verified, crl_alone);
        self.publish(&report);
    }

    /// Notes what another server has found: when the sources were last in order, when their CRL goes out of date, and
    /// whether that is the only source.
    pub(crate) fn told(&self, verified: Option<UnixTime>, crl_next_update: Option<UnixTime>, crl_alone: bool) {
        self.is_known_now();
        let mut report = self.lock();
        (report.verified, report.crl_next_update, report.crl_alone) = (verified, crl_next_update, crl_alone);
        report.last_read = verified.or(report.last_read);
        self.publish(&report);
    }

    /// Publishes it for readers without a lock.
    fn publish(&self, report: &HealthReport) {
        self.fresh_until.store(report.fresh_until().0, Relaxed);
        self.crl_alone_until.store(report.crl_alone_until().0, Relaxed);
    }

    /// When the files' statements were true last: now, but for mirrors that do not say themselves until when they hold, such as
    /// that of a database: when that was heard last.
    fn heard(&self, now: UnixTime) -> UnixTime {
        let fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let mirrors = fetches.iter().map(|fetching| fetching.report()).filter(|report| report.kind != FetchKind::Crl);
        mirrors.filter_map(|report| report.confirmed).fold(now, UnixTime::min)
    }

    /// Notes that the files look as they did at the last read, which was in order. Returns until when their statements
    /// are known.
    pub(crate) fn unchanged(&self, now: UnixTime) -> Option<UnixTime> {
        let heard = self.heard(now);
        let mut report = self.lock();
        if report.fault.is_none() && report.last_read.is_some() {
            report.verified = Some(heard);
            self.publish(&report);
        }
        report.verified.map(|_| report.known_until())
    }

    /// Notes entries that were skipped; true if this is new.
    pub(crate) fn passed_over(&self, entries: u64) -> bool {
        let before = std::mem::replace(&mut self.lock().passed_over, entries);
        entries > 0 && entries != before
    }

    /// Notes warnings about the sources; returns the new ones.
    pub(crate) fn warned(&self, warnings: &[String]) -> Vec<String> {
        let before = std::mem::replace(&mut self.lock().warnings, warnings.to_vec());
        warnings.iter().filter(|warning| !before.contains(warning)).cloned().collect()
    }

    pub(crate) fn changed(&self, records: u64) {
        self.lock().changed += records;
    }

    /// Notes since when all its certificates are answered as revoked with its own one: for people alone, since who answers
    /// looks at the issuer itself.
    pub(crate) fn ca_revoked(&self, since: Option<UnixTime>) {
        self.lock().ca_revoked_since = since;
    }

    pub(crate) fn looked(&self, now: UnixTime) {
        self.lock().last_look = Some(now);
    }

    /// Notes whether the book could be written; true if a fault is new.
    pub(crate) fn saved(&self, fault: Option<String>) -> bool {
        let mut report = self.lock();
        let news = fault.is_some() && report.book_fault != fault;
        report.book_fault = fault;
        news
    }

    /// Notes how many changed records wait to be saved.
    pub(crate) fn unsaved(&self, records: u64) {
        self.lock().unsaved = records;
    }

    /// Notes a refused read; true if it is new.
    pub(crate) fn refused(&self, fault: &str) -> bool {
        let mut report = self.lock();
        report.faults += 1;
        let news = report.fault.as_deref() != Some(fault);
        report.fault = Some(fault.to_owned());
        news
    }

    /// Notes how many revocations the sources would take back.
    pub(crate) fn contradictions(&self, count: u64) {
        self.lock().contradictions = count;
    }

    /// What there is to say of so many contradictions of a kind. A reload says nothing again.
    pub(crate) fn contradiction_news(&self, kind: Contradiction, count: u64, now: Instant) -> Option<News> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize].news(count, now)
    }

    /// Notes how many pushed records the sources contradict.
    pub(crate) fn push_contradictions(&self, count: u64) {
        self.lock().push_contradictions = count;
    }

    /// Notes pushes that were taken.
    pub(crate) fn pushed(&self, pushes: u64, now: UnixTime) {
        self.is_known_now();
        let mut report = self.lock();
        report.pushes += pushes;
        report.last_push = Some(now);
        report.push_fault = None;
    }

    /// Notes pushes that could not be made durable; true if the reason is new.
    pub(crate) fn push_failed(&self, fault: &str) -> bool {
        let mut report = self.lock();
        report.pushes_failed += 1;
        let news = report.push_fault.as_deref() != Some(fault);
        report.push_fault = Some(fault.to_owned());
        news
    }

    /// Whether anything was ever known of the issuer: by the book, a source or a push. Until then nobody can say which
    /// certificates are not listed.
    pub fn is_known(&self) -> bool {
        self.known.load(Relaxed)
    }

    pub(crate) fn is_known_now(&self) {
        self.known.store(true, Relaxed);
    }

    /// Notes that pushes are the only source, which is always in order. That makes nothing known of the issuer.
    pub(crate) fn in_order(&self, now: UnixTime) {
        let mut report = self.lock();
        report.verified = Some(now);
        // Of the sources that it may have had before.
        (report.fault, report.listed, report.crl_next_update, report.contradictions) = (None, 0, None, 0);
        self.publish(&report);
    }

    /// Notes the time that the book is to have.
    pub(crate) fn verified_saved(&self, verified: Option<UnixTime>) {
        self.lock().verified_saved = verified;
    }

    fn lock(&self) -> MutexGuard<'_, HealthReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_ages_from_the_last_look_that_was_in_order_or_the_end_of_the_crl() {
        let pass = |crl_next_update| Pass { crl_next_update, ..Pass::default() };
        let hour = Duration::from_secs(3600);
        let health = Health::default();
        assert!(health.is_stale(UnixTime(10_000), hour));
        health.verified_before(Some(UnixTime(9_000)), false, UnixTime(9_000));
        assert!(!health.is_stale(UnixTime(12_600), hour) && health.is_stale(UnixTime(12_601), hour));
        health.read(UnixTime(20_000), &pass(None));
        health.unchanged(UnixTime(21_000));
        health.refused("broken");
        health.unchanged(UnixTime(22_000));
        assert!(!health.is_stale(UnixTime(24_600), hour) && health.is_stale(UnixTime(24_601), hour));
        health.read(UnixTime(30_000), &pass(Some(UnixTime(25_000))));
        assert!(health.is_stale(UnixTime(30_000), hour), "the CRL ended long ago");
        assert_eq!(health.unchanged(UnixTime(30_000)), Some(UnixTime(25_000)), "which a restart is to know");
        let said = |stale_after| {
            let policy = Policy { stale_after, ..Policy::DEFAULT };
            health.report().complaints(UnixTime(30_000), &policy).join("\n")
        };
        assert!(said(hour).contains("`stale_after`"), "{}", said(hour));
        assert!(!said(Duration::from_secs(86_400)).contains("stale_after"));
    }

    /// A database that was lost for a month went on as if it had been read a moment ago, since its mirror did not change.
    #[test]
    fn what_is_mirrored_and_says_no_end_ages_from_when_its_origin_was_heard_last() {
        let hour = Duration::from_secs(3600);
        for (kind, is_stale) in [(FetchKind::Crl, false), (FetchKind::Rows, true), (FetchKind::Files, true)] {
            let (health, heard) = (Health::default(), UnixTime(10_000));
            let fetching = Arc::new(Fetching::new(kind, "far".to_owned(), Some(heard)));
            health.set_fetches(vec![Arc::clone(&fetching)]);
            health.read(UnixTime(20_000), &Pass::default());
            assert_eq!(health.is_stale(UnixTime(20_000), hour), is_stale, "{kind:?}");
            health.unchanged(UnixTime(20_001));
            assert_eq!(health.is_stale(UnixTime(20_001), hour), is_stale, "{kind:?}");
            fetching.confirmed(UnixTime(20_002));
            health.unchanged(UnixTime(20_003));
            assert!(!health.is_stale(UnixTime(20_003), hour), "{kind:?}");
        }
    }

    #[test]
    fn what_a_crl_alone_says_ends_with_it_or_so_much_later_as_is_allowed() {
        let hour = Duration::from_secs(3600);
        let pass = |crl_next_update| Pass { crl_next_update, ..Pass::default() };
        let until = |crl_alone, passes: &[Pass]| {
            let health = Health::default();
            health.verified_before(Some(UnixTime(9_000)), crl_alone, UnixTime(9_000));
            passes.iter().for_each(|pass| health.read(UnixTime(10_000), pass));
            health.told_until(hour)
        };
        let end = Some(UnixTime(20_000));
        assert_eq!(until(true, &[]), UnixTime(12_600), "its end is not known, and came no earlier than that");
        assert_eq!(until(true, &[pass(end)]), UnixTime(23_600));
        assert_eq!(until(true, &[pass(end), pass(Some(UnixTime(30_000)))]), UnixTime(33_600));
        assert_eq!(until(true, &[pass(None)]), UnixTime::MAX, "it names no end");
        assert_eq!(until(false, &[pass(end)]), UnixTime::MAX, "an index says who is good");
    }

    /// Where a CRL alone could not be read after a restart, nothing was signed although it had days left.
    #[test]
    fn the_book_keeps_the_end_of_a_crl_alone_and_it_counts_for_nothing_else() {
        let (now, end) = (UnixTime(10_000), UnixTime(90_000));
        let before = Health::default();
        before.verified_before(None, true, now);
        before.read(now, &Pass { crl_next_update: Some(end), ..Pass::default() });
        let kept = before.unchanged(now);
        assert_eq!(kept, Some(end));
        for (crl_alone, until, stale_from) in [(true, end, end), (false, UnixTime::MAX, now)] {
            let again = Health::default();
            again.verified_before(kept, crl_alone, now);
            assert_eq!(again.told_until(Duration::ZERO), until);
            let (last, first) = (stale_from, UnixTime(stale_from.0 + 1));
            assert!(!again.is_stale(last, Duration::ZERO) && again.is_stale(first, Duration::ZERO), "{crl_alone}");
        }
    }

    /// A CRL alone ends what it says, however long it is read without a fault, and however short the time for faults is.
    #[test]
    fn a_crl_alone_does_not_grow_stale_by_its_end_and_is_complained_of_by_its_own_rule() {
        let (hour, now) = (Duration::from_secs(3600), UnixTime(100_000));
        let health = Health::default();
        health.verified_before(None, true, now);
        health.read(now, &Pass { crl_next_update: Some(now.before(hour)), ..Pass::default() });
        assert!(!health.is_stale(now, Duration::ZERO) && health.is_stale(now.after(hour), Duration::ZERO));
        let said = |crl_grace| {
            let policy = Policy { crl_grace, ..Policy::DEFAULT };
            health.report().complaints(now, &policy).join("\n")
        };
        for (grace, nothing) in [(Duration::ZERO, true), (hour, true), (2 * hour, false)] {
            let said = said(grace);
            assert_eq!(said.contains("`crl_grace`"), nothing, "{said}");
            assert!(said.contains("the CRL has been out of date since") && !said.contains("stale_after"), "{said}");
        }
    }
}
