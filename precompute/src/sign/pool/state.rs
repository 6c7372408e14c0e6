//! What each signing thread does next, and what becomes of jobs whose holder failed.
//!
//! Invariant: a task is in one place: the queue, a seat, or an outbox; so its `done` is called once. Pure: time is a
//! parameter, and nothing here calls a holder or a `done`.

use std::time::{Duration, Instant};

use super::{
    Job,
    allowance::Slow,
    member::{Call, Member, News, Remedy, Seat},
    queue::{Queue, Task},
    status::PoolStatus,
};
use crate::{
    limits,
    sign::{Fault, FaultClass, SignError},
};

/// Everything that the threads of a pool share.
pub(super) struct State {
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

/// What a thread is to do; what it may take is noted in its seat.
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
    /// Wait for work, not longer than until then.
    Wait(Option<Instant>),
    /// Leave.
    End,
}

/// What came of a step.
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

/// Tasks that have ended and whose `done` is to be called.
pub(super) type Outbox = Vec<(Task, Result<Vec<u8>, SignError>)>;

/// What is to be told to people.
#[derive(Debug)]
pub(super) enum Notice {
    /// A holder is away, or locked.
    Away { member: usize, why: String, locked: bool },
    /// It is back after so long.
    Back { member: usize, after: Duration },
    /// It answers, but cannot do what it is asked for.
    Defect { member: usize, why: String },
    /// It gives fewer sessions than there are threads.
    Fewer { member: usize, sessions: usize },
    /// It takes the longer the more it is asked for at once.
    Slow { member: usize, slow: Slow },
    /// A call did not return; its thread is left alone and replaced, or not any more.
    Hung { member: usize, replaced: bool },
}

impl State {
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

    /// Whether every member has been away for longer than one that comes back at once.
    pub(super) fn is_away(&self, now: Instant) -> bool {
        let for_long =
            |member: &Member| member.breaker.away_for(now).is_some_and(|away| away >= limits::STAND_IN_DELAY);
        self.members.iter().all(for_long)
    }

    /// Takes a job in; gives it back with the reason where it cannot be.
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

    /// The member that alone is given work where an order is kept: the first that is settled, or at work at least.
    fn preferred(&self, now: Instant) -> Option<usize> {
        let at_work = |member: &&Member| member.breaker.is_closed();
        let settled = |member: &Member| member.breaker.is_closed() && member.is_settled(now);
        let first = self.members.iter().position(settled);
        first.or_else(|| self.members.iter().position(|member| at_work(&member)))
    }

    fn is_chosen(&self, member: usize, now: Instant) -> bool {
        !self.primary_first || self.preferred(now) == Some(member)
    }

    /// Has a thread come for a task that waits: one of the member with the fewest jobs in hand that has one to spare.
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

    /// Has threads come for all that waits, after something about the members changed.
    fn call_all(&mut self, now: Instant) {
        let mut left: usize = self.queue.lengths().iter().sum();
        while left > 0 && self.call_one(now) {
            left -= 1;
        }
    }

    /// A thread leaves. One that was written off, and whose call returned after all, may find a vacant place.
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

    /// A thread that has a session goes to wait, or comes back.
    pub(super) fn waits(&mut self, sitter: Sitter, waits: bool) {
        let member = &mut self.members[sitter.member];
        if waits {
            member.idle += 1;
        } else {
            member.idle -= 1;
            member.called = member.called.saturating_sub(1);
        }
    }

