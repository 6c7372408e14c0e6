//! Changes what a running service follows and signs for, in two steps.
//!
//! Purpose: [`Handle::prepare`] reads the new sources while the old ones are still followed; the program then makes of
//! it what it serves, which may still fail; [`Handle::adopt`] switches. Invariant: until then nothing has changed. It
//! does not know who asks for the change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::Instant,
};

use tokio::sync::{oneshot, watch};

use super::Tenants;
use crate::{
    assemble::Assembly,
    engine::{Engine, FetchReport, Prepared},
    limits,
    presign::Presigner,
};

/// A task for the engine's thread. Other threads follow the sources meanwhile.
pub(super) type Order = Box<dyn FnOnce(&mut Engine) + Send>;

/// Why no more configurations are taken.
pub(super) const STOPPING: &str = "the service is stopping";

/// Gives a running service another configuration.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Orders for the engine.
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) tenants: watch::Sender<Arc<Tenants>>,
    pub(super) presigner: Arc<Presigner>,
    /// Whether answers are signed ahead: not where another writer leads.
    pub(super) signs: Arc<AtomicBool>,
}

/// A change that can be adopted. Dropping it undoes what was prepared.
#[derive(Debug)]
pub struct Change {
    prepared: Prepared,
    tenants: Arc<Tenants>,
}

impl Change {
    /// The tenants after the change.
    pub fn tenants(&self) -> &Arc<Tenants> {
        &self.tenants
    }
}

impl Handle {
    /// Reads what is new in a configuration; the error is for the user.
    pub async fn prepare(&self, assembly: Arc<Assembly>) -> Result<Change, String> {
        let wanted = Arc::clone(&assembly);
        // The old sources are followed until there are tenants with the new ones, which may still be refused.
        let prepared = self.order(move |engine| engine.prepare(&wanted)).await?;
        let prepared = prepared.map_err(|error| error.told(&assembly, None))?;
        let tenants = Tenants::new(&assembly, prepared.states(), Some(&self.tenants.borrow()));
        let tenants = tenants.map_err(|error| error.to_string())?;
        Ok(Change { prepared, tenants: Arc::new(tenants) })
    }

    /// Switches to what was prepared. A certificate that the old records show as *revoked* is revoked in the new ones
    /// when this returns.
    pub async fn adopt(&self, change: Change) -> Result<(), String> {
        let Change { prepared, tenants } = change;
        self.order(move |engine| engine.adopt(prepared)).await?.map_err(|error| error.to_string())?;
        // From here on nothing can be refused.
        let former = self.tenants.send_replace(tenants);
        self.sign();
        tokio::spawn(let_go(former));
        Ok(())
    }

    /// Whether answers are signed ahead from now on.
    pub(super) fn signs_ahead(&self, signs: bool) {
        self.signs.store(signs, Relaxed);
        self.sign();
    }

    /// What is wrong with sources now, a line for each.
    pub fn source_faults(&self) -> Vec<String> {
        let tenants = Arc::clone(&self.tenants.borrow());
        let faults = tenants.issuers().flat_map(|(tenant, issuer)| {
            let report = issuer.state.health.report();
            let lines: Vec<_> =
                report.fault.into_iter().chain(report.fetches.iter().filter_map(FetchReport::complaint)).collect();
            lines.into_iter().map(move |line| format!("{tenant}/{}: {line}", issuer.name))
        });
        faults.collect()
    }

    fn sign(&self) {
        let subjects = if self.signs.load(Relaxed) { self.tenants.borrow().subjects() } else { Vec::new() };
        self.presigner.change(subjects);
    }

    /// Has the engine's thread run `order`, and waits for the result.
    async fn order<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, &'static str> {
        let (tell, told) = oneshot::channel();
        // If the caller no longer waits, the result is dropped, and that undoes what was prepared.
        let order: Order = Box::new(move |engine| _ = tell.send(order(engine)));
        self.orders.send(order).map_err(|_| STOPPING)?;
        told.await.map_err(|_| STOPPING)
    }
}

/// Drops what a reload has replaced. Dropping the last reference to a signer waits for the end of its pool, which takes
/// seconds if a token hangs: no serving thread may do that.
pub async fn let_go<T: Send + Sync + 'static>(former: Arc<T>) {
    let begin = Instant::now();
    while Arc::strong_count(&former) > 1 && begin.elapsed() < limits::FORMER_SITE_WAIT {
        tokio::time::sleep(limits::FORMER_SITE_LOOK).await;
    }
    let _ = tokio::task::spawn_blocking(move || drop(former)).await;
}
