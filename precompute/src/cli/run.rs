//! `ostia-precompute run`: reads sources, takes pushes, keeps the book and signs ahead, with health and metrics, without
//! serving.
//!
//! Invariant: it leaves the responder's sections of the file alone, and opens no address for relying parties. The thread
//! that calls [`run`] handles signals, health and metrics. It does not know what is answered.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use axum::Router;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{error, info};

use crate::{
    admin::{
        self, Status,
        gate::Gate,
        listener::{self, Bounds},
    },
    answers::Answers,
    api::{Api, ApiSettings, JournalFile, Process},
    assemble::{self, AssembledFeed, Assembly, FeedFiles, Published, Tokens},
    config::{Change, Config, ConfigError, Document, InUse, Problems, keys},
    console::{self, Console},
    feed::{
        poll::{self, Tail},
        redis::Stream,
        servers::{Addresses, InUse as ConfigurationInUse, RefusedConfiguration, ServerRole},
        shelf,
        writer::Role,
    },
    journal::{Identity, trail::Trail},
    pki::UnixTime,
    purge::Target,
    renew::Renewing,
    service::{
        Control, Handle, Opens, Publishing, Purging, Reloads, Renewer, Service, ServiceState, Signals, Tells, Tenants,
        Threads,
        configurations::{Announcer, KeptVersions, Tried},
        notify,
        registry::{Facts, Membership, Own, Registry, State, keys_of},
        reload_socket::{self, Verdict},
        watchdog,
    },
    state_dir::{self, Purpose},
};

const RUN: Purpose = Purpose::exclusive("ostia-precompute run");

/// A configuration file that is read repeatedly, with what is known about tokens in between.
#[derive(Clone, Debug)]
struct Opener {
    path: PathBuf,
    tokens: Tokens,
    in_use: InUse,
}

impl Opener {
    /// The file as it is now.
    fn read(&self) -> Result<(Config, Assembly), ConfigError> {
        self.open(&self.in_use.read(Document::open(&self.path)?))
    }

    /// What is in use, opened anew.
    fn reopen(&self) -> Result<(Config, Assembly), ConfigError> {
        self.in_use.get().map_or_else(|| self.read(), |document| self.open(&document))
    }

    /// What the file would publish. It has to be what is in use.
    fn candidate(&self, tried: Tried) -> Result<Published, String> {
        let document = Document::open(&self.path).map_err(|error| error.to_string())?;
        if self.in_use.digest() != Some(document.digest()) {
            return Err(format!(
                "{} was changed and is not in use here yet: `ostia-precompute reload` first, then publish",
                self.path.display()
            ));
        }
        let config = super::reading(&document).finish().map_err(|error| error.to_string())?;
        let published = Published::of(&document, &config)?;
        if tried == Tried::Whole {
            self.open(&document.to_be_checked()).map_err(|error| error.to_string())?;
        }
        Ok(published)
    }

    fn open(&self, document: &Document) -> Result<(Config, Assembly), ConfigError> {
        let reading = super::reading(document).with(|config, problems| {
            check_writer(config, problems);
            assemble::assemble(config, problems, &self.tokens, UnixTime::now())
        });
        reading.finish()
    }
}

