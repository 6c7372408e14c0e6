//! Jobs that wait to be signed, by priority.
//!
//! Invariant: each priority has its own bound, so that none can crowd out another. It does not know holders.

use std::{collections::VecDeque, time::Instant};

use super::{Job, Priority};

/// A job, and how often it was tried without success.
#[derive(Debug)]
pub(super) struct Task {
    pub job: Job,
    /// Times that a holder failed at it,
    pub attempts: usize,
    /// and times that only its session was unusable.
    pub sessions_lost: usize,
    /// When it was submitted.
    pub since: Instant,
}

/// Waiting tasks.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: [VecDeque<Task>; Priority::COUNT],
    length_max: usize,
}

impl Queue {
    pub(super) fn new(length_max: usize) -> Self {
        Self { waiting: Default::default(), length_max }
    }

    /// Accepts a job; returns it if too many wait already.
    pub(super) fn push(&mut self, job: Job, now: Instant) -> Result<(), Job> {
        let waiting = &mut self.waiting[job.priority as usize];
        if waiting.len() >= self.length_max {
            return Err(job);
        }
        waiting.push_back(Task { job, attempts: 0, sessions_lost: 0, since: now });
        Ok(())
    }

    /// Puts a task back before all others of its priority: it has waited already.
    pub(super) fn push_back_first(&mut self, task: Task) {
        self.waiting[task.job.priority as usize].push_front(task);
    }

    /// The most urgent task.
    pub(super) fn pop(&mut self) -> Option<Task> {
        self.waiting.iter_mut().find_map(VecDeque::pop_front)
    }

    /// Removes the tasks that nobody waits for any more.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Task> {
        let mut expired = Vec::new();
        for waiting in &mut self.waiting {
            if waiting.iter().any(|task| task.job.deadline <= now) {
                let (gone, left): (VecDeque<_>, _) = waiting.drain(..).partition(|task| task.job.deadline <= now);
                expired.extend(gone);
                *waiting = left;
            }
        }
        expired
    }

    /// Removes all tasks.
    pub(super) fn take_all(&mut self) -> Vec<Task> {
        self.waiting.iter_mut().flat_map(|waiting| waiting.drain(..)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// How many wait in each priority.
    pub(super) fn lengths(&self) -> [usize; Priority::COUNT] {
        self.waiting.each_ref().map(VecDeque::len)
    }

    /// When the task that has waited longest was submitted.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|waiting| waiting.front()).map(|task| task.since).min()
    }
}
