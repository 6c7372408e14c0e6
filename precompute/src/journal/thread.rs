//! The thread between the queues and the file.
//!
//! Invariant: it holds a bounded number of lines. While the file takes none, it leaves the rest in the queues, which
//! count what finds no room. Every queue gets its turn. A fault is logged when it begins and when it ends, however
//! often it occurs. If the file was removed, a new one is begun; lines that would be lost with it wait as for a full
//! disk. It does not know what entries say.

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
    Counters, Entry, Identity, Order,
    chain::Chain,
    file::{Appended, Pending},
    found::Found,
    members::Time,
};
use crate::limits::journal as limits;

pub(super) struct Worker<E> {
    file: Appended,
    orders: Receiver<Order>,
    queues: Vec<Receiver<E>>,
    counters: Arc<Counters>,
    chain: Chain,
    pending: Pending,
    /// The members of one line.
    members: String,
    /// How many lines are in `pending`, without the journal's own.
    lines: u64,
    /// Whether there are lines that no head vouches for.
    is_head_due: bool,
    /// How many of the lost lines the file reports.
    lost_told: u64,
    /// What is wrong now, by [`Task`].
    problems: [Option<String>; 4],
    synchronised: Instant,
    /// A failed rotation is not tried again before this time.
    rotate_from: Instant,
    /// Whether the file still has to be opened again.
    reopen_due: bool,
    /// Whether the open file was removed, and no new one is begun yet.
    removed: bool,
    /// How many lines were written when it was last seen in place.
    written_before: u64,
    is_ending: bool,
}

/// What can go wrong and recover by itself.
#[derive(Clone, Copy)]
enum Task {
    Write,
    Synchronise,
    Begin,
    /// The file that was there at the start; nothing recovers it.
    Found,
}

impl Task {
    fn verb(self) -> &'static str {
        match self {
            Self::Write => "written",
            Self::Synchronise => "synchronised with the disk",
            Self::Begin => "begun anew",
            Self::Found => "relied on",
        }
    }

    fn meanwhile(self) -> &'static str {
        match self {
            Self::Write | Self::Synchronise => {
                "this is retried, and lines that find no room in the queues meanwhile are missing in it. Free some space, or repair the disk"
            }
            Self::Begin => "this is retried every second; meanwhile lines go to the file that was opened before",
            Self::Found => "a new one goes on behind it; look with `ostia-precompute audit verify`",
        }
    }
}

impl<E: Entry> Worker<E> {
    pub(super) fn new(
        file: Appended,
        found: Found,
        identity: Identity,
        orders: Receiver<Order>,
        queues: Vec<Receiver<E>>,
        counters: Arc<Counters>,
    ) -> Self {
        let (pending, now) = (Pending::default(), Instant::now());
        let (problems, synchronised, rotate_from) = (Default::default(), now, now);
        let chain = Chain::new(identity, file.kind(), found.position);
        let mut this = Self {
            file,
            orders,
            queues,
            counters,
            chain,
            pending,
            members: String::new(),
            is_head_due: false,
            lines: 0,
            lost_told: 0,
            problems,
            synchronised,
            rotate_from,
            reopen_due: false,
            removed: false,
            written_before: 0,
            is_ending: false,
        };
        this.go_on(found);
        this
    }

    /// Goes on behind what is there.
    fn go_on(&mut self, found: Found) {
        if let Some(octets) = found.cut {
            let cut = self.file.cut(octets);
            self.tell(Task::Write, cut);
        }
        if found.is_over {
            self.rotate();
        }
        self.begin_file();
        found.notes.iter().for_each(|note| self.note(note));
        // They are its own.
        self.lines = 0;
        if let Some(problem) = found.problem {
            self.tell(Task::Found, Err(std::io::Error::other(problem)));
        }
    }

    /// The first line, if this is another file than before.
    fn begin_file(&mut self) {
        if self.file.take_new() {
            let lines = self.chain.begin_file(self.pending.rest(), &Time(now()).micros());
            self.pending.replace(lines);
            self.is_head_due = true;
        }
    }

    /// Vouches for every line before. Where some of them could not be written, they are waited for.
    fn sign(&mut self) {
        if !self.is_head_due || !self.pending.is_empty() || self.removed {
            return;
        }
        let now = now();
        self.chain.push_head(&mut self.pending.lines, &Time(now).micros());
        let appended = self.file.append(&mut self.pending);
        self.is_head_due = appended.is_err();
        if appended.is_ok() {
            self.counters.head.store(now / 1_000_000_000, Relaxed);
        }
        self.tell(Task::Write, appended);
    }