/// What reads sources is the writer of a feed.
pub(super) fn check_writer(config: &Config, problems: &Problems) {
    if let Some(feed) = config.feed.as_ref().filter(|feed| feed.is_published) {
        problems.at(&feed.place).problem(
            "configuration",
            "is `published`, which is for replicas (`ostia-responder serve`): a writer publishes the tenants of its own file",
        );
    }
    if let Some(feed) = config.feed.as_ref().filter(|feed| feed.is_of_replica()) {
        problems.at(&feed.place).problem(
            "key",
            "is missing, and `ostia-precompute run` writes the feed: make a key (`ostia-precompute keys feed --out feed.key`), name it here, and its public key among the `trusted` of every writer and replica; a replica is `ostia-responder serve`",
        );
    }
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    // Signals count from the beginning, because opening keys may take long.
    let control = Control::new()?;
    let opener = Opener { path: path.to_owned(), tokens: Tokens::default(), in_use: InUse::default() };
    let (config, mut assembly) = opener.read()?;
    let started = Instant::now();
    let owned = state_dir::own(&config.state_dir, RUN)?;
    let server = owned.server_id();
    let identity = Identity::of(server, &config.state_dir)?;
    let journal = config.journal.as_ref().map(|journal| JournalFile::of(journal, &identity));
    let trail = Trail::begin(&identity, config.journal.clone(), "ostia-precompute run", opener.in_use.digest())?;
    // A wrong address is told before the sources are read, which may take long. It listens when there is an answer.
    drop(
        listener::bind(&Bounds::ADMIN, config.admin.listen)
            .map_err(|problem| format!("{}: {problem}", path.display()))?,
    );
    let read = Service::read(&assembly, owned)?;
    // The service has the parts that it uses; those of time-stamping end here.
    let api_settings = ApiSettings::of(&assembly);
    let gate = Gate::new(std::mem::take(&mut assembly.admin));
    // Those of time-stamping are renewed by who makes time-stamps.
    let renewer = Arc::new(Renewer::new(false));
    let renewing = renewer.of(&assembly);
    let feed = assembly.feed.take();
    let targets = std::mem::take(&mut assembly.purge);
    let files = feed.as_ref().map(FeedFiles::of);
    let of_feed = feed.as_ref().map(AssembledFeed::of_its_reader);
    let membership = feed.as_ref().map(|feed| Membership::of(feed, &config.state_dir));
    let given = feed.as_ref().filter(|feed| feed.snapshots.listen.is_some());
    let tail =
        given.map(|feed| Tail::start(&feed.cluster, &Stream::new(feed.redis.clone(), &feed.cluster))).transpose()?;
    drop(assembly);
    let answers = Arc::new(Answers::new(config.cache.answers_octets));
    let threads = Threads::default();
    let service = read.start(&config, &answers, &threads, feed)?;
    let status = Status::new(service.tenants(), config.admin.ready_without_signers);
    status.renews(&renewer);
    status.keeps(trail.as_ref().map(Trail::journal));
    let publishing = service.publishing().cloned();
    let last = threads.last_words("what has caches told");
    let tells = publishing.clone().map_or(Tells::Alone, |publishing| Tells::Writer(publishing, service.ledgers()));
    let purging = Arc::new(Purging::start(service.tenants(), tells, last)?);
    status.purges_by(&purging);
    if let Some(publishing) = &publishing {
        status.publishes(publishing);
        publishing
            .listen()
            .map_or(Ok(()), |listen| listener::bind(&Bounds::SNAPSHOTS, listen).map(drop))
            .map_err(|problem| format!("{}: {problem}", path.display()))?;
    }
    let of_writer = membership.zip(publishing.clone());
    let registry = of_writer.map(|(membership, publishing)| {
        let (addresses, in_use) = (addresses(&config), opener.in_use.clone());
        let kept = KeptVersions::of(&config.state_dir);
        let (tenants, status) = (service.tenants(), Arc::clone(&status));
        let of_state = (publishing.clone(), Arc::clone(&status));
        let facts = move || {
            let mut facts = facts(&publishing, &addresses, &tenants.borrow(), &in_use, &status);
            facts.configuration.version = Some(kept.newest()).filter(|newest| *newest > 0);
            facts
        };
        let own = Own { state: Box::new(move || state(&of_state.0, &of_state.1)), facts: Box::new(facts) };
        Registry::start(membership, &identity, own)
    });
    let registry = registry.transpose()?;
    registry.iter().for_each(|registry| status.registers(registry));
    let mut parts = vec![
        admin::kept_answers(&answers),
        admin::presigning(service.progress()),
        admin::pools_of_issuers(&status),
        admin::process(&status),
        admin::server(server),
        admin::build(),
        admin::issuers(&status),
        admin::certificates(&status, &gate),
        admin::renewals(&status),
        admin::purges(&status),
        admin::journal(&status),
    ];
    parts.extend(publishing.as_ref().map(admin::publishing));
    parts.extend(registry.as_ref().map(admin::servers));
    let api = Api::new(service.ledgers(), service.tenants(), publishing.as_ref());
    api.change(api_settings);
    registry.iter().for_each(|registry| api.registers(registry));
    if let (Some(feed), Some(publishing), Some(registry)) = (of_feed, publishing, &registry) {
        let (kept, opener) = (KeptVersions::of(&config.state_dir), opener.clone());
        let candidate = Box::new(move |tried| opener.candidate(tried));
        let announcer = Announcer::start(&feed, kept, publishing, registry.clone(), candidate)?;
        announcer.iter().for_each(|announcer| api.configures(announcer));
    }
    api.tells_of(Process {
        answers: Arc::clone(&answers),
        status: Arc::clone(&status),
        journal,
        traffic: Box::new(Vec::new),
    });
    let router = admin::router(Arc::clone(&status), parts)
        .merge(admin::readyz(Arc::clone(&status)))
        .merge(Arc::clone(&api).router());
    let console = {
        let own = Arc::clone(&status);
        let parts = console::Parts {
            program: format!("ostia-precompute {}", env!("CARGO_PKG_VERSION")),
            server: server.to_string(),
            status: Arc::clone(&status),
            readiness: Box::new(move |now| own.ocsp_readiness(now, false)),
            meters: console::meters(&status, &answers, service.progress()),
            clocks: None,
            tsa_signers: None,
        };
        Console::new(&gate, Arc::clone(&api).router(), parts)
    };
    let router = router.merge(console.router());
    let running = Running {
        opener,
        config,
        files,
        tail,
        service: &service,
        status,
        api,
        gate,
        console,
        router,
        threads,
        started,
        renewer,
        renewing,
        purging,
        targets,
    };
    let outcome = control.run(async |signals| running.until_the_end(signals).await);
    registry.iter().for_each(Registry::end);
    service.end();
    info!("stopped");
    outcome
}

