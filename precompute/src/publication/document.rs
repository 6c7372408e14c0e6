//! Octets that any number of responses share, with what HTTP says of them. It does not know HTTP.

use std::{fmt, time::Duration};

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::{
    limits,
    pki::{UnixTime, hex::Hex},
};

/// A document in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// The whole of it.
    pub octets: Bytes,
    /// Its strong entity tag, quotes included: equal exactly for equal octets, also on other machines.
    pub etag: String,
    /// Since when it is what it is, as it says itself.
    pub modified: Option<UnixTime>,
    /// Whether a copy with exactly that date is the same document.
    pub is_dated: bool,
    /// When there is another one at the latest.
    pub until: Option<UnixTime>,
}

/// Bytes of a SHA-256: two documents never have the same tag by chance.
const ETAG_OCTETS: usize = 16;

impl Document {
    /// A document without dates.
    pub fn new(octets: impl Into<Bytes>) -> Self {
        let octets = octets.into();
        let digest = digest::digest(&digest::SHA256, &octets);
        let etag = format!("\"{}\"", Hex(&digest.as_ref()[..ETAG_OCTETS]));
        Self { octets, etag, modified: None, is_dated: false, until: None }
    }

    /// The same with the date since when it is what it is.
    #[must_use]
    pub fn modified_at(self, modified: UnixTime) -> Self {
        Self { modified: Some(modified), is_dated: true, ..self }
    }

    /// The date that tells a copy of it from others (Last-Modified). None is told for a while: a CA may issue another one
    /// within the same second, and who has the former must not be told after a restart, or by another machine, that it is
    /// this one (RFC 9110 section 8.8.2.2).
    pub fn date(&self, now: UnixTime) -> Option<UnixTime> {
        self.modified.filter(|modified| modified.after(limits::DATED_AFTER) <= now)
    }

    /// How long caches may keep it: until there is another one, and at most for so long. Zero where that time is over.
    pub fn max_age(&self, most: Duration, now: UnixTime) -> Duration {
        self.until.map_or(limits::UNDATED_MAX_AGE, |until| until.since(now)).min(most)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes, {})", self.octets.len(), self.etag)
    }
}
