//! Compares what a replica has with what was stated, a few certificates at a time.
//!
//! Invariant: while some are compared nothing else is stated, so that none is stated as it was before. It does not know files.

use std::sync::Arc;

use crate::{
    answers::Answers,
    issuer::ActiveIssuer,
    limits::transparency as limits,
    ocsp::HashAlgorithm,
    pki::{FileError, Serial},
    presign::{Form, Subject},
    records::SEGMENTS,
    service::Tenants,
    transparency::{Keeper, Said, Statement, Tap, keeper::Noted, key},
};

/// How far it is.
#[derive(Debug)]
pub(super) struct Comparing {
    /// Those that are still to be compared.
    issuers: Vec<(Subject, Vec<Form>)>,
    answers: Arc<Answers>,
    /// The next segment of the last issuer's records,
    segment: usize,
    /// and what is left of the one before.
    serials: Vec<Serial>,
    /// The next bucket of the map in which to look for what is not listed any more.
    bucket: u16,
}

/// What came of a step.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Compared {
    /// Everything was compared.
    pub(super) is_over: bool,
    /// A head has to be made now.
    pub(super) is_full: bool,
    /// Meanwhile something else came that has to be compared.
    pub(super) wants_more: bool,
}

impl Comparing {
    pub(super) fn new(tenants: &Tenants, answers: &Arc<Answers>) -> Self {
        let issuer = |issuer: &Arc<ActiveIssuer>| {
            let subject = Subject { issuer: Arc::clone(issuer), ahead: HashAlgorithm::ALL.to_vec() };
            let forms = subject.all_forms();
            (subject, forms)
        };
        let issuers = tenants.issuers().map(|(_, of)| issuer(of)).collect();
        Self { issuers, answers: Arc::clone(answers), segment: 0, serials: Vec::new(), bucket: 0 }
    }

    /// Compares the next few.
    pub(super) fn step(&mut self, tap: &Tap, keeper: &mut Keeper) -> Result<Compared, FileError> {
        let mut compared = Compared::default();
        while self.serials.is_empty() {
            let Some((subject, _)) = self.issuers.last() else { return self.find_unlisted(tap, keeper) };
            if self.segment == SEGMENTS {
                self.issuers.pop();
                self.segment = 0;
                continue;
            }
            subject.issuer.state.records.each_in(self.segment, |serial, _| self.serials.push(serial));
            self.segment += 1;
        }
        let Some((subject, forms)) = self.issuers.last() else { return Ok(compared) };
        let mut held = tap.hold();
        take(&mut held.take(false), keeper, &mut compared)?;
        let at = held.now();
        held.not_before(at);
        let (issuer, mut packed) = (*subject.issuer.id().fingerprint(), Vec::new());
        for serial in self.serials.drain(self.serials.len().saturating_sub(limits::COMPARED_AT_ONCE)..) {
            let Some(found) = subject.issuer.state.records.get(&serial) else { continue };
            let key = key(&issuer, &serial);
            let mut note = |said| -> Result<(), FileError> {
                let noted = keeper.note(key, Statement { at, said })?;
                compared.note(noted, at, keeper);
                Ok(())
            };
            note(Said::Record(Some(found.status)))?;
            for form in forms {
                let entry = subject.kept(&self.answers, form, &serial, &mut packed);
                if let Some(entry) = entry.filter(|entry| entry.state == found.state) {
                    note(Said::Answer(form.stated(&entry, &packed)))?;
                }
            }
        }
        Ok(compared)
    }
}

impl Comparing {
    /// Looks in the next buckets.
    fn find_unlisted(&mut self, tap: &Tap, keeper: &mut Keeper) -> Result<Compared, FileError> {
        let mut compared = Compared::default();
        let mut held = tap.hold();
        take(&mut held.take(false), keeper, &mut compared)?;
        let at = held.now();
        held.not_before(at);
        for _ in 0..limits::COMPARED_AT_ONCE {
            compared.note(keeper.unlisted(self.bucket, at)?, at, keeper);
            self.bucket = self.bucket.wrapping_add(1);
            if self.bucket == 0 {
                // Otherwise it begins anew, and until then something may be missing.
                if !compared.wants_more {
                    keeper.compared();
                }
                return Ok(Compared { is_over: true, ..compared });
            }
        }
        Ok(compared)
    }
}

impl Compared {
    fn note(&mut self, noted: Noted, at: u64, keeper: &mut Keeper) {
        match noted {
            Noted::Taken => {}
            Noted::Full => self.is_full = true,
            Noted::Lost => {
                keeper.lost(at);
                (self.is_full, self.wants_more) = (true, true);
            }
        }
    }
}

/// What was stated before comes first.
fn take(
    waiting: &mut crate::transparency::tap::Waiting,
    keeper: &mut Keeper,
    compared: &mut Compared,
) -> Result<(), FileError> {
    compared.wants_more |= waiting.compare;
    waiting.lost.into_iter().for_each(|since| keeper.lost(since));
    for (key, statement) in waiting.statements.drain(..) {
        let noted = keeper.note(key, statement)?;
        compared.note(noted, statement.at, keeper);
    }
    Ok(())
}
