//! What each signing thread does next; `report`: what the result of a step means for jobs and holders.
//!
//! Invariant: a task is in exactly one place: the queue, a seat or an outbox; so its `done` is called once. Pure: time
//! is a parameter, and nothing here calls a holder or a `done`.

mod report;

use std::time::{Duration, Instant};

use super::{
    Job,
    allowance::Slow,
    member::{Call, Member, Seat},
    queue::{Queue, Task},
    status::PoolStatus,
};
use crate::{
    limits,
    sign::{Fault, SignError},
};

/// Everything that the threads of a pool share.
pub(super) struct PoolState {
    pub queue: Queue,
    pub members: Vec<Member>,
    pub closed: bool,
    /// Threads that have not left.
    pub alive: usize,
    primary_first: bool,
    tickets: u64,
}

/// Which thread asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sitter {
    pub member: usize,
    pub seat: usize,
    pub ticket: u64,
}

/// What a thread has to do next; its task is noted in its seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Sign the message.
    Sign,
    /// Open a session.
    Open,
    /// Open a session to a holder that was away, and make a test signature.
    Probe,
    /// Make a test signature.
    Test,
    /// Close the session.
    Close,
    /// Wait for work, until this time at most.
    Wait(Option<Instant>),
    /// End the thread.
    End,
}

/// The result of a step.
#[derive(Debug)]
pub(super) enum Report {
    Nothing,
    Closed,
    Signed(Vec<u8>, Duration),
    Opened,
    /// A test signature was made.
    Well(Duration),
    Failed(Fault),
}

/// Tasks that have ended; their `done` is still to be called.
pub(super) type Outbox = Vec<(Task, Result<Vec<u8>, SignError>)>;

/// What is to be logged.
#[derive(Debug)]
pub(super) enum Notice {
    /// A holder is away, or locked.
    Away { member: usize, why: String, locked: bool },
    /// It is back, after being away so long.
    Back { member: usize, after: Duration },
    /// It answers, but cannot do what it is asked.
    Defect { member: usize, why: String },
    /// It gives fewer sessions than there are threads.
    Fewer { member: usize, sessions: usize },
    /// It takes longer the more it is asked at once.
    Slow { member: usize, slow: Slow },
    /// A call did not return. Its thread is abandoned, and replaced unless too many were.
    Hung { member: usize, replaced: bool },
}

impl PoolState {
    pub(super) fn new(members: Vec<Member>, queue_length_max: usize, primary_first: bool) -> Self {
        Self { queue: Queue::new(queue_length_max), members, closed: false, alive: 0, primary_first, tickets: 0 }
    }

    /// A place for one more thread at `member`.
    pub(super) fn sit(&mut self, member: usize) -> Sitter {
        self.tickets += 1;
        self.alive += 1;
        let seats = &mut self.members[member].seats;
        seats.push(Seat { ticket: self.tickets, vacant: false, call: None, has_session: false, open_at: None });
        Sitter { member, seat: seats.len() - 1, ticket: self.tickets }
    }

    /// Whether anything can be signed.
    pub(super) fn is_down(&self) -> bool {
        !self.members.iter().any(|member| member.breaker.is_closed())
    }

    /// Whether every member has been away for longer than a short failure takes.
    pub(super) fn is_away(&self, now: Instant) -> bool {
        let for_long =
            |member: &Member| member.breaker.away_for(now).is_some_and(|away| away >= limits::STAND_IN_DELAY);
        self.members.iter().all(for_long)
    }

    /// Accepts a job; returns it with the reason if that is not possible.
    pub(super) fn submit(&mut self, job: Job, now: Instant) -> Result<(), (Job, SignError)> {
        if self.is_down() {
            return Err((job, SignError::Failed));
        }
        if self.closed {
            return Err((job, SignError::Busy));
        }
        self.queue.push(job, now).map_err(|job| (job, SignError::Busy))?;
        self.call_one(now);
        Ok(())
    }

    /// If an order is kept, the only member that gets work: the first that is settled, else the first at work.
    fn preferred(&self, now: Instant) -> Option<usize> {
        let at_work = |member: &&Member| member.breaker.is_closed();
        let settled = |member: &Member| member.breaker.is_closed() && member.is_settled(now);
        let first = self.members.iter().position(settled);
        first.or_else(|| self.members.iter().position(|member| at_work(&member)))
    }

    fn is_chosen(&self, member: usize, now: Instant) -> bool {
        !self.primary_first || self.preferred(now) == Some(member)
    }

    /// Wakes a thread for a waiting task: at the member with the fewest jobs among those with a thread to spare.
    fn call_one(&mut self, now: Instant) -> bool {
        let free = |place: &usize| {
            let member = &self.members[*place];
            member.idle > member.called && member.has_room(now) && self.is_chosen(*place, now)
        };
        let outstanding = |place: &usize| self.members[*place].busy() + self.members[*place].called;
        let Some(place) = (0..self.members.len()).filter(free).min_by_key(outstanding) else { return false };
        self.members[place].called += 1;
        self.members[place].work.notify_one();
        true
    }

