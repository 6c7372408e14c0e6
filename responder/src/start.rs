//! The service from start to stop: binds, reads, starts the threads, waits for a signal.
//!
//! - `bound`: the addresses, taken at once and listened on when there are answers; `workers`: the serving threads;
//!   `notify`: what systemd is told.
//!
//! Four kinds of thread: workers ([`crate::net::worker`]) answer, the engine
//! ([`precompute::engine`]) follows the sources, the presigner ([`precompute::presign`]) signs before anybody asks, and
//! this one runs ordinary async Rust for health, metrics and signals. What cannot be had at the start is an error; what
//! is lost later is not.

mod bound;
mod notify;
mod workers;

use std::{
    error::Error,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use precompute::{
    ending::take_signals,
    engine::Engine,
    limits::ANSWER_STORE_FACTOR,
    pki::{FileError, UnixTime},
    presign::{Presigner, Settings},
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{info, warn};

use crate::{
    access, admin,
    config::{Config, TimeStamping},
    limits,
    net::tls::Certificates,
    ocsp::{miss::Misses, store::Store},
    reload::{self, Order, Reload},
    serve::{
        bound::{Bound, Listening},
        notify::{State, notify},
        workers::{ThreadLost, Workers},
    },
    site::Site,
    standing,
    tsa::{clock::Transition, clocks::Clocks, record},
};

/// What the service has bound, once it is ready.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where relying parties are answered.
    pub http: Vec<SocketAddr>,
    /// Where they are answered over TLS.
    pub tls: Vec<SocketAddr>,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// What signals are taken with.
struct Control {
    runtime: Runtime,
    hangup: Signal,
}

impl Control {
    /// By default SIGHUP ends a process: from now on one that comes during a long start waits until there is something
    /// to reload. SIGTERM and SIGINT end a start at once, which the book bears as it bears a power cut.
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hangup = {
            let _entered = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Self { runtime, hangup })
    }
}

/// As [`run`], by the configuration in this file: to open its keys may take long already.
pub fn from_file(path: &Path) -> Result<(), Box<dyn Error>> {
    let control = Control::new()?;
    run_with(control, Config::read(path, UnixTime::now())?, path, |_| ())
}

/// Serves until SIGTERM or SIGINT; `ready` is called once requests are answered. `path` is read again at SIGHUP.
pub fn run(config: Config, path: &Path, ready: impl FnOnce(&Running)) -> Result<(), Box<dyn Error>> {
    run_with(Control::new()?, config, path, ready)
}

/// What may keep this configuration from being listened on, as things are on this machine; nothing is kept bound.
pub fn doubts(config: &Config) -> Vec<String> {
    bound::doubts(config)
}

fn run_with(
    control: Control,
    mut config: Config,
    path: &Path,
    ready: impl FnOnce(&Running),
) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let Control { runtime: control, mut hangup } = control;
    // First what is quickly found wrong.
    let bound = Bound::bind(&config).map_err(|error| format!("{}: {error}", path.display()))?;
    let tls_config = config.tls.as_ref().map(|tls| tls.certificates.server_config()).transpose()?;
    let running = bound.running().clone();

    let mut engine = Engine::open(&config.common)?;
    engine.read_all(|tenant, issuer, pass| {
        info!(
            tenant,
            issuer,
            listed = pass.listed,
            changed = pass.changed,
            good = pass.counts.good,
            revoked = pass.counts.revoked,
            seconds = pass.took.as_secs_f32(),
            "the source was read"
        );
    })?;
    let states = engine.states();
    let TimeStamping { clock, lease, record } = &config.time_stamping;
    let record = record.clone().map(|options| record::start(options, config.workers)).transpose();
    let record = record.map_err(|error| format!("{}: time_stamping.record: {error}", path.display()))?;
    let (record, recorders) =
        record.map_or((None, Vec::new()), |(writer, recorders)| (Some(Arc::new(writer)), recorders));
    let audit = record.as_ref().map(|record| record.audit());
    let note = move |transition: &Transition| audit.iter().for_each(|audit| audit.note(transition));
    let clocks = Arc::new(Clocks::new(*clock, *lease, &config.common.state_dir, Arc::new(note)));
    let site = Site::new(&config.common, &states, &clocks, config.workers, None)?;
    clocks.warn_if_unchecked(&site.authorities_since(None), &site.ordered_since(None));
    let (sites, site) = watch::channel(Arc::new(site));
    // The signers of a configuration that was replaced are to go, with their threads and sessions.
    config.common.tenants.clear();
    let misses = Misses::new(Store::new(config.common.cache.answers_octets, config.common.cache.octets));

    let (lines, told) = access::channel();
    let access = (config.access_sample, &lines);
    // Not before: who is refused goes to another replica, who is not would wait here for the rest of the start.
    let Listening { workers: listeners, admin } = bound.listen()?;
    let mut workers =
        Workers::start(listeners, &config.manners, tls_config.as_ref(), &site, &misses, access, recorders)?;
    // It ends when the last worker has.
    drop(lines);
    thread::Builder::new().name("access log".into()).spawn(move || access::write(&told))?;
    let cleaned = Arc::clone(&misses);
    let settings = Settings {
        answers: Arc::clone(misses.store().answers()),
        state_dir: config.common.state_dir.clone(),
        store_octets_max: config.common.cache.answers_octets.saturating_mul(ANSWER_STORE_FACTOR),
    };
    let presigner = Arc::new(Presigner::start(settings, site.borrow().subjects())?);
    let progress = Arc::clone(presigner.progress());
    let status = admin::Status::new(
        site,
        workers.counters.clone(),
        misses,
        progress,
        record.clone(),
        config.ready_without_signers,
    );
    let (orders, ordered) = std::sync::mpsc::channel::<Order>();
    let (following_on, followed) = std::sync::mpsc::channel();
    let follow = {
        // Without it the service would go on vouching for what it last read.
        let last = workers.last_words("the engine");
        thread::Builder::new().name("engine".into()).spawn(move || {
            let (_last, _following_on) = (last, following_on);
            engine.run(&ordered);
        })?
    };

    let outcome = control.block_on(async {
        admin.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(admin)?;
        let router = admin::router(Arc::clone(&status));
        let server = tokio::spawn(admin::listener::serve(listener, router, admin::listener::Bounds::default()));
        let standing = tokio::spawn(standing::watch(sites.subscribe(), Arc::clone(&presigner)));
        let settling = {
            let [promises, clock] = [(); 2].map(|()| Arc::clone(&clocks));
            let promises = note_every(limits::PROMISES_LOOK, move || promises.promised().settle(Instant::now()));
            let clock = note_every(limits::CLOCK_NOTE_LOOK, move || clock.remember());
            tokio::spawn(async move { tokio::join!(promises, clock) })
        };
        let reload = Reload {
            path: path.to_owned(),
            bound: reload::Bound::of(&config),
            tls: config.tls.as_ref().map(|tls| Arc::clone(&tls.certificates)),
            workers: config.workers,
            clocks: Arc::clone(&clocks),
            orders,
            sites,
            presigner: Arc::clone(&presigner),
            status: Arc::clone(&status),
            record: record.clone(),
        };
        let reloading = tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                notify(State::Reloading);
                reload.run().await;
                notify(State::Ready);
            }
        });
        let certificates = config.tls.as_ref().map(|tls| Arc::clone(&tls.certificates));
        let following = certificates.map(|certificates| tokio::spawn(follow_certificates(certificates)));
        let cleaning = tokio::spawn(remove_expired(cleaned));
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        take_signals();
        info!(
            http = ?running.http, tls = ?running.tls, admin = %running.admin, workers = config.workers,
            seconds = started.elapsed().as_secs_f32(), "ready"
        );
        ready(&running);
        notify(State::Ready);
        let outcome: Result<(), Box<dyn Error>> = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            lost = workers.lost.recv() => Err(ThreadLost(lost.unwrap_or_default()).into()),
        };
        info!("stopping: what is under way is finished");
        notify(State::Stopping);
        status.drain();
        // With it goes the sender of orders, and the engine ends.
        reloading.abort();
        workers.stop();
        // A second signal does not wait.
        tokio::select! {
            () = workers.ended() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.abort();
        cleaning.abort();
        standing.abort();
        settling.abort();
        following.inspect(tokio::task::JoinHandle::abort);
        outcome
    });
    // What the engine is in the middle of, mostly a commit, it ends; a source on a file system that hangs does not.
    if ends_within(&followed, limits::ENGINE_END_MAX) {
        let _ = follow.join();
    } else {
        warn!(
            waited_seconds = limits::ENGINE_END_MAX.as_secs(),
            "not waited for: the engine, which is still reading a source or writing the book; what it had not written is read from the sources at the next start"
        );
    }
    // A configuration or a TLS certificate that is just being read may hang in the same way.
    control.shutdown_timeout(limits::READING_END_MAX);
    // What was vouched for is on disk.
    drop((clocks, status, record));
    // What is signed is stored.
    drop(presigner);
    info!("stopped");
    outcome
}

