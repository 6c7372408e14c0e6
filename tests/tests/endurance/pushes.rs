//! Revocations one after the other, at whichever writer takes them.
//!
//! Invariant: a push is sent until it is acknowledged, and no later one is sent before. It does not know who leads.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Api, Cluster};

/// How long an answer is waited for: longer than a writer waits for Redis.
const PATIENCE: Duration = Duration::from_secs(4);

/// See the module. Copies are of one client.
#[derive(Clone)]
pub(crate) struct Pushes {
    writers: Vec<Api>,
    /// What is revoked, in this order.
    pub(crate) serials: Arc<Vec<String>>,
    pause: Duration,
    told: Arc<Mutex<Acknowledged>>,
}

/// What became of them.
#[derive(Clone, Default, Debug)]
pub(crate) struct Acknowledged {
    /// When each was acknowledged.
    pub(crate) at: Vec<Instant>,
    /// Attempts that were refused, or not answered.
    pub(crate) again: u64,
    /// What no writer should have said.
    pub(crate) wrong: Vec<String>,
}

impl Pushes {
    /// How many come in a second, if each is taken at once.
    pub(crate) const A_SECOND: u32 = 5;

    /// Of the certificates that a cluster was begun with.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let serials = Arc::new(cluster.listed.clone());
        let pause = Duration::from_secs(1) / Self::A_SECOND;
        Self { writers: cluster.apis(), serials, pause, told: Arc::default() }
    }

    /// One after the other without a pause.
    pub(crate) fn without_pause(self) -> Self {
        Self { pause: Duration::from_millis(2), ..self }
    }

    /// How many are acknowledged: the first so many of `serials`.
    pub(crate) fn acknowledged(&self) -> usize {
        self.told.lock().unwrap().at.len()
    }

    /// The longest time without an acknowledgement from `begin` until the first that came after `end`.
    pub(crate) fn longest_gap(&self, begin: Instant, end: Instant) -> Duration {
        self.told.lock().unwrap().longest_gap(begin, end)
    }

    /// Until `stop`.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Acknowledged {
        let mut writer = 0;
        for serial in self.serials.iter() {
            if !self.push(serial, &mut writer, stop) {
                break;
            }
            thread::sleep(self.pause);
        }
        assert!(stop.load(Relaxed), "every certificate is revoked: more have to be listed");
        self.told.lock().unwrap().clone()
    }

    /// Whether it was acknowledged before `stop`. `writer` is who took the one before.
    fn push(&self, serial: &str, writer: &mut usize, stop: &AtomicBool) -> bool {
        let body = format!("{{\"serial\":\"{serial}\",\"reason\":\"superseded\"}}");
        while !stop.load(Relaxed) {
            let pushed = self.writers[*writer].push("revoke", &body, PATIENCE);
            let mut told = self.told.lock().unwrap();
            match pushed.status {
                200 => {
                    told.at.push(Instant::now());
                    return true;
                }
                // Nobody there, or he does not lead, or not durably: the next one.
                0 | 503 => told.again += 1,
                status => told.wrong.push(format!("{status}: {}", pushed.text)),
            }
            drop(told);
            *writer = (*writer + 1) % self.writers.len();
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Acknowledged {
    fn longest_gap(&self, begin: Instant, end: Instant) -> Duration {
        let before = self.at.iter().rev().find(|at| **at <= begin).copied().unwrap_or(begin);
        let within = self.at.iter().filter(|at| **at > begin && **at <= end).copied();
        let after = self.at.iter().find(|at| **at > end).copied();
        let all: Vec<Instant> = std::iter::once(before).chain(within).chain(after).collect();
        all.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
    }
}
