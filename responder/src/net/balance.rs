//! Even shares: new connections go to the worker that has the fewest.
//!
//! The kernel spreads connections over listeners by a hash of their addresses, so if there are few connections, one
//! worker may get most of them. A worker that accepts a connection and has clearly more than another hands it over
//! before anything was read. Counts are only approximate when they are read, which is enough. It does not know sockets'
//! contents.

use std::{
    net::{SocketAddr, TcpStream},
    sync::atomic::{
        AtomicU32, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::limits;

/// A connection from which nothing was read.
#[derive(Debug)]
pub struct Accepted {
    /// Blocking, even if its listener is not.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// Whether it uses TLS.
    pub tls: bool,
}

/// The shares of all workers.
#[derive(Debug)]
pub struct Balance {
    shares: Box<[Share]>,
    /// Workers that may still hand connections over.
    accepting: AtomicUsize,
}

/// One worker's share, on its own cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Share {
    open: AtomicU32,
    handed: mpsc::Sender<Accepted>,
}

impl Balance {
    /// For this many workers: each gets the receiver at its index.
    pub fn new(workers: usize) -> (Self, Vec<mpsc::Receiver<Accepted>>) {
        let (shares, receivers) = (0..workers)
            .map(|_| {
                let (handed, receiver) = mpsc::channel(limits::HANDED_MAX);
                (Share { open: AtomicU32::new(0), handed }, receiver)
            })
            .unzip::<_, _, Vec<_>, _>();
        (Self { shares: shares.into(), accepting: AtomicUsize::new(workers) }, receivers)
    }

    /// Counts a connection that worker `me` accepted: for itself, in which case it is returned, or for the worker that
    /// gets it.
    pub fn place(&self, me: usize, accepted: Accepted) -> Option<Accepted> {
        let place = choose(me, self.shares.iter().map(|share| share.open.load(Relaxed)));
        if place != me {
            let share = &self.shares[place];
            // Counted before it arrives, so that the next decision sees it.
            share.open.fetch_add(1, Relaxed);
            match share.handed.try_send(accepted) {
                Ok(()) => return None,
                Err(TrySendError::Full(accepted) | TrySendError::Closed(accepted)) => {
                    share.open.fetch_sub(1, Relaxed);
                    self.shares[me].open.fetch_add(1, Relaxed);
                    return Some(accepted);
                }
            }
        }
        self.shares[me].open.fetch_add(1, Relaxed);
        Some(accepted)
    }

    /// A connection of worker `me` has ended.
    pub fn left(&self, me: usize) {
        self.shares[me].open.fetch_sub(1, AcqRel);
    }

    /// Connections of worker `me`, including those on the way to it.
    pub fn open(&self, me: usize) -> u32 {
        self.shares[me].open.load(Acquire)
    }

    /// A worker that will not hand over any more.
    pub fn accepts_no_more(&self) {
        self.accepting.fetch_sub(1, AcqRel);
    }

    /// Whether no worker hands over any more.
    pub fn is_settled(&self) -> bool {
        self.accepting.load(Acquire) == 0
    }
}

/// The worker that should have a new connection accepted by worker `me`.
fn choose(me: usize, open: impl Iterator<Item = u32> + Clone) -> usize {
    let mine = open.clone().nth(me).unwrap_or(0);
    // Handing over costs a wake-up. A difference of one or two among few, or of an eighth among many, is not worth
    // that.
    let least = open.enumerate().min_by_key(|(_, open)| *open);
    least.filter(|(_, least)| mine > least + 1 + least / 8).map_or(me, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything arrives at the first worker.
    #[test]
    fn shares_are_even_however_the_kernel_spreads() {
        for (workers, connections) in [(1, 8), (2, 8), (2, 64), (2, 1000), (4, 8), (4, 64), (4, 1000), (16, 1000)] {
            let mut open = vec![0u32; workers];
            for _ in 0..connections {
                let place = choose(0, open.iter().copied());
                open[place] += 1;
            }
            let share = f64::from(connections) / workers as f64;
            let most = f64::from(*open.iter().max().unwrap());
            assert!(most <= share + 1.0 || most <= 1.25 * share, "{workers} workers, {connections}: {open:?}");
        }
    }

    #[test]
    fn small_differences_are_not_worth_a_wake_up() {
        assert_eq!(choose(0, [1, 0].into_iter()), 0);
        assert_eq!(choose(0, [2, 0].into_iter()), 1);
        assert_eq!(choose(0, [109, 96].into_iter()), 0);
        assert_eq!(choose(0, [110, 96].into_iter()), 1);
        assert_eq!(choose(1, [0, 5, 2].into_iter()), 0);
        assert_eq!(choose(0, [0, 5, 2].into_iter()), 0);
    }

    #[test]
    fn what_cannot_be_handed_over_is_kept() {
        let (balance, mut receivers) = Balance::new(2);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || Accepted { stream: TcpStream::connect(address).unwrap(), peer: address, tls: false };
        assert!((0..2).all(|_| balance.place(0, connect()).is_some()));
        assert!(balance.place(0, connect()).is_none(), "handed over");
        assert_eq!((balance.open(0), balance.open(1)), (2, 1));
        assert!(receivers[1].try_recv().is_ok());
        balance.left(1);
        drop(receivers);
        assert!(balance.place(0, connect()).is_some(), "the other has ended");
        assert_eq!((balance.open(0), balance.open(1)), (3, 0));
    }
}
