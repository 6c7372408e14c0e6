//! What happens with an upstream, counted and logged.
//!
//! Invariant: each kind of fault of one upstream is in the log at most once in [`limits::TOLD_EVERY`], with how many more
//! there were, so that nobody fills a log by answering badly. It does not know what an answer says.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use precompute::ocsp::{CertStatus, OcspError};
use tracing::{error, warn};

use super::verify::Objection;
use crate::limits::upstream as limits;

/// Why an upstream's answer is of no use. The texts complete "upstream …".
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It could not be reached, or the connection ended.
    Unreachable(String),
    /// It took too long.
    Slow(Duration),
    /// Another status than 200.
    Http(u16),
    /// Another media type, which is told.
    MediaType(String),
    /// More bytes than any answer has.
    TooLong,
    /// An error of OCSP or TSP.
    Refused(&'static str),
    /// It does not pass as an answer to what was asked.
    Refuted(Objection),
    /// It contradicts what is known here, by the record or by a newer answer: it says this, of a certificate that is that.
    Outdated {
        /// What it says.
        says: &'static str,
        /// What is known here.
        known: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::Slow(within) => write!(f, "has not answered within {} ms", within.as_millis()),
            Self::Http(status @ 300..400) => {
                write!(f, "answers with HTTP status {status}: redirects are not followed, name the URL behind it")
            }
            Self::Http(status) => write!(f, "answers with HTTP status {status}"),
            Self::MediaType(found) => write!(f, "answers with Content-Type `{found}`; is it a responder?"),
            Self::TooLong => write!(f, "sends more than {} bytes", limits::REPLY_OCTETS_MAX),
            Self::Refused(error) => write!(f, "refuses: {error}"),
            Self::Refuted(objection) => write!(f, "has sent what does not leave: {objection}"),
            Self::Outdated { says, known } => {
                write!(f, "says `{says}` of a certificate that is `{known}` here; one of both lags behind")
            }
        }
    }
}

/// What requests to one upstream came to, as a label.
pub const OUTCOMES: [&str; 13] = [
    "answered",
    "unreachable",
    "slow",
    "http",
    "too_long",
    "refused",
    "outdated",
    "unreadable",
    "other_certificate",
    "nonce",
    "time",
    "signer",
    "token",
];

impl Fault {
    /// Its label in metrics: one of [`OUTCOMES`].
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Slow(_) => "slow",
            Self::Http(_) | Self::MediaType(_) => "http",
            Self::TooLong => "too_long",
            Self::Refused(_) => "refused",
            Self::Outdated { .. } => "outdated",
            Self::Refuted(objection) => objection.label(),
        }
    }

    /// Whether another upstream should be asked from now on. What is only a moment ahead or behind is no fault of its own.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Outdated { .. } | Self::Refused("unauthorized" | "malformedRequest"))
    }

    /// An error that an upstream has answered.
    pub fn of_error(error: OcspError) -> Self {
        Self::Refused(error.name())
    }
}

/// What a log calls a status.
pub fn word(status: &CertStatus) -> &'static str {
    match status {
        CertStatus::Good => "good",
        CertStatus::Revoked { .. } => "revoked",
        CertStatus::Unknown => "unknown",
    }
}

/// What has happened with one upstream.
#[derive(Debug, Default)]
pub struct Told {
    counts: [AtomicU64; OUTCOMES.len()],
    /// By kind: when it was told, and how many were not since.
    log: Mutex<HashMap<&'static str, (Instant, u64)>>,
    /// The last fault, until there is an answer.
    last: Mutex<Option<String>>,
}

impl Told {
    /// An answer that is used.
    pub fn answered(&self) {
        self.count("answered");
        if let Ok(mut last) = self.last.lock() {
            *last = None;
        }
    }

    /// A fault of the upstream with this name; `of`: whose upstream it is.
    pub fn fault(&self, fault: &Fault, upstream: &str, of: &str) {
        self.count(fault.label());
        if let Ok(mut last) = self.last.lock() {
            *last = Some(fault.to_string());
        }
        let Some(more) = self.is_due(fault.label(), Instant::now()) else { return };
        match fault {
            Fault::Refuted(_) => {
                error!(upstream, of, more, "an upstream's answer does not leave: upstream {fault}");
            }
            _ => warn!(upstream, of, more, "upstream {fault}"),
        }
    }

    /// Whether that is told now, with how many were not.
    fn is_due(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match log.get_mut(kind) {
            Some((at, untold)) if now.saturating_duration_since(*at) < limits::TOLD_EVERY => {
                *untold += 1;
                None
            }
            Some(told) => Some(std::mem::replace(told, (now, 0)).1),
            None => {
                log.insert(kind, (now, 0));
                Some(0)
            }
        }
    }

    /// The last fault, if there has been no answer since.
    pub fn last(&self) -> Option<String> {
        self.last.lock().ok().and_then(|last| last.clone())
    }

    fn count(&self, label: &str) {
        if let Some(place) = OUTCOMES.iter().position(|outcome| *outcome == label) {
            self.counts[place].fetch_add(1, Relaxed);
        }
    }

    /// How many there were of each of [`OUTCOMES`].
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(&self.counts).map(|(outcome, count)| (outcome, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_fault_is_told_once_in_a_while_and_the_others_are_counted() {
        let (told, begin) = (Told::default(), Instant::now());
        assert_eq!(told.is_due("slow", begin), Some(0));
        assert_eq!(told.is_due("http", begin), Some(0));
        assert_eq!([1, 2, 3].map(|seconds| told.is_due("slow", begin + Duration::from_secs(seconds))), [None; 3]);
        assert_eq!(told.is_due("slow", begin + limits::TOLD_EVERY), Some(3));
    }

    #[test]
    fn every_fault_has_a_label_that_is_counted() {
        let time = precompute::pki::UnixTime(0);
        let objections = [
            Objection::Unreadable(""),
            Objection::OtherCertificate,
            Objection::Contradiction,
            Objection::Nonce,
            Objection::Early { this_update: time },
            Objection::Stranger,
            Objection::Token(""),
        ];
        let faults = [
            Fault::Unreachable(String::new()),
            Fault::Slow(Duration::ZERO),
            Fault::Http(302),
            Fault::MediaType(String::new()),
            Fault::TooLong,
            Fault::of_error(OcspError::TryLater),
            Fault::Outdated { says: "good", known: "revoked" },
        ];
        for fault in faults.into_iter().chain(objections.map(Fault::Refuted)) {
            assert!(OUTCOMES.contains(&fault.label()), "{fault}");
        }
    }
}
