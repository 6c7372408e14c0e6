//! Signs on the pass's own threads, for keys that sign at once.
//!
//! Invariant: every thread checks often whether to stop. It does not know pools.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use super::{End, PresignRunner, Stop, Work, cores, lasting, on_threads, question};
use crate::{
    limits,
    pki::{Serial, UnixTime},
    presign::{
        plan::{Due, Item},
        store_writer::Recorder,
        subject::{Form, Subject},
    },
    records::{Found, SEGMENTS},
};

/// Items that a thread takes at a time: a millisecond's work.
const CHUNK: usize = 64;

/// One worker thread: its own buffers, and what all threads of one issuer share.
struct Hand<'a> {
    runner: &'a PresignRunner,
    subject: &'a Subject,
    forms: &'a [Form],
    stop: Stop<'a>,
    shared: &'a Shared,
    recorder: Option<Recorder>,
}

/// What all threads of one issuer share.
#[derive(Default)]
struct Shared {
    next: AtomicUsize,
    ended: AtomicBool,
    end: AtomicU8,
}

impl Shared {
    /// Makes all threads end.
    fn end(&self, end: End) {
        self.end.fetch_max(end as u8, Relaxed);
        self.ended.store(true, Relaxed);
    }
}

impl PresignRunner {
    /// Signs the work of one issuer, on as many threads as are useful.
    pub(super) fn sign_here(&self, subject: &Subject, forms: &[Form], work: Work, stop: Stop<'_>) -> End {
        let shared = Shared::default();
        let threads = match &work {
            Work::Listed(items) => cores().min(items.len().div_ceil(CHUNK)),
            Work::Absent => cores(),
        };
        on_threads(threads, &|| {
            let mut hand =
                Hand { runner: self, subject, forms, stop, shared: &shared, recorder: self.recorder(subject) };
            match &work {
                Work::Listed(items) => hand.sign_listed(items),
                Work::Absent => hand.sign_absent(),
            }
        });
        match shared.end.into_inner() {
            0 => End::Done,
            end if end == End::Faulty as u8 => End::Faulty,
            end if end == End::Full as u8 => End::Full,
            _ => End::Stopped,
        }
    }
}

impl Hand<'_> {
    /// Whether to continue.
    fn goes_on(&self) -> bool {
        if (self.stop)() {
            self.shared.end(End::Stopped);
        }
        !self.shared.ended.load(Relaxed)
    }

    fn sign_listed(&mut self, items: &[Item]) {
        let mut packed = Vec::new();
        let mut chunks = items.chunks(CHUNK);
        let mut taken = 0;
        while self.goes_on() {
            let next = self.shared.next.fetch_add(1, Relaxed);
            let Some(chunk) = chunks.nth(next - taken) else { return };
            taken = next + 1;
            for item in chunk {
                match self.runner.still_due(self.subject, self.forms, item, &mut packed) {
                    Some(found) => self.sign(item.form, &item.serial, found),
                    None => self.runner.progress.no_longer_due(1),
                }
            }
            self.tick();
        }
    }

    fn sign_absent(&mut self) {
        let (mut packed, mut absent) = (Vec::new(), Vec::new());
        while self.goes_on() {
            let segment = self.shared.next.fetch_add(1, Relaxed);
            if segment >= SEGMENTS {
                return;
            }
            let now = UnixTime::now();
            let (runner, subject, forms) = (self.runner, self.subject, self.forms);
            absent.clear();
            question(subject, &lasting(subject, forms, now), now).each_due(
                segment,
                |form, serial| runner.kept(subject, forms, form, serial, &mut packed),
                |item, found| {
                    if item.due == Due::Absent {
                        absent.push((item, found));
                    }
                },
            );
            for (number, (item, found)) in absent.iter().enumerate() {
                if number % CHUNK == 0 {
                    self.tick();
                    if !self.goes_on() {
                        return;
                    }
                }
                self.sign(item.form, &item.serial, *found);
            }
        }
    }

    fn sign(&mut self, form: u8, serial: &Serial, found: Found) {
        let Some(form) = self.forms.get(usize::from(form)) else { return };
        let PresignRunner { answers, progress, .. } = self.runner;
        let now = UnixTime::now();
        let spread = self.runner.spread(serial);
        let Some((draft, message)) = self.subject.prepare(form, serial, found, now, spread) else {
            return progress.no_longer_due(1);
        };
        match form.signer.signing().and_then(|signing| signing.sign_here(&message)) {
            Some(Ok(signature)) => {
                let outcome = self.subject.complete(form, &draft, &signature, UnixTime::now(), answers);
                if !self.runner.note(self.subject, form, outcome, &mut self.recorder) {
                    self.shared.end(End::Full);
                }
            }
            _ => {
                progress.failed();
                self.shared.end(End::Faulty);
            }
        }
    }

    fn tick(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.tick(Instant::now());
        }
    }
}

const _: () = assert!(End::Done as u8 == 0 && limits::PRESIGN_LIST_MAX > CHUNK);
