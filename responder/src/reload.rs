//! A changed configuration, taken while connections go on.
//!
//! Purpose: SIGHUP reads the file again; tenants, issuers, policies, keys, sources and the TLS certificate are gone over to as a whole, or
//! nothing is. Invariant: a file that is refused changes nothing, and is told in the log and by readiness until a good
//! one is read. What is bound at the start (addresses, threads, memory, the state directory) stays; a difference there
//! is told.

use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

use precompute::{engine::Engine, pki::UnixTime, presign::Presigner};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    admin::Status,
    assemble::{Assembly, Opener},
    config::{
        Config,
        keys::{self, Waiting},
    },
    limits,
    net::tls::Certificates,
    site::Site,
    tsa::{clocks::Clocks, record::Writer},
};

/// Something that the engine's thread does between two looks at its sources.
pub type Order = Box<dyn FnOnce(&mut Engine) + Send>;

/// Why nothing is taken any more.
const STOPPING: &str = "the service is stopping";

/// Reads the file again.
#[derive(Debug)]
pub struct Reload {
    /// The configuration file.
    pub opener: Opener,
    /// What stood in it at the start: some of it is in use until the next one.
    pub started_with: Config,
    /// What TLS is spoken with, where it is.
    pub tls: Option<Arc<Certificates>>,
    /// What tokens take their time from.
    pub clocks: Arc<Clocks>,
    /// To the engine.
    pub orders: mpsc::Sender<Order>,
    /// For every reader of the site.
    pub sites: watch::Sender<Arc<Site>>,
    /// Signs ahead for the issuers of the site.
    pub presigner: Arc<Presigner>,
    /// Where the outcome is reported.
    pub status: Arc<Status>,
    /// What is opened again, for those who have renamed it.
    pub record: Option<Arc<Writer>>,
}

impl Reload {
    /// Reads the file and goes over to it.
    pub async fn run(&self) {
        self.record.iter().for_each(|record| record.reopen());
        let outcome = self.change().await;
        match &outcome {
            Ok(()) => info!(file = %self.opener.path().display(), "the configuration was read again"),
            Err(problem) => error!("{problem}; the configuration stays as it was"),
        }
        self.status.reloaded(outcome);
    }

    async fn change(&self) -> Result<(), String> {
        let opener = self.opener.clone();
        // Keys are opened and tried, which takes its time.
        let read = tokio::task::spawn_blocking(move || opener.read(UnixTime::now()));
        let (config, assembly) = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        for Waiting { key, in_use, in_file } in keys::waiting(&self.started_with, &config) {
            warn!(key, in_use, in_file, "this key has changed in the file; it takes effect at the next start");
        }
        let Assembly { common: assembly, certificates } = assembly;
        for (_, tsa) in assembly.tsas() {
            // By the lease that is in use, which a changed one replaces at the next start.
            self.clocks.check(&tsa.policy).map_err(|problem| format!("of the TSA `{}`: {problem}", tsa.name))?;
        }
        let assembly = Arc::new(assembly);
        let wanted = Arc::clone(&assembly);
        // Until there is a site of the new sources the former ones are followed: it may be refused yet.
        let prepared = self.order(move |engine| engine.prepare(&wanted)).await?;
        let prepared = prepared.map_err(|error| error.to_string())?;
        let states = prepared.states().clone();
        let former = Arc::clone(&self.sites.borrow());
        let (clocks, workers) = (Arc::clone(&self.clocks), self.started_with.workers);
        let replaced = Arc::clone(&former);
        // Whoever watches a clock first asks for the time, and the source may be silent.
        let made =
            tokio::task::spawn_blocking(move || Site::new(&assembly, &states, &clocks, workers, Some(&replaced)));
        let site = made.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        // Nobody is told *good* by the new records who was told *revoked* by the former ones: the site waits for that.
        let adopted = self.order(move |engine| engine.adopt(prepared)).await?;
        adopted.map_err(|error| error.to_string())?;
        // From here on nothing is refused.
        self.clocks.warn_if_unchecked(&site.authorities_since(Some(&former)), &site.ordered_since(Some(&former)));
        let clocks: Vec<_> = site.authorities().map(|(_, authority)| Arc::clone(&authority.clock)).collect();
        self.sites.send_replace(Arc::new(site));
        let unused = self.clocks.retain(&clocks);
        // The reload does not wait for it, as for the former site.
        drop(tokio::task::spawn_blocking(move || drop(unused)));
        self.presigner.change(self.sites.borrow().subjects());
        if let (Some(own), Some(certificates)) = (&self.tls, &certificates) {
            own.go_over_to(certificates);
        }
        tokio::spawn(let_go(former));
        Ok(())
    }

    /// Has the engine's thread do this, and waits for what comes of it.
    async fn order<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, &'static str> {
        let (tell, told) = oneshot::channel();
        // Where nobody waits for the outcome any more it is dropped, and what was prepared is undone with it.
        let order: Order = Box::new(move |engine| _ = tell.send(order(engine)));
        self.orders.send(order).map_err(|_| STOPPING)?;
        told.await.map_err(|_| STOPPING)
    }
}

/// Who lets go of a site last waits for the end of its pools, seconds where a token hangs: no serving thread is to.
async fn let_go(former: Arc<Site>) {
    let begin = Instant::now();
    while Arc::strong_count(&former) > 1 && begin.elapsed() < limits::FORMER_SITE_WAIT {
        tokio::time::sleep(limits::FORMER_SITE_LOOK).await;
    }
    let _ = tokio::task::spawn_blocking(move || drop(former)).await;
}
