//! How the fetching of one source fares: written by its feeder, read by readiness and metrics.
//!
//! Invariant: nothing here names a secret, since the name of the source is one that may be shown. A source is never
//! reported fresher than its origin has said. It does not know how anything is fetched.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pki::UnixTime;

/// What kind of thing is fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FetchKind {
    /// A CRL, which says itself until when it holds.
    #[default]
    Crl,
    /// The rows of a database.
    Rows,
    /// The files of a directory.
    Files,
}

/// One source that is fetched. Shared by the feeder that writes it and by whoever reads it.
#[derive(Debug)]
pub struct Fetching(Mutex<FetchReport>);

/// The fetching of one source at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchReport {
    /// What it is.
    pub kind: FetchKind,
    /// Where it is from, without secrets.
    pub origin: String,
    /// When the origin last gave what is here, or said that it still holds; also before this start. `None` if nothing of
    /// it is here.
    pub confirmed: Option<UnixTime>,
    /// How often it was asked since the start, whatever came of it.
    pub asked: u64,
    /// How often that gave nothing.
    pub failed: u64,
    /// How many bytes (or files, of a directory) of an answer are here, and of how many if that is known; `None` while nothing comes.
    pub progress: Option<(u64, Option<u64>)>,
    /// Whether there is nothing to be fetched: a CRL names no delta.
    pub has_nothing: bool,
    /// What is wrong now; `None` if the origin answered the last time, or was not asked yet.
    pub fault: Option<String>,
}

impl FetchReport {
    /// What is wrong, one line.
    pub fn complaint(&self) -> Option<String> {
        let Self { kind, origin, confirmed, fault, asked, .. } = self;
        let unit = if *kind == FetchKind::Files { "files" } else { "bytes" };
        let progress = self.progress.map(|(octets, of)| match of {
            Some(of) => format!(": {octets} of {of} {unit} are here"),
            None => format!(": {octets} {unit} are here"),
        });
        match (fault, confirmed) {
            (Some(fault), Some(confirmed)) => Some(format!("{fault}; what it said last, at {confirmed}, stays in use")),
            (Some(fault), None) => Some(format!("{fault}; nothing of it is here yet")),
            (None, None) if *asked == 0 => {
                Some(format!("{origin}: is being fetched for the first time{}", progress.unwrap_or_default()))
            }
            (None, _) => None,
        }
    }

    /// How long ago the origin was last heard, in seconds; 0 if it never was.
    pub fn age(&self, now: UnixTime) -> Option<u64> {
        Some(now.since(self.confirmed?).as_secs())
    }
}

impl Fetching {
    /// `kind`: what it is; `origin`: what it is called, without secrets; `confirmed`: as in [`FetchReport::confirmed`].
    pub fn new(kind: FetchKind, origin: String, confirmed: Option<UnixTime>) -> Self {
        Self(Mutex::new(FetchReport { kind, origin, confirmed, ..FetchReport::default() }))
    }

    /// How it fares now.
    pub fn report(&self) -> FetchReport {
        self.lock().clone()
    }

    /// Whether the origin was asked since the start, whatever came of it.
    pub fn was_asked(&self) -> bool {
        self.lock().asked > 0
    }

    /// So much of an answer is here, of so much if that is known.
    pub fn progress(&self, octets: u64, of: Option<u64>) {
        self.lock().progress = Some((octets, of));
    }

    /// It was found that there is nothing to be fetched.
    pub fn has_nothing(&self) {
        let mut report = self.lock();
        report.asked += 1;
        (report.has_nothing, report.confirmed, report.fault, report.progress) = (true, None, None, None);
    }

    /// The origin gave something, or said that what is here still holds.
    pub fn confirmed(&self, now: UnixTime) {
        let mut report = self.lock();
        report.has_nothing = false;
        report.asked += 1;
        (report.confirmed, report.fault, report.progress) = (Some(now), None, None);
    }

    /// The origin gave nothing that counts. `is_here`: whether something of it is here.
    pub fn failed(&self, fault: String, is_here: bool) {
        let mut report = self.lock();
        report.asked += 1;
        report.failed += 1;
        report.has_nothing = false;
        (report.fault, report.progress) = (Some(fault), None);
        report.confirmed = report.confirmed.filter(|_| is_here);
    }

    fn lock(&self) -> MutexGuard<'_, FetchReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_complains_until_something_of_it_is_here_and_while_its_origin_fails() {
        let fetching = Fetching::new(FetchKind::Crl, "http://a/ca.crl".to_owned(), None);
        let complaint = || fetching.report().complaint();
        assert_eq!(complaint().as_deref(), Some("http://a/ca.crl: is being fetched for the first time"));
        fetching.progress(7, None);
        assert!(complaint().unwrap().ends_with("for the first time: 7 bytes are here"));
        fetching.progress(7, Some(9));
        assert!(complaint().unwrap().ends_with("for the first time: 7 of 9 bytes are here"));
        fetching.failed("http://a/ca.crl: is broken".to_owned(), false);
        assert_eq!(complaint().as_deref(), Some("http://a/ca.crl: is broken; nothing of it is here yet"));
        fetching.confirmed(UnixTime(1_000));
        assert_eq!(complaint(), None);
        fetching.failed("http://a/ca.crl: is broken".to_owned(), true);
        assert!(complaint().unwrap().ends_with("what it said last, at 1970-01-01T00:16:40Z, stays in use"));
        let report = fetching.report();
        assert_eq!((report.asked, report.failed, report.age(UnixTime(1_060))), (3, 2, Some(60)));
        // Somebody has removed it.
        fetching.failed("gone".to_owned(), false);
        assert_eq!(fetching.report().confirmed, None);
    }
}
