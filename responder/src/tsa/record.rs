//! The record of time-stamps: a line of JSON for every token, and for every change of trust in the clock.
//!
//! Invariant: a serving thread never waits for the record and allocates nothing for it. It is a [`journal`] of its own, which
//! has the file, the chain and the queues. It does not know how tokens are made.
//!
//! The members of its lines behind those of the journal (times are UTC, bytes hexadecimal, nanoseconds signed):
//!
//! ```text
//! "type":"token","time":"2026-11-21T16:10:31.123Z","serial":"4f…","imprint":"sha256:2c…","tenant":"a","policy":"1.3.6.1.4.1.4146.2.3","key":"9a…","client":"build","offset_ns":-1200,"uncertainty_ns":450000
//! "type":"clock","time":"…","source":"kernel","accuracy_ms":1000,"from":"trusted","to":"silent","offset_ns":null,"uncertainty_ns":null,"problem":"…"
//! ```
//!
//! `time` of a token is its genTime; `offset_ns` and `uncertainty_ns` are null for a clock that is not checked,
//! and `client` for one that is not configured.

mod line;

use std::{path::Path, sync::Arc};

pub use precompute::journal::Options;
use precompute::{
    journal::{self, Entry, Identity, Journal, Kind, Notes, trail},
    pki::FileError,
};

use super::{clock::Transition, serial::SerialNumber};

/// What kind of journal it is.
pub const KIND: Kind = Kind { name: "time-stamps", title: "the record of time-stamps" };

/// Bytes of the longest imprint: SHA-512 and SHA3-512.
pub const IMPRINT_OCTETS_MAX: usize = 64;

/// What tokens of one signer share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The tenant of the TSA.
    pub tenant: String,
    /// The policy's OID in dotted form.
    pub policy: String,
    /// The name of the key, in hexadecimal.
    pub key: String,
}

/// The record of a token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its serialNumber.
    pub serial: SerialNumber,
    /// Its genTime, in nanoseconds since 1970, to its precision.
    pub unix_nanos: u64,
    /// Its messageImprint.
    pub imprint: Imprint,
    /// The authority and policy.
    pub origin: Arc<Origin>,
    /// The client that has it, if it is one that is configured.
    pub client: Option<Arc<str>>,
    /// The condition of the clock: how far it was ahead of UTC, and how wrong that may be; nanoseconds.
    pub clock: Option<(i64, u64)>,
}

/// A hash with its algorithm.
#[derive(Clone, Debug)]
pub struct Imprint {
    algorithm: &'static str,
    octets: [u8; IMPRINT_OCTETS_MAX],
    length: u8,
}

impl Imprint {
    /// `algorithm`: its name in the record: letters, digits and hyphens. Bytes beyond the longest imprint are cut off.
    pub fn new(algorithm: &'static str, hash: &[u8]) -> Self {
        let length = hash.len().min(IMPRINT_OCTETS_MAX);
        let mut octets = [0; IMPRINT_OCTETS_MAX];
        octets[..length].copy_from_slice(&hash[..length]);
        Self { algorithm, octets, length: length as u8 }
    }

    fn hash(&self) -> &[u8] {
        &self.octets[..self.length.into()]
    }
}

impl Entry for Token {
    fn push(&self, members: &mut String) {
        line::push_token(members, self);
    }
}

/// Records the tokens of one serving thread.
pub type Recorder = journal::Recorder<Token>;

/// Records changes of trust in the clock; for [`super::clock::Hook`].
#[derive(Clone, Debug)]
pub struct Audit(Notes);

impl Audit {
    /// In this record.
    pub fn of(record: &Journal) -> Self {
        Self(record.notes())
    }

    /// Puts a transition on the queue; counts it if there is no room.
    pub fn note(&self, transition: &Transition) {
        self.0.note(line::of_transition(transition));
    }
}

/// Tells the journal of the service of a transition.
pub fn tell(transition: &Transition) {
    trail::tell("clock", |event| {
        let (from, to) = (Transition::label(transition.from), Transition::label(transition.to));
        let event = event.text("source", transition.source).text("from", from).text("to", to);
        event.optional("problem", transition.problem.as_deref())
    });
}

/// Why the record could not be written, or a new file begun, if so; the check leaves no trace.
pub fn check(options: &Options, state_dir: &Path) -> Result<(), FileError> {
    journal::check(KIND, options, state_dir)
}

/// Opens the file and starts the thread; returns a [`Recorder`] for each of `workers` serving threads.
pub fn start(identity: &Identity, options: Options, workers: usize) -> Result<(Journal, Vec<Recorder>), FileError> {
    journal::start(identity, KIND, options, workers)
}
