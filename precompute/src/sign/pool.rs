//! Threads that sign, one session each, behind one bounded queue with priorities.
//!
//! A job's `done` is called exactly once: with a signature, or with the reason for none. A live
//! miss waits for at most one signature a session, because threads take the most urgent job each
//! time they are free.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use super::{Algorithm, Session, SignError, Signing, SoftwareKey};

/// Who waits; the first is served first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// A client.
    Live = 0,
    /// An answer that will be needed before long.
    Refresh = 1,
    /// A client, with an answer that nobody else can use: behind the others, so that a flood of such requests (nonces)
    /// keeps no certificate from being answered.
    Once = 2,
    /// Pre-signing.
    Bulk = 3,
}

/// Receives a job's message back, and the outcome; called exactly once.
pub type Done = Box<dyn FnOnce(Vec<u8>, Result<Vec<u8>, SignError>) + Send>;

/// One signature wanted.
pub struct Job {
    /// What is signed.
    pub message: Vec<u8>,
    /// How urgent it is.
    pub priority: Priority,
    /// When nobody waits for it any more.
    pub deadline: Instant,
    /// Told how it ended.
    pub done: Done,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({:?}, {} octets)", self.priority, self.message.len())
    }
}

impl Job {
    fn finish(self, outcome: Result<Vec<u8>, SignError>) {
        (self.done)(self.message, outcome);
    }
}

/// The pool; dropping it lets the running signatures end and refuses the waiting ones.
pub struct Pool {
    algorithm: Algorithm,
    /// The key, where a caller may sign with it itself.
    cheap: Option<SoftwareKey>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    queue_length_max: usize,
}

#[derive(Default)]
struct Queue {
    waiting: [VecDeque<Job>; 4],
    closed: bool,
}

impl Pool {
    /// Threads for each of `sessions`; at most `queue_length_max` jobs wait in each priority. An error where
    /// the system gives no more threads.
    pub fn new(algorithm: Algorithm, sessions: Vec<Box<dyn Session>>, queue_length_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), work: Condvar::new(), queue_length_max });
        let threads = sessions
            .into_iter()
            .enumerate()
            .map(|(number, session)| {
                let shared = Arc::clone(&shared);
                let thread = std::thread::Builder::new().name(format!("sign-{number}"));
                thread.spawn(move || shared.work(session))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { algorithm, cheap: None, shared, threads })
    }

    /// A pool of `threads` threads over one software key.
    pub fn software(key: &SoftwareKey, threads: usize, queue_length_max: usize) -> io::Result<Self> {
        let sessions = (0..threads).map(|_| Box::new(key.clone()) as Box<dyn Session>).collect();
        let mut pool = Self::new(key.algorithm(), sessions, queue_length_max)?;
        pool.cheap = Some(key.clone()).filter(|key| key.algorithm().is_cheap());
        Ok(pool)
    }
}

impl Signing for Pool {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn signs_here(&self) -> bool {
        self.cheap.is_some()
    }

    fn sign_here(&self, message: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        Some(self.cheap.as_ref()?.sign(message).map_err(|_| SignError::Failed))
    }

    fn submit(&self, job: Job) {
        let mut queue = self.shared.lock();
        let waiting = &mut queue.waiting[job.priority as usize];
        if waiting.len() >= self.shared.queue_length_max || self.threads.is_empty() {
            drop(queue);
            return job.finish(Err(SignError::Busy));
        }
        waiting.push_back(job);
        drop(queue);
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut session: Box<dyn Session>) {
        while let Some(job) = self.next() {
            if job.deadline <= Instant::now() {
                job.finish(Err(SignError::Busy));
                continue;
            }
            let outcome = session.sign(&job.message).map_err(|_| SignError::Failed);
            job.finish(outcome);
        }
    }

