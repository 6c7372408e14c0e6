//! The checking of signatures, away from the load.
//!
//! Invariant: a load thread never does public-key arithmetic; it hands bodies to a proving thread of its own through a
//! bounded queue. Under `all` a full queue makes the load wait; under `sample` it makes the sample be skipped, and that
//! is counted. Every repetition of a body that turns out bad is counted with it. It does not know what is proven: a
//! [`Prover`] does.

use crate::limits::{BAD_PROOFS_KEPT, EXAMPLES_KEPT, PROOFS_WAITING_MAX};
use crate::outcome::{Kind, Kinds};
use crate::time::UnixSeconds;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// `--verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    All,
    /// One answer in so many.
    Sample(u64),
    None,
}

/// Proves the body of a response: signature, signer and chain.
pub(crate) type Prover = Box<dyn FnMut(&[u8], UnixSeconds) -> Result<(), Kind> + Send>;

/// A wrong answer, named for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) kind: Kind,
    pub(crate) target: usize,
    /// What it was an answer for: a serial number in hex, or another name.
    pub(crate) subject: String,
}

/// Keeps the first few examples.
pub(crate) fn keep_example<T>(examples: &mut Vec<T>, make: impl FnOnce() -> T) {
    if examples.len() < EXAMPLES_KEPT {
        examples.push(make());
    }
}

/// One body under proof; repetitions of it add themselves here instead of being proven again.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    repeats: AtomicU64,
}

struct Job {
    body: Vec<u8>,
    at: UnixSeconds,
    target: usize,
    subject: String,
    proof: Arc<Proof>,
}

/// Shared by all threads of a run, for the progress display.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) bad: AtomicU64,
}

/// A load thread's end.
pub(crate) struct Notary {
    mode: Verify,
    counter: u64,
    sender: Option<SyncSender<Job>>,
    pub(crate) repeats: u64,
    pub(crate) skipped: u64,
}

/// What the proofs of one thread came to.
#[derive(Debug, Default)]
pub(crate) struct Proven {
    /// Bodies checked, each once.
    pub(crate) checked: u64,
    /// Bad answers, repetitions included.
    pub(crate) kinds: Kinds,
    pub(crate) examples: Vec<Example>,
}

/// The proving thread's end.
pub(crate) struct Bench {
    receiver: Receiver<Job>,
    prover: Prover,
    live: Arc<Live>,
}

/// Both ends, for one load thread.
pub(crate) fn pair(mode: Verify, prover: Prover, live: Arc<Live>) -> (Notary, Bench) {
    let (sender, receiver) = sync_channel(PROOFS_WAITING_MAX);
    let sender = (mode != Verify::None).then_some(sender);
    (Notary { mode, counter: 0, sender, repeats: 0, skipped: 0 }, Bench { receiver, prover, live })
}

impl Notary {
    /// Whether this answer is one of those to be proven.
    #[inline]
    pub(crate) fn wants(&mut self) -> bool {
        match self.mode {
            Verify::All => true,
            Verify::None => false,
            Verify::Sample(every) => {
                self.counter += 1;
                if self.counter < every {
                    return false;
                }
                self.counter = 0;
                true
            }
        }
    }

    /// A body that is under proof, or has been, has come again.
    #[inline]
    pub(crate) fn repeat(&mut self, proof: &Proof) {
        proof.repeats.fetch_add(1, Ordering::Relaxed);
        self.repeats += 1;
    }

    /// Hands a body over; `None` if it was skipped.
    pub(crate) fn submit(
        &mut self,
        body: &[u8],
        at: UnixSeconds,
        target: usize,
        subject: String,
    ) -> Option<Arc<Proof>> {
        let sender = self.sender.as_ref()?;
        let proof = Arc::new(Proof::default());
        let job = Job { body: body.to_vec(), at, target, subject, proof: Arc::clone(&proof) };
        let accepted = match self.mode {
            Verify::All => sender.send(job).is_ok(),
            _ => !matches!(sender.try_send(job), Err(TrySendError::Full(_) | TrySendError::Disconnected(_))),
        };
        if !accepted {
            self.skipped += 1;
            return None;
        }
        Some(proof)
    }
}

impl Bench {
    /// Proves until the load thread's end is dropped, and counts repetitions then.
    pub(crate) fn run(mut self) -> Proven {
        let mut proven = Proven::default();
        let mut bad: Vec<(Kind, Arc<Proof>)> = Vec::new();
        while let Ok(job) = self.receiver.recv() {
            proven.checked += 1;
            let Err(kind) = (self.prover)(&job.body, job.at) else { continue };
            self.live.bad.fetch_add(1, Ordering::Relaxed);
            proven.kinds.add(kind, 1);
            keep_example(&mut proven.examples, || Example { kind, target: job.target, subject: job.subject });
            if bad.len() < BAD_PROOFS_KEPT {
                bad.push((kind, job.proof));
            }
        }
        for (kind, proof) in bad {
            proven.kinds.add(kind, proof.repeats.load(Ordering::Relaxed));
        }
        proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picky() -> Prover {
        Box::new(|body, _| if body == b"bad" { Err(Kind::BadSignature) } else { Ok(()) })
    }

    #[test]
    fn counts_a_bad_body_as_often_as_it_came() {
        let live = Arc::new(Live::default());
        let (mut notary, bench) = pair(Verify::All, picky(), Arc::clone(&live));
        let proof = notary.submit(b"bad", 0, 0, "01".to_owned()).unwrap();
        notary.submit(b"fine", 0, 0, "02".to_owned()).unwrap();
        for _ in 0..4 {
            notary.repeat(&proof);
        }
        drop(notary);
        let proven = bench.run();
        assert_eq!((proven.checked, proven.kinds.get(Kind::BadSignature)), (2, 5));
        assert_eq!(proven.examples, [Example { kind: Kind::BadSignature, target: 0, subject: "01".to_owned() }]);
        assert_eq!(live.bad.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn takes_one_answer_in_n() {
        let (mut notary, _bench) = pair(Verify::Sample(10), picky(), Arc::default());
        assert_eq!((0..1000).filter(|_| notary.wants()).count(), 100);
        let (mut notary, _bench) = pair(Verify::None, picky(), Arc::default());
        assert!(!(0..1000).any(|_| notary.wants()));
        assert!(notary.submit(b"x", 0, 0, String::new()).is_none());
    }

    #[test]
    fn skips_and_counts_samples_when_the_queue_is_full() {
        let (mut notary, bench) = pair(Verify::Sample(1), picky(), Arc::default());
        let over = 7;
        for _ in 0..PROOFS_WAITING_MAX + over {
            notary.submit(b"x", 0, 0, String::new());
        }
        assert_eq!(notary.skipped, over as u64);
        drop(notary);
        assert_eq!(bench.run().checked, PROOFS_WAITING_MAX as u64);
    }
}
