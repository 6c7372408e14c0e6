//! The thread between the queues and the file.
//!
//! Invariant: it holds a bounded number of lines. While the file takes none, it leaves the rest in the queues, which
//! count what finds no room. Every queue gets its turn. A fault is logged when it begins and when it ends, however
//! often it occurs. If the file was removed, a new one is begun; lines that would be lost with it wait as for a full
//! disk. It does not know what tokens say.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{error, info, warn};

use super::{
    Counters, Order, Token,
    file::{Appended, Pending},
    line,
};
use crate::limits;

pub(super) struct Worker {
    file: Appended,
    orders: Receiver<Order>,
    queues: Vec<Receiver<Token>>,
    counters: Arc<Counters>,
    pending: Pending,
    /// How many lines are in `pending`.
    lines: u64,
    /// How many of the lost lines the file reports.
    lost_told: u64,
    /// What is wrong now, by [`Task`].
    problems: [Option<String>; 3],
    synchronised: Instant,
    /// A failed rotation is not tried again before this time.
    rotate_from: Instant,
    /// Whether the file still has to be opened again.
    reopen_due: bool,
    /// Whether the open file was removed, and no new one is begun yet.
    removed: bool,
    /// How many lines were written when it was last seen in place.
    written_before: u64,
}

/// What can go wrong and recover by itself.
#[derive(Clone, Copy)]
enum Task {
    Write,
    Synchronise,
    Begin,
}

impl Task {
    fn verb(self) -> &'static str {
        match self {
            Self::Write => "written",
            Self::Synchronise => "synchronised with the disk",
            Self::Begin => "begun anew",
        }
    }

    fn meanwhile(self) -> &'static str {
        match self {
            Self::Write | Self::Synchronise => {
                "this is retried, and lines that find no room in the queues meanwhile are missing in it. Free some space, or repair the disk"
            }
            Self::Begin => "this is retried every second; meanwhile lines go to the file that was opened before",
        }
    }
}

