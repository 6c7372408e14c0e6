//! What one serving thread needs for its answers: the present site, buffers, a budget, turns for signing, counters.
//!
//! Invariant: nothing here waits for another thread. What is shared with one is read without a lock, or sent on a
//! channel that refuses rather than waits. It decides nothing, and does not know HTTP; `front` uses it to answer.

pub mod turns;

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use tokio::sync::watch;
use tracing::error;

use self::turns::Turns;
use crate::{
    access::{Line, Sampler},
    metrics::DeskCounters,
    ocsp::{budget::Budget, miss::Misses, transactions},
    site::Site,
    tsa::{record::Recorder, serial::Serials},
};

/// The parameters of a desk.
#[derive(Debug)]
pub struct Setup {
    /// Its thread's place among the workers.
    pub number: usize,
    /// The present site and each change of it.
    pub sites: watch::Receiver<Arc<Site>>,
    /// Kept answers, and the signing of new ones.
    pub misses: Arc<Misses>,
    /// Where its tokens are recorded.
    pub recorder: Option<Recorder>,
    /// Where its OCSP transactions are.
    pub transactions: Option<transactions::Recorder>,
    /// Which requests are logged.
    pub access: Sampler,
    /// This thread's counters.
    pub counters: Arc<DeskCounters>,
}

/// The desk of one serving thread.
#[derive(Debug)]
pub struct Desk {
    /// Its thread's place among the workers.
    pub number: usize,
    #[allow(clippy::redundant_allocation)] // this thread's owners are counted apart from the others'
    site: RefCell<Rc<Arc<Site>>>,
    sites: watch::Receiver<Arc<Site>>,
    /// Kept answers, and the signing of new ones.
    pub misses: Arc<Misses>,
    /// Where tokens are recorded.
    pub recorder: Option<Recorder>,
    /// Where OCSP transactions are.
    pub transactions: Option<transactions::Recorder>,
    /// Which requests are logged.
    pub access: Sampler,
    /// This thread's counters.
    pub counters: Arc<DeskCounters>,
    /// Budget for answers that only one client can use.
    pub budget: Cell<Budget>,
    /// When tokens are signed.
    pub turns: Turns,
    /// Serial numbers for tokens.
    pub serials: RefCell<Serials>,
    /// Buffers for answers about certificates; never borrowed across a wait.
    pub certificate_buffers: RefCell<CertificateBuffers>,
    /// Buffers for tokens. A request that waits for a signature takes them along, and the next one finds empty ones.
    pub token_buffers: RefCell<TokenBuffers>,
}

/// Buffers of one request, reused by the next.
#[derive(Debug, Default)]
pub struct CertificateBuffers {
    /// Base64 symbols of a GET.
    pub symbols: Vec<u8>,
    /// The request's DER.
    pub der: Vec<u8>,
    /// A kept signature, packed and unpacked.
    pub packed: Vec<u8>,
    /// See `packed`.
    pub signature: Vec<u8>,
}

/// Buffers of one token, reused by the next.
#[derive(Debug, Default)]
pub struct TokenBuffers {
    /// TSTInfo.
    pub tst_info: Vec<u8>,
    /// The attributes to be signed.
    pub attributes: Vec<u8>,
}

impl Desk {
    /// A desk with all its parts; fails if there is no randomness for serial numbers.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let Setup { number, sites, misses, recorder, transactions, access, counters } = setup;
        let site = RefCell::new(Rc::new(Arc::clone(&sites.borrow())));
        Ok(Self {
            number,
            site,
            sites,
            misses,
            recorder,
            transactions,
            access,
            counters,
            budget: Cell::new(Budget::new(Instant::now())),
            turns: Turns::default(),
            serials: RefCell::new(Serials::new()?),
            certificate_buffers: RefCell::default(),
            token_buffers: RefCell::default(),
        })
    }

    /// The present site. A running request continues with the site it began with; counting the owners of that costs
    /// other threads nothing.
    #[allow(clippy::redundant_allocation)]
    pub fn site(&self) -> Rc<Arc<Site>> {
        Rc::clone(&self.site.borrow())
    }

    /// Logs a request, if the log's writer keeps up.
    pub fn tell(&self, line: Line) {
        if !self.access.tell(line) {
            self.counters.access_lost.fetch_add(1, Relaxed);
        }
    }

    /// Switches to each changed site.
    pub async fn follow_sites(&self) {
        let mut sites = self.sites.clone();
        while sites.changed().await.is_ok() {
            let site = Arc::clone(&sites.borrow_and_update());
            self.site.replace(Rc::new(site));
        }
    }

    /// Runs the turns for signing.
    pub async fn begin_turns(&self) {
        if let Err(error) = self.turns.run().await {
            error!(%error, "no more time-stamps are signed on this thread");
        }
    }
}