    /// What the thread does next. `session` is the epoch in which its session was opened. The message to sign is put
    /// into `message`; tasks that nobody waits for any more into `outbox`.
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
            // What comes during a pause calls nobody.
            at => Step::Wait(at.into_iter().chain(member.pause_until().filter(|until| now < *until)).min()),
        }
    }

    /// Takes in what came of a step. `None` where the thread was written off meanwhile.
    pub(super) fn report(
        &mut self,
        sitter: Sitter,
        report: Report,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Option<Vec<Notice>> {
        let member = &mut self.members[sitter.member];
        let seat = &mut member.seats[sitter.seat];
        if seat.ticket != sitter.ticket {
            return None;
        }
        let task = seat.call.take().and_then(|call| call.task);
        // One that has come back, and is not what it should be: somebody has to mend that.
        let mut notices = Vec::new();
        let fault = match report {
            Report::Nothing => return Some(Vec::new()),
            Report::Closed => {
                seat.has_session = false;
                return Some(Vec::new());
            }
            Report::Opened => {
                (seat.has_session, seat.open_at) = (true, None);
                return Some(Vec::new());
            }
            Report::Signed(signature, took) => {
                let slow = member.succeeded(took, now);
                outbox.extend(task.map(|task| (task, Ok(signature))));
                if member.idle > member.called && !self.queue.is_empty() {
                    // It may be given more at once than a moment ago.
                    self.call_one(now);
                }
                return Some(slow.into_iter().map(|slow| Notice::Slow { member: sitter.member, slow }).collect());
            }
            Report::Well(took) => {
                (seat.has_session, seat.open_at) = (true, None);
                // By itself a test is never slow.
                let _ = member.succeeded(took, now);
                let back = member.returned(now);
                if back.is_some() {
                    // So that each opens its session.
                    member.wake_all();
                    self.call_all(now);
                }
                return Some(back.into_iter().map(|after| Notice::Back { member: sitter.member, after }).collect());
            }
            Report::Failed(fault) if task.is_none() => {
                let is_news = member.breaker.why() != Some(&*fault.message);
                if fault.class == FaultClass::Defect && !member.breaker.is_closed() && is_news {
                    notices.push(Notice::Defect { member: sitter.member, why: fault.message.clone() });
                }
                without_task(member, fault)
            }
            Report::Failed(fault) => fault,
        };
        notices.extend(self.failed(sitter, task, &fault, outbox, now));
        Some(notices)
    }

    fn failed(
        &mut self,
        Sitter { member: place, seat, .. }: Sitter,
        task: Option<Task>,
        fault: &Fault,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Vec<Notice> {
        let at_work = |(number, member): (usize, &Member)| number != place && member.breaker.is_closed();
        let others = self.members.iter().enumerate().any(at_work);
        let member = &mut self.members[place];
        if fault.class != FaultClass::Throttle {
            member.seats[seat].has_session = false;
        }
        let mut notices = Vec::new();
        let is_opening = task.is_none() && !member.seats[seat].has_session;
        if is_opening
            && fault.class == FaultClass::Throttle
            && let Some(news) = member.refused_session(seat, now)
        {
            if let News::Fewer(sessions) = news {
                notices.push(Notice::Fewer { member: place, sessions });
            }
            self.call_all(now);
            return notices;
        }
        let (mut remedy, news) = member.failed(fault, seat, others, now);
        if let News::Away(why) = news {
            let locked = member.breaker.is_locked();
            member.wake_all();
            notices.push(Notice::Away { member: place, why, locked });
        }
        if fault.class == FaultClass::Defect {
            notices.push(Notice::Defect { member: place, why: fault.message.clone() });
        }
        let is_down = self.is_down();
        if let Some(mut task) = task {
            match fault.class {
                FaultClass::Throttle => {}
                FaultClass::Session => task.sessions_lost += 1,
                FaultClass::Device | FaultClass::Locked | FaultClass::Defect => task.attempts += 1,
            }
            // Once for each holder, and once more. Every session that there is may be stale: with whichever thread the
            // task is, no more of them are its fault.
            let sessions: usize = self.members.iter().map(|member| member.seats.len()).sum();
            let is_tried = task.attempts > self.members.len() || task.sessions_lost > sessions;
            if is_tried || task.job.deadline <= now || is_down {
                remedy = Remedy::Fail;
            }
            match remedy {
                Remedy::Again => self.queue.push_back_first(task),
                Remedy::Fail => outbox.push((task, Err(SignError::Failed))),
            }
        }
        if is_down {
            // Nobody can tell when one will be back: those that wait are told at once.
            outbox.extend(self.queue.take_all().into_iter().map(|task| (task, Err(SignError::Failed))));
        } else {
            self.call_all(now);
        }
        notices
    }

    /// Looks for calls that did not return in time and for tasks that nobody waits for any more. Who is to be replaced
    /// by a new thread comes back.
    pub(super) fn overdue(&mut self, outbox: &mut Outbox, now: Instant) -> (Vec<Sitter>, Vec<Notice>) {
        let (mut newcomers, mut notices) = (Vec::new(), Vec::new());
        outbox.extend(self.queue.take_expired(now).into_iter().map(|task| (task, Err(SignError::Busy))));
        for place in 0..self.members.len() {
            for seat in 0..self.members[place].seats.len() {
                let member = &mut self.members[place];
                let overdue = member.seats[seat].call.take_if(|call| call.overdue_at <= now);
                let Some(Call { task, .. }) = overdue else { continue };
                self.tickets += 1;
                let sitter = Sitter { member: place, seat, ticket: self.tickets };
                // Whoever sat there finds a ticket that is not its own.
                member.seats[seat].ticket = self.tickets;
                let was_opening = !std::mem::take(&mut member.seats[seat].has_session) && task.is_none();
                member.written_off += 1;
                self.alive -= 1;
                let replaced = member.written_off <= limits::WRITTEN_OFF_MAX;
                member.seats[seat].vacant = !replaced;
                let why = "a call did not return in time";
                notices.push(Notice::Hung { member: place, replaced });
                // One more that does not open says nothing about those that sign.
                if !(was_opening && member.breaker.is_closed() && member.sessions() > 0) {
                    notices.extend(self.failed(sitter, task, &Fault::new(FaultClass::Device, why), outbox, now));
                }
                if replaced {
                    self.alive += 1;
                    newcomers.push(sitter);
                }
            }
        }
        (newcomers, notices)
    }

    /// Ends the pool; those that wait are told so.
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

/// What a fault means that happened while a session was opened or a test was made: no job is at fault, so it is the
/// holder; and one that was being looked for is not back.
fn without_task(member: &Member, fault: Fault) -> Fault {
    let class = match fault.class {
        FaultClass::Locked => FaultClass::Locked,
        FaultClass::Defect => FaultClass::Device,
        _ if !member.breaker.is_closed() => FaultClass::Device,
        class => class,
    };
    Fault { class, ..fault }
}

/// Notes in the thread's seat what it goes to do.
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
