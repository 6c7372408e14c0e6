//! The API for pushes: `/v1` on the admin listener.
//!
//! Purpose: from an HTTP request to a push of the ledger, and from its outcome to JSON. Invariants: nothing is told to
//! strangers or done for them, and of a tenant nothing to whoever has no right in it; a push is acknowledged after the ledger
//! has said that it is durable, and never before; each error is a problem of RFC 9457 that names what is wrong and what would
//! be right. It does not know how a push is decided, or how connections are treated.
//!
//! - `access`: who may ask, and for what; pure.
//! - `members`, `request`: what is asked; pure.
//! - `problem`: what is refused, and why. `pushing`: when a push counts.
//! - `issuers`: which issuer is meant, and what is told of it.
//! - `lines`, `batch`: a list, line by line; pure but for the ledger. `upload`: its stream.
//! - `servers`: who takes part in a feed. `configurations`: what they are configured with. `usage`: what clients of
//!   time-stamping have had. `signers`, `overview`, `audit`: the other things that are looked at.
//! - `description`: what OpenAPI says of all of it.
//! - `place`: lists and backups under way. `refusals`: what is told of refused requests.
//! - `told`: the log of pushes, and what an answer says beside the outcome.
//! - `snapshot`: a backup of the book. `handlers`: the paths.

mod access;
mod audit;
mod batch;
mod configurations;
mod description;
mod handlers;
mod issuers;
pub(crate) mod lines;
mod members;
mod overview;
mod place;
pub mod problem;
mod pushing;
mod refusals;
mod request;
mod servers;
mod signers;
mod snapshot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod told;
mod upload;
mod usage;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use axum::Router;
use tokio::sync::{Semaphore, watch};

pub(crate) use self::members::Members;
use self::refusals::Refusals;
pub(crate) use self::request::certificate as certificate_of_text;
pub(crate) use self::servers::EVEN_IF_ALIVE;
pub use self::{overview::Counted, request::Verb};
use crate::{
    admin::Status,
    answers::Answers,
    assemble::Assembly,
    audit as verifying,
    config::Sources,
    issuer_id::IssuerId,
    journal::{Identity, Options},
    ledger::Ledgers,
    limits,
    pki::Certificate,
    service::{Operator, Publishing, Telling, Tenants, configurations::Announcer, registry::Registry},
    signers::TsaSigner,
};

/// The API, for as long as the process runs.
pub struct Api {
    ledgers: Ledgers,
    /// What is answered from.
    tenants: watch::Receiver<Arc<Tenants>>,
    /// Of a writer of a feed: what is pushed has to be told.
    telling: Option<Arc<Telling>>,
    /// And who leads may be asked of it.
    operator: Option<Arc<Operator>>,
    /// And the list of its servers.
    registry: OnceLock<Registry>,
    /// And what it publishes.
    announcer: OnceLock<Announcer>,
    /// Where the usage of time-stamps is.
    state_dir: OnceLock<PathBuf>,
    /// What else is in this process.
    process: OnceLock<Process>,
    settings: Mutex<Arc<ApiSettings>>,
    uploads: Arc<Semaphore>,
    uploads_max: usize,
    /// Who has those places.
    held: place::Held,
    refusals: Refusals,
    idle_max: Duration,
}

/// What an API tells of its process beside what its issuers say.
pub struct Process {
    /// The kept answers.
    pub answers: Arc<Answers>,
    /// Whether it is ready, and what is to be said about that.
    pub status: Arc<Status>,
    /// Its journal; `None` where none is kept.
    pub journal: Option<JournalFile>,
    /// What it has answered.
    pub traffic: Box<dyn Fn() -> Vec<Counted> + Send + Sync>,
}

/// Where a journal is, and the public key of its heads.
#[derive(Clone, Debug)]
pub struct JournalFile {
    /// The file that lines are appended to.
    pub path: PathBuf,
    /// The server's.
    pub key: verifying::Key,
}

impl JournalFile {
    /// That of a server.
    pub fn of(options: &Options, identity: &Identity) -> Self {
        Self { path: options.path.clone(), key: identity.key.public() }
    }
}