/// Where this writer is reached.
fn addresses(config: &Config) -> Addresses {
    let feed = config.feed.as_ref();
    let written = |address: std::net::SocketAddr| address.to_string();
    Addresses {
        admin: vec![written(config.admin.listen)],
        snapshots: feed.and_then(|feed| feed.snapshot_listen).map(written).into_iter().collect(),
        api_url: feed.and_then(|feed| feed.api_url.clone()).into_iter().collect(),
        ..Addresses::default()
    }
}

/// What this writer does.
fn state(publishing: &Publishing, status: &Status) -> State {
    let role = match publishing.report().role {
        Role::Leading => ServerRole::Leads,
        Role::Following => ServerRole::StandsBy,
        Role::Fencing | Role::Reading | Role::Beginning => ServerRole::TakesOver,
    };
    State { role, freshness: None, draining: status.leaves().is_some() }
}

/// What the list of servers is told of this writer.
fn facts(publishing: &Publishing, addresses: &Addresses, tenants: &Tenants, in_use: &InUse, status: &Status) -> Facts {
    let report = publishing.report();
    let refused = status.reload_fault().map(|reason| RefusedConfiguration { version: None, reason });
    Facts {
        state: state(publishing, status),
        addresses: addresses.clone(),
        position: report.place.map(|place| place.position),
        configuration: ConfigurationInUse { digest: in_use.digest(), version: None, refused },
        keys: keys_of(tenants, []),
    }
}

/// A running service with what is told of it.
struct Running<'s> {
    opener: Opener,
    /// The configuration at the start.
    config: Config,
    /// What the files of `[feed]` held at the start.
    files: Option<FeedFiles>,
    /// Gives out the feed beside snapshots.
    tail: Option<Tail>,
    service: &'s Service,
    status: Arc<Status>,
    /// Takes pushes.
    api: Arc<Api>,
    /// Knows who asks.
    gate: Arc<Gate>,
    /// Shows it to people.
    console: Arc<Console>,
    router: Router,
    threads: Threads,
    started: Instant,
    renewer: Arc<Renewer>,
    renewing: Vec<Renewing>,
    purging: Arc<Purging>,
    targets: Vec<Target>,
}

