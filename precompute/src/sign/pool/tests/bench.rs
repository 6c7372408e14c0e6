//! Holders of a real key that do what a test tells them to, and a pool over them.

use std::{
    collections::VecDeque,
    sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};

use super::super::*;
use crate::sign::Session;

pub(super) const LONG: Duration = Duration::from_secs(60);

/// What a holder does with the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Sign,
    Fail(FaultClass),
    /// Signs something else.
    Lie,
    Panic,
    /// Signs when the test says so.
    Gate,
    /// Signs after so many milliseconds, while all others wait inside.
    Alone(u64),
}

/// A holder of a real key.
pub(super) struct Token {
    pub(super) name: String,
    pub(super) key: Ed25519KeyPair,
    /// What comes next, and what afterwards.
    pub(super) orders: Mutex<(VecDeque<Order>, Order)>,
    pub(super) opening: Mutex<Option<FaultClass>>,
    pub(super) at_first: Option<Fault>,
    pub(super) opening_takes: Mutex<Duration>,
    pub(super) gate: Mutex<mpsc::Receiver<()>>,
    pub(super) turn: Mutex<()>,
    pub(super) opened: AtomicUsize,
    pub(super) at_work: AtomicUsize,
    pub(super) most_at_work: AtomicUsize,
    pub(super) signed: AtomicUsize,
    /// Messages that did not come from the pool itself.
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) sessions_max: usize,
    /// Sessions that were opened under an earlier one are stale.
    pub(super) generation: AtomicUsize,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[derive(Debug)]
struct Handle(Arc<Token>, usize);

impl Holder for Handle {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn sessions_max(&self) -> usize {
        self.0.sessions_max
    }

    fn fault_at_first(&self) -> Option<&Fault> {
        self.0.at_first.as_ref()
    }

    fn open(&self) -> Result<Box<dyn Session>, Fault> {
        self.0.opened.fetch_add(1, SeqCst);
        let takes = *self.0.opening_takes.lock().unwrap();
        std::thread::sleep(takes);
        match *self.0.opening.lock().unwrap() {
            Some(class) => Err(Fault::new(class, "cannot be opened")),
            None => Ok(Box::new(Handle(Arc::clone(&self.0), self.0.generation.load(SeqCst)))),
        }
    }
}

impl Session for Handle {
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let token = &self.0;
        if message != b"Ostia signer self-test" {
            token.asked.lock().unwrap().push(String::from_utf8_lossy(message).into_owned());
        }
        if self.1 != token.generation.load(SeqCst) {
            return Err(Fault::new(FaultClass::Session, "the session is stale"));
        }
        let order = {
            let mut orders = token.orders.lock().unwrap();
            let (next, then) = &mut *orders;
            next.pop_front().unwrap_or(*then)
        };
        let at_work = token.at_work.fetch_add(1, SeqCst) + 1;
        token.most_at_work.fetch_max(at_work, SeqCst);
        let _left = Left(&token.at_work);
        match order {
            Order::Sign => {}
            Order::Fail(class) => return Err(Fault::new(class, format!("{class:?} by order"))),
            Order::Lie => return Ok(token.key.sign(b"something else").as_ref().to_vec()),
            Order::Panic => panic!("by order"),
            Order::Gate => drop(token.gate.lock().unwrap().recv()),
            Order::Alone(milliseconds) => {
                let _alone = token.turn.lock().unwrap();
                std::thread::sleep(Duration::from_millis(milliseconds));
            }
        }
        token.signed.fetch_add(1, SeqCst);
        Ok(token.key.sign(message).as_ref().to_vec())
    }
}

struct Left<'a>(&'a AtomicUsize);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

type Told = (Vec<u8>, Result<Vec<u8>, SignError>);

pub(super) struct Bench {
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) tokens: Vec<Arc<Token>>,
    pub(super) gates: Vec<mpsc::Sender<()>>,
    pub(super) results: mpsc::Receiver<Told>,
    pub(super) send: mpsc::Sender<Told>,
    pub(super) public: Vec<u8>,
}

impl Bench {
    /// `holders` tokens with the same key, `threads` sessions each.
    pub(super) fn new(holders: usize, threads: usize, queue_length_max: usize) -> Self {
        Self::with(holders, |settings| (settings.threads, settings.queue_length_max) = (threads, queue_length_max))
    }

