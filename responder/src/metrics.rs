//! What is counted: per worker without sharing, summed when somebody asks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
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
}

impl Result {
    /// Every result with its label.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Hit, "hit"),
        (Self::Signed, "signed"),
        (Self::NotModified, "not_modified"),
        (Self::Page, "page"),
        (Self::MalformedRequest, "malformed_request"),
        (Self::InternalError, "internal_error"),
        (Self::TryLater, "try_later"),
        (Self::SigRequired, "sig_required"),
        (Self::Unauthorized, "unauthorized"),
    ];
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

/// One worker's counters; aligned so that no two workers share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// By tenant, method, result.
    requests: Box<[AtomicU64]>,
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
    /// Octets of responses.
    pub octets_out: AtomicU64,
}

impl Counters {
    /// All zero, for so many tenants.
    pub fn new(tenants: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: (0..tenants * METHODS.len() * Result::ALL.len()).map(|_| AtomicU64::new(0)).collect(),
            http_refused: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            octets_out: AtomicU64::new(0),
        })
    }

    fn place(tenant: usize, method: usize, result: Result) -> usize {
        (tenant * METHODS.len() + method) * Result::ALL.len() + result as usize
    }

    /// Counts a request; `method` is a place in [`METHODS`].
    pub fn count(&self, tenant: usize, method: usize, result: Result) {
        self.requests[Self::place(tenant, method, result)].fetch_add(1, Relaxed);
    }

    /// Requests so far.
    pub fn requests(&self, tenant: usize, method: usize, result: Result) -> u64 {
        self.requests[Self::place(tenant, method, result)].load(Relaxed)
    }
}
