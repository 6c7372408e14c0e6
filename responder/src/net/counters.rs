//! Counters of the transport: each worker has its own, and they are summed when they are read.
//!
//! Invariant: counting is an addition to a word that no other worker writes. It does not know what is served.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// One worker's counters; aligned so that no two workers share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Requests that could not be framed.
    pub http_refused: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open.
    pub open: AtomicU64,
    /// Connections ended because they missed a deadline.
    pub expired: AtomicU64,
    /// Connections turned away because there were too many.
    pub turned_away: AtomicU64,
    /// Connections ended to make room for others.
    pub displaced: AtomicU64,
    /// Bytes of responses.
    pub octets_out: AtomicU64,
    /// Time from the arrival of requests until their responses are passed to the kernel, if no response had to be
    /// signed,
    pub served: Histogram,
    /// and if one had to be.
    pub signed: Histogram,
    /// Connections accepted here and handed to another worker.
    pub handed_over: AtomicU64,
    /// Connections refused because they came from outside of the trusted networks, where the PROXY protocol is
    /// required,
    pub untrusted: AtomicU64,
    /// because they had no valid PROXY header,
    pub proxy_refused: AtomicU64,
    /// and because the TLS handshake failed.
    pub tls_refused: AtomicU64,
    /// Seconds that the worker has counted: it does not hang.
    pub seconds: AtomicU64,
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

    /// Notes that `count` answers each took this long.
    #[inline]
    pub fn note(&self, took: Duration, count: u64) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[Self::bucket(nanoseconds)].fetch_add(count, Relaxed);
        self.nanoseconds.fetch_add(nanoseconds.saturating_mul(count), Relaxed);
    }

    /// The first bucket whose bound is not below it.
    const fn bucket(nanoseconds: u64) -> usize {
        let microseconds = nanoseconds.div_ceil(1000);
        let bucket = (u64::BITS - microseconds.saturating_sub(1).leading_zeros()) as usize;
        if bucket < Self::BUCKETS { bucket } else { Self::BUCKETS - 1 }
    }

    /// For several histograms: total seconds, count, and for each bucket its bound in seconds with its count.
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

#[cfg(test)]
mod tests {
    use super::*;

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
