//! What is counted: by each worker for itself, without sharing, and summed when somebody asks.
//!
//! Invariant: counting is an addition to a word that no other worker writes. It does not know names; who asks puts
//! them to the numbers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use precompute::ocsp::OcspError;

/// What became of a request to a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Result {
    /// Served from memory.
    Hit,
    /// Signed for this request, or together with another.
    Signed,
    /// 304 to a condition.
    NotModified,
    /// The page for people.
    Page,
    /// The unsigned errors of RFC 6960.
    MalformedRequest,
    /// See [`OcspError`].
    InternalError,
    /// See [`OcspError`].
    TryLater,
    /// See [`OcspError`].
    SigRequired,
    /// See [`OcspError`].
    Unauthorized,
    /// Refused by HTTP: a media type that the tenant's policy does not take.
    Refused,
}

impl Result {
    /// Every result with its label.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Hit, "hit"),
        (Self::Signed, "signed"),
        (Self::NotModified, "not_modified"),
        (Self::Page, "page"),
        (Self::MalformedRequest, "malformed_request"),
        (Self::InternalError, "internal_error"),
        (Self::TryLater, "try_later"),
        (Self::SigRequired, "sig_required"),
        (Self::Unauthorized, "unauthorized"),
        (Self::Refused, "refused"),
    ];

    /// Its label.
    pub fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl From<OcspError> for Result {
    fn from(error: OcspError) -> Self {
        match error {
            OcspError::MalformedRequest => Self::MalformedRequest,
            OcspError::InternalError => Self::InternalError,
            OcspError::TryLater => Self::TryLater,
            OcspError::SigRequired => Self::SigRequired,
            OcspError::Unauthorized => Self::Unauthorized,
        }
    }
}

/// The methods that are answered.
pub const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];

/// Counters of `N` things, of each worker apart.
#[derive(Debug)]
pub struct Tally<const N: usize>(Box<[Cells<N>]>);

/// Aligned so that no two workers share a cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Cells<const N: usize>([AtomicU64; N]);

impl<const N: usize> Tally<N> {
    /// All zero.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Cells([const { AtomicU64::new(0) }; N])).collect())
    }

    /// Counts one thing, `place` below `N`. A worker that does not exist counts nothing.
    #[inline]
    pub fn count(&self, worker: usize, place: usize) {
        if let Some(cells) = self.0.get(worker) {
            cells.0[place].fetch_add(1, Relaxed);
        }
    }

    /// So far, by one worker.
    pub fn of(&self, worker: usize, place: usize) -> u64 {
        self.0.get(worker).map_or(0, |cells| cells.0[place].load(Relaxed))
    }

    /// So far, by all.
    pub fn sum(&self, place: usize) -> u64 {
        self.0.iter().map(|cells| cells.0[place].load(Relaxed)).sum()
    }
}

/// Requests by method and result; for one issuer, or for those that name no issuer of a tenant.
#[derive(Debug)]
pub struct Requests(Tally<{ METHODS.len() * Result::ALL.len() }>);

impl Requests {
    /// All zero.
    pub fn new(workers: usize) -> Self {
        Self(Tally::new(workers))
    }

    const fn place(method: usize, result: Result) -> usize {
        method * Result::ALL.len() + result as usize
    }

    /// Counts a request; `method` is a place in [`METHODS`].
    #[inline]
    pub fn count(&self, worker: usize, method: usize, result: Result) {
        self.0.count(worker, Self::place(method, result));
    }

    /// Requests so far, of all workers.
    pub fn sum(&self, method: usize, result: Result) -> u64 {
        self.0.sum(Self::place(method, result))
    }
}

