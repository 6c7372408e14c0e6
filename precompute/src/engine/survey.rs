//! What a start would find; nothing is kept.
//!
//! Purpose: `check` reads the sources and the book, also while a service runs. Invariant: nothing is written. It does
//! not know how the findings are shown.

mod beside;
mod known;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Display,
    sync::{Mutex, PoisonError},
    thread,
};

use tracing::warn;

use self::known::{Known, Look};
use super::{
    EngineError, Faults, FollowedIssuer,
    compare::{self, Comparison},
    predecessor::{self, Forgotten},
    progress::Progress,
};
use crate::{
    assemble::{AssembledIssuer, AssembledTenant, Assembly},
    feeder::{self, Problem, Spec, Trial},
    ledger::reconcile::{self, FINAL, strictness},
    limits::{self, fetch},
    pki::{Record, Serial, Status, UnixTime},
    publication::Publication,
    records::{Details, Origin, Records, Stated},
    source::SourceError,
    state_dir::file_system,
};

/// What was read of one issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survey {
    /// Certificates that are listed.
    pub listed: u64,
    /// What looks unintended: one line each, with the file and the remedy.
    pub doubts: Vec<String>,
    /// What the names of its published CRLs have behind that of the issuer.
    pub published: Vec<String>,
    /// What a start would have of the certificates of CAs that are configured, as far as it lists them.
    pub cas: Vec<(Serial, Status)>,
}

/// Reads the sources of every issuer, and what the book has of it, also while a service runs. Returns the tenant, the
/// issuer, and the findings or why a start would be refused.
pub fn survey(config: &Assembly, now: UnixTime) -> Vec<(String, String, Result<Survey, EngineError>)> {
    let configured = config.issuers().map(|(_, issuer)| issuer.id.clone()).collect();
    let cas = config.issuers().filter_map(|(_, issuer)| issuer.certificate.serial()).collect();
    let mut look = Look::at(&config.state_dir, configured, cas);
    let mut trials =
        try_all(config.issuers().map(|(tenant, issuer)| FollowedIssuer::new(tenant, issuer).named()).collect(), now);
    let mut survey = |(tenant, issuer): (&AssembledTenant, &AssembledIssuer)| {
        let mut followed = FollowedIssuer::new(tenant, issuer);
        let tried = trials.pop_front().unwrap_or_default();
        let outcome = look.known(&issuer.id).map_err(EngineError::Book).and_then(|known| {
            // The files are there for as long as they are looked at.
            let _files = followed.as_tried(tried)?;
            survey_one(&followed, issuer, &known, look.cas(), now)
        });
        (tenant.name.clone(), issuer.name.clone(), outcome)
    };
    config.issuers().map(&mut survey).collect()
}

/// Asks for what is fetched, several at once: of each issuer what came of it, in its order.
fn try_all(wanted: Vec<Vec<Spec>>, now: UnixTime) -> VecDeque<Vec<Result<Trial, Problem>>> {
    let mut tried: VecDeque<Vec<_>> =
        wanted.iter().map(|specs| specs.iter().map(|spec| Err(Problem::untried(spec))).collect()).collect();
    let places = wanted.iter().enumerate();
    let places: Vec<_> =
        places.flat_map(|(issuer, specs)| (0..specs.len()).map(move |number| (issuer, number))).collect();
    let threads = places.len().min(fetch::TRIED_AT_ONCE);
    let (next, done) = (Mutex::new(places.into_iter()), Mutex::new(&mut tried));
    let one = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    let ask = || {
        while let Some((issuer, number)) = one() {
            let trial = feeder::look(&wanted[issuer][number], now);
            done.lock().unwrap_or_else(PoisonError::into_inner)[issuer][number] = trial;
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(ask)));
    tried
}