impl Worker {
    pub(super) fn new(
        file: Appended,
        orders: Receiver<Order>,
        queues: Vec<Receiver<Token>>,
        counters: Arc<Counters>,
    ) -> Self {
        let (pending, now) = (Pending::default(), Instant::now());
        let (problems, synchronised, rotate_from) = (Default::default(), now, now);
        Self {
            file,
            orders,
            queues,
            counters,
            pending,
            lines: 0,
            lost_told: 0,
            problems,
            synchronised,
            rotate_from,
            reopen_due: false,
            removed: false,
            written_before: 0,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.orders.recv_timeout(limits::RECORD_INTERVAL) {
                Ok(Order::Note(line)) => self.note(&line),
                Ok(Order::Reopen) => self.reopen(),
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return self.end(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.write();
            if self.synchronised.elapsed() >= limits::RECORD_SYNCHRONISED_EVERY {
                if self.reopen_due {
                    self.reopen();
                }
                self.synchronise();
                self.look();
            }
        }
    }

    /// Checks whether the file is still in place; once a second, so that lines cost nothing more.
    fn look(&mut self) {
        let written = self.counters.written.load(Relaxed);
        if !self.removed && self.file.is_removed() {
            let (path, lines_gone_max) = (self.file.path().display(), written - self.written_before);
            warn!(
                lines_gone_max,
                "the record of time-stamps: {path} was removed, or another file put in its place, without SIGHUP; a new one is begun, and lines since the last synchronisation, a second before, may be in the removed file only"
            );
            self.removed = true;
        }
        self.written_before = written;
    }

    /// Begins a new file in place of the removed one. Until then nothing is written: see [`Self::write`].
    fn replace(&mut self) {
        let begun = self.file.reopen(&mut self.pending);
        self.removed = self.file.is_removed();
        self.tell(Task::Write, begun);
    }

    fn reopen(&mut self) {
        if self.removed {
            // `replace` does that, and reports it.
            return;
        }
        let reopened = self.file.reopen(&mut self.pending);
        self.reopen_due = reopened.is_err();
        self.tell(Task::Begin, reopened);
    }

    fn note(&mut self, line: &str) {
        if self.pending.lines.len() + line.len() > limits::RECORD_PENDING_OCTETS_MAX {
            self.counters.lost.fetch_add(1, Relaxed);
            return;
        }
        self.pending.lines.push_str(line);
        self.lines += 1;
    }

    /// Writes what is on the queues. False if something is left: the file took no more, or tokens come as fast as they
    /// are written and orders have to be handled as well.
    fn write(&mut self) -> bool {
        if self.removed {
            self.replace();
            if self.removed {
                return false;
            }
        }
        for _ in 0..=limits::RECORD_QUEUE_MAX / limits::RECORD_BATCH {
            self.take_tokens();
            if self.pending.is_empty() {
                return true;
            }
            let appended = self.file.append(&mut self.pending);
            let failed = appended.is_err();
            self.tell(Task::Write, appended);
            if failed {
                return false;
            }
            self.counters.written.fetch_add(std::mem::take(&mut self.lines), Relaxed);
            if Instant::now() >= self.rotate_from && self.file.is_due(SystemTime::now()) {
                self.rotate();
            }
        }
        false
    }

    /// Takes tokens off the queues, unless some are left that could not be written.
    fn take_tokens(&mut self) {
        if self.lines > 0 && self.problems[Task::Write as usize].is_some() {
            return;
        }
        let lost = self.counters.lost.load(Relaxed);
        if lost > self.lost_told {
            line::push_lost(&mut self.pending.lines, now(), lost - self.lost_told);
            self.lost_told = lost;
            self.lines += 1;
        }
        for queue in &self.queues {
            for token in queue.try_iter().take(limits::RECORD_BATCH) {
                line::push_token(&mut self.pending.lines, &token);
                self.lines += 1;
            }
        }
    }

    fn synchronise(&mut self) {
        let synchronised = self.file.synchronise();
        self.tell(Task::Synchronise, synchronised);
        self.synchronised = Instant::now();
    }

    fn rotate(&mut self) {
        let rotated = self.file.rotate(SystemTime::now(), &mut self.pending);
        match &rotated {
            Ok(removed) => {
                self.counters.rotations.fetch_add(1, Relaxed);
                for path in removed {
                    info!(path = %path.display(), "a rotated record of time-stamps is removed, as configured");
                }
            }
            Err(_) => self.rotate_from = Instant::now() + limits::RECORD_SYNCHRONISED_EVERY,
        }
        self.tell(Task::Begin, rotated.map(|_| ()));
    }

    /// Counts every failure, and logs the first and the recovery.
    fn tell(&mut self, task: Task, result: std::io::Result<()>) {
        let before = &mut self.problems[task as usize];
        if before.is_none() && result.is_ok() {
            return;
        }
        let (path, verb) = (self.file.path().display(), task.verb());
        let problem = result.err().map(|error| format!("{path} cannot be {verb}: {error}"));
        match &problem {
            Some(problem) if before.is_none() => error!("the record of time-stamps: {problem}; {}", task.meanwhile()),
            Some(_) => {}
            None => info!(lost = self.counters.lost.load(Relaxed), "the record of time-stamps is {verb} again: {path}"),
        }
        self.counters.failures.fetch_add(problem.is_some().into(), Relaxed);
        *before = problem;
        let first = self.problems.iter().flatten().next().cloned();
        *self.counters.problem.lock().unwrap_or_else(PoisonError::into_inner) = first;
    }

    /// Writes what is left.
    fn end(mut self) {
        let begin = Instant::now();
        self.look();
        loop {
            while let Ok(order) = self.orders.try_recv() {
                if let Order::Note(line) = order {
                    self.note(&line);
                }
            }
            if self.write() {
                break;
            }
            if begin.elapsed() >= limits::RECORD_END_MAX {
                let left: usize = self.queues.iter().map(|queue| queue.try_iter().count()).sum();
                let lost = self.lines + left as u64;
                self.counters.lost.fetch_add(lost, Relaxed);
                warn!(lost, "the record of time-stamps ends, and not all of it could be written");
                break;
            }
            if self.problems[Task::Write as usize].is_some() {
                std::thread::sleep(limits::RECORD_INTERVAL);
            }
        }
        self.synchronise();
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
