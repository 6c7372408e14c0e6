//! What every role that answers has: addresses, serving threads, time-stamps, kept answers, and the way from its start to
//! its end.
//!
//! Invariant: whatever role it is, requests under way are finished before it ends, and one signal more ends it at once. It
//! does not know where records come from.

use std::{
    error::Error,
    future::pending,
    io,
    net::TcpListener,
    path::Path,
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::Instant,
};

use axum::Router;
use precompute::{
    admin::{Status, gate::Gate},
    api::{JournalFile, Process},
    assemble::Assembly as Common,
    journal::{Identity, Journal},
    renew::Renewing,
    service::{
        EndSignals, Reloads, Renewer, ServiceState, Signals, Tenants, configurations::Taken, notify, reload_socket,
        watchdog,
    },
    state_dir::ServerId,
    tls::Certificates,
};
use tokio::{sync::watch, task::JoinSet};
use tracing::info;

use super::{
    Running, background,
    bound::{Bound, Listening},
    time_stamps::TimeStamps,
    workers::Workers,
};
use crate::{
    access, admin,
    assemble::Opener,
    config::Config,
    net::tls::ServerTls,
    ocsp::{miss::Misses, store::Store, transactions},
    reload::{Knowledge, Reload},
    site::{Around, Site},
    upstream::forwarded::Upstreams,
};

/// What there is before anything is read.
pub(super) struct Plan {
    pub(super) opener: Opener,
    /// The configuration at the start.
    pub(super) config: Config,
    started: Instant,
    bound: Bound,
    certificates: Option<Arc<Certificates>>,
    tls: Option<Arc<ServerTls>>,
    kept: Kept,
}

/// What is kept of the service, and as whose.
pub(super) struct Kept {
    pub(super) identity: Identity,
    /// What happens to it.
    pub(super) journal: Option<Arc<Journal>>,
}

/// The serving parts of a running service.
pub(super) struct Serving {
    pub(super) opener: Opener,
    started: Instant,
    running: Running,
    admin: Option<TcpListener>,
    /// The configuration at the start.
    pub(super) config: Config,
    pub(super) workers: Workers,
    pub(super) sites: watch::Sender<Arc<Site>>,
    pub(super) misses: Arc<Misses>,
    pub(super) time_stamps: TimeStamps,
    /// Of OCSP, if they are kept.
    transactions: Option<Arc<Journal>>,
    /// What asks other responders.
    pub(super) upstreams: Upstreams,
    journal: Option<Arc<Journal>>,
    /// And where that is.
    pub(super) journal_file: Option<JournalFile>,
    /// The TLS certificate, if there is TLS.
    pub(super) certificates: Option<Arc<Certificates>>,
    renewer: Arc<Renewer>,
    pub(super) gate: Arc<Gate>,
    /// What is renewed once it serves.
    renewing: Vec<Renewing>,
}

/// What a role adds.
pub(super) struct Parts {
    pub(super) status: Arc<Status>,
    /// What the admin listener serves.
    pub(super) admin: Router,
    /// The role's own; they end with it.
    pub(super) tasks: JoinSet<()>,
    pub(super) reload: Reload,
}

impl Plan {
    pub(super) fn new(
        opener: Opener,
        config: Config,
        certificates: Option<Arc<Certificates>>,
        bound: Bound,
        kept: Kept,
    ) -> Result<Self, Box<dyn Error>> {
        let started = Instant::now();
        let tls = certificates.as_ref().map(ServerTls::of).transpose()?;
        Ok(Self { opener, config, started, bound, certificates, tls, kept })
    }

    /// Whose service it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.kept.identity
    }

    /// Returns when all workers accept. `tenants`: those of `assembly`.
    pub(super) fn serve(self, assembly: &Common, tenants: &Tenants) -> Result<Serving, Box<dyn Error>> {
        let Self { opener, config, started, bound, certificates, tls, kept } = self;
        let running = bound.running().clone();
        let (time_stamps, recorders) = TimeStamps::open(&config, opener.path(), &kept.identity)?;
        let (transactions, kept_by) = open_transactions(&config, opener.path(), &kept.identity)?;
        let upstreams = Upstreams::default();
        let around = Around { clocks: &time_stamps.clocks, usage: &time_stamps.usage, upstreams: &upstreams };
        let site = Site::new(assembly, tenants, around, config.workers, None)?;
        time_stamps.clocks.warn_if_unchecked(&site.authorities_since(None), &site.ordered_since(None));
        let (sites, site) = watch::channel(Arc::new(site));
        let misses = Misses::new(Store::new(config.common.cache.answers_octets, config.common.cache.octets));
        let lines = write_access_log()?;
        let Listening { workers: listeners, admin } = bound.listen()?;
        let journal_file = config.common.journal.as_ref().map(|journal| JournalFile::of(journal, &kept.identity));
        let access = (config.access_sample, &lines);
        let (policy, recorders) = (&config.connection_policy, (recorders, kept_by));
        let workers = Workers::start(listeners, policy, tls.as_ref(), &site, &misses, access, recorders)?;
        let admin = Some(admin);
        let renewer = Arc::new(Renewer::new(true));
        let renewing = renewer.of(assembly);
        let gate = Gate::new(assembly.admin.clone());
        Ok(Serving {
            opener,
            started,
            running,
            admin,
            config,
            workers,
            sites,
            misses,
            time_stamps,
            transactions,
            upstreams,
            journal: kept.journal,
            journal_file,
            certificates,
            renewer,
            gate,
            renewing,
        })
    }
}