impl FollowedIssuer {
    /// Reads what was tried in place of the mirrors. What is as old as its mirror is warned of; what is not there at all
    /// is an error.
    fn as_tried(&mut self, tried: Vec<Result<Trial, Problem>>) -> Result<Vec<Trial>, Faults> {
        let (mut trials, mut faults) = (Vec::new(), Vec::new());
        for (mirror, tried) in self.sources.mirrors().into_iter().zip(tried) {
            let trial = match tried {
                Ok(trial) => trial,
                Err(problem) => {
                    let wait = "a start does not wait for it, and its certificates get `tryLater` until it comes";
                    faults.push(SourceError::file(&mirror, format_args!("{problem}; {wait}")));
                    continue;
                }
            };
            if let Some((problem, confirmed)) = &trial.missed {
                let confirmed = confirmed.map_or("an unknown time".to_owned(), |confirmed| confirmed.to_string());
                warn!(
                    tenant = self.tenant(),
                    issuer = self.name,
                    "{problem}; what it said last, at {confirmed}, is looked at in its place"
                );
            }
            self.sources.replace(&mirror, trial.path());
            match &trial.delta {
                Some((mirror, Ok(delta))) => self.sources.replace(mirror, delta.path()),
                Some((_, Err(problem))) => warn!(tenant = self.tenant(), issuer = self.name, "{problem}"),
                None => {}
            }
            trials.push(trial);
        }
        if faults.is_empty() { Ok(trials) } else { Err(Faults(faults)) }
    }
}

fn survey_one(
    followed: &FollowedIssuer,
    issuer: &AssembledIssuer,
    known: &Known,
    cas: &BTreeSet<Serial>,
    now: UnixTime,
) -> Result<Survey, EngineError> {
    let details = Details::default();
    let question = compare::Question {
        records: &Records::default(),
        details: &details,
        issuer: followed,
        crl_marks: &known.crl_marks,
        mark: None,
        candidates: &compare::Candidates::default(),
        now,
        still: true,
        accept_shrink: false,
        shrink_remedy: "",
        accept_older: false,
        older_remedy: "if this is intended, stop the service and run `ostia-precompute sync --accept-older --config …` once",
        progress: &Progress::default(),
    };
    let mut reads = 0;
    let comparison = loop {
        let comparison = compare::compare(&question);
        reads += 1;
        if !comparison.faults.iter().any(|fault| fault.unsteady) || reads >= limits::UNSTEADY_READS_MAX {
            break comparison;
        }
        thread::sleep(limits::SOURCE_POLL_INTERVAL);
    };
    for warning in &comparison.warnings {
        warn!(tenant = followed.tenant(), issuer = followed.name, "{warning}");
    }
    if !comparison.faults.is_empty() {
        return Err(Faults(comparison.faults).into());
    }
    if let Some((path, end)) = comparison.crl_ends.iter().find(|(_, end)| *end <= question.now) {
        return Err(EngineError::OutOfDate(followed.to_string(), path.display().to_string(), *end));
    }
    // As a start has it: what the book has of the issuer, or what the sources say.
    let is_kept = |serial: &Serial, former: reconcile::Known| {
        let said = comparison.changes.binary_search_by_key(serial, |change| change.serial).ok();
        let said = said.and_then(|place| comparison.changes[place].record());
        let said = said.map(|record| reconcile::Known { record, origin: Origin::SOURCE });
        let own = known.own.get(serial).copied();
        own.into_iter().chain(said).any(|present| reconcile::keeps(present, former))
    };
    let (_, others) = predecessor::split(&known.predecessors, followed);
    match Forgotten::of(others, is_kept) {
        Some(forgotten) => Err(EngineError::Forgotten(followed.to_string(), forgotten.under(followed))),
        None => Ok(Survey {
            listed: comparison.listed,
            doubts: doubts(&comparison, issuer, now)
                .into_iter()
                .chain(taken_back(&comparison, known))
                .chain(of_hashes(&comparison, followed, &details))
                .chain(elsewhere(issuer))
                .collect(),
            cas: known.with_sources(&comparison, cas),
            published: suffixes(comparison),
        }),
    }
}

/// Certificates that the sources list as not revoked, and whose final revocation the book has from a source.
fn taken_back(read: &Comparison, known: &Known) -> Option<String> {
    let mut taken_back = read.changes.iter().filter(|said| {
        let is_milder = said.record().is_some_and(|record| strictness(record.status) < FINAL);
        is_milder && known.revoked.contains(&said.serial) && !known.by_push.contains(&said.serial)
    });
    let first = taken_back.next()?.serial;
    Some(format!(
        "the sources take back {} revocations, which stay (the first is {first}): a final revocation is never taken back; see whether an old copy of a source, or another CA's, is named",
        1 + taken_back.count()
    ))
}

