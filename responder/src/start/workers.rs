//! The serving threads: started together and stopped together; if one ends by itself, that is noticed. It does not know
//! what they serve.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc::SyncSender},
    thread::{self, JoinHandle},
};

use precompute::service::{Threads, watchdog::Moving};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tracing::{error, info};

use crate::{
    access::{self, Sampler},
    desk::{self, Desk},
    limits,
    metrics::Counters,
    net::{
        accept::Listener,
        balance::Balance,
        policy::ConnectionPolicy,
        run::{self, run},
        tls::ServerTls,
    },
    ocsp::{miss::Misses, transactions},
    site::Site,
    tsa::record::Recorder,
};

/// The serving threads.
pub(super) struct Workers {
    pub(super) counters: Vec<Counters>,
    stop: watch::Sender<bool>,
    /// Hears of those that end, and of others that the service cannot do without.
    pub(super) watched: Threads,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Returns when all of them accept connections.
    pub(super) fn start(
        listeners: Vec<Vec<Listener>>,
        connection_policy: &ConnectionPolicy,
        tls: Option<&Arc<ServerTls>>,
        site: &watch::Receiver<Arc<Site>>,
        misses: &Arc<Misses>,
        (access_sample, lines): (u32, &SyncSender<access::Line>),
        (recorders, transactions): (Vec<Recorder>, Vec<transactions::Recorder>),
    ) -> io::Result<Self> {
        let (mut recorders, mut transactions) = (recorders.into_iter(), transactions.into_iter());
        let (stop, _) = watch::channel(false);
        let (ready, accepting) = std::sync::mpsc::channel();
        let mut workers = Self { counters: Vec::new(), stop, watched: Threads::default(), threads: Vec::new() };
        let connections_max = connections_max(listeners.len());
        let (balance, handed) = Balance::new(listeners.len());
        let balance = Arc::new(balance);
        for (number, (listeners, handed)) in listeners.into_iter().zip(handed).enumerate() {
            let counters = Counters::default();
            let desk = desk::Setup {
                number,
                sites: site.clone(),
                misses: Arc::clone(misses),
                recorder: recorders.next(),
                transactions: transactions.next(),
                access: Sampler::new(access_sample, number as u32, lines.clone()),
                counters: Arc::clone(&counters.desk),
            };
            let start = run::Start {
                number,
                listeners,
                balance: Arc::clone(&balance),
                handed,
                policy: connection_policy.clone(),
                tls: tls.map(Arc::clone),
                counters: Arc::clone(&counters.transport),
                connections_max,
                stop: workers.stop.subscribe(),
            };
            workers.counters.push(counters);
            let ready = ready.clone();
            let (last, running) =
                (workers.watched.last_words(&format!("serving thread {number}")), workers.watched.running());
            let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _running = running;
                let mut last = last;
                let accepts = move || {
                    let _ = ready.send(());
                };
                let outcome = Desk::new(desk).and_then(|desk| run(start, desk, accepts));
                if let Err(error) = outcome {
                    last.reason = error.to_string();
                }
            })?;
            workers.threads.push(thread);
        }
        drop(ready);
        for _ in 0..workers.threads.len() {
            // An error means that the remaining threads have ended.
            if accepting.recv().is_err() {
                return Err(io::Error::other(workers.watched.wait_until_lost()));
            }
        }
        Ok(workers)
    }

    /// For the watchdog.
    pub(super) fn moving(&self) -> Vec<Moving> {
        let of = |(number, counters): (usize, &Counters)| {
            let transport = Arc::clone(&counters.transport);
            let count = Box::new(move || transport.seconds.load(Relaxed));
            Moving { name: format!("serving thread {number}"), count }
        };
        self.counters.iter().enumerate().map(of).collect()
    }

    pub(super) fn stop(&mut self) {
        self.watched.stop();
        self.stop.send_replace(true);
    }

    /// Returns when every thread has ended.
    pub(super) async fn ended(&mut self) {
        self.watched.ended().await;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a serving thread panicked");
            }
        }
    }
}

/// How many connections each of `workers` may have within the limit of open files. The limit is raised as far as this
/// process may.
fn connections_max(workers: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let files = files.unwrap_or(u64::MAX);
    let share = files.saturating_sub(limits::OTHER_DESCRIPTORS) / workers as u64;
    // At the bound, new connections are accepted before those that make room for them have gone.
    let share = share - (share / 4).min(limits::ACCEPTS_IN_A_ROW as u64);
    let connections = usize::try_from(share).unwrap_or(usize::MAX).clamp(1, limits::CONNECTIONS_MAX);
    if connections < limits::CONNECTIONS_MAX {
        info!(
            files,
            connections,
            workers,
            "the limit of open files bounds the connections of each worker; raise LimitNOFILE or `ulimit -n` for more"
        );
    }
    connections
}