/// A time-stamping authority, for the list of signers.
#[derive(Debug)]
pub struct ConfiguredTsa {
    tenant: String,
    name: String,
    signer: Arc<TsaSigner>,
}

/// What a reload changes.
#[derive(Default, Debug)]
pub struct ApiSettings {
    /// What the configuration says of the issuers.
    pub issuers: HashMap<IssuerId, Arc<ConfiguredIssuer>>,
    /// The time-stamping authorities.
    pub tsas: Vec<ConfiguredTsa>,
    /// The cluster of the feed, which backups name.
    pub cluster: Option<String>,
}

/// What the configuration says of an issuer.
#[derive(Debug)]
pub struct ConfiguredIssuer {
    /// Its certificate, against which a certificate in a request is verified.
    pub certificate: Certificate,
    /// Its sources beside pushes.
    pub sources: Sources,
}

impl ApiSettings {
    /// Those of a configuration.
    pub fn of(assembly: &Assembly) -> Self {
        let configured = |(_, issuer): (_, &crate::assemble::AssembledIssuer)| {
            let (certificate, sources) = (issuer.certificate.clone(), issuer.sources.clone());
            (issuer.id.clone(), Arc::new(ConfiguredIssuer { certificate, sources }))
        };
        let authority = |(tenant, tsa): (&crate::assemble::AssembledTenant, &crate::assemble::AssembledTsa)| {
            let (tenant, name) = (tenant.name.clone(), tsa.name.clone());
            ConfiguredTsa { tenant, name, signer: Arc::clone(&tsa.signer) }
        };
        Self {
            issuers: assembly.issuers().map(configured).collect(),
            tsas: assembly.tsas().map(authority).collect(),
            cluster: assembly.feed.as_ref().map(|feed| feed.cluster.to_string()),
        }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("settings", &self.settings()).finish_non_exhaustive()
    }
}

impl Api {
    /// An API without access, until [`Self::change`] gives it. `publishing`: of a writer of a feed.
    pub fn new(ledgers: Ledgers, tenants: watch::Receiver<Arc<Tenants>>, publishing: Option<&Publishing>) -> Arc<Self> {
        Self::with_bounds(ledgers, tenants, publishing, limits::API_UPLOADS_MAX, limits::API_UPLOAD_IDLE_MAX)
    }

    fn with_bounds(
        ledgers: Ledgers,
        tenants: watch::Receiver<Arc<Tenants>>,
        publishing: Option<&Publishing>,
        uploads: usize,
        idle_max: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            ledgers,
            tenants,
            telling: publishing.map(Publishing::telling),
            operator: publishing.map(Publishing::operator),
            registry: OnceLock::new(),
            announcer: OnceLock::new(),
            state_dir: OnceLock::new(),
            process: OnceLock::new(),
            settings: Mutex::default(),
            uploads: Arc::new(Semaphore::new(uploads)),
            uploads_max: uploads,
            held: place::Held::default(),
            refusals: Refusals::new(),
            idle_max,
        })
    }

    /// Where the usage of time-stamps is. Once for all.
    pub fn counts_in(&self, state_dir: &Path) {
        let _ = self.state_dir.set(state_dir.to_owned());
    }

    /// Of a writer of a feed: it is one of these servers.
    pub fn registers(&self, registry: &Registry) {
        let _ = self.registry.set(registry.clone());
    }

    /// Of a writer of a feed: it publishes the configuration by this.
    pub fn configures(&self, announcer: &Announcer) {
        let _ = self.announcer.set(announcer.clone());
    }

    /// What is told of the process as well.
    pub fn tells_of(&self, process: Process) {
        let _ = self.process.set(process);
    }

    /// Goes over to other settings. Requests under way keep the former ones.
    pub fn change(&self, settings: ApiSettings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<ApiSettings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is answered from now.
    fn tenants(&self) -> Arc<Tenants> {
        Arc::clone(&self.tenants.borrow())
    }

    /// Its paths, behind a [gate](crate::admin::gate).
    pub fn router(self: Arc<Self>) -> Router {
        handlers::router(self)
    }
}
