//! A changed configuration, taken while connections go on.
//!
//! Purpose: SIGHUP reads the file again; tenants, issuers, policies, keys, sources and the TLS certificate are gone over to as a whole, or
//! nothing is. Invariant: a file that is refused changes nothing, and is told in the log and by readiness until a good
//! one is read. What is bound at the start (addresses, threads, memory, the state directory) stays; a difference there
//! is told.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Instant,
};

use precompute::{engine::Engine, pki::UnixTime, presign::Presigner};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    admin::Status,
    config::Config,
    limits,
    net::tls::Certificates,
    site::Site,
    tsa::{clocks::Clocks, record::Writer},
};

/// Something that the engine's thread does between two looks at its sources.
pub type Order = Box<dyn FnOnce(&mut Engine) + Send>;

/// Reads the file again.
#[derive(Debug)]
pub struct Reload {
    /// The configuration file.
    pub path: PathBuf,
    /// What of it was bound at the start.
    pub bound: Bound,
    /// What TLS is spoken with, where it is.
    pub tls: Option<Arc<Certificates>>,
    /// Serving threads that there are.
    pub workers: usize,
    /// What tokens take their time from.
    pub clocks: Arc<Clocks>,
    /// To the engine.
    pub orders: mpsc::Sender<Order>,
    /// To everybody who looks at the site.
    pub sites: watch::Sender<Arc<Site>>,
    /// Signs ahead for the issuers of the site.
    pub presigner: Arc<Presigner>,
    /// Where the outcome is told.
    pub status: Arc<Status>,
    /// What is opened again, for those who have renamed it.
    pub record: Option<Arc<Writer>>,
}

/// What stays until the next start, as text to be compared, with the key that it stands under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound(Vec<(&'static str, String)>);

impl Bound {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        Self(vec![
            ("http.listen", format!("{:?}", config.http)),
            ("http.workers", config.workers.to_string()),
            ("http deadlines, drain and proxies", format!("{:?}", config.connection_policy)),
            ("tls.listen", format!("{:?}", config.tls.as_ref().map(|tls| &tls.listen))),
            ("admin.listen", config.admin.to_string()),
            ("admin.ready_without_signers", config.ready_without_signers.to_string()),
            ("cache.answers_octets", config.common.cache.answers_octets.to_string()),
            ("cache.octets", config.common.cache.octets.to_string()),
            ("log.access_sample", config.access_sample.to_string()),
            ("time_stamping", format!("{:?}", config.time_stamping)),
            ("state_dir", config.common.state_dir.display().to_string()),
        ])
    }

    /// The keys whose values differ.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        self.0.iter().zip(&other.0).filter(|(a, b)| a != b).map(|(a, _)| a.0).collect()
    }
}

impl Reload {
    /// Reads the file and goes over to it.
    pub async fn run(&self) {
        self.record.iter().for_each(|record| record.reopen());
        let outcome = self.change().await;
        match &outcome {
            Ok(()) => info!(file = %self.path.display(), "the configuration was read again"),
            Err(problem) => error!("{problem}; the configuration stays as it was"),
        }
        self.status.reloaded(outcome);
    }

    async fn change(&self) -> Result<(), String> {
        let path = self.path.clone();
        // Keys are opened and tried, which takes its time.
        let read = tokio::task::spawn_blocking(move || Config::read(&path, UnixTime::now()));
        let config = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        for key in self.bound.differences(&Bound::of(&config)) {
            warn!(key, "this key has changed in the file and is used from the next start on");
        }
        for tsa in config.common.tenants.iter().flat_map(|tenant| &tenant.tsas) {
            // By the lease that is in use, which a changed one replaces at the next start.
            self.clocks.check(&tsa.policy).map_err(|problem| format!("of the TSA `{}`: {problem}", tsa.name))?;
        }
        let config = Arc::new(config);
        let (tell, states) = oneshot::channel();
        let (agree, agreed) = mpsc::channel();
        let (over, gone_over) = oneshot::channel();
        let wanted = Arc::clone(&config);
        let order: Order = Box::new(move |engine| {
            let mut tell = Some(tell);
            // The former sources are followed until there is a site of the new ones: it may be refused yet.
            let agreed =
                |states| tell.take().is_some_and(|tell| tell.send(Ok(states)).is_ok()) && agreed.recv().is_ok();
            match (engine.change(&wanted.common, agreed), tell) {
                (Ok(true), _) => _ = over.send(()),
                (Err(error), Some(tell)) => _ = tell.send(Err(error.to_string())),
                _ => {}
            }
        });
        self.orders.send(order).map_err(|_| "the service is stopping")?;
        let states = states.await.map_err(|_| "the service is stopping")??;
        let former = Arc::clone(&self.sites.borrow());
        let (clocks, workers, replaced) = (Arc::clone(&self.clocks), self.workers, Arc::clone(&former));
        // Whoever watches a clock first asks for the time, and the source may be silent.
        let made = tokio::task::spawn_blocking(move || {
            let certificates = config.tls.as_ref().map(|tls| Arc::clone(&tls.certificates));
            (Site::new(&config.common, &states, &clocks, workers, Some(&replaced)), certificates)
        });
        let (site, certificates) = made.await.map_err(|error| error.to_string())?;
        let site = site.map_err(|error| error.to_string())?;
        // From here on nothing is refused.
        agree.send(()).map_err(|_| "the service is stopping")?;
        // Nobody is to be told *good* by the new records who was told *revoked* by the former ones.
        gone_over.await.map_err(|_| "the service is stopping")?;
        self.clocks.warn_if_unchecked(&site.authorities_since(Some(&former)), &site.ordered_since(Some(&former)));
        let clocks: Vec<_> = site.authorities().map(|(_, authority)| Arc::clone(&authority.clock)).collect();
        self.sites.send_replace(Arc::new(site));
        let unused = self.clocks.retain(&clocks);
        // Waited for by nobody, like the former site.
        drop(tokio::task::spawn_blocking(move || drop(unused)));
        self.presigner.change(self.sites.borrow().subjects());
        if let (Some(own), Some(certificates)) = (&self.tls, &certificates) {
            own.go_over_to(certificates);
        }
        tokio::spawn(let_go(former));
        Ok(())
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
