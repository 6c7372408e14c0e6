//! Answers that somebody else has signed: this process before its last start, or the writer of a feed.
//!
//! Purpose: entries as they are stored and sent are put into the table. Invariant: an entry is kept only for a form of an
//! issuer that is served here, if its record says the same now; an entry signed later stays. So it is served as if it had
//! been signed here, and voided by the next change of its record. It does not know where entries come from; whoever
//! passes them on has verified that they are a trusted writer's, or this process's own.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tracing::warn;

use super::{Form, Subject};
use crate::{
    answers::{Answers, Entry, HEAD, Inserted, each_entry},
    feed::{Issuer, body::AnswerRows},
    issuer::ActiveIssuer,
    limits,
    ocsp::HashAlgorithm,
    pki::{Serial, Status, UnixTime, hex::Hex},
    transparency::{Said, Tap},
};

/// Takes the answers of a feed.
#[derive(Debug)]
pub struct Received {
    answers: Arc<Answers>,
    /// By fingerprint. It is of the tenant and the issuer too, so nobody's answers become another's.
    forms: HashMap<[u8; 32], (Arc<Subject>, Form)>,
    /// The issuers, as `tenant/name` for the log.
    issuers: HashMap<Issuer, String>,
    so_far: Arc<SoFar>,
    /// Where it is stated what is kept, if that is to be proven.
    tap: Option<Arc<Tap>>,
}

/// What became of the answers that came.
#[derive(Debug, Default)]
pub struct SoFar {
    /// Kept.
    pub taken: AtomicU64,
    /// Of a form that no signer here has.
    pub unknown: AtomicU64,
    /// Of an issuer that is not configured here.
    pub strangers: AtomicU64,
    /// Their record says something else, or is not there.
    pub void: AtomicU64,
    /// Neither: they have expired, or a later one is kept.
    pub late: AtomicU64,
    /// There was no room.
    pub full: AtomicU64,
    /// The forms of which it was told that nobody here has them.
    told: Mutex<HashSet<[u8; 32]>>,
}

impl Received {
    /// For these issuers: the forms of all their signers, whoever is chosen at present, in all hash algorithms.
    pub fn new<'i>(
        answers: &Arc<Answers>,
        issuers: impl IntoIterator<Item = &'i Arc<ActiveIssuer>>,
        so_far: &Arc<SoFar>,
    ) -> Self {
        let issuers: Vec<_> = issuers.into_iter().collect();
        let name = |issuer: &ActiveIssuer| format!("{}/{}", issuer.id().tenant(), issuer.name);
        let names = issuers.iter().map(|issuer| (Issuer::from(issuer.id()), name(issuer))).collect();
        let subject = |issuer| Arc::new(Subject { issuer: Arc::clone(issuer), ahead: HashAlgorithm::ALL.to_vec() });
        let forms = issuers.into_iter().map(subject).flat_map(|subject| {
            let forms = subject.all_forms();
            forms.into_iter().map(move |form| (form.fingerprint, (Arc::clone(&subject), form)))
        });
        Self {
            answers: Arc::clone(answers),
            forms: forms.collect(),
            issuers: names,
            so_far: Arc::clone(so_far),
            tap: None,
        }
    }

    /// The same, which states there what it keeps.
    #[must_use]
    pub fn stating(self, tap: Option<Arc<Tap>>) -> Self {
        Self { tap, ..self }
    }

    /// Whether every form of these is known to another.
    pub fn has_only_forms_of(&self, other: &Self) -> bool {
        self.forms.keys().all(|form| other.forms.contains_key(form))
    }

    /// What became of the answers so far.
    pub fn so_far(&self) -> &Arc<SoFar> {
        &self.so_far
    }

    /// Keeps those whose record says the same now. `may`: whether one about this certificate may be kept at all.
    pub fn take(&self, rows: &AnswerRows<'_>, now: UnixTime, may: impl Fn(&Serial) -> bool) {
        self.keep(rows, now, Former::Stays, may);
    }

    /// The same of answers of a snapshot that all records were compared with, and of the entries after it. They replace what
    /// is here of another state of the record, also if that was signed later: another writer may have told of that state, and
    /// who leads never heard of it, and signs nothing anew.
    pub fn take_compared(&self, rows: &AnswerRows<'_>, now: UnixTime, may: impl Fn(&Serial) -> bool) {
        self.keep(rows, now, Former::GoesIfVoid, may);
    }

    fn keep(&self, rows: &AnswerRows<'_>, now: UnixTime, former: Former, may: impl Fn(&Serial) -> bool) {
        let count = (rows.entries.len() / (HEAD + rows.packed_length)) as u64;
        let so_far = &*self.so_far;
        let Some(name) = self.issuers.get(&rows.issuer) else {
            so_far.strangers.fetch_add(count, Relaxed);
            return;
        };
        let known =
            self.forms.get(&rows.form).filter(|(subject, form)| subject.packed_length(form) == rows.packed_length);
        let Some((subject, form)) = known else {
            so_far.unknown.fetch_add(count, Relaxed);
            return self.tell_of_unknown(name, &rows.form);
        };
        // The writer's clock may be ahead. Until its time has come, the answer is not served.
        let latest = now.after(limits::CLOCK_SKEW_MAX);
        let fits = |_: &Serial, entry: &Entry| entry.this_update <= latest && now < entry.next_update;
        let tap = self.tap.as_deref();
        let Outcome { kept, void, full } =
            keep_entries(subject, form, rows.entries, &self.answers, (former, tap), fits, may);
        for (counter, added) in [
            (&so_far.taken, kept),
            (&so_far.void, void),
            (&so_far.full, full),
            (&so_far.late, count - kept - void - full),
        ] {
            counter.fetch_add(added, Relaxed);
        }
    }

    fn tell_of_unknown(&self, issuer: &str, form: &[u8; 32]) {
        let mut told = self.so_far.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= limits::FORMS_TOLD_MAX || !told.insert(*form) {
            return;
        }
        drop(told);
        warn!(
            issuer,
            form = %Hex(&form[..4]),
            "the writer's answers are of a signer or a policy that this replica does not have, and are not served: let both \
             configurations name the same certificate of the signer for this issuer, with the same `validity`, \
             `refresh`, `backdate`, `serve_for`, `retain_expired`, `cert_hash`, `crl_references`, `invalidity_date`, `presign_hashes` and form of responses"
        );
    }
}