    pub(super) fn run(mut self) {
        loop {
            match self.orders.recv_timeout(limits::INTERVAL) {
                Ok(Order::Note(members)) => self.note(&members),
                Ok(Order::Reopen) => self.reopen(),
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => self.is_ending = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.is_ending {
                return self.end();
            }
            // A batch of notes is one write.
            self.take_notes();
            self.write();
            if self.synchronised.elapsed() >= limits::SYNCHRONISED_EVERY {
                if self.reopen_due {
                    self.reopen();
                }
                self.sign();
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
            let title = self.file.kind().title;
            warn!(
                lines_gone_max,
                "{title}: {path} was removed, or another file put in its place, without SIGHUP; a new one is begun, and lines since the last synchronisation, a second before, may be in the removed file only"
            );
            self.removed = true;
        }
        self.written_before = written;
    }

    /// Begins a new file in place of the removed one. Until then nothing is written: see [`Self::write`].
    fn replace(&mut self) {
        let begun = self.file.reopen(&mut self.pending);
        self.removed = self.file.is_removed();
        self.begin_file();
        self.tell(Task::Write, begun);
    }

    fn reopen(&mut self) {
        if self.removed {
            // `replace` does that, and reports it.
            return;
        }
        self.sign();
        let reopened = self.file.reopen(&mut self.pending);
        self.reopen_due = reopened.is_err();
        self.begin_file();
        self.tell(Task::Begin, reopened);
    }

    /// Notes that wait, up to an order of another kind, which is carried out at once.
    fn take_notes(&mut self) {
        for _ in 0..limits::ORDERS_MAX {
            match self.orders.try_recv() {
                Ok(Order::Note(members)) => {
                    // A long list is written as it comes.
                    if self.pending.lines.len() > limits::PENDING_OCTETS_MAX / 2 {
                        self.write();
                    }
                    self.note(&members);
                }
                Ok(Order::Reopen) => self.reopen(),
                Ok(Order::End) => {
                    self.is_ending = true;
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn note(&mut self, members: &str) {
        if self.pending.lines.len() + members.len() > limits::PENDING_OCTETS_MAX {
            self.counters.lost.fetch_add(1, Relaxed);
            return;
        }
        self.chain.push(&mut self.pending.lines, &Time(now()).micros(), members);
        self.lines += 1;
        self.is_head_due = true;
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
        for _ in 0..=limits::QUEUE_MAX / limits::BATCH {
            self.take_entries();
            if self.pending.is_empty() {
                return true;
            }
            let appended = self.file.append(&mut self.pending);
            let failed = appended.is_err();
            self.tell(Task::Write, appended);
            if failed {
                return false;
            }
            if self.lines > 0 {
                self.file.has_entries();
            }
            self.counters.written.fetch_add(std::mem::take(&mut self.lines), Relaxed);
            if Instant::now() >= self.rotate_from && self.file.is_due(SystemTime::now()) {
                self.rotate();
            }
        }
        false
    }

    /// Takes entries off the queues, unless some are left that could not be written.
    fn take_entries(&mut self) {
        if self.lines > 0 && self.problems[Task::Write as usize].is_some() {
            return;
        }
        let lost = self.counters.lost.load(Relaxed);
        if lost > self.lost_told {
            let (time, count) = (Time(now()), lost - self.lost_told);
            let members = format!(r#""type":"lost","time":"{time}","count":{count}"#);
            self.chain.push(&mut self.pending.lines, &time.micros(), &members);
            self.lost_told = lost;
            self.lines += 1;
        }
        let at = Time(now()).micros();
        for queue in &self.queues {
            for entry in queue.try_iter().take(limits::BATCH) {
                self.members.clear();
                entry.push(&mut self.members);
                self.chain.push(&mut self.pending.lines, &at, &self.members);
                self.lines += 1;
            }
        }
        self.is_head_due |= self.lines > 0;
    }

    fn synchronise(&mut self) {
        let synchronised = self.file.synchronise();
        self.tell(Task::Synchronise, synchronised);
        self.synchronised = Instant::now();
    }

    fn rotate(&mut self) {
        self.sign();
        let rotated = self.file.rotate(SystemTime::now(), &mut self.pending);
        match &rotated {
            Ok(removed) => {
                self.counters.rotations.fetch_add(1, Relaxed);
                for path in removed {
                    info!(path = %path.display(), "a rotated file of {} is removed, as configured", self.file.kind().title);
                }
            }
            Err(_) => self.rotate_from = Instant::now() + limits::SYNCHRONISED_EVERY,
        }
        self.begin_file();
        self.tell(Task::Begin, rotated.map(|_| ()));
    }

    /// Counts every failure, and logs the first and the recovery.
    fn tell(&mut self, task: Task, result: std::io::Result<()>) {
        let before = &mut self.problems[task as usize];
        if before.is_none() && result.is_ok() {
            return;
        }
        let (path, verb, title) = (self.file.path().display(), task.verb(), self.file.kind().title);
        let problem = result.err().map(|error| format!("{path} cannot be {verb}: {error}"));
        match &problem {
            Some(problem) if before.is_none() => error!("{title}: {problem}; {}", task.meanwhile()),
            Some(_) => {}
            None => info!(lost = self.counters.lost.load(Relaxed), "{title} is {verb} again: {path}"),
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
                if let Order::Note(members) = order {
                    self.note(&members);
                }
            }
            if self.write() {
                break;
            }
            if begin.elapsed() >= limits::END_MAX {
                let left: usize = self.queues.iter().map(|queue| queue.try_iter().count()).sum();
                let lost = self.lines + left as u64;
                self.counters.lost.fetch_add(lost, Relaxed);
                let title = self.file.kind().title;
                warn!(lost, "{title} ends, and not all of it could be written");
                break;
            }
            if self.problems[Task::Write as usize].is_some() {
                std::thread::sleep(limits::INTERVAL);
            }
        }
        self.sign();
        self.synchronise();
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