    pub(super) fn with(holders: usize, set: impl FnOnce(&mut PoolSettings)) -> Self {
        Self::after(&vec![None; holders], set)
    }

    /// Tokens of which these were found faulty before.
    pub(super) fn after(at_first: &[Option<FaultClass>], set: impl FnOnce(&mut PoolSettings)) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = || Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = key().public_key().as_ref().to_vec();
        let spki = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0], &public[..]].concat();
        let (gates, tokens): (Vec<_>, Vec<_>) = at_first
            .iter()
            .enumerate()
            .map(|(number, at_first)| {
                let (gate, gated) = mpsc::channel();
                let token = Token {
                    name: format!("token {number}"),
                    key: key(),
                    orders: Mutex::new((VecDeque::new(), Order::Sign)),
                    opening: Mutex::new(*at_first),
                    at_first: at_first.map(|class| Fault::new(class, "cannot be opened")),
                    opening_takes: Mutex::default(),
                    gate: Mutex::new(gated),
                    turn: Mutex::default(),
                    opened: AtomicUsize::new(0),
                    at_work: AtomicUsize::new(0),
                    most_at_work: AtomicUsize::new(0),
                    signed: AtomicUsize::new(0),
                    asked: Mutex::default(),
                    sessions_max: 16,
                    generation: AtomicUsize::new(0),
                };
                (gate, Arc::new(token))
            })
            .unzip();
        let mut settings = PoolSettings {
            name: "test".into(),
            purpose: KeyPurpose::OcspSigning { others: false },
            key: String::new(),
            threads: 1,
            queue_length_max: 1000,
            primary_first: false,
            verify: Verify::All,
        };
        set(&mut settings);
        let threads = settings.threads;
        let handles = tokens.iter().map(|token| Arc::new(Handle(Arc::clone(token), 0)) as Arc<dyn Holder>).collect();
        let pool = Pool::new(Algorithm::Ed25519, &spki, handles, settings).unwrap();
        let (send, results) = mpsc::channel();
        let bench = Self { pool: Some(Arc::new(pool)), tokens, gates, results, send, public };
        if at_first.iter().all(Option::is_none) {
            bench.until("all have sessions", |status| status.members.iter().all(|member| member.sessions == threads));
        }
        bench
    }

    pub(super) fn pool(&self) -> &Pool {
        self.pool.as_ref().unwrap()
    }

    pub(super) fn submit(&self, name: &str, priority: Priority, deadline: Duration) {
        let send = self.send.clone();
        let done = Box::new(move |message, outcome| {
            let _ = send.send((message, outcome));
        });
        self.pool().submit(Job { message: name.into(), priority, deadline: Instant::now() + deadline, done });
    }

    /// The next outcome; a signature is verified.
    pub(super) fn next(&self) -> (String, Result<(), SignError>) {
        let (message, outcome) = self.results.recv_timeout(Duration::from_secs(20)).expect("an outcome");
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, &self.public);
        let outcome = outcome.map(|signature| key.verify(&message, &signature).expect("it verifies"));
        (String::from_utf8(message).unwrap(), outcome)
    }

    pub(super) fn sign(&self, name: &str) -> Result<(), SignError> {
        self.submit(name, Priority::Live, LONG);
        let (told, outcome) = self.next();
        assert_eq!(told, name);
        outcome
    }

    pub(super) fn order(&self, token: usize, next: &[Order], then: Order) {
        *self.tokens[token].orders.lock().unwrap() = (next.iter().copied().collect(), then);
    }

    /// Has every session of one holder asked for at once from now on.
    pub(super) fn warm(&self) {
        let sessions = self.pool().status().members[0].sessions;
        (0..sessions).for_each(|number| assert_eq!(self.sign(&format!("warm {number}")), Ok(())));
    }

    /// Waits until all that was submitted is in sessions.
    pub(super) fn until_taken(&self) {
        self.until("all is taken", |status| status.waiting.iter().sum::<usize>() == 0);
    }

    pub(super) fn until(&self, what: &str, so: impl Fn(&PoolStatus) -> bool) {
        let begin = Instant::now();
        while !so(&self.pool().status()) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{what} is awaited; {:?}", self.pool().status());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn health(&self, token: usize) -> Health {
        self.pool().status().members[token].health
    }

    pub(super) fn asked(&self, token: usize) -> Vec<String> {
        self.tokens[token].asked.lock().unwrap().clone()
    }
}