/// How many entries became what.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Outcome {
    pub(super) kept: u64,
    pub(super) void: u64,
    pub(super) full: u64,
}

/// What becomes of an answer that was signed later than one that comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Former {
    /// It stays, void or not: the record may have been in another state in between.
    Stays,
    /// It goes if it is of another state of the record.
    GoesIfVoid,
}

/// Keeps the entries that fit, if their records say the same. `may` is asked after the record was looked up: whoever notes a
/// certificate for it before its record changes can be sure that no answer from before is kept as one of the new state.
pub(super) fn keep_entries(
    subject: &Subject,
    form: &Form,
    entries: &[u8],
    answers: &Answers,
    (former, tap): (Former, Option<&Tap>),
    fits: impl Fn(&Serial, &Entry) -> bool,
    may: impl Fn(&Serial) -> bool,
) -> Outcome {
    // Who has signed them may have noted already that the CA itself is revoked.
    subject.issuer.note_revoked_ca();
    let packed_length = subject.packed_length(form);
    let mut batch = Vec::with_capacity(BATCH);
    let mut outcome = Outcome::default();
    // Look-ups wait for memory; in a batch, one after the other, their waits overlap.
    let mut put = |batch: &mut Vec<(Serial, Entry, &[u8])>| {
        let found: [_; BATCH] = std::array::from_fn(|at| {
            let (serial, ..) = batch.get(at)?;
            subject.issuer.listed(serial)
        });
        // No record changes between an answer that is kept and what is stated of it.
        let mut held = tap.map(Tap::hold);
        for ((serial, entry, packed), found) in batch.drain(..).zip(found) {
            let Some(found) = found.filter(|_| may(&serial)) else {
                outcome.void += 1;
                continue;
            };
            let same = found.state.said() == entry.state.said();
            let is_final = found.state.status().is_some_and(|status| !status.may_become(Status::Good));
            let goes = |there: &Entry| former == Former::GoesIfVoid && same && there.state != found.state;
            // The record may have changed since it was looked up, and the answer of its new state may be there.
            let still = || subject.issuer.listed(&serial).is_some_and(|now| now.state == found.state);
            let inserted = answers.insert_if(&subject.key(form, &serial), packed, |there| match there {
                _ if !still() => None,
                // It was signed for a client in the meantime.
                Some(there) if entry.this_update < there.this_update && !goes(&there) => None,
                // Nothing comes after a final revocation: what says something else is older, or the writer contradicts.
                Some(_) if !same && is_final => None,
                // The record has been in another state since the earlier answer. That is void, even if the record says
                // the same again. No record is in a state whose counter is 0.
                Some(_) if !same => Some(entry),
                None if !same => None,
                _ => Some(Entry { state: found.state, ..entry }),
            });
            match inserted {
                _ if !same => outcome.void += 1,
                Inserted::Written => {
                    outcome.kept += 1;
                    if let Some(held) = &mut held {
                        let issuer = subject.issuer.id().fingerprint();
                        held.state(issuer, &serial, Said::Answer(form.stated(&entry, packed)));
                    }
                }
                Inserted::NoRoom => outcome.full += 1,
                Inserted::Unwanted => {}
            }
        }
    };
    each_entry(entries, packed_length, |serial, entry, packed| {
        if fits(&serial, &entry) {
            batch.push((serial, entry, packed));
            if batch.len() == BATCH {
                put(&mut batch);
            }
        }
    });
    put(&mut batch);
    outcome
}

/// How many answers have their records looked up together.
const BATCH: usize = 32;