impl Running<'_> {
    /// Returns when a signal ends it, or a thread is lost.
    async fn until_the_end(self, signals: Signals) -> Result<(), Box<dyn Error>> {
        let Self { opener, config, files, tail, service, status, api, gate, console, router, .. } = self;
        let Self { mut threads, started, renewer, renewing, purging, targets, .. } = self;
        let Signals { hangup, mut end } = signals;
        let listener = listener::bind(&Bounds::ADMIN, config.admin.listen)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut tasks = JoinSet::new();
        gate.serve(listener, router, &mut tasks);
        console.measure(&mut tasks);
        if let Some(publishing) = service.publishing()
            && let Some(listen) = publishing.listen()
        {
            let listener = listener::bind(&Bounds::SNAPSHOTS, listen)?;
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let router = shelf::router(publishing.directory());
            let router = tail.into_iter().fold(router, |router, tail| router.merge(poll::router(tail)));
            tasks.spawn(listener::serve(listener, router, Bounds::SNAPSHOTS));
        }
        service.spawn_tasks(&mut tasks);
        let asked = reload_socket::listen(&config.state_dir, &opener.path, &mut tasks);
        let reload = Arc::new(Reload {
            opener,
            started_with: config,
            files,
            service: service.handle().clone(),
            status: Arc::clone(&status),
            api,
            gate,
            renewer: Arc::clone(&renewer),
            purging: Arc::clone(&purging),
        });
        // A writer takes no version of others.
        let published = Arc::default();
        let reloads = Reloads::start(hangup, asked, renewer.asked(), published, &mut tasks, move |opens| {
            let reload = Arc::clone(&reload);
            async move { reload.run(opens).await }
        });
        renewer.change(renewing);
        purging.change(targets);
        info!(admin = %address, seconds = started.elapsed().as_secs_f32(), "ready");
        notify(ServiceState::Ready);
        // Its own threads work for as long as sources, disks and tokens take.
        tasks.spawn(watchdog::watch(Vec::new()));
        let outcome = tokio::select! {
            () = end.recv() => Ok(()),
            lost = threads.lost() => Err(lost.into()),
        };
        info!("stopping: what is being signed and written is finished");
        reloads.stop();
        notify(ServiceState::Stopping);
        status.drain();
        threads.stop();
        outcome
    }
}

/// Reads the file again.
struct Reload {
    opener: Opener,
    /// The configuration at the start: parts of it are used until the next one.
    started_with: Config,
    /// What the files of `[feed]` held then.
    files: Option<FeedFiles>,
    service: Handle,
    status: Arc<Status>,
    api: Arc<Api>,
    gate: Arc<Gate>,
    renewer: Arc<Renewer>,
    purging: Arc<Purging>,
}

impl Reload {
    /// Reads the file, or opens what is in use anew, and changes to it.
    async fn run(&self, opens: Opens) -> Verdict {
        self.status.reopen_journals();
        let outcome = self.change(opens).await;
        if opens == Opens::WhatIsInUse {
            outcome.as_ref().err().into_iter().for_each(|problem| self.renewer.refused(problem));
            return outcome;
        }
        match &outcome {
            Ok(_) => info!(file = %self.opener.path.display(), "the configuration was read again"),
            Err(problem) => error!("{problem}; the configuration stays as it was"),
        }
        self.status.reloaded(outcome.as_ref().err().cloned());
        outcome
    }

    async fn change(&self, opens: Opens) -> Verdict {
        let opener = self.opener.clone();
        // Keys are opened and tried, which takes time.
        let open = move || if opens == Opens::TheFile { opener.read() } else { opener.reopen() };
        let read = spawn_blocking(open).await.map_err(|error| error.to_string())?;
        let (config, mut assembly) = read.map_err(|error| error.to_string())?;
        let mut warnings = keys::tell_waiting(keys::waiting(&keys::KEYS, &self.started_with, &config));
        if let Some((in_use, feed)) = self.files.as_ref().zip(assembly.feed.as_ref()) {
            warnings.extend(in_use.warn_of_changes(&FeedFiles::of(feed)));
        }
        let admin = std::mem::take(&mut assembly.admin);
        let (api_settings, renewing) = (ApiSettings::of(&assembly), self.renewer.of(&assembly));
        let targets = assembly.purge.clone();
        let change = self.service.prepare(Arc::new(assembly)).await?;
        self.service.adopt(change).await?;
        self.api.change(api_settings);
        self.gate.change(admin);
        if opens == Opens::TheFile {
            self.opener.in_use.taken().iter().for_each(Change::tell);
        }
        self.renewer.change(renewing);
        self.purging.change(targets);
        warnings.extend(self.service.source_faults());
        Ok(warnings)
    }
}