/// How long answers took, in buckets that double: up to 1 µs, 2 µs, 4 µs … 17 s, and longer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BUCKETS],
    nanoseconds: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; Self::BUCKETS], nanoseconds: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Up to 2^24 µs, and one for all that is longer.
    pub const BUCKETS: usize = 26;

    /// Notes that `count` answers took so long each.
    #[inline]
    pub fn note(&self, took: Duration, count: u64) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[Self::bucket(nanoseconds)].fetch_add(count, Relaxed);
        self.nanoseconds.fetch_add(nanoseconds.saturating_mul(count), Relaxed);
    }

    /// The first whose bound is not below it.
    const fn bucket(nanoseconds: u64) -> usize {
        let microseconds = nanoseconds.div_ceil(1000);
        let bucket = (u64::BITS - microseconds.saturating_sub(1).leading_zeros()) as usize;
        if bucket < Self::BUCKETS { bucket } else { Self::BUCKETS - 1 }
    }

    /// Of several: seconds altogether, count, and for each bucket its bound in seconds with the count in it.
    pub fn sum<'h>(histograms: impl Iterator<Item = &'h Self>) -> (f64, u64, Vec<(f64, u64)>) {
        let (mut nanoseconds, mut counts) = (0, [0; Self::BUCKETS]);
        for histogram in histograms {
            nanoseconds += histogram.nanoseconds.load(Relaxed);
            for (sum, bucket) in counts.iter_mut().zip(&histogram.buckets) {
                *sum += bucket.load(Relaxed);
            }
        }
        let bound = |bucket: usize| {
            if bucket + 1 == Self::BUCKETS { f64::MAX } else { (1u64 << bucket) as f64 / 1e6 }
        };
        let buckets = counts.iter().enumerate().map(|(bucket, &count)| (bound(bucket), count)).collect();
        (nanoseconds as f64 / 1e9, counts.iter().sum(), buckets)
    }
}

/// One worker's counters; aligned so that no two workers share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Requests refused by HTTP itself, and those to no tenant.
    pub http_refused: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open.
    pub open: AtomicU64,
    /// Connections ended because a deadline passed.
    pub expired: AtomicU64,
    /// Connections turned away because there were too many.
    pub turned_away: AtomicU64,
    /// Connections ended to make room for others.
    pub displaced: AtomicU64,
    /// Bytes of responses.
    pub octets_out: AtomicU64,
    /// From the bytes of requests being here to those of their responses being with the kernel, where none of the
    /// responses had to be signed,
    pub served: Histogram,
    /// and where one had.
    pub signed: Histogram,
    /// Lines of the access log that were thrown away because their writer did not keep up.
    pub access_lost: AtomicU64,
    /// Connections accepted here and handed to another worker.
    pub handed_over: AtomicU64,
    /// Connections refused because they came from outside of the trusted networks where the PROXY protocol is spoken,
    pub untrusted: AtomicU64,
    /// because of what stood in the place of a PROXY header,
    pub proxy_refused: AtomicU64,
    /// and because no TLS handshake came about.
    pub tls_refused: AtomicU64,
}

impl Counters {
    /// All zero.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_the_order_of_the_results() {
        for (place, (result, label)) in Result::ALL.into_iter().enumerate() {
            assert_eq!((result as usize, result.label()), (place, label));
        }
    }

    #[test]
    fn each_worker_counts_for_itself_and_all_are_summed() {
        let requests = Requests::new(2);
        requests.count(0, 0, Result::Hit);
        requests.count(1, 0, Result::Hit);
        requests.count(1, 2, Result::Unauthorized);
        requests.count(2, 0, Result::Hit); // there is none
        assert_eq!((requests.sum(0, Result::Hit), requests.sum(2, Result::Unauthorized)), (2, 1));
        let all: u64 = (0..METHODS.len()).flat_map(|m| Result::ALL.map(|(result, _)| requests.sum(m, result))).sum();
        assert_eq!(all, 3);
    }

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        for (nanoseconds, bound) in [
            (0, 1e-6),
            (1000, 1e-6),
            (1001, 2e-6),
            (2000, 2e-6),
            (2001, 4e-6),
            (1_000_000, 1.024e-3),
            (16_777_216_000, 16.777_216),
            (16_777_216_001, f64::MAX),
            (u64::MAX, f64::MAX),
        ] {
            let histogram = Histogram::default();
            histogram.note(Duration::from_nanos(nanoseconds), 3);
            let (_, count, buckets) = Histogram::sum([&histogram, &Histogram::default()].into_iter());
            let found: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!((count, found), (3, vec![(bound, 3)]), "{nanoseconds} ns");
        }
        let histogram = Histogram::default();
        histogram.note(Duration::from_millis(2), 5);
        assert!((Histogram::sum([&histogram].into_iter()).0 - 0.01).abs() < 1e-9);
    }
}
