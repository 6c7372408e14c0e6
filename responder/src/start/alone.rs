//! The role of a single machine: it reads the sources, keeps the book, signs and answers, all in this process.
//!
//! The threads: workers ([`crate::net::run`]) answer; [`precompute::service`] has those that read, save and sign; clocks,
//! the record and the access log have one each. The thread that calls [`Alone::run`] handles health, metrics and
//! signals. It does not know what is answered.

use std::{error::Error, future::ready as at_once, sync::Arc};

use precompute::{
    admin::{self as common, Status},
    api::{Api, ApiSettings},
    assemble::Assembly,
    console::{self, Console},
    service::{Purging, Service, Signals, Tells},
    state_dir::{Owned, ServerId},
};
use tokio::task::JoinSet;
use tracing::info;

use super::{
    Running,
    serving::{Parts, Plan, Serving},
};
use crate::{admin, reload::Knowledge};

/// A running service.
pub(super) struct Alone {
    serving: Serving,
    service: Service,
    status: Arc<Status>,
    /// Takes pushes.
    api: Arc<Api>,
    /// Has caches told.
    purging: Arc<Purging>,
    server: ServerId,
}

impl Alone {
    /// Reads everything, and returns when all workers accept. Not earlier: a refused client goes to another replica, but an
    /// accepted one would wait for the rest of the start.
    pub(super) fn start(plan: Plan, mut assembly: Assembly, owned: Owned) -> Result<Self, Box<dyn Error>> {
        let server = owned.server_id();
        let read = Service::read(&assembly, owned)?;
        let serving = plan.serve(&assembly, &read.tenants())?;
        // The site has the parts that it uses. Replaced parts have to go, with their threads and sessions.
        let api_settings = ApiSettings::of(&assembly);
        let targets = std::mem::take(&mut assembly.purge);
        drop(assembly);
        let config = &serving.config.common;
        let service = read.start(config, serving.misses.store().answers(), &serving.workers.watched, None)?;
        let status = Status::new(service.tenants(), config.admin.ready_without_signers);
        status.may_be_drained(&config.state_dir);
        let api = Api::new(service.ledgers(), service.tenants(), None);
        api.counts_in(&config.state_dir);
        api.change(api_settings);
        api.tells_of(serving.process(&status));
        let last = serving.workers.watched.last_words("what has caches told");
        let purging = Arc::new(Purging::start(service.tenants(), Tells::Alone, last)?);
        status.purges_by(&purging);
        purging.change(targets);
        Ok(Self { serving, service, status, api, purging, server })
    }

    /// Answers until a signal ends it, or a thread is lost.
    pub(super) async fn run(&mut self, signals: Signals, ready: impl FnOnce(&Running)) -> Result<(), Box<dyn Error>> {
        let Self { serving, service, status, api, purging, server } = self;
        let mut tasks = JoinSet::new();
        service.spawn_tasks(&mut tasks);
        let ahead = common::presigning(service.progress());
        let own = Arc::new(serving.status(status, *server));
        let meters = console::meters(status, serving.misses.store().answers(), service.progress());
        let parts = admin::console_parts(&own, meters);
        let console = Console::new(&serving.gate, Arc::clone(api).router(), parts);
        console.measure(&mut tasks);
        let admin = admin::router(&own, ahead).merge(Arc::clone(api).router()).merge(console.router());
        let knowledge = Knowledge::Sources(service.handle().clone(), Arc::clone(api), Arc::clone(purging));
        let reload = serving.reload(knowledge, status);
        let parts = Parts { status: Arc::clone(status), admin, tasks, reload };
        serving.run(signals, parts, at_once(()), ready).await
    }

    /// Ends the remaining threads: everything issued, signed and read is then on disk.
    pub(super) fn end(self) {
        drop((self.serving, self.status, self.api, self.purging));
        self.service.end();
        info!("stopped");
    }
}
