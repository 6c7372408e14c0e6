//! How long a connection may wait for each thing, and how it is ended.
//!
//! A connection notes what it waits for. The worker checks all connections each second and ends those that have waited
//! too long, so no timer is set or cleared for a request. Ending a connection drops its future at its present point,
//! and with it what it had requested from the kernel. It does not know requests.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Poll, Waker},
    time::Duration,
};

use crate::limits;

/// What a connection is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The first bytes after it was accepted.
    Fresh,
    /// The next request.
    Idle,
    /// The rest of what precedes a body: PROXY header, TLS handshake, header section.
    Head,
    /// The rest of a body.
    Body,
    /// The client to read.
    Write,
    /// An answer that is being signed; that has its own deadline.
    Answer,
    /// The client to notice that it was refused.
    Linger,
}

/// How long each phase may last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// Between requests, and before the first.
    pub idle: Duration,
    /// From the first byte of a header section to its end.
    pub head: Duration,
    /// From the end of a header section to the end of the body.
    pub body: Duration,
    /// Until the client has taken what is written at once; of a long body, each piece.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            idle: limits::IDLE_DEADLINE,
            head: limits::HEAD_DEADLINE,
            body: limits::BODY_DEADLINE,
            write: limits::WRITE_DEADLINE,
        }
    }
}

impl Deadlines {
    const fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Fresh | Phase::Idle => self.idle,
            Phase::Head => self.head,
            Phase::Body => self.body,
            Phase::Write => self.write,
            Phase::Answer => Duration::MAX,
            Phase::Linger => limits::LINGER_DEADLINE,
        }
    }
}

/// Ends a future from outside.
#[derive(Default)]
pub struct End {
    ended: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl End {
    /// The future under [`End::or`] is dropped before it runs again.
    pub fn end(&self) {
        self.ended.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether it has been ended.
    pub fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// Runs `future` until it is done or ended; `None` if it was ended. For one task only.
    ///
    /// The caller pins it: if it were taken by value, it would be stored twice, as argument and as the running future.
    pub fn or<F: Future>(&self, mut future: Pin<&mut F>) -> impl Future<Output = Option<F::Output>> {
        let mut known = false;
        poll_fn(move |context| {
            if self.ended.get() {
                return Poll::Ready(None);
            }
            // A task keeps the same waker for life.
            if !std::mem::replace(&mut known, true) {
                self.waker.set(Some(context.waker().clone()));
            }
            future.as_mut().poll(context).map(Some)
        })
    }
}

/// The worker's view of a connection.
pub struct ConnectionState {
    phase: Cell<Phase>,
    /// The tick of the worker in which the phase began.
    since: Cell<u32>,
    /// Ends the connection.
    pub end: End,
}

/// How dispensable a connection is: idle ones rank before those within a request, then by ticks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Silence {
    pub(super) idle: bool,
    pub(super) ticks: u32,
}

impl ConnectionState {
    /// A new connection.
    pub fn new(tick: u32) -> Self {
        Self { phase: Cell::new(Phase::Fresh), since: Cell::new(tick), end: End::default() }
    }

    /// What it waits for.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether it has waited too long.
    pub fn is_overdue(&self, tick: u32, deadlines: &Deadlines) -> bool {
        // A phase began at some time within its tick.
        u64::from(self.ticks(tick)) > deadlines.of(self.phase.get()).as_secs()
    }

    /// Whether it is idle, and no request is to be expected from a new client.
    pub fn is_quiet(&self, tick: u32) -> bool {
        match self.phase.get() {
            Phase::Idle => true,
            // A client that connects to send a request has sent it within a second.
            Phase::Fresh => self.ticks(tick) > 1,
            _ => false,
        }
    }

    /// How dispensable it is if others have to be turned away; `None` if it is busy or already ends.
    pub(super) fn silence(&self, tick: u32) -> Option<Silence> {
        let ticks = self.ticks(tick);
        let idle = match self.phase.get() {
            Phase::Idle | Phase::Fresh => true,
            // What is sent at once arrives within a second.
            Phase::Head | Phase::Body if ticks > 1 => false,
            _ => return None,
        };
        (!self.end.is_ended()).then_some(Silence { idle, ticks })
    }

    /// Enters `phase` anew: it has got on, and its deadline counts from now.
    pub fn get_on(&self, phase: Phase, tick: u32) {
        self.phase.set(phase);
        self.since.set(tick);
    }

    fn ticks(&self, tick: u32) -> u32 {
        tick.wrapping_sub(self.since.get())
    }

    /// Enters `phase`; staying in a phase does not renew its deadline.
    pub fn enter(&self, phase: Phase, tick: u32) {
        if self.phase.get() != phase {
            self.phase.set(phase);
            self.since.set(tick);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin, rc::Rc, task::Context};

    use super::*;

    #[test]
    fn a_deadline_counts_from_the_first_tick_of_a_phase() {
        let deadlines = Deadlines::default();
        let watched = ConnectionState::new(100);
        watched.enter(Phase::Head, 101);
        watched.enter(Phase::Head, 109);
        assert!(!watched.is_overdue(111, &deadlines), "10 s may have begun late in tick 101");
        assert!(watched.is_overdue(112, &deadlines), "bytes that drip in renew nothing");
        watched.enter(Phase::Answer, 112);
        watched.enter(Phase::Head, 112);
        assert!(!watched.is_overdue(120, &deadlines), "another request's head");
        watched.enter(Phase::Answer, 120);
        assert!(!watched.is_overdue(u32::MAX, &deadlines));
    }

    #[test]
    fn a_long_body_may_take_long_as_long_as_it_gets_on() {
        let deadlines = Deadlines::default();
        let watched = ConnectionState::new(0);
        for tick in (0..600).step_by(30) {
            watched.get_on(Phase::Write, tick);
            assert!(!watched.is_overdue(tick + 30, &deadlines));
        }
        assert!(watched.is_overdue(570 + 31, &deadlines), "the client stands still");
    }

    #[test]
    fn a_connection_is_quiet_between_requests_and_when_it_never_asked() {
        let watched = ConnectionState::new(7);
        assert!(!watched.is_quiet(8), "its request may be on the way");
        assert!(watched.is_quiet(9));
        for (phase, quiet) in [
            (Phase::Head, false),
            (Phase::Body, false),
            (Phase::Answer, false),
            (Phase::Write, false),
            (Phase::Idle, true),
        ] {
            watched.enter(phase, 9);
            assert_eq!(watched.is_quiet(100), quiet, "{phase:?}");
        }
    }

    #[test]
    fn what_is_ended_is_dropped_where_it_stands() {
        let (end, held) = (End::default(), Rc::new(()));
        let inside = Rc::clone(&held);
        let mut context = Context::from_waker(Waker::noop());
        let mut inner = Box::pin(async move {
            let _inside = inside;
            pending::<()>().await;
        });
        {
            let mut run = pin!(end.or(inner.as_mut()));
            assert!(run.as_mut().poll(&mut context).is_pending());
            assert_eq!(Rc::strong_count(&held), 2);
            end.end();
            assert_eq!(run.as_mut().poll(&mut context), Poll::Ready(None));
        }
        drop(inner);
        assert_eq!(Rc::strong_count(&held), 1);
        assert_eq!(pin!(end.or(pin!(async { 1 }))).poll(&mut context), Poll::Ready(None), "nor does it begin");
    }
}
