//! Where statements wait for the thread that keeps them.
//!
//! Purpose: whoever applies what the feed says, records and answers both, states it here. Invariants: a statement never waits
//! for a disk; what finds no room is noted as lost, and has everything compared anew; times never go back, and none is before
//! a head that was made already. While somebody holds it ([`Tap::hold`]), no other statement comes, so that an answer is
//! stated behind the record that it is about. It does not know what is done with statements.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Hash, Said, Statement, key};
use crate::{
    limits::transparency as limits,
    pki::{Serial, Status},
};

/// See the module.
#[derive(Default, Debug)]
pub struct Tap(Mutex<Waiting>);

/// What waits.
#[derive(Default, Debug)]
pub struct Waiting {
    /// By key, in order.
    pub statements: Vec<(Hash, Statement)>,
    /// Since when statements were lost, milliseconds since 1970.
    pub lost: Option<u64>,
    /// Everything has to be compared: records were changed without a statement each.
    pub compare: bool,
    /// The earliest time that the next statement may have.
    floor: u64,
}

/// Nobody else states anything meanwhile.
#[derive(Debug)]
pub struct Held<'t> {
    waiting: MutexGuard<'t, Waiting>,
    now: u64,
}

impl Tap {
    /// Waits for whoever holds it: for microseconds.
    pub fn hold(&self) -> Held<'_> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock().max(waiting.floor);
        Held { waiting, now }
    }
}

/// What the clock of the system says, milliseconds since 1970.
pub fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Held<'_> {
    /// When whatever is stated now is stated.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The record of a certificate is this now.
    pub fn record(&mut self, issuer: &[u8; 32], serial: &Serial, record: Option<Status>) {
        self.state(issuer, serial, Said::Record(record));
    }

    /// Something is said of a certificate from now on.
    pub fn state(&mut self, issuer: &[u8; 32], serial: &Serial, said: Said) {
        let Waiting { statements, lost, compare, floor } = &mut *self.waiting;
        *floor = self.now;
        if statements.len() >= limits::WAITING_MAX {
            lost.get_or_insert(self.now);
            *compare = true;
            return;
        }
        statements.push((key(issuer, serial), Statement { at: self.now, said }));
    }

    /// Records change without statements, from now on or a moment ago.
    pub fn compare(&mut self) {
        let now = self.now;
        self.waiting.compare = true;
        self.waiting.lost.get_or_insert(now);
    }

    /// Takes what waits. `closes`: whatever is stated from now on is later than now.
    pub fn take(&mut self, closes: bool) -> Waiting {
        let floor = self.waiting.floor.max(self.now + u64::from(closes));
        std::mem::replace(&mut *self.waiting, Waiting { floor, ..Waiting::default() })
    }

    /// No statement is before this one's time.
    pub fn not_before(&mut self, at: u64) {
        self.waiting.floor = self.waiting.floor.max(at);
        self.now = self.now.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_never_go_back_and_none_is_before_a_head_that_was_made() {
        let (tap, serial) = (Tap::default(), Serial::from_magnitude(&[1]).unwrap());
        let state = |tap: &Tap| tap.hold().record(&[1; 32], &serial, None);
        // A clock that was an hour ahead and was set back.
        let ahead = clock() + 3_600_000;
        tap.hold().not_before(ahead);
        state(&tap);
        let mut held = tap.hold();
        let (closed, waiting) = (held.now(), held.take(true));
        drop(held);
        assert_eq!((closed, waiting.statements[0].1.at), (ahead, ahead));
        state(&tap);
        let waiting = tap.hold().take(false);
        assert_eq!(waiting.statements[0].1.at, closed + 1);
        assert_eq!((waiting.lost, waiting.compare), (None, false));
    }

    #[test]
    fn what_finds_no_room_is_noted_as_lost_and_has_everything_compared() {
        let (tap, serial) = (Tap::default(), Serial::from_magnitude(&[1]).unwrap());
        let mut held = tap.hold();
        (0..=limits::WAITING_MAX).for_each(|_| held.record(&[1; 32], &serial, None));
        let (waiting, now) = (held.take(false), held.now());
        assert_eq!((waiting.statements.len(), waiting.lost, waiting.compare), (limits::WAITING_MAX, Some(now), true));
        assert_eq!(held.take(false).lost, None);
        held.compare();
        let waiting = held.take(false);
        assert_eq!((waiting.lost, waiting.compare), (Some(now), true), "until then something may be missing");
    }
}
