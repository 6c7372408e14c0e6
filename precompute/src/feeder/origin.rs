//! What can be asked for a source, and what it answers.
//!
//! Invariant: what an origin writes counts only if it says that it is new and whole; every fault names the origin without
//! its secrets, and says what to do. It does not know when it is asked, or where what it writes goes.

use std::{fmt, path::Path, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    delta::{Delta, DeltaCrl},
    directory::{DirectoryFacts, Files, FilesOfIssuer},
    http::CrlAtUrl,
    mirror::{Draft, Last},
    sql::{Rows, RowsOfIssuer, SqlFacts},
    stop::Stop,
};
use crate::{
    ledger::{FetchKind, Fetching},
    limits::{directory, fetch as limits},
    pki::UnixTime,
    source::{Crl, CrlMark},
};

/// A source that is no file here: what to ask, and which file mirrors it. Two that are equal are the same source.
#[derive(Clone, PartialEq, Debug)]
pub enum Spec {
    /// A CRL at an HTTP or HTTPS URL.
    Crl(CrlAtUrl),
    /// The delta that such a CRL names.
    Delta(DeltaCrl),
    /// The rows that a database has of an issuer.
    Rows(RowsOfIssuer),
    /// The certificates of an issuer in a directory.
    Files(FilesOfIssuer),
}

impl Spec {
    /// The file that mirrors it.
    pub fn mirror(&self) -> &Path {
        match self {
            Self::Crl(crl) => &crl.mirror,
            Self::Delta(delta) => &delta.mirror,
            Self::Rows(rows) => &rows.source.mirror,
            Self::Files(files) => &files.source.mirror,
        }
    }

    /// Of whom too much must not be asked at once: the host.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Crl(crl) => crl.url.host(),
            Self::Delta(delta) => delta.of.url.host(),
            // Each has a connection of its own there.
            Self::Rows(rows) => format!("{} {}", rows.source.url.host(), rows.source.mirror.display()),
            // One may be on a file system that hangs.
            Self::Files(files) => files.source.mirror.display().to_string(),
        }
    }

    /// When to ask next, and how long to wait after a failure at most, where the operator says it. `last`: what the mirror
    /// has.
    pub(super) fn rhythm(&self, last: Option<&Last>) -> Option<(Duration, Duration)> {
        match self {
            Self::Crl(crl) | Self::Delta(DeltaCrl { of: crl, .. }) => crl.every.map(|every| (every, limits::RETRY_MAX)),
            Self::Rows(rows) => {
                let facts = last.and_then(|last| last.facts.sql.as_ref());
                let pause = facts.map_or(rows.source.every, |facts| facts.pause(&rows.source));
                Some((pause, limits::ROWS_RETRY_MAX))
            }
            Self::Files(_) => Some((directory::EVERY, directory::RETRY_MAX)),
        }
    }

    /// What is fetched because of what comes of it: the delta that a CRL names.
    pub fn delta(&self) -> Option<Self> {
        let Self::Crl(crl) = self else { return None };
        Some(Self::Delta(DeltaCrl { of: crl.clone(), mirror: crl.delta.clone()? }))
    }

    /// Whether it is that of `other`.
    pub(super) fn is_delta_of(&self, other: &Self) -> bool {
        matches!(self, Self::Delta(delta) if delta.of.mirror == other.mirror())
    }

    /// Whether it cannot be asked before something else has come.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Delta(delta) if !delta.of.mirror.is_file())
    }

    /// What kind of thing comes of it.
    pub fn kind(&self) -> FetchKind {
        match self {
            Self::Crl(_) | Self::Delta(_) => FetchKind::Crl,
            Self::Rows(_) => FetchKind::Rows,
            Self::Files(_) => FetchKind::Files,
        }
    }

    pub(super) fn origin(&self) -> Box<dyn Origin> {
        match self {
            Self::Crl(crl) => Box::new(crl.clone()),
            Self::Delta(delta) => Box::new(Delta::new(delta.clone())),
            Self::Rows(rows) => Box::new(Rows::new(rows.clone())),
            Self::Files(files) => Box::new(Files::new(files.clone())),
        }
    }
}

