//! Signs on a pool: keeps a bounded number of jobs there and handles the results.
//!
//! The pool's threads only sign: a result goes through a channel to the thread that submitted the job. It does not know
//! what holds the key.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use super::{End, PresignRunner, Stop, Work, lasting, question, window::Window};
use crate::{
    limits,
    pki::UnixTime,
    presign::{
        plan::{Due, Item},
        store_writer::Recorder,
        subject::{Draft, Form, Subject},
    },
    records::SEGMENTS,
    sign::{Job, Priority, SignError},
};

/// What comes back from a pool.
struct Signed {
    item: Item,
    /// When the job was submitted.
    since: Instant,
    draft: Draft,
    outcome: Result<Vec<u8>, SignError>,
}

/// How long it waits before it checks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// The work of one issuer, on its way to the pool and back.
struct Errand<'a> {
    runner: &'a PresignRunner,
    subject: &'a Subject,
    forms: &'a [Form],
    priority: Priority,
    stop: Stop<'a>,
    recorder: Option<Recorder>,
    back: Sender<Signed>,
    coming: Receiver<Signed>,
    /// Failed items, to be submitted again first.
    retry: Vec<Item>,
    outstanding: usize,
    window: Window,
    /// Pauses since the last signature.
    pauses: u32,
    failed: bool,
    full: bool,
    packed: Vec<u8>,
}

impl PresignRunner {
    /// Has the work of one issuer signed by its signers' pools. What is in a pool when it is too `late` to begin another
    /// signature is waited for.
    pub(super) fn sign_pooled(
        &self,
        subject: &Subject,
        forms: &[Form],
        work: Work,
        priority: Priority,
        (stop, late): (Stop<'_>, Stop<'_>),
    ) -> End {
        let (back, coming) = mpsc::channel();
        let errand = Errand {
            runner: self,
            subject,
            forms,
            priority,
            stop,
            recorder: self.recorder(subject),
            back,
            coming,
            retry: Vec::new(),
            outstanding: 0,
            window: Window::new(),
            pauses: 0,
            failed: false,
            full: false,
            packed: Vec::new(),
        };
        match work {
            Work::Listed(items) => errand.run(items.into_iter().take_while(|_| !late())),
            Work::Absent => {
                let absent = (0..SEGMENTS).flat_map(|segment| self.absent(subject, forms, segment));
                errand.run(absent.take_while(|_| !late()))
            }
        }
    }

    /// What is absent in a segment, found when its turn comes.
    fn absent(&self, subject: &Subject, forms: &[Form], segment: usize) -> Vec<Item> {
        let now = UnixTime::now();
        let (mut packed, mut absent) = (Vec::new(), Vec::new());
        question(subject, &lasting(subject, forms, now), now).each_due(
            segment,
            |form, serial| self.kept(subject, forms, form, serial, &mut packed),
            |item, _| {
                if item.due == Due::Absent {
                    absent.push(item);
                }
            },
        );
        absent
    }
}

impl Errand<'_> {
    fn run(mut self, mut items: impl Iterator<Item = Item>) -> End {
        let mut items_left = true;
        loop {
            if (self.stop)() {
                // Results of jobs still in the pool are dropped.
                return End::Stopped;
            }
            if self.full {
                return End::Full;
            }
            if self.failed && self.outstanding == 0 && !self.pause() {
                return End::Faulty;
            }
            while !self.failed && self.outstanding < self.window.width() && !self.full {
                let Some(item) = self.retry.pop().or_else(|| items.next()) else {
                    items_left = false;
                    break;
                };
                self.put_in(item);
            }
            if self.outstanding == 0 {
                if !items_left && self.retry.is_empty() && !self.failed {
                    return End::Done;
                }
                continue;
            }
            self.take_back();
            if let Some(recorder) = &mut self.recorder {
                recorder.tick(Instant::now());
            }
        }
    }

    /// Submits a job to the pool, if it is still wanted.
    fn put_in(&mut self, item: Item) {
        let runner = self.runner;
        let prepared = runner.still_due(self.subject, self.forms, &item, &mut self.packed).and_then(|found| {
            let form = self.forms.get(usize::from(item.form))?;
            let signing = form.signer.signing()?;
            let spread = runner.spread(&item.serial);
            Some((signing, self.subject.prepare(form, &item.serial, found, UnixTime::now(), spread)?))
        });
        let Some((signing, (draft, message))) = prepared else {
            return runner.progress.no_longer_due(1);
        };
        let back = self.back.clone();
        let since = Instant::now();
        let done = Box::new(move |_, outcome| {
            // The receiver may have been told to stop.
            let _ = back.send(Signed { item, since, draft, outcome });
        });
        self.outstanding += 1;
        let deadline =
            since + limits::PRESIGN_DEADLINE.min(self.subject.issuer.policy.validity / limits::PRESIGN_DEADLINE_SHARE);
        signing.submit(Job { message, priority: self.priority, deadline, done });
    }

    /// Waits for a result, and takes all that have come.
    fn take_back(&mut self) {
        match self.coming.recv_timeout(LOOK) {
            Ok(signed) => self.finish(signed),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(signed) = self.coming.try_recv() {
            self.finish(signed);
        }
    }

    fn finish(&mut self, Signed { item, since, draft, outcome }: Signed) {
        self.outstanding -= 1;
        let Some(form) = self.forms.get(usize::from(item.form)) else { return };
        match outcome {
            Ok(signature) => {
                self.pauses = 0;
                self.window.came_back(since, Instant::now());
                let outcome = self.subject.complete(form, &draft, &signature, UnixTime::now(), &self.runner.answers);
                self.full |= !self.runner.note(self.subject, form, outcome, &mut self.recorder);
            }
            Err(error) => {
                match error {
                    SignError::Busy => self.runner.progress.expired(),
                    SignError::Failed => self.runner.progress.failed(),
                }
                self.failed = true;
                self.retry.push(item);
            }
        }
    }

    /// Waits after a fault, longer each time, and then tries a single job; false if it has waited often enough.
    fn pause(&mut self) -> bool {
        if self.pauses == limits::PRESIGN_PAUSES_MAX {
            return false;
        }
        let until = Instant::now() + limits::PRESIGN_FIRST_PAUSE * 2u32.pow(self.pauses);
        while Instant::now() < until && !(self.stop)() {
            std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        self.failed = false;
        self.window.begin_again();
        self.pauses += 1;
        true
    }
}
