//! The console: pages for people, on the admin listener.
//!
//! Purpose: an operator sees how everything fares, looks certificates up, revokes and releases them, and reads the journal, in
//! a browser, also without scripts and on a phone. Invariants: whatever is looked up or done goes through the API as any
//! other client's request does, as the principal who has signed in, so that its roles, its limits and its journal are those
//! of the console; what changes anything is confirmed first, and sent by a page of the console itself. It decides nothing
//! about certificates, keeps nothing on disk, and does not know how anything is counted: programs name what they measure, as
//! they do with metrics.
//!
//! - `parts`: what a program has for it beside the API. `ring`: samples for the charts; pure.
//! - `session`, `guard`: who is signed in, and what a form has to come with; pure. `visit`: that before every page.
//! - `view`, `journal`: what is shown, as values; `gather`, `audit` and `client`, which asks the API, fetch it.
//! - `pages`, `page`, `chart`, `format`: how it is shown; pure. `assets`: style and script.
//! - `handlers`, `look_ups`, `deeds`: the paths. `forms`: what browsers send.

// What cannot be shown is a page as well: a response in the place of what was asked for, once a request.
#![allow(clippy::result_large_err)]

mod assets;
mod audit;
mod chart;
mod client;
mod deeds;
mod format;
mod forms;
mod gather;
mod guard;
mod handlers;
mod journal;
mod look_ups;
mod page;
mod pages;
mod parts;
mod ring;
mod session;
mod view;
mod visit;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use self::{
    client::Client,
    ring::{Curve, Ring},
    session::{Bounds, Sessions},
    visit::Seat,
};
pub use self::{
    parts::{Meter, Parts, meters},
    ring::Kind,
    view::{ClockRow, SignerRow},
};
use crate::{admin::gate::Gate, limits::console as limits, pki::UnixTime};

/// The console, for as long as the process runs.
pub struct Console {
    gate: Arc<Gate>,
    client: Client,
    parts: Parts,
    sessions: Mutex<Sessions<Seat>>,
    ring: Mutex<Ring>,
    /// Places for wrong tokens, which wait.
    wrong_sign_ins: Semaphore,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl Console {
    /// `gate`: knows who may sign in. `api`: the API's paths, without a gate before them.
    pub fn new(gate: &Arc<Gate>, api: Router, mut parts: Parts) -> Arc<Self> {
        parts.meters.truncate(limits::METERS_MAX);
        let bounds = Bounds {
            of_one: limits::SESSIONS_OF_ONE_MAX,
            all: limits::SESSIONS_MAX,
            lifetime: limits::SESSION_LIFETIME,
            idle: limits::SESSION_IDLE_MAX,
        };
        Arc::new(Self {
            gate: Arc::clone(gate),
            client: Client::new(api, gate),
            parts,
            sessions: Mutex::new(Sessions::new(bounds)),
            ring: Mutex::new(Ring::new(limits::SAMPLES_MAX, limits::SAMPLE_INTERVAL)),
            wrong_sign_ins: Semaphore::new(limits::WRONG_SIGN_INS_AT_ONCE),
        })
    }

    /// Its paths, which belong behind the gate.
    pub fn router(self: &Arc<Self>) -> Router {
        handlers::router(Arc::clone(self))
    }

    /// Measures from now on, for as long as the tasks run.
    pub fn measure(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let console = Arc::clone(self);
        tasks.spawn(async move {
            let mut ticks = interval(limits::SAMPLE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let values = console.parts.meters.iter().map(|meter| (meter.read)()).collect();
                console.ring().take(UnixTime::now(), values);
            }
        });
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions<Seat>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each meter has measured over the last `span`, with its title and unit.
    fn curves(&self, span: Duration, points: usize, now: UnixTime) -> Vec<(String, String, Curve)> {
        let ring = self.ring();
        let curve = |(place, meter): (usize, &Meter)| {
            let curve = ring.curve(place, meter.kind, span, points, now);
            (meter.title.to_owned(), meter.unit.to_owned(), curve)
        };
        self.parts.meters.iter().enumerate().map(curve).collect()
    }
}
