//! Opens everything that a configuration names: what `precompute` opens, and the TLS certificate.
//!
//! Purpose: one value for a file that is read repeatedly, with what is known about tokens in between. Invariant: all
//! problems of the file and of what it names are reported at once. It does not know what is served.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use precompute::{
    assemble::{self, Assembly as Common, Tokens},
    config::{Change, ConfigError, Document, InUse, Problems, TlsTrust},
    feed::https,
    journal::{self, trail},
    pki::UnixTime,
    service::configurations::Taken,
    tls::Certificates,
};

use crate::{
    config::{Config, Edge},
    ocsp::transactions,
    tsa::{promised::Promised, record},
    upstream::group::{Group, Wanted},
};

/// Everything that a configuration names. What it has started ends with it.
#[derive(Debug)]
pub struct Assembly {
    /// Tenants with their certificates and keys.
    pub common: Common,
    /// The TLS certificate, if there is TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// The upstreams of an edge.
    pub edge: Option<Arc<Group>>,
}

/// A configuration file that is read repeatedly. Clones share what is known about tokens.
#[derive(Clone, Debug)]
pub struct Opener {
    path: PathBuf,
    tokens: Tokens,
    in_use: InUse,
    /// The published configuration, if the file says so that was read first.
    taken: Arc<OnceLock<Option<Taken>>>,
}

impl Opener {
    /// For this file; nothing is read yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), tokens: Tokens::default(), in_use: InUse::default(), taken: Arc::default() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file and opens what it names: keys and certificates are opened and tried. If all tokens of a signer
    /// are out of reach, that is only logged; the signer signs when one is back.
    pub fn read(&self, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        let document = self.in_use.read(Document::open(&self.path)?);
        if self.taken.get().is_none() {
            let _ = self.taken.set(Taken::of(&document, false)?);
        }
        self.open_present(&document, now)
    }

    /// What is in use of the file, with the next version of the published configuration; `None` if there is none.
    pub fn read_next(&self, now: UnixTime) -> Option<Result<(Config, Assembly), ConfigError>> {
        let document = self.in_use.get()?;
        let next = self.taken()?.with_next(&document)?;
        Some(next.and_then(|document| self.open(&document, now)))
    }

    /// What is taken of the published configuration, if the file says so.
    pub fn taken(&self) -> Option<&Taken> {
        self.taken.get()?.as_ref()
    }

    fn open_present(&self, document: &Document, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        match self.taken() {
            Some(taken) => self.open(&taken.with_present(document)?, now),
            None => self.open(document, now),
        }
    }

    /// The same of what is in use, whatever the file says now.
    pub fn reopen(&self, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        self.in_use.get().map_or_else(|| self.read(now), |document| self.open_present(&document, now))
    }

    /// What was read last is in use from now on; the journal is told what changed.
    pub fn file_taken(&self) {
        self.in_use.taken().iter().for_each(Change::tell);
    }

    /// How many lines the file in use has.
    pub fn lines(&self) -> usize {
        self.in_use.get().map_or(0, |document| document.lines())
    }

    /// SHA-256 of the text in use, in hexadecimal.
    pub fn digest(&self) -> Option<String> {
        self.in_use.digest()
    }

    /// As [`Self::read`], but such a signer is a problem.
    pub fn check(&self, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        let document = Document::open(&self.path)?.to_be_checked();
        match Taken::of(&document, true)? {
            Some(taken) => self.open(&taken.with_present(&document)?, now),
            None => self.open(&document, now),
        }
    }

    fn open(&self, document: &Document, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        let reading = Config::reading(document).with(|config, problems| {
            let tls = config.tls.as_ref();
            let certificates =
                tls.and_then(|tls| assemble::open_pair(&problems.at(&tls.place), &tls.certificate, &tls.key, now));
            check_record(config, problems);
            // One file may serve a writer on this machine as well.
            let common = assemble::assemble(&config.common.for_a_reader(), problems, &self.tokens, now);
            let edge = config.edge.as_ref().and_then(|edge| open_edge(edge, problems));
            Assembly { common, certificates, edge }
        });
        reading.finish()
    }
}

/// The upstreams of an edge, of which nobody is asked yet; `None` if a problem was noted, now or before.
fn open_edge(edge: &Edge, problems: &Problems) -> Option<Arc<Group>> {
    let at = problems.at(&edge.place);
    let cas = match &edge.tls_ca {
        Some(TlsTrust::File(path)) => Some(at.noted("tls_ca", https::cas(path))?),
        Some(TlsTrust::System) | None => None,
    };
    let wanted = Wanted { of: "edge".into(), urls: edge.upstreams.clone(), cas, fail_back: edge.fail_back };
    at.noted("upstreams", Group::new(wanted))
}

/// Checks that tokens can be recorded, and promises noted if they are kept across restarts.
fn check_record(config: &Config, problems: &Problems) {
    let state_dir = &config.common.state_dir;
    if let Some(Err(problem)) =
        config.common.journal.as_ref().map(|options| journal::check(trail::KIND, options, state_dir))
    {
        problems.at(&config.common.place).problem_that_may_pass("journal", problem);
    }
    if let Some(Err(problem)) = config.common.kept_transactions().map(|options| transactions::check(options, state_dir))
    {
        problems.at(&config.common.place).problem_that_may_pass("journal", problem);
    }
    if let Some(Err(problem)) = config.time_stamping.record.as_ref().map(|options| record::check(options, state_dir)) {
        // A start finds it as well. A running service continues with the open file, and reports what is wrong.
        problems.at(&config.time_stamping.place).problem_that_may_pass("record", problem);
    }
    if config.common.tsas().any(|(_, tsa)| tsa.policy.ordering)
        && let Err(problem) = Promised::check(&config.common.state_dir)
    {
        problems.at(&config.common.place).problem_that_may_pass("state_dir", problem);
    }
}