    /// Wakes threads for everything that waits, after the members have changed.
    fn call_all(&mut self, now: Instant) {
        let mut left: usize = self.queue.lengths().iter().sum();
        while left > 0 && self.call_one(now) {
            left -= 1;
        }
    }

    /// A thread leaves. A thread that was written off and whose call returned after all may get a vacant place.
    pub(super) fn leave(&mut self, sitter: Sitter) -> Option<Sitter> {
        let member = &mut self.members[sitter.member];
        if member.seats[sitter.seat].ticket == sitter.ticket {
            self.alive -= 1;
            return None;
        }
        member.written_off -= 1;
        let seat = member.seats.iter().position(|seat| seat.vacant).filter(|_| !self.closed)?;
        self.alive += 1;
        member.seats[seat].vacant = false;
        Some(Sitter { seat, ticket: member.seats[seat].ticket, ..sitter })
    }

    /// A thread that has a session begins to wait, or stops waiting.
    pub(super) fn waits(&mut self, sitter: Sitter, waits: bool) {
        let member = &mut self.members[sitter.member];
        if waits {
            member.idle += 1;
        } else {
            member.idle -= 1;
            member.called = member.called.saturating_sub(1);
        }
    }

    /// What the thread does next. `session`: the epoch in which its session was opened. The message to sign is moved to
    /// `message`; tasks that nobody waits for any more go to `outbox`.
    pub(super) fn next(
        &mut self,
        sitter: Sitter,
        session: Option<u64>,
        message: &mut Vec<u8>,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Step {
        let chosen = self.is_chosen(sitter.member, now);
        let member = &mut self.members[sitter.member];
        if self.closed || member.seats[sitter.seat].ticket != sitter.ticket {
            return Step::End;
        }
        if session.is_some_and(|epoch| epoch != member.epoch) {
            return sit_down(member, sitter, None, limits::SIGN_CALL_LIMIT, Step::Close, now);
        }
        if !member.breaker.is_closed() {
            if member.breaker.begin_probe(now) {
                return sit_down(member, sitter, None, limits::OPEN_CALL_LIMIT, Step::Probe, now);
            }
            return Step::Wait(member.breaker.probe_at());
        }
        if session.is_none() {
            return match member.seats[sitter.seat].open_at {
                Some(at) if now < at => Step::Wait(Some(at)),
                _ => sit_down(member, sitter, None, limits::OPEN_CALL_LIMIT, Step::Open, now),
            };
        }
        if std::mem::take(&mut member.doubted) {
            return sit_down(member, sitter, None, limits::SIGN_CALL_LIMIT, Step::Test, now);
        }
        let may_sign = chosen && member.has_room(now);
        if !may_sign && !self.queue.is_empty() {
            let pause = member.pause_until().filter(|until| now < *until);
            self.call_one(now);
            return Step::Wait(pause);
        }
        while let Some(task) = self.queue.pop() {
            if task.job.deadline <= now {
                outbox.push((task, Err(SignError::Busy)));
                continue;
            }
            message.clear();
            message.extend_from_slice(&task.job.message);
            return sit_down(member, sitter, Some(task), limits::SIGN_CALL_LIMIT, Step::Sign, now);
        }
        match member.test_at() {
            Some(at) if at <= now => {
                member.used(now);
                sit_down(member, sitter, None, limits::SIGN_CALL_LIMIT, Step::Test, now)
            }
            // New work wakes nobody during a pause.
            at => Step::Wait(at.into_iter().chain(member.pause_until().filter(|until| now < *until)).min()),
        }
    }

    /// Ends the pool; waiting tasks are refused.
    pub(super) fn close(&mut self, outbox: &mut Outbox) {
        self.closed = true;
        outbox.extend(self.queue.take_all().into_iter().map(|task| (task, Err(SignError::Busy))));
        for member in &self.members {
            member.wake_all();
        }
    }

    pub(super) fn status(&self, now: Instant) -> PoolStatus {
        PoolStatus {
            waiting: self.queue.lengths(),
            oldest: self.queue.oldest().map(|since| now.duration_since(since)),
            members: self.members.iter().map(|member| member.status(now)).collect(),
        }
    }
}

/// Notes in the thread's seat what it is about to do.
fn sit_down(
    member: &mut Member,
    sitter: Sitter,
    task: Option<Task>,
    limit: Duration,
    step: Step,
    now: Instant,
) -> Step {
    member.seats[sitter.seat].call = Some(Call { overdue_at: now + limit, task });
    step
}