/// Whether the thread that holds the other end has dropped it in time.
fn ends_within(thread: &Receiver<()>, limit: Duration) -> bool {
    thread.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
}

/// Looks at the files of the TLS certificate now and then.
async fn follow_certificates(certificates: Arc<Certificates>) {
    loop {
        tokio::time::sleep(limits::TLS_LOOK).await;
        let certificates = Arc::clone(&certificates);
        let _ = tokio::task::spawn_blocking(move || certificates.follow()).await;
    }
}

/// Makes room in the table of answers now and then.
async fn remove_expired(misses: Arc<Misses>) {
    loop {
        tokio::time::sleep(limits::CLEANING_INTERVAL).await;
        let misses = Arc::clone(&misses);
        let clean = move || misses.store().answers().remove_expired(UnixTime::now());
        let _ = tokio::task::spawn_blocking(clean).await;
    }
}

/// Notes what one process knows and the next one has to, again and again. Where that fails the next start waits longer than
/// it would have to, which is told once until it is well again.
async fn note_every(interval: Duration, note: impl Fn() -> Result<(), FileError> + Clone + Send + 'static) {
    let mut told = false;
    loop {
        tokio::time::sleep(interval).await;
        match tokio::task::spawn_blocking(note.clone()).await {
            Ok(Ok(())) => told = false,
            Ok(Err(problem)) if !std::mem::replace(&mut told, true) => warn!("{problem}"),
            _ => {}
        }
    }
}