/// What it is called, without secrets.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crl(crl) => crl.url.fmt(f),
            Self::Delta(delta) => delta.fmt(f),
            Self::Rows(rows) => rows.source.url.fmt(f),
            Self::Files(files) => files.source.path.display().fmt(f),
        }
    }
}

/// Something that can be asked again and again.
pub(super) trait Origin: Send + fmt::Debug {
    /// Asks it once, and writes what is new into `draft`. `last`: what the mirror has, if that is whole. Ends soon after
    /// `stop`, and within a bound of its own.
    fn ask(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem>;
}

/// One question to an origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'q> {
    /// What the mirror has of it.
    pub(super) last: Option<&'q Last>,
    pub(super) now: UnixTime,
    /// How long the answer may take in all.
    pub(super) within: Duration,
    pub(super) stop: &'q Stop,
    /// Who hears how far it is.
    pub(super) fetching: &'q Fetching,
}

/// What an origin says.
#[derive(Debug)]
pub(super) enum Answer {
    /// What the mirror has still holds. With other validators, if it gave some.
    Same(Option<Validators>),
    /// What is in the draft now.
    New(Box<Facts>),
    /// What the mirror has still holds, and these lines belong behind it.
    More(Vec<u8>, Box<Facts>),
    /// There is nothing to be asked for, and nothing that the mirror should have.
    Nothing,
}

/// What HTTP says of a body: with these the same question is asked conditionally the next time (RFC 9110 section 13).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// How long caches may keep it, in seconds.
    pub(super) fresh_for: Option<u64>,
}

/// What is known of something new, as far as its kind says it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) validators: Validators,
    /// When it was issued, and when the next one comes at the latest, in seconds since 1970.
    pub(super) this_update: Option<u64>,
    pub(super) next_update: Option<u64>,
    /// Which CRL it is.
    pub(super) crl: Option<CrlFacts>,
    /// Which rows of a database.
    #[serde(default)]
    pub(super) sql: Option<SqlFacts>,
    /// Which list of a directory.
    #[serde(default)]
    pub(super) directory: Option<DirectoryFacts>,
    /// The URLs where a CRL says that its deltas are (freshestCRL); `None` if that was not noted.
    #[serde(default)]
    pub(super) freshest: Option<Vec<String>>,
    /// What there is to know of it, in words.
    #[serde(default)]
    pub(super) remarks: Vec<String>,
}

impl Facts {
    /// Whether a mirror of it is appended to.
    pub(super) fn is_appended_to(&self) -> bool {
        self.sql.is_some() || self.directory.is_some()
    }
}

/// A [`CrlMark`] and what else must not change from one CRL to the next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct CrlFacts {
    /// Padded, as [`CrlNumber::padded`](crate::source::CrlNumber::padded).
    pub(super) number: Option<[u8; 20]>,
    pub(super) this_update: u64,
    pub(super) digest: [u8; 32],
    pub(super) is_delta: bool,
    /// Of which part of the certificates; `None` if that was not noted.
    #[serde(default)]
    pub(super) part: Option<[u8; 32]>,
}

impl CrlFacts {
    pub(super) fn of(crl: &Crl) -> Self {
        let CrlMark { number, this_update, digest } = crl.mark();
        let (number, this_update) = (number.map(|number| *number.padded()), this_update.0);
        Self { number, this_update, digest, is_delta: crl.is_delta(), part: Some(crl.part()) }
    }

    pub(super) fn mark(&self) -> CrlMark {
        CrlMark {
            number: self.number.map(crate::source::CrlNumber::from_padded),
            this_update: UnixTime(self.this_update),
            digest: self.digest,
        }
    }
}

/// Why an origin gave nothing that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which origin, what is wrong, and the remedy.
    pub text: String,
    /// How long it wants to be left alone.
    pub wait: Option<Duration>,
}

impl Problem {
    /// Nobody has asked for it.
    pub fn untried(spec: &Spec) -> Self {
        Self::new(format!("{spec}: was not asked"))
    }

    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), wait: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

/// A problem of the file that mirrors a source.
pub(super) fn of_file(path: &Path, what: &str, error: &std::io::Error) -> Problem {
    let remedy = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "make room there",
        _ => "give `state_dir` and what is in it to the user that runs this program",
    };
    let path: PathBuf = path.to_owned();
    Problem::new(format!("{}: {what}: {error}; {remedy}", path.display()))
}
