//! Signatures on a serving thread, a few in each turn of its loop, so that they do not delay other requests much.
//!
//! A signature takes as long as several answers from memory. If all requested signatures were made in a row, a request
//! for a kept answer would wait for dozens. So they wait for their turn, first come first served, and between two turns
//! the thread polls the ring and answers whatever has come.
//!
//! Invariant: in a turn they take [`limits::TURN_SIGNING_MIN`], or [`limits::TURN_SIGNING_EACH`] for every other
//! request since the last turn, whichever is more; so a flood of either kind leaves half of the time to the other. The
//! thread's work for the signed answers themselves, reading and writing them, must not count: turns would grow by what
//! they cause. If there were no other requests for some turns, they take [`limits::TURN_SIGNING_ALONE`]: fewer polls,
//! and fewer wake-ups of the clients. It does not know what is signed.
//!
//! On epoll a turn ends without looking for new requests: there it only keeps the order.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use monoio::net::UnixStream;

use crate::limits;

/// What is left of a turn: the decision, without a clock.
#[derive(Clone, Copy, Default, Debug)]
struct Share {
    left: Duration,
    /// Turns in a row without other requests.
    alone: u32,
}

impl Share {
    /// The next turn, after this many other requests since the last one began.
    fn next(self, others: u32) -> Self {
        let alone = if others > 0 { 0 } else { self.alone.saturating_add(1) };
        let least = if alone < limits::TURNS_ALONE { limits::TURN_SIGNING_MIN } else { limits::TURN_SIGNING_ALONE };
        let left = limits::TURN_SIGNING_EACH.saturating_mul(others).clamp(least, limits::TURN_SIGNING_MAX);
        Self { left, alone }
    }

    fn spend(&mut self, took: Duration) {
        self.left = self.left.saturating_sub(took);
    }
}

/// The turns of one thread.
#[derive(Debug, Default)]
pub struct Turns {
    share: Cell<Share>,
    waiting: RefCell<VecDeque<Rc<Waiting>>>,
    /// Other requests since the last turn.
    others: Cell<u32>,
    /// Whether the next turn was requested.
    asked: Cell<bool>,
    /// The waker of the task that begins turns.
    begins: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct Waiting {
    waker: RefCell<Option<Waker>>,
    is_on: Cell<bool>,
}

/// Permission to sign. The time until it is dropped counts.
#[derive(Debug)]
pub struct Turn<'t> {
    turns: &'t Turns,
    since: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut share = self.turns.share.get();
        share.spend(self.since.elapsed());
        self.turns.share.set(share);
        self.turns.go_on();
    }
}

/// A waiter in the queue. If it is dropped after it was called, the next one is called.
struct Queued<'t> {
    turns: &'t Turns,
    waiting: Rc<Waiting>,
    taken: bool,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        if self.waiting.is_on.get() {
            self.turns.go_on();
        } else {
            self.turns.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.waiting));
        }
    }
}

impl Turns {
    /// Notes a request that is not signed here.
    #[inline]
    pub fn note_others(&self) {
        self.others.set(self.others.get().saturating_add(1));
    }

    /// Waits until the caller may sign. Anything awaited while it is held counts as signing.
    pub async fn turn(&self) -> Turn<'_> {
        if self.waiting.borrow().is_empty() && !self.share.get().left.is_zero() {
            return Turn { turns: self, since: Instant::now() };
        }
        let waiting = Rc::new(Waiting { waker: RefCell::default(), is_on: Cell::new(false) });
        self.waiting.borrow_mut().push_back(Rc::clone(&waiting));
        let mut queued = Queued { turns: self, waiting, taken: false };
        self.ask();
        poll_fn(|context| {
            if queued.waiting.is_on.get() {
                return Poll::Ready(());
            }
            queued.waiting.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        queued.taken = true;
        Turn { turns: self, since: Instant::now() }
    }

    /// Calls the next waiter while there is time left in this turn; otherwise requests another turn.
    fn go_on(&self) {
        if self.share.get().left.is_zero() {
            return self.ask();
        }
        if let Some(next) = self.waiting.borrow_mut().pop_front() {
            next.is_on.set(true);
            if let Some(waker) = next.waker.take() {
                waker.wake();
            }
        }
    }

    fn ask(&self) {
        if !self.asked.replace(true)
            && let Some(begins) = self.begins.take()
        {
            begins.wake();
        }
    }

    /// Begins turns as long as the thread lives.
    pub async fn run(&self) -> io::Result<()> {
        // Always writable, so that waiting for that polls the ring once.
        let (stream, _other_end) = UnixStream::pair()?;
        loop {
            poll_fn(|context| {
                if self.asked.get() {
                    return Poll::Ready(());
                }
                self.begins.replace(Some(context.waker().clone()));
                Poll::Pending
            })
            .await;
            stream.writable(false).await?;
            self.share.set(self.share.get().next(self.others.take()));
            self.asked.set(false);
            self.go_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// How many signatures of 20 µs a turn makes.
    fn made(mut share: Share) -> usize {
        std::iter::from_fn(|| (!share.left.is_zero()).then(|| share.spend(20 * MICROSECOND))).count()
    }

    #[test]
    fn signing_gets_as_much_of_a_thread_as_everything_else_and_a_little_always() {
        let mut share = Share::default();
        for (others, signatures) in [(0, 2), (1, 2), (5, 2), (50, 15), (100, 30), (10_000, 50), (0, 2)] {
            share = share.next(others);
            assert_eq!(made(share), signatures, "after {others} other requests");
        }
    }

    #[test]
    fn alone_it_signs_more_at_a_time_until_somebody_else_asks() {
        let mut share = Share::default();
        for turn in 1..=limits::TURNS_ALONE {
            share = share.next(0);
            let long = share.left == limits::TURN_SIGNING_ALONE;
            assert_eq!(long, turn == limits::TURNS_ALONE, "turn {turn}");
        }
        assert_eq!(share.next(0).left, limits::TURN_SIGNING_ALONE);
        let share = share.next(1);
        assert_eq!((share.left, share.next(0).left), (limits::TURN_SIGNING_MIN, limits::TURN_SIGNING_MIN));
    }

    #[test]
    fn who_waits_gets_a_turn_in_order_and_who_goes_away_keeps_nobody_waiting() {
        let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&order);
        runtime.block_on(async move {
            let turns = Rc::new(Turns::default());
            let running = Rc::clone(&turns);
            monoio::spawn(async move { running.run().await });
            let mut tasks = Vec::new();
            for number in 0..200 {
                let (turns, order) = (Rc::clone(&turns), Rc::clone(&order));
                tasks.push(monoio::spawn(async move {
                    if number % 3 == 1 {
                        // Gives up at once, in the queue or just called.
                        let gone = monoio::time::timeout(Duration::ZERO, turns.turn()).await;
                        drop(gone);
                        return;
                    }
                    let turn = turns.turn().await;
                    let begin = Instant::now();
                    while begin.elapsed() < 30 * MICROSECOND {}
                    order.borrow_mut().push(number);
                    drop(turn);
                }));
            }
            for task in tasks {
                task.await;
            }
        });
        let noted = noted.borrow();
        assert_eq!(noted.len(), 133);
        assert!(noted.is_sorted(), "{noted:?}");
    }
}
