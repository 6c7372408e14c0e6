//! Copies a feed to the Redis of another site, entry for entry.
//!
//! Purpose: replicas and standbys of a second site follow a Redis of their own, which goes on without the first site. What
//! they read there was signed by the first site's writer: the relay has no key, and changes no byte. Invariants:
//!
//! - It appends only behind what it has copied itself. Once a writer of the second site leads, because somebody promoted it,
//!   nothing of the first site is copied over that, however late the first site comes back.
//! - It copies nothing that no trusted key has signed, so whoever breaks into the first Redis cannot close the second one with an
//!   absurd ID.
//! - Each side may be away for as long as it likes: the relay goes on where it was.
//!
//! `copier` is what is done with each entry, `place` decides where copying goes on; [`Report`] is what is told of it. It does
//! not know what an entry says, and nobody waits for it.

mod copier;
mod place;

use std::{
    fmt::Write as _,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use prometheus_client::encoding::DescriptorEncoder;

use self::copier::Copier;
use crate::{
    admin::{
        self, Part,
        encode::{Labels, counters, gauge, gauges},
    },
    feed::{
        Cluster, Position, Trusted,
        https::Https,
        redis::Server,
        shelf::{BaseUrl, Directory, Fetcher},
    },
    limits::feed as limits,
    service::{LastWords, registry::Registry},
};

/// Between which servers, and for whom.
#[derive(Debug)]
pub struct Route {
    /// Whose feed it is.
    pub cluster: Cluster,
    /// Whose entries are copied.
    pub trusted: Trusted,
    /// The Redis that is read,
    pub from: Server,
    /// and the one that is filled.
    pub to: Server,
    /// Where snapshots are kept for the second site,
    pub directory: Directory,
    /// where they are fetched,
    pub sources: Vec<BaseUrl>,
    /// and whose certificates count there.
    pub https: Https,
}

/// How it fares.
#[derive(Clone, Debug)]
pub struct Report {
    /// Entries copied since the start,
    pub copied: u64,
    /// and passed over, because no trusted key signed them for this cluster.
    pub refused: u64,
    /// The last entry that both have.
    pub at: Option<Position>,
    /// Why the first Redis is not read,
    pub from: Option<String>,
    /// why the second is not written,
    pub to: Option<String>,
    /// The last entry of the second Redis, if a writer of that site has written it.
    pub promoted: Option<Position>,
    /// The last entry of the first Redis, if it is before what was copied: it has lost that, and says nothing that counts until a
    /// writer there begins a later epoch.
    pub behind: Option<Position>,
    /// When an entry came last, or since when it is waited for.
    pub came: Instant,
    /// How old the last sign of life was when it was copied, by both clocks on the wall: with the time since then what a loss of
    /// the first site costs.
    pub age: Option<Duration>,
}

impl Report {
    fn new() -> Self {
        Self {
            copied: 0,
            refused: 0,
            at: None,
            from: None,
            to: None,
            promoted: None,
            behind: None,
            came: Instant::now(),
            age: None,
        }
    }
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    report: Mutex<Report>,
}

impl Shared {
    fn note(&self, note: impl FnOnce(&mut Report)) {
        note(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A relay at work, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Begins to copy. `last` reports the end of the thread.
    pub fn start(route: Route, last: LastWords) -> io::Result<Self> {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), report: Mutex::new(Report::new()) });
        let fetcher = Fetcher::start(Some(route.directory.clone()), &route.sources, &route.https)?;
        let mut copier = Copier::new(route, fetcher, Arc::clone(&shared));
        let run = move || {
            let _last = last;
            copier.run();
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Tells the last entry that both sites have.
    pub fn position(&self) -> impl Fn() -> Option<Position> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move || report(&shared).at
    }

    /// Its health and metrics, with what is said of it in the list of servers.
    pub fn router(&self, registry: &Registry) -> Router {
        let (ready, listed) = (Arc::clone(&self.shared), registry.clone());
        let parts: Arc<Vec<Part>> = Arc::new(vec![part(&self.shared), admin::servers(registry), admin::build()]);
        Router::new()
            .route("/livez", get(async || "alive\n"))
            .route(
                "/readyz",
                get(async move || {
                    let report = report(&ready);
                    let (status, lines) = readiness(&report, report.came.elapsed());
                    let remarks: String = listed.view().remarks().iter().map(|line| format!("{line}\n")).collect();
                    (status, lines + &remarks)
                }),
            )
            .route("/metrics", get(async move |request: HeaderMap| admin::scrape(parts, &request)))
            .fallback(async || {
                (
                    StatusCode::NOT_FOUND,
                    "nothing is at this path; health is at /livez and /readyz, metrics are at /metrics\n",
                )
            })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn report(shared: &Shared) -> Report {
    shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Ready is who copies. `silence`: how long ago the last entry came.
fn readiness(report: &Report, silence: Duration) -> (StatusCode, String) {
    let at =
        report.at.map_or("nothing is copied yet".to_owned(), |at| format!("both sites have everything up to {at}"));
    let mut lines = String::new();
    if let Some(promoted) = report.promoted {
        let _ = writeln!(lines, "not copying: {}", in_words_of(promoted));
    }
    for fault in [&report.from, &report.to].into_iter().flatten() {
        let _ = writeln!(lines, "not copying: {fault}");
    }
    if let Some(behind) = report.behind {
        let _ = writeln!(
            lines,
            "degraded: the first site is back at {behind}, before what was copied: nothing of it counts until a writer there begins a later epoch; is its clock right?"
        );
    }
    if silence > limits::LAGGING_MAX {
        lines.push_str("degraded: nothing new has come from the first site for a minute: does a writer lead there?\n");
    }
    let is_copying = report.promoted.is_none() && report.from.is_none() && report.to.is_none();
    let _ = writeln!(lines, "{}{at}", if is_copying { "copying: " } else { "" });
    (if is_copying { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
}

/// What it means that the second site has entries of its own.
fn in_words_of(promoted: Position) -> String {
    format!(
        "the second site has an entry of its own, {promoted}: a writer was promoted there, and nothing of the first site is copied over that. To let the first site lead again, have a relay fill it from the second one, and promote a writer there; or, if what the second site says is to be given up, stop its writer and remove its stream (`redis-cli UNLINK`)"
    )
}

fn part(shared: &Arc<Shared>) -> Part {
    let shared = Arc::clone(shared);
    Box::new(move |encoder: &mut DescriptorEncoder<'_>| {
        let report = report(&shared);
        let sides = [("from", &report.from), ("to", &report.to)];
        let sides = sides.map(|(side, fault)| (vec![("side", side)], u64::from(fault.is_none())));
        gauges(encoder, "relay_connected", "Whether a side's Redis does what it is asked to", sides.into())?;
        gauge(
            encoder,
            "relay_promoted",
            "Whether the second site has entries of its own",
            report.promoted.is_some().into(),
        )?;
        let totals = [
            ("relay_entries", "Entries copied", report.copied),
            (
                "relay_entries_refused",
                "Entries passed over because no trusted key signed them for this cluster",
                report.refused,
            ),
        ];
        for (name, help, value) in totals {
            counters(encoder, name, help, vec![(Labels::new(), value)])?;
        }
        let seconds = [
            ("relay_silence_seconds", "How long ago the last entry came", Some(report.came.elapsed())),
            (
                "relay_age_seconds",
                "How old the last sign of life is that was copied",
                report.age.map(|age| age + report.came.elapsed()),
            ),
        ];
        for (name, help, value) in seconds {
            if let Some(value) = value {
                let kind = prometheus_client::metrics::MetricType::Gauge;
                encoder.encode_descriptor(name, help, None, kind)?.encode_gauge(&value.as_secs_f64())?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_hears_whether_it_copies_and_why_not() {
        let position = |epoch| Position { epoch, sequence: 1 };
        let copies = Report { at: Some(position(7)), ..Report::new() };
        let fault = Some("Redis is away".to_owned());
        for (report, status, told) in [
            (copies.clone(), 200, "copying: both sites have everything up to 7-1\n"),
            (Report::new(), 200, "copying: nothing is copied yet"),
            (Report { from: fault.clone(), ..copies.clone() }, 503, "not copying: Redis is away\nboth sites"),
            (Report { to: fault, ..copies.clone() }, 503, "not copying: Redis is away\nboth sites"),
            (
                Report { promoted: Some(position(9)), ..copies.clone() },
                503,
                "an entry of its own, 9-1: a writer was promoted",
            ),
            (Report { behind: Some(position(5)), ..copies.clone() }, 200, "degraded: the first site is back at 5-1"),
        ] {
            let (said, lines) = readiness(&report, Duration::from_secs(1));
            assert!(said.as_u16() == status && lines.contains(told), "{said}: {lines}");
        }
        let (said, lines) = readiness(&copies, limits::LAGGING_MAX + Duration::from_secs(1));
        assert!(said.as_u16() == 200 && lines.starts_with("degraded: nothing new has come"), "{said}: {lines}");
    }
}
