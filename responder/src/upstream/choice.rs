//! Which upstream is asked: the first in the file, while it answers; another one while it does not.
//!
//! Purpose: several upstreams stand for one another, and one of them is *in use*. One that fails several times in a row is
//! left for the next; it is then tried with single requests, at growing distances. A preferred one that answers again is gone
//! back to only when it has answered for the whole fail-back delay. Invariants: while any upstream is not left, no request is
//! given up unasked; and however an upstream flaps, it is gone back to at most once in a fail-back delay, unless the one in
//! use fails itself. Pure: time is a parameter, counted from any beginning. It does not know what is asked, or over what.

use std::time::Duration;

use crate::limits::upstream as limits;

/// The upstreams of a group, in the order of the file, which is that of preference.
#[derive(Clone, Debug)]
pub struct Choice {
    members: Vec<Member>,
    in_use: usize,
    fail_back: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Member {
    /// It is asked whenever it is its turn.
    Well {
        /// In a row.
        failures: u32,
    },
    /// It has failed, and is left alone until it is tried.
    Left { trial_at: Duration, back_off: Duration },
    /// It answers again, and is not gone back to yet.
    Recovering { since: Duration, trial_at: Duration, back_off: Duration },
}

/// One request to one upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Its place among the upstreams.
    pub place: usize,
    /// Whether it is to find out whether that answers again.
    pub is_trial: bool,
    /// How long it may take.
    pub within: Duration,
}

/// What the end of an attempt has changed, for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The upstream has failed too often, and is left.
    Left(usize),
    /// Another one is in use now.
    InUse(usize),
}

/// Upstreams that were asked for one request already, as bits.
pub type Tried = u32;

impl Choice {
    /// For this many upstreams, at most [`limits::UPSTREAMS_MAX`].
    pub fn new(count: usize, fail_back: Duration) -> Self {
        Self { members: vec![Member::Well { failures: 0 }; count], in_use: 0, fail_back }
    }

    /// The place of the upstream in use.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Whether this one is asked now, or has been left.
    pub fn is_left(&self, place: usize) -> bool {
        matches!(self.members.get(place), Some(Member::Left { .. }))
    }

    /// Whom to ask; `None` where all that remain are left, so that the client is told to try later at once.
    pub fn next(&mut self, tried: Tried, now: Duration) -> Option<Attempt> {
        let is_new = |place: &usize| tried >> place & 1 == 0;
        let all = 0..self.members.len();
        // One request in a while finds out whether a preferred one is back; it is asked elsewhere if not.
        if tried == 0
            && !self.is_left(self.in_use)
            && let Some(place) = (0..self.in_use).find(|place| self.is_due(*place, now))
        {
            return Some(self.trial(place, limits::TRIAL_WITHIN, now));
        }
        let is_well = |place: &usize| matches!(self.members[*place], Member::Well { .. });
        let is_up = |place: &usize| !matches!(self.members[*place], Member::Left { .. });
        let mut in_turn = std::iter::once(self.in_use).chain(all.clone()).filter(is_new);
        let well = in_turn.clone().find(is_well).or_else(|| in_turn.find(is_up));
        if let Some(place) = well {
            return Some(Attempt { place, is_trial: false, within: limits::ANSWER_WITHIN });
        }
        let place = all.filter(is_new).find(|place| self.is_due(*place, now))?;
        // A slow answer is better than none.
        Some(self.trial(place, limits::ANSWER_WITHIN, now))
    }

    fn is_due(&self, place: usize, now: Duration) -> bool {
        match self.members[place] {
            Member::Well { .. } => false,
            Member::Left { trial_at, .. } | Member::Recovering { trial_at, .. } => trial_at <= now,
        }
    }

    /// Until this trial ends, or has taken too long, there is no other.
    fn trial(&mut self, place: usize, within: Duration, now: Duration) -> Attempt {
        match &mut self.members[place] {
            Member::Left { trial_at, back_off } => *trial_at = now + within.max(*back_off),
            Member::Recovering { trial_at, .. } => *trial_at = now + limits::TRIAL_EVERY,
            Member::Well { .. } => {}
        }
        Attempt { place, is_trial: true, within }
    }

    /// An attempt has ended: whether it was answered, with whatever was to be had of that upstream.
    pub fn ended(&mut self, attempt: Attempt, was_answered: bool, now: Duration) -> Vec<Change> {
        if was_answered { self.answered(attempt.place, now) } else { self.failed(attempt, now) }
    }

    fn answered(&mut self, place: usize, now: Duration) -> Vec<Change> {
        let is_back = match self.members[place] {
            Member::Well { .. } => {
                self.members[place] = Member::Well { failures: 0 };
                return Vec::new();
            }
            // Nobody else answers, or it is one that others are preferred to: there is nothing to wait for.
            _ if self.is_left(self.in_use) || place >= self.in_use => true,
            Member::Left { back_off, .. } => {
                self.members[place] = Member::Recovering { since: now, trial_at: now + limits::TRIAL_EVERY, back_off };
                false
            }
            Member::Recovering { since, .. } => now.saturating_sub(since) >= self.fail_back,
        };
        if !is_back {
            return Vec::new();
        }
        self.members[place] = Member::Well { failures: 0 };
        if place < self.in_use || self.is_left(self.in_use) { self.use_from_now(place) } else { Vec::new() }
    }

    fn failed(&mut self, Attempt { place, is_trial, .. }: Attempt, now: Duration) -> Vec<Change> {
        let back_off = match self.members[place] {
            Member::Well { failures } if failures + 1 < limits::FAILURES_IN_A_ROW => {
                self.members[place] = Member::Well { failures: failures + 1 };
                return Vec::new();
            }
            Member::Well { .. } => limits::BACK_OFF_MIN,
            // Of a request that began before it was left.
            Member::Left { .. } if !is_trial => return Vec::new(),
            Member::Left { back_off, .. } | Member::Recovering { back_off, .. } => {
                (back_off * 2).min(limits::BACK_OFF_MAX)
            }
        };
        let was_left = self.is_left(place);
        self.members[place] = Member::Left { trial_at: now + back_off, back_off };
        let mut changes = if was_left { Vec::new() } else { vec![Change::Left(place)] };
        if place == self.in_use {
            let well = self.members.iter().position(|member| matches!(member, Member::Well { .. }));
            let up = || self.members.iter().position(|member| matches!(member, Member::Recovering { .. }));
            if let Some(next) = well.or_else(up) {
                if well.is_none() {
                    self.members[next] = Member::Well { failures: 0 };
                }
                changes.extend(self.use_from_now(next));
            }
        }
        changes
    }

    fn use_from_now(&mut self, place: usize) -> Vec<Change> {
        if std::mem::replace(&mut self.in_use, place) == place {
            return Vec::new();
        }
        vec![Change::InUse(place)]
    }
}

#[cfg(test)]
mod tests;