    /// The most urgent job; waits for one. `None` once the pool is being dropped.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.waiting.iter_mut().find_map(VecDeque::pop_front) {
                return Some(job);
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        let left: Vec<_> = queue.waiting.iter_mut().flat_map(|queue| queue.drain(..)).collect();
        drop(queue);
        left.into_iter().for_each(|job| job.finish(Err(SignError::Busy)));
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // The last owner of a pool can be one of its own threads, through a job's `done`.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}, {} threads)", self.algorithm, self.threads.len())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use crate::sign::{Fault, FaultClass};

    /// Signs only when told to; answers with what it was given.
    struct Gated(mpsc::Receiver<()>);

    impl Session for Gated {
        fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
            self.0.recv().map_err(|_| Fault::new(FaultClass::Defect, "the gate is gone"))?;
            Ok(message.to_vec())
        }
    }

    type Told = (Vec<u8>, Result<Vec<u8>, SignError>);

    struct Bench {
        pool: Option<Pool>,
        gate: mpsc::Sender<()>,
        results: mpsc::Receiver<Told>,
        send: mpsc::Sender<Told>,
    }

    impl Bench {
        fn new(queue_length_max: usize) -> Self {
            let (gate, gated) = mpsc::channel();
            let (send, results) = mpsc::channel();
            let pool = Pool::new(Algorithm::Ed25519, vec![Box::new(Gated(gated))], queue_length_max).unwrap();
            Self { pool: Some(pool), gate, results, send }
        }

        fn submit(&self, name: &str, priority: Priority, deadline: Duration) {
            let send = self.send.clone();
            let done = Box::new(move |message, outcome| {
                let _ = send.send((message, outcome));
            });
            let job = Job { message: name.into(), priority, deadline: Instant::now() + deadline, done };
            self.pool.as_ref().unwrap().submit(job);
        }

        fn next(&self) -> (String, Result<Vec<u8>, SignError>) {
            let (message, outcome) = self.results.recv_timeout(Duration::from_secs(5)).expect("an outcome");
            (String::from_utf8(message).unwrap(), outcome)
        }

        /// Waits until the one thread has taken the first job and sits in its session.
        fn until_taken(&self) {
            while self.pool.as_ref().unwrap().shared.lock().waiting.iter().any(|queue| !queue.is_empty()) {
                std::thread::yield_now();
            }
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_live_job_overtakes_all_others_and_bulk_none() {
        let bench = Bench::new(10);
        bench.submit("running", Priority::Bulk, LONG);
        bench.until_taken();
        bench.submit("bulk", Priority::Bulk, LONG);
        bench.submit("once", Priority::Once, LONG);
        bench.submit("refresh", Priority::Refresh, LONG);
        bench.submit("live", Priority::Live, LONG);
        for expected in ["running", "live", "refresh", "once", "bulk"] {
            bench.gate.send(()).unwrap();
            let (name, outcome) = bench.next();
            assert_eq!((name.as_str(), outcome), (expected, Ok(expected.into())));
        }
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_an_expired_job_is_not_signed() {
        let bench = Bench::new(1);
        bench.submit("running", Priority::Live, LONG);
        bench.until_taken();
        bench.submit("expires", Priority::Live, Duration::ZERO);
        bench.submit("too many", Priority::Live, LONG);
        assert_eq!(bench.next(), ("too many".into(), Err(SignError::Busy)));
        bench.gate.send(()).unwrap();
        assert_eq!(bench.next().1, Ok(b"running".to_vec()));
        assert_eq!(bench.next(), ("expires".into(), Err(SignError::Busy)));
    }

    #[test]
    fn jobs_left_when_the_pool_ends_are_told_so() {
        let mut bench = Bench::new(10);
        bench.submit("running", Priority::Live, LONG);
        bench.until_taken();
        bench.submit("waiting", Priority::Bulk, LONG);
        // Both may sign: whether the second is taken before the pool ends is open, that it is told is not.
        bench.gate.send(()).unwrap();
        bench.gate.send(()).unwrap();
        drop(bench.pool.take());
        let mut names = [bench.next().0, bench.next().0];
        names.sort();
        assert_eq!(names, ["running", "waiting"]);
    }
}
