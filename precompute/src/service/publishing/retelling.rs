//! Tells kept answers once more, beside everything else.
//!
//! Invariant: one retelling at a time, and it waits for room in the feed as others do. It does not know why answers are told
//! again.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
};

use super::Shared;
use crate::{answers::Answers, limits::feed as limits, pki::UnixTime, presign::Subject};

/// The thread that does it.
#[derive(Debug, Default)]
pub(super) struct Retelling(Option<JoinHandle<()>>);

impl Retelling {
    /// Whether it is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.0.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Begins to tell what is kept for these and was signed since then.
    pub(super) fn begin(
        &mut self,
        since: UnixTime,
        subjects: Vec<Subject>,
        answers: &Arc<Answers>,
        shared: &Arc<Shared>,
    ) {
        let (answers, shared) = (Arc::clone(answers), Arc::clone(shared));
        let thread = thread::Builder::new().name("retelling".into()).spawn(move || {
            for subject in &subjects {
                let issuer = subject.issuer.id().into();
                subject.each_kept(&answers, UnixTime::now(), |form, stored| {
                    while stored.entry.this_update >= since && !shared.outgoing.offer(issuer, form.fingerprint, stored)
                    {
                        thread::sleep(limits::LOOK_INTERVAL);
                        if shared.stop.load(Relaxed) {
                            return false;
                        }
                    }
                    true
                });
            }
        });
        self.0 = thread.ok();
    }
}
