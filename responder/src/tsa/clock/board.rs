//! The board with the verdict, read by all serving threads at once.
//!
//! Invariant: a reader gets a verdict as it was written, never parts of two, and waits for nothing, not even for a
//! writer that was interrupted. It does not know what verdicts say.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use super::{Lease, NotTrusted};

/// Verdicts that are not overwritten while the latest is read. There is at most one reading every 25 ms, so a reader
/// has to read again only if it sleeps through seven of them between two loads.
const SLOTS: u64 = 8;

/// The latest verdict.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Board {
    /// How often it was written.
    written: AtomicU64,
    slots: [Slot; SLOTS as usize],
}

/// The words of a lease; `until` is 0 in a refusal, whose reason is in the second.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot([AtomicU64; 6]);

impl Board {
    /// With a refusal.
    pub(super) fn new(reason: NotTrusted) -> Self {
        let board = Self { written: AtomicU64::new(0), slots: Default::default() };
        board.write(Err(reason));
        board
    }

    /// Only one thread at a time may call this.
    pub(super) fn write(&self, verdict: Result<Lease, NotTrusted>) {
        let next = self.written.load(Relaxed).wrapping_add(1);
        let words = match verdict {
            Ok(lease) => [
                lease.until.cast_unsigned(),
                lease.ahead.cast_unsigned(),
                lease.bound.cast_unsigned(),
                lease.slack.cast_unsigned(),
                lease.offset.cast_unsigned(),
                lease.uncertainty,
            ],
            Err(reason) => [0, reason as u64, 0, 0, 0, 0],
        };
        // A reader that sees one of these words also sees the count before it, and so that its slot is being
        // overwritten.
        fence(Release);
        for (place, word) in self.slots[(next % SLOTS) as usize].0.iter().zip(words) {
            place.store(word, Relaxed);
        }
        self.written.store(next, Release);
    }

    /// The latest verdict.
    #[inline]
    pub(super) fn read(&self) -> Result<Lease, NotTrusted> {
        loop {
            let latest = self.written.load(Acquire);
            let [until, ahead, bound, slack, offset, uncertainty] =
                self.slots[(latest % SLOTS) as usize].0.each_ref().map(|word| word.load(Relaxed));
            fence(Acquire);
            // The slot is overwritten only after all the others have been.
            if self.written.load(Relaxed).wrapping_sub(latest) < SLOTS - 1 {
                if until == 0 {
                    return Err(NotTrusted::ALL[ahead as usize % NotTrusted::ALL.len()]);
                }
                return Ok(Lease {
                    until: until.cast_signed(),
                    ahead: ahead.cast_signed(),
                    bound: bound.cast_signed(),
                    slack: slack.cast_signed(),
                    offset: offset.cast_signed(),
                    uncertainty,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::SeqCst},
        thread,
    };

    use super::*;

    fn lease(number: i64) -> Lease {
        Lease {
            until: number + 1,
            ahead: -number,
            bound: number ^ 0x5555,
            slack: number * 3,
            offset: -number * 5,
            uncertainty: number.cast_unsigned() * 7,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let board = Board::new(NotTrusted::Unread);
        assert_eq!(board.read(), Err(NotTrusted::Unread));
        for reason in NotTrusted::ALL {
            board.write(Err(reason));
            assert_eq!(board.read(), Err(reason));
            board.write(Ok(lease(reason as i64)));
            assert_eq!(board.read(), Ok(lease(reason as i64)));
        }
    }

    #[test]
    fn no_reader_sees_parts_of_two_verdicts_or_one_older_than_before() {
        let (board, done) = (&Board::new(NotTrusted::Unread), &AtomicBool::new(false));
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(move || {
                        let (mut last, mut leases) = (0, 0_u64);
                        while !done.load(SeqCst) {
                            match board.read() {
                                Ok(read) => {
                                    assert_eq!(read, lease(read.until - 1));
                                    assert!(read.until >= last, "{} after {last}", read.until);
                                    (last, leases) = (read.until, leases + 1);
                                }
                                Err(reason) => assert!([NotTrusted::Unread, NotTrusted::Leap].contains(&reason)),
                            }
                        }
                        leases
                    })
                })
                .collect();
            for number in 1..300_000 {
                board.write(if number % 3 == 0 { Err(NotTrusted::Leap) } else { Ok(lease(number)) });
                if number % 1000 == 0 {
                    thread::yield_now();
                }
            }
            done.store(true, SeqCst);
            let leases: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert!(leases > 0);
        });
    }
}
