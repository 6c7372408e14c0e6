//! Waits that end: a gate that many may pass at once or one alone, and a turn that only one caller has at a time.
//!
//! Invariant: no caller waits longer than its limit, whatever hangs. A share or a turn is released when it is dropped.
//! It does not know what is guarded.

use std::{
    ops::{Deref, DerefMut},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A gate for many at once, or one alone.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    inside: usize,
    /// Whether one caller is alone inside, or waits to be.
    closed: bool,
    /// How many have entered.
    entered: u64,
    /// How many of those inside a caller has already waited for in vain: they entered before `stuck_before`.
    stuck: usize,
    stuck_before: u64,
}

/// Held by each of many.
#[derive(Debug)]
pub(super) struct Share<'g> {
    gate: &'g Gate,
    number: u64,
}

/// Held by the one that is alone.
#[derive(Debug)]
pub(super) struct Alone<'g>(&'g Gate);

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(
        &self,
        limit: Duration,
        hindered: impl FnMut(&mut GateState) -> bool,
    ) -> Option<MutexGuard<'_, GateState>> {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, hindered);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (!timeout.timed_out()).then_some(state)
    }

    /// Enters as one of many. `None` if another caller is alone inside for longer than `limit`.
    pub(super) fn enter(&self, limit: Duration) -> Option<Share<'_>> {
        let mut state = self.wait_while(limit, |state| state.closed)?;
        state.inside += 1;
        state.entered += 1;
        Some(Share { gate: self, number: state.entered })
    }

    /// Closes the gate, and waits until all have left. `None` if that takes longer than `limit`. The gate is then open
    /// again, and is not closed a second time for the same callers that do not leave.
    pub(super) fn alone(&self, limit: Duration) -> Option<Alone<'_>> {
        let mut state = self.wait_while(limit, |state| state.closed)?;
        if state.stuck > 0 {
            return None;
        }
        state.closed = true;
        drop(state);
        let alone = Alone(self);
        if self.wait_while(limit, |state| state.inside > 0).is_none() {
            let mut state = self.lock();
            (state.stuck, state.stuck_before) = (state.inside, state.entered + 1);
            // The last of them may have just left.
            let nobody = state.stuck == 0;
            drop(state);
            return nobody.then_some(alone);
        }
        Some(alone)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.inside -= 1;
        if self.number < state.stuck_before {
            state.stuck = state.stuck.saturating_sub(1);
        }
        if state.closed {
            self.gate.changed.notify_all();
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = false;
        self.0.changed.notify_all();
    }
}

/// A value that one caller has at a time: a mutex with bounded waiting.
#[derive(Debug)]
pub(super) struct Turns<T> {
    free: Mutex<Option<T>>,
    freed: Condvar,
}

/// Held by the caller whose turn it is.
#[derive(Debug)]
pub(super) struct Turn<'t, T> {
    /// `None` only during the drop.
    thing: Option<T>,
    turns: &'t Turns<T>,
}

impl<T> Turns<T> {
    pub(super) fn new(thing: T) -> Self {
        Self { free: Mutex::new(Some(thing)), freed: Condvar::new() }
    }

    /// `None` if another caller has it for longer than `limit`.
    pub(super) fn take(&self, limit: Duration) -> Option<Turn<'_, T>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(free, limit, |free| free.is_none());
        let (mut free, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Some(Turn { thing: Some(free.take()?), turns: self })
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        *self.turns.free.lock().unwrap_or_else(PoisonError::into_inner) = self.thing.take();
        self.turns.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn many_pass_at_once_and_one_alone_waits_for_all_of_them() {
        let gate = Gate::default();
        let (first, second) = (gate.enter(SHORT).unwrap(), gate.enter(SHORT).unwrap());
        assert!(gate.alone(SHORT).is_none(), "two are inside");
        // A wait that timed out closes nothing.
        drop(gate.enter(SHORT).unwrap());
        drop(first);
        drop(second);
        let alone = gate.alone(SHORT).unwrap();
        assert!(gate.enter(SHORT).is_none() && gate.alone(SHORT).is_none());
        drop(alone);
        assert!(gate.enter(SHORT).is_some());
    }

    #[test]
    fn for_who_does_not_leave_the_gate_is_closed_once_and_not_again() {
        let gate = Gate::default();
        let (hangs, slow) = (gate.enter(SHORT).unwrap(), gate.enter(SHORT).unwrap());
        assert!(gate.alone(SHORT).is_none());
        let newcomer = gate.enter(SHORT).unwrap();
        let at_once = |expected: bool| {
            let begin = std::time::Instant::now();
            assert_eq!(gate.alone(if expected { SHORT } else { LONG }).is_some(), expected);
            assert!(begin.elapsed() < LONG / 2);
        };
        at_once(false);
        drop(slow);
        at_once(false);
        drop(newcomer);
        at_once(false);
        drop(hangs);
        at_once(true);
        // Another caller that does not leave gets a new wait.
        let hangs = gate.enter(SHORT).unwrap();
        assert!(gate.alone(SHORT).is_none());
        drop(hangs);
        at_once(true);
    }

    #[test]
    fn who_waits_to_be_alone_is_let_in_by_the_last_who_leaves() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            let share = gate.enter(SHORT).unwrap();
            let waits = scope.spawn(|| gate.alone(LONG).is_some());
            // It has closed the gate, and later callers wait.
            while gate.enter(Duration::ZERO).is_some() {
                std::thread::yield_now();
            }
            let newcomer = scope.spawn(|| gate.enter(LONG).is_some());
            drop(share);
            assert!(waits.join().unwrap() && newcomer.join().unwrap());
        });
    }

    #[test]
    fn one_at_a_time_has_the_thing_and_nobody_waits_for_ever() {
        let turns = Turns::new(0);
        let (send, taken) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut turn = turns.take(SHORT).unwrap();
            assert!(turns.take(SHORT).is_none());
            scope.spawn(|| send.send(*turns.take(LONG).unwrap()));
            *turn += 1;
            drop(turn);
            assert_eq!(taken.recv(), Ok(1));
        });
    }
}
