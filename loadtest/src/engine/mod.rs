//! The load: threads, connections and the clock.
//!
//! In the order of a request: [`pace`] says when it is due, [`worker`] puts it on a [`connection`] and takes its
//! answer, [`stats`] adds it up. [`run`] starts the workers and gathers their seconds.
//!
//! Invariant: a thread shares nothing with another while the load runs; it talks to the rest of the program once a
//! second. The engine does not know what OCSP or TSP is: a [`Workload`] writes the requests and judges the answers.

mod connection;
pub(crate) mod pace;
pub(crate) mod stats;
mod worker;

use crate::outcome::Kind;
use crate::problem::Problem;
use crate::time::UnixNanos;
use stats::{Gatherer, Said, Second, Totals};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the requests are and which answers are right; one for each thread.
pub(crate) trait Workload: Send {
    /// Names a request until its answer has come.
    type Ticket: Copy + Send;

    /// Chooses the next request for a target, asked now.
    fn next(&mut self, target: usize, now: UnixNanos) -> Self::Ticket;

    /// Appends the HTTP request to `out`; the same ticket always gives the same bytes.
    fn write(&mut self, ticket: &Self::Ticket, target: usize, out: &mut Vec<u8>);

    /// Judges a complete response.
    fn judge(
        &mut self,
        ticket: &Self::Ticket,
        target: usize,
        status: u16,
        body: &[u8],
        now: UnixNanos,
    ) -> Result<Said, Kind>;
}

/// How the load is applied.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) duration: Duration,
    pub(crate) requests: Option<u64>,
    pub(crate) pipeline: usize,
    /// Requests a second over all threads; `None`: closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) one_request_per_connection: bool,
    pub(crate) timeout: Duration,
}

/// Applies the load. `workloads` has one for each thread, and they come back with what they have seen. `observe` is
/// called about once a second with each finished second.
pub(crate) fn run<W: Workload>(
    load: &Load,
    targets: &[SocketAddr],
    workloads: Vec<W>,
    observe: &mut dyn FnMut(&Second),
) -> Result<(Totals, Vec<W>), Problem> {
    let threads = workloads.len();
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    let mut gatherer = Gatherer::new(threads, UnixNanos::now());
    let ended = std::thread::scope(|scope| {
        let handles: Vec<_> = workloads
            .into_iter()
            .enumerate()
            .map(|(number, workload)| {
                let sender = sender.clone();
                scope.spawn(move || worker::Worker::new(load, targets, number, threads, workload, sender, start)?.run())
            })
            .collect();
        drop(sender);
        // Ends when the last worker has dropped its sender.
        while let Ok(interval) = receiver.recv() {
            gatherer.add(interval, observe);
        }
        handles
            .into_iter()
            .map(|h| h.join().unwrap_or_else(|_| Err(Problem::new("a load thread panicked; please report this"))))
            .collect::<Result<Vec<_>, Problem>>()
    })?;
    gatherer.finish(observe);
    let mut totals = gatherer.totals;
    totals.elapsed_ns = ended.iter().map(|e| e.last_ns).max().unwrap_or(0).max(1);
    totals.thread_cpu_ns = ended.iter().map(|e| e.cpu_ns).collect();
    Ok((totals, ended.into_iter().map(|e| e.workload).collect()))
}
