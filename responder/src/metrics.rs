//! Counters: each worker has its own, without sharing; they are summed when they are read.
//!
//! Invariant: counting is an addition to a word that no other worker writes. This module does not know names; the
//! reader adds them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use precompute::ocsp::OcspError;

use crate::net;

/// The outcome of a request to a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum RequestResult {
    /// Served from kept answers.
    Hit,
    /// Signed for this request, or for another with the same subject.
    Signed,
    /// Answered by an upstream, for this request or for another with the same subject.
    Forwarded,
    /// 304, because of a condition.
    NotModified,
    /// The page for people.
    Page,
    /// A published CRL or certificate, or a part of it.
    Published,
    /// An unsigned error of RFC 6960.
    MalformedRequest,
    /// See [`OcspError`].
    InternalError,
    /// See [`OcspError`].
    TryLater,
    /// See [`OcspError`].
    SigRequired,
    /// See [`OcspError`].
    Unauthorized,
    /// Refused by HTTP: the tenant's policy does not accept the media type.
    Refused,
    /// `tryLater`, because the tenant's quota of signatures is used up.
    OverQuota,
}

impl RequestResult {
    /// Every result with its label.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Hit, "hit"),
        (Self::Signed, "signed"),
        (Self::Forwarded, "forwarded"),
        (Self::NotModified, "not_modified"),
        (Self::Page, "page"),
        (Self::Published, "published"),
        (Self::MalformedRequest, "malformed_request"),
        (Self::InternalError, "internal_error"),
        (Self::TryLater, "try_later"),
        (Self::SigRequired, "sig_required"),
        (Self::Unauthorized, "unauthorized"),
        (Self::Refused, "refused"),
        (Self::OverQuota, "over_quota"),
    ];

    /// Its label.
    pub fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl From<OcspError> for RequestResult {
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

/// Counters of `N` things, separate for each worker.
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

    /// Counts one thing; `place` is below `N`. A worker that does not exist counts nothing.
    #[inline]
    pub fn count(&self, worker: usize, place: usize) {
        if let Some(cells) = self.0.get(worker) {
            cells.0[place].fetch_add(1, Relaxed);
        }
    }

    /// The count so far, by one worker.
    pub fn of(&self, worker: usize, place: usize) -> u64 {
        self.0.get(worker).map_or(0, |cells| cells.0[place].load(Relaxed))
    }

    /// The count so far, by all workers.
    pub fn sum(&self, place: usize) -> u64 {
        self.0.iter().map(|cells| cells.0[place].load(Relaxed)).sum()
    }
}

/// Requests by method and result; for one issuer, or for all that name no issuer of a tenant.
#[derive(Debug)]
pub struct Requests(Tally<{ METHODS.len() * RequestResult::ALL.len() }>);

impl Requests {
    /// All zero.
    pub fn new(workers: usize) -> Self {
        Self(Tally::new(workers))
    }

    const fn place(method: usize, result: RequestResult) -> usize {
        method * RequestResult::ALL.len() + result as usize
    }

    /// Counts a request; `method` is an index in [`METHODS`].
    #[inline]
    pub fn count(&self, worker: usize, method: usize, result: RequestResult) {
        self.0.count(worker, Self::place(method, result));
    }

    /// Requests so far, of all workers.
    pub fn sum(&self, method: usize, result: RequestResult) -> u64 {
        self.0.sum(Self::place(method, result))
    }
}

/// What one serving thread counts, other than requests to tenants.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Counters of connections and their traffic.
    pub transport: Arc<net::counters::Counters>,
    /// Counters of requests.
    pub desk: Arc<DeskCounters>,
}

/// Aligned so that no two workers share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct DeskCounters {
    /// Requests that belong to no tenant.
    pub unrouted: AtomicU64,
    /// Lines of the access log that were dropped because their writer did not keep up.
    pub access_lost: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_the_order_of_the_results() {
        for (place, (result, label)) in RequestResult::ALL.into_iter().enumerate() {
            assert_eq!((result as usize, result.label()), (place, label));
        }
    }

    #[test]
    fn each_worker_counts_for_itself_and_all_are_summed() {
        let requests = Requests::new(2);
        requests.count(0, 0, RequestResult::Hit);
        requests.count(1, 0, RequestResult::Hit);
        requests.count(1, 2, RequestResult::Unauthorized);
        requests.count(2, 0, RequestResult::Hit); // there is none
        assert_eq!((requests.sum(0, RequestResult::Hit), requests.sum(2, RequestResult::Unauthorized)), (2, 1));
        let all: u64 =
            (0..METHODS.len()).flat_map(|m| RequestResult::ALL.map(|(result, _)| requests.sum(m, result))).sum();
        assert_eq!(all, 3);
    }
}
