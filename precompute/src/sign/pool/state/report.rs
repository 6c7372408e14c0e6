//! What the result of a step means: for the job, for its holder, and for the log.
//!
//! As in `state`, a task is in one place, and nothing is called here. It does not know what holds a key.

use std::time::Instant;

use super::{Notice, Outbox, PoolState, Report, Sitter};
use crate::{
    limits,
    sign::{
        Fault, FaultClass, SignError,
        pool::{
            member::{Call, Member, News, Remedy},
            queue::Task,
        },
    },
};

impl PoolState {
    /// Takes the result of a step. `None` if the thread was written off in the meantime.
    pub(in crate::sign::pool) fn report(
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
        // A holder that has come back, and is not the expected one: somebody has to fix that.
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
                    // It may get more jobs at once than a moment ago.
                    self.call_one(now);
                }
                return Some(slow.into_iter().map(|slow| Notice::Slow { member: sitter.member, slow }).collect());
            }
            Report::Well(took) => {
                (seat.has_session, seat.open_at) = (true, None);
                // A single test is never slow.
                let _ = member.succeeded(took, now);
                let back = member.returned(now);
                if back.is_some() {
                    // So that each thread opens its session.
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
            // Once for each holder, and once more. Every session may be stale; whichever thread has the task, it is not
            // to blame for more lost sessions than that.
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
            // It is unknown when one will be back: the waiting jobs are refused at once.
            outbox.extend(self.queue.take_all().into_iter().map(|task| (task, Err(SignError::Failed))));
        } else {
            self.call_all(now);
        }
        notices
    }

    /// Looks for calls that did not return in time and for tasks that nobody waits for any more. Returns the places
    /// that need a new thread.
    pub(in crate::sign::pool) fn overdue(&mut self, outbox: &mut Outbox, now: Instant) -> (Vec<Sitter>, Vec<Notice>) {
        let (mut newcomers, mut notices) = (Vec::new(), Vec::new());
        outbox.extend(self.queue.take_expired(now).into_iter().map(|task| (task, Err(SignError::Busy))));
        for place in 0..self.members.len() {
            for seat in 0..self.members[place].seats.len() {
                let member = &mut self.members[place];
                let overdue = member.seats[seat].call.take_if(|call| call.overdue_at <= now);
                let Some(Call { task, .. }) = overdue else { continue };
                self.tickets += 1;
                let sitter = Sitter { member: place, seat, ticket: self.tickets };
                // The old thread finds that the ticket in its place has changed.
                member.seats[seat].ticket = self.tickets;
                let was_opening = !std::mem::take(&mut member.seats[seat].has_session) && task.is_none();
                member.written_off += 1;
                self.alive -= 1;
                let replaced = member.written_off <= limits::WRITTEN_OFF_MAX;
                member.seats[seat].vacant = !replaced;
                let why = "a call did not return in time";
                notices.push(Notice::Hung { member: place, replaced });
                // One more session that does not open says nothing about those that sign.
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
}

/// What a fault means that happened while a session was opened or a test was made. No job is to blame, so the holder
/// is; and a holder that was being probed is not back.
fn without_task(member: &Member, fault: Fault) -> Fault {
    let class = match fault.class {
        FaultClass::Locked => FaultClass::Locked,
        FaultClass::Defect => FaultClass::Device,
        _ if !member.breaker.is_closed() => FaultClass::Device,
        class => class,
    };
    Fault { class, ..fault }
}
