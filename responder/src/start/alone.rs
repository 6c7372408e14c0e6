//! The role of a single machine: it reads the sources, keeps the book, signs and answers, all in this process.
//!
//! The threads: workers ([`crate::net::run`]) answer; [`precompute::service`] has those that read, save and sign; clocks,
//! the record and the access log have one each. The thread that calls [`Alone::run`] handles health, metrics and
//! signals. It does not know what is answered.

use std::{
    error::Error,
    io,
    net::TcpListener,
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::Instant,
};

use axum::Router;
use precompute::{
    admin::Status,
    api::{Api, ApiSettings},
    service::{EndSignals, Reloads, Service, ServiceState, Signals, notify},
    state_dir::{Owned, ServerId},
};
use tokio::sync::watch;
use tracing::info;

use super::{
    Running, background,
    bound::{Bound, Listening},
    time_stamps::TimeStamps,
    workers::Workers,
};
use crate::{
    access, admin,
    assemble::{Assembly, Opener},
    config::Config,
    net::tls::Certificates,
    ocsp::{miss::Misses, store::Store},
    reload::Reload,
    site::Site,
};

/// A running service.
pub(super) struct Alone {
    opener: Opener,
    started: Instant,
    running: Running,
    admin: Option<TcpListener>,
    /// The configuration at the start.
    config: Config,
    workers: Workers,
    pub(super) service: Service,
    sites: watch::Sender<Arc<Site>>,
    misses: Arc<Misses>,
    status: Arc<Status>,
    /// Takes pushes.
    api: Arc<Api>,
    server: ServerId,
    pub(super) time_stamps: TimeStamps,
    /// The TLS certificate, if there is TLS.
    pub(super) certificates: Option<Arc<Certificates>>,
}

impl Alone {
    /// Reads everything, and returns when all workers accept.
    pub(super) fn start(
        opener: Opener,
        config: Config,
        assembly: Assembly,
        (bound, owned): (Bound, Owned),
    ) -> Result<Self, Box<dyn Error>> {
        let started = Instant::now();
        let Assembly { common: assembly, certificates } = assembly;
        let tls = certificates.as_ref().map(|certificates| certificates.server_config()).transpose()?;
        let running = bound.running().clone();
        let server = owned.server_id();
        let read = Service::read(&assembly, owned)?;
        let (time_stamps, recorders) = TimeStamps::open(&config, opener.path())?;
        let site = Site::new(&assembly, &read.tenants(), &time_stamps.clocks, config.workers, None)?;
        time_stamps.clocks.warn_if_unchecked(&site.authorities_since(None), &site.ordered_since(None));
        let (sites, site) = watch::channel(Arc::new(site));
        // The site has the parts that it uses. Replaced parts have to go, with their threads and sessions.
        let api_settings = ApiSettings::of(&assembly);
        drop(assembly);
        let misses = Misses::new(Store::new(config.common.cache.answers_octets, config.common.cache.octets));
        let lines = write_access_log()?;
        // Not earlier: a refused client goes to another replica, but an accepted one would wait for the rest of the
        // start.
        let Listening { workers: listeners, admin } = bound.listen()?;
        let access = (config.access_sample, &lines);
        let workers =
            Workers::start(listeners, &config.connection_policy, tls.as_ref(), &site, &misses, access, recorders)?;
        let service = read.start(&config.common, misses.store().answers(), &workers.watched)?;
        let status = Status::new(service.tenants(), config.common.admin.ready_without_signers);
        let api = Api::new(service.ledgers());
        api.change(api_settings);
        Ok(Self {
            opener,
            started,
            running,
            admin: Some(admin),
            config,
            workers,
            service,
            sites,
            misses,
            status,
            api,
            server,
            time_stamps,
            certificates,
        })
    }

    /// Answers until a signal ends it, or a thread is lost.
    pub(super) async fn run(&mut self, signals: Signals, ready: impl FnOnce(&Running)) -> Result<(), Box<dyn Error>> {
        let Signals { hangup, mut end } = signals;
        let admin = self.admin.take().ok_or_else(|| io::Error::other("the service runs already"))?;
        let mut tasks = background::start(self, admin)?;
        let reload = Arc::new(self.reload());
        let reloads = Reloads::start(hangup, &mut tasks, move || {
            let reload = Arc::clone(&reload);
            async move { reload.run().await }
        });
        let Running { http, tls, admin } = &self.running;
        let (workers, seconds) = (self.config.workers, self.started.elapsed().as_secs_f32());
        info!(?http, ?tls, %admin, workers, seconds, "ready");
        ready(&self.running);
        notify(ServiceState::Ready);
        let outcome = tokio::select! {
            () = end.recv() => Ok(()),
            lost = self.workers.watched.lost() => Err(lost.into()),
        };
        reloads.stop();
        self.drain(&mut end).await;
        outcome
    }

    /// Finishes running requests; after a second signal it no longer waits.
    async fn drain(&mut self, end: &mut EndSignals) {
        info!("stopping: requests under way are finished");
        notify(ServiceState::Stopping);
        self.status.drain();
        self.workers.stop();
        tokio::select! {
            () = self.workers.ended() => {}
            () = end.recv() => {}
        }
    }

    /// Ends the remaining threads: everything issued, signed and read is then on disk.
    pub(super) fn end(self) {
        drop((self.time_stamps, self.status, self.api, self.sites, self.misses));
        self.service.end();
        info!("stopped");
    }

    /// What the admin listener serves.
    pub(super) fn admin_router(&self) -> Router {
        let status = admin::Status {
            common: Arc::clone(&self.status),
            site: self.sites.subscribe(),
            counters: self.workers.counters.clone(),
            misses: Arc::clone(&self.misses),
            record: self.time_stamps.record.clone(),
            server: self.server,
        };
        admin::router(status, self.service.progress()).merge(Arc::clone(&self.api).router())
    }

    fn reload(&self) -> Reload {
        Reload {
            opener: self.opener.clone(),
            started_with: self.config.clone(),
            tls: self.certificates.clone(),
            clocks: Arc::clone(&self.time_stamps.clocks),
            service: self.service.handle().clone(),
            sites: self.sites.clone(),
            status: Arc::clone(&self.status),
            api: Arc::clone(&self.api),
            record: self.time_stamps.record.clone(),
        }
    }
}

/// Starts the thread that writes the access log. It ends when the last worker has dropped its end of the channel.
fn write_access_log() -> io::Result<SyncSender<access::Line>> {
    let (lines, told) = access::channel();
    thread::Builder::new().name("access log".into()).spawn(move || access::write(&told))?;
    Ok(lines)
}