/// Sources on the disks of other machines.
fn elsewhere(issuer: &AssembledIssuer) -> impl Iterator<Item = String> {
    let sources = &issuer.sources;
    let mirrors = sources.mirrors();
    let files = sources.paths_of_others().into_iter().filter(move |path| !mirrors.contains(path));
    let directories = sources.directories.iter().map(|directory| directory.path.clone());
    files.chain(directories).filter_map(|path| {
        let kind = file_system::network(&path)?;
        Some(format!(
            "{}: is on a network file system ({kind}): reading hangs when the other machine is away, changes are seen only by looking again and again, and a file may be seen half written; have it copied to a local disk (rsync renames what is complete), or served by HTTP, and name the URL",
            path.display()
        ))
    })
}

/// Certificates without a hash, where answers carry it: they are never *good*.
fn of_hashes(read: &Comparison, followed: &FollowedIssuer, details: &Details) -> Option<String> {
    let is_good = |said: &&Stated| said.record().is_some_and(|record| record.status == Status::Good);
    let without = read.changes.iter().filter(is_good).filter(|said| details.hash(&said.serial).is_none());
    let without = if followed.carries.cert_hash { without.count() } else { 0 };
    (without > 0).then(|| {
        format!(
            "`cert_hash`: {without} of {} certificates have no hash in the sources, and get `tryLater` in place of *good*, unless a push has told it; name a list or a query with `certificate_sha256`, or remove `cert_hash`",
            read.listed
        )
    })
}

/// What the names of the CRLs that a start would publish have behind that of the issuer.
fn suffixes(comparison: Comparison) -> Vec<String> {
    let publication = Publication::default();
    let (accepted, is_whole) = comparison.accepted;
    publication.take(accepted, is_whole);
    let crls = publication.crls();
    crls.iter().map(|crl| crl.suffix.clone()).collect()
}

fn doubts(read: &Comparison, issuer: &AssembledIssuer, now: UnixTime) -> Vec<String> {
    let mut doubts = Vec::new();
    // Compared with empty records, everything that is listed has changed.
    let of = |serial: &Serial| {
        let place = read.changes.binary_search_by_key(serial, |change| change.serial).ok()?;
        read.changes[place].record()
    };
    let own: Vec<_> = issuer.signers.all().iter().filter_map(|signer| signer.serial()).collect();
    for serial in &own {
        if let Some(Status::Revoked { .. }) = of(serial).map(|record| record.status) {
            doubts.push(format!("the signing certificate {serial} is revoked by its CA: clients that check it reject its answers; name another signer (`signer`)"));
        }
    }
    if let Some(listing) = issuer.sources.listings.first() {
        let path = &listing.path;
        let name = issuer.sources.origin_of(path).unwrap_or_else(|| path.display().to_string());
        let name = format!("{name}: `{}`", issuer.sources.key_of(listing));
        doubts.extend(of_listings(&name, read, &own, of, now));
    }
    let beside =
        |listing| beside::doubt(listing, &issuer.certificate, read.changes.iter().map(|change| &change.serial));
    doubts.extend(issuer.sources.listings.iter().filter_map(beside));
    if read.passed_over > 0 {
        doubts.push(format!(
            "the sources list {} serial numbers that are 0, negative or over 20 bytes, which no certificate can have; they are skipped",
            read.passed_over
        ));
    }
    doubts
}

/// Looks for signs that the listings belong to another CA. `first`: of several, the one to name, with its key.
fn of_listings(
    first: &str,
    read: &Comparison,
    own: &[&Serial],
    of: impl Fn(&Serial) -> Option<Record>,
    now: UnixTime,
) -> Option<String> {
    let listed = read.listed;
    if listed == 0 {
        return Some(at(
            first,
            "lists no certificate: every certificate is answered as unlisted; if the CA has issued some, name its database (`database` in openssl.cnf)",
        ));
    }
    let valid = |change: &Stated| change.record().is_some_and(|record| record.not_after.is_none_or(|end| end > now));
    if !read.changes.iter().any(valid) {
        return Some(at(
            first,
            format_args!(
                "lists {listed} certificates, all of which have expired: it may be an old copy; name the database that the CA writes"
            ),
        ));
    }
    let missing: Vec<_> = own.iter().filter(|serial| of(serial).is_none()).map(ToString::to_string).collect();
    if missing.is_empty() {
        return None;
    }
    let missing = missing.join(", ");
    Some(at(
        first,
        format_args!(
            "lists {listed} certificates but not {missing}, the signer's own, which this CA has issued: it may be another CA's, or an old copy; name this CA's database. If the signer was issued outside it (`openssl x509 -req`), clients that ask about it get no answer either: issue it with `openssl ca`"
        ),
    ))
}

fn at(listing: &str, text: impl Display) -> String {
    format!("{listing}: {text}")
}