impl Serving {
    /// Answers until a signal ends it, or a thread is lost. Once `filled` has ended, whoever started it is told that it is
    /// ready.
    pub(super) async fn run(
        &mut self,
        signals: Signals,
        Parts { status, admin, mut tasks, reload }: Parts,
        filled: impl Future<Output = ()>,
        ready: impl FnOnce(&Running),
    ) -> Result<(), Box<dyn Error>> {
        let Signals { hangup, mut end } = signals;
        let listener = self.admin.take().ok_or_else(|| io::Error::other("the service runs already"))?;
        let sites = self.sites.subscribe();
        background::start(&self.time_stamps, sites, self.certificates.as_ref(), &mut tasks);
        self.gate.serve(background::into_tokio(listener)?, admin, &mut tasks);
        let asked = reload_socket::listen(&self.config.common.state_dir, self.opener.path(), &mut tasks);
        let reload = Arc::new(reload);
        let published = self.opener.taken().map(Taken::asked).unwrap_or_default();
        let reloads = Reloads::start(hangup, asked, self.renewer.asked(), published, &mut tasks, move |opens| {
            let reload = Arc::clone(&reload);
            async move { reload.run(opens).await }
        });
        self.renewer.change(std::mem::take(&mut self.renewing));
        let Running { http, tls, admin } = &self.running;
        let (workers, started) = (self.config.workers, self.started);
        let moving = self.workers.moving();
        let is_ready = async {
            filled.await;
            info!(?http, ?tls, %admin, workers, seconds = started.elapsed().as_secs_f32(), "ready");
            ready(&self.running);
            notify(ServiceState::Ready);
            tasks.spawn(watchdog::watch(moving));
            pending().await
        };
        let outcome = tokio::select! {
            () = end.recv() => Ok(()),
            lost = self.workers.watched.lost() => Err(lost.into()),
            () = is_ready => Ok(()),
        };
        reloads.stop();
        self.drain(&status, &mut end).await;
        self.time_stamps.end();
        outcome
    }

    /// Finishes running requests; after a second signal it no longer waits.
    async fn drain(&mut self, status: &Status, end: &mut EndSignals) {
        info!("stopping: requests under way are finished");
        notify(ServiceState::Stopping);
        status.drain();
        self.workers.stop();
        tokio::select! {
            () = self.workers.ended() => {}
            () = end.recv() => {}
        }
    }

    /// The addresses that it has bound.
    pub(super) fn running(&self) -> &Running {
        &self.running
    }

    /// For a changed file.
    pub(super) fn reload(&self, knowledge: Knowledge, status: &Arc<Status>) -> Reload {
        Reload {
            opener: self.opener.clone(),
            started_with: self.config.clone(),
            tls: self.certificates.clone(),
            clocks: Arc::clone(&self.time_stamps.clocks),
            usage: Arc::clone(&self.time_stamps.usage),
            upstreams: self.upstreams.clone(),
            knowledge,
            sites: self.sites.clone(),
            status: Arc::clone(status),
            record: self.time_stamps.record.clone(),
            renewer: Arc::clone(&self.renewer),
            gate: Arc::clone(&self.gate),
        }
    }

    /// What the API tells of it.
    pub(super) fn process(&self, status: &Arc<Status>) -> Process {
        let sites = self.sites.subscribe();
        Process {
            answers: Arc::clone(self.misses.store().answers()),
            status: Arc::clone(status),
            journal: self.journal_file.clone(),
            traffic: Box::new(move || admin::traffic(&sites.borrow())),
        }
    }

    /// What the admin listener tells of it.
    pub(super) fn status(&self, common: &Arc<Status>, server: ServerId) -> admin::Status {
        common.renews(&self.renewer);
        common.keeps(self.journal.as_ref());
        common.keeps_transactions(self.transactions.as_ref());
        let (sites, misses) = (self.sites.subscribe(), Arc::clone(&self.misses));
        common.remarks_by(move |lines| admin::remark_upstreams(&sites.borrow(), &misses, lines));
        admin::Status {
            common: Arc::clone(common),
            site: self.sites.subscribe(),
            counters: self.workers.counters.clone(),
            misses: Arc::clone(&self.misses),
            upstreams: self.upstreams.clone(),
            record: self.time_stamps.record.clone(),
            tls: self.certificates.clone(),
            gate: Arc::clone(&self.gate),
            server,
        }
    }
}

/// The record of OCSP transactions, if there is one, and what takes those of each serving thread.
type Recording = (Option<Arc<Journal>>, Vec<transactions::Recorder>);

/// Opens the record of OCSP transactions, if there is one, with a recorder for each serving thread.
fn open_transactions(config: &Config, path: &Path, identity: &Identity) -> Result<Recording, Box<dyn Error>> {
    let Some(options) = config.common.kept_transactions().cloned() else { return Ok((None, Vec::new())) };
    let opened = transactions::start(identity, options, config.workers);
    let (record, recorders) = opened.map_err(|error| format!("{}: journal.ocsp_path: {error}", path.display()))?;
    Ok((Some(Arc::new(record)), recorders))
}

/// Starts the thread that writes the access log. It ends when the last worker has dropped its end of the channel.
fn write_access_log() -> io::Result<SyncSender<access::Line>> {
    let (lines, told) = access::channel();
    thread::Builder::new().name("access log".into()).spawn(move || access::write(&told))?;
    Ok(lines)
}
