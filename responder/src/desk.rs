//! What one serving thread answers with: the site that it follows, buffers, a budget, the turns of signing, counters.
//!
//! Invariant: nothing here waits for another thread, and what is shared with one is read without a lock or taken by a
//! channel that refuses rather than waits. It decides nothing, and does not know HTTP; who answers with it is
//! `front`.

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
    ocsp::{budget::Budget, miss::Misses},
    site::Site,
    tsa::{record::Recorder, serial::Serials},
};

/// What a desk is set up with.
#[derive(Debug)]
pub struct Setup {
    /// Its thread's place among the workers.
    pub number: usize,
    /// Whom is answered for, now and after each change.
    pub sites: watch::Receiver<Arc<Site>>,
    /// Answers kept and answers signed.
    pub misses: Arc<Misses>,
    /// Where its tokens are recorded.
    pub recorder: Option<Recorder>,
    /// Which requests are logged.
    pub access: Sampler,
    /// This thread's counters.
    pub counters: Arc<DeskCounters>,
}

/// One serving thread's.
#[derive(Debug)]
pub struct Desk {
    /// Its thread's place among the workers.
    pub number: usize,
    #[allow(clippy::redundant_allocation)] // this thread's owners are counted apart from the others'
    site: RefCell<Rc<Arc<Site>>>,
    sites: watch::Receiver<Arc<Site>>,
    /// Answers kept and answers signed.
    pub misses: Arc<Misses>,
    /// Where tokens are recorded.
    pub recorder: Option<Recorder>,
    /// Which requests are logged.
    pub access: Sampler,
    /// This thread's counters.
    pub counters: Arc<DeskCounters>,
    /// Time for answers that serve one client alone.
    pub budget: Cell<Budget>,
    /// When tokens are signed.
    pub turns: Turns,
    /// The numbers of tokens.
    pub serials: RefCell<Serials>,
    /// Buffers to answer for certificates in; borrowed by nobody who waits.
    pub certificate_buffers: RefCell<CertificateBuffers>,
    /// Buffers to make tokens in. Who waits for a signature takes them along, and the next finds empty ones.
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
    /// What it says.
    pub tst_info: Vec<u8>,
    /// What is signed of it.
    pub attributes: Vec<u8>,
}

impl Desk {
    /// With all that it takes; fails where there is no chance to draw serial numbers from.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let Setup { number, sites, misses, recorder, access, counters } = setup;
        let site = RefCell::new(Rc::new(Arc::clone(&sites.borrow())));
        Ok(Self {
            number,
            site,
            sites,
            misses,
            recorder,
            access,
            counters,
            budget: Cell::new(Budget::new(Instant::now())),
            turns: Turns::default(),
            serials: RefCell::new(Serials::new()?),
            certificate_buffers: RefCell::default(),
            token_buffers: RefCell::default(),
        })
    }

    /// Whom is answered for. A request that has begun goes on with the site that it began with; counting the owners
    /// of that takes nothing from other threads.
    #[allow(clippy::redundant_allocation)]
    pub fn site(&self) -> Rc<Arc<Site>> {
        Rc::clone(&self.site.borrow())
    }

    /// Has the log told of a request, where its writer keeps up.
    pub fn tell(&self, line: Line) {
        if !self.access.tell(line) {
            self.counters.access_lost.fetch_add(1, Relaxed);
        }
    }

    /// Goes over to each changed site.
    pub async fn follow_sites(&self) {
        let mut sites = self.sites.clone();
        while sites.changed().await.is_ok() {
            let site = Arc::clone(&sites.borrow_and_update());
            self.site.replace(Rc::new(site));
        }
    }

    /// Begins turns of signing.
    pub async fn begin_turns(&self) {
        if let Err(error) = self.turns.run().await {
            error!(%error, "no more time-stamps are signed on this thread");
        }
    }
}
