//! Opens what a configuration names: certificates parsed, keys opened and tried, signing threads started.
//!
//! Purpose: the one place that turns paths and URIs into running parts. Invariant: everything made belongs to the
//! [`Assembly`], and its end ends the threads. Every problem is reported with its line and key, together with all
//! problems of the file itself. The caller keeps what is known about tokens between calls ([`Tokens`]). It does not
//! know what the keys sign, or who sends requests.

mod admin;
mod feed;
mod forwarded;
mod issuer;
mod key;
mod publication;
mod published;
mod purge;
mod renewed;
mod signer;
mod tls;
mod token;
mod tokens;
mod tsa;

pub use admin::{AssembledAdmin, AssembledTls};
pub(crate) use feed::read_writer_key;
pub use feed::{AssembledFeed, FeedFiles, SnapshotPlaces, WriterKeyError};
pub use forwarded::AssembledForwarded;
pub use issuer::AssembledIssuer;
pub use published::Published;
pub use tls::open_pair;
pub(crate) use token::read_token;
pub use tokens::Tokens;
pub use tsa::{AssembledTsa, AssembledTsaElsewhere};

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::{At, Config, ConfigError, KeyConfig, Place, Problems, Reading, SignerConfig, TenantConfig, TsaConfig},
    ocsp::{HashAlgorithm, Policy},
    pki::{Certificate, UnixTime, certificates},
    purge::Target,
    renew::{self, Renewing},
    state_dir,
};

/// Opens the caches that are told, and nothing else.
pub fn open_caches(config: &Config, problems: &Problems) -> Vec<Target> {
    purge::open(&config.purge, &config.tenants, problems, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())
}

/// Everything that a configuration names, opened.
#[derive(Debug)]
pub struct Assembly {
    /// The configuration's file.
    pub file: PathBuf,
    /// The directory of the book.
    pub state_dir: PathBuf,
    /// Who may ask on the admin listener, and how it speaks.
    pub admin: AssembledAdmin,
    /// The feed; without one this program works alone.
    pub feed: Option<AssembledFeed>,
    /// The caches that are told of changes.
    pub purge: Vec<Target>,
    /// In the order of the file.
    pub tenants: Vec<AssembledTenant>,
}

/// A customer: issuers, keys and policies, separate from those of other tenants.
#[derive(Debug)]
pub struct AssembledTenant {
    /// Its name in metrics, logs and the book.
    pub name: String,
    /// The name that it had before.
    pub formerly: Option<String>,
    /// The line of that name in the file, or of the tenant if it has none; `None` where there is no table of it.
    pub line: Option<usize>,
    /// Host names of its URLs, lower case; empty for every host.
    pub hosts: Vec<String>,
    /// The path of its URLs, starting with a slash, without one at the end; empty for the root.
    pub path: String,
    /// How it answers, before any setting of its issuers.
    pub policy: Policy,
    /// How many OCSP answers may be signed in a second while clients wait; `None`: any number.
    pub signatures_per_second: Option<NonZeroU32>,
    /// How many time-stamps may be made in a second.
    pub time_stamps_per_second: Option<NonZeroU32>,
    /// CAs of clients that may sign requests.
    pub request_anchors: Arc<[Certificate]>,
    /// The hash algorithms of the CertIDs whose answers are pre-signed; empty if none are.
    pub presign: Vec<HashAlgorithm>,
    /// A tenant without issuers only time-stamps.
    pub issuers: Vec<AssembledIssuer>,
    /// The issuers that other responders answer for.
    pub forwarded: Vec<AssembledForwarded>,
    /// Its time-stamping authorities.
    pub tsas: Vec<AssembledTsa>,
    /// Those whose tokens other servers make, on an edge.
    pub tsas_elsewhere: Vec<AssembledTsaElsewhere>,
}

impl AssembledTenant {
    /// The issuer of an issuer's own certificate, if it is one of this tenant; a root is its own.
    pub fn issuer_of(&self, issuer: &AssembledIssuer) -> Option<&AssembledIssuer> {
        issuer_of(&self.issuers, issuer)
    }
}

/// The one among `issuers` that has issued the certificate of `issuer`.
fn issuer_of<'i>(issuers: &'i [AssembledIssuer], issuer: &AssembledIssuer) -> Option<&'i AssembledIssuer> {
    issuers.iter().find(|other| issuer.certificate.verify_issued_by(&other.certificate).is_ok())
}

impl Assembly {
    /// Every issuer with its tenant, in the order of the file.
    pub fn issuers(&self) -> impl Iterator<Item = (&AssembledTenant, &AssembledIssuer)> {
        self.tenants.iter().flat_map(|tenant| tenant.issuers.iter().map(move |issuer| (tenant, issuer)))
    }

    /// Every time-stamping authority with its tenant, in the order of the file.
    pub fn tsas(&self) -> impl Iterator<Item = (&AssembledTenant, &AssembledTsa)> {
        self.tenants.iter().flat_map(|tenant| tenant.tsas.iter().map(move |tsa| (tenant, tsa)))
    }

    /// The signers that are renewed: those of issuers, and if `with_tsas` those of authorities too.
    pub fn renewing(&self, with_tsas: bool) -> Vec<Renewing> {
        let of_issuers = self.issuers().flat_map(|(_, issuer)| issuer.renewing.iter());
        let of_tsas = self.tsas().filter_map(|(_, tsa)| tsa.renewing.as_ref()).filter(|_| with_tsas);
        of_issuers.chain(of_tsas).cloned().collect()
    }

    /// Whether every part of the configuration was opened.
    fn is_whole(&self, config: &Config) -> bool {
        let issuers = |(assembled, config): (&AssembledTenant, &TenantConfig)| {
            assembled.tsas.len() + assembled.tsas_elsewhere.len() == config.tsas.len()
                && assembled.forwarded.len() == config.forwarded.len()
                && assembled.issuers.len() == config.issuers.len()
                && assembled
                    .issuers
                    .iter()
                    .zip(&config.issuers)
                    .all(|(assembled, config)| assembled.signers_count == config.signers.len())
        };
        self.feed.is_some() == config.feed.is_some()
            && self.purge.len() == config.purge.len()
            && self.tenants.len() == config.tenants.len()
            && self.tenants.iter().zip(&config.tenants).all(issuers)
    }
}

/// Opens what was read; an error reports all problems, also those of the file.
pub fn open(reading: Reading<Config>, tokens: &Tokens, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
    reading.with(|config, problems| assemble(config, problems, tokens, now)).finish()
}

/// Opens as much of the configuration as possible; the rest is noted as problems. What is missing or wrong in the
/// configuration itself is empty there, and has been noted.
pub fn assemble(config: &Config, problems: &Problems, tokens: &Tokens, now: UnixTime) -> Assembly {
    let root = problems.at(&config.place);
    if let Err(problem) = state_dir::check(&config.state_dir) {
        // Serving finds it as well, when it opens the book.
        root.problem_that_may_pass("state_dir", problem);
    } else {
        state_dir::doubts(&config.state_dir).iter().for_each(|doubt| root.warning("state_dir", doubt));
    }
    let assembler = Assembler { problems, tokens, now, state_dir: &config.state_dir };
    let tenants: Vec<_> = config.tenants.iter().map(|config| assembler.tenant(config)).collect();
    tsa::check_all(&root, &tenants);
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let admin = AssembledAdmin::open(&config.admin, &config.tenants, problems, credentials.as_deref(), now);
    let feed = config.feed.as_ref();
    let feed = feed.and_then(|feed| AssembledFeed::open(feed, problems, credentials.as_deref()));
    let purge = purge::open(&config.purge, &config.tenants, problems, credentials.as_deref());
    let (file, state_dir) = (problems.path().to_owned(), config.state_dir.clone());
    let assembly = Assembly { file, state_dir, admin, feed, purge, tenants };
    if problems.is_empty() && !assembly.is_whole(config) {
        root.problem("version", "stands in a file of which something could not be opened, and nobody said what");
    }
    assembly
}

/// What is needed for all of it.
struct Assembler<'a> {
    problems: &'a Problems,
    tokens: &'a Tokens,
    now: UnixTime,
    /// Where renewed certificates are kept.
    state_dir: &'a Path,
}

impl<'a> Assembler<'a> {
    fn at(&self, place: &'a Place) -> At<'a> {
        self.problems.at(place)
    }

    fn tenant(&self, config: &'a TenantConfig) -> AssembledTenant {
        let at = self.at(&config.place);
        let anchors = config.request_anchors.as_deref();
        let anchors = anchors.and_then(|path| at.noted("request_anchors", certificates(path)));
        let issuers = self.issuers(config);
        let is_elsewhere = |tsa: &&TsaConfig| tsa.signer.key == KeyConfig::Elsewhere;
        let here = || config.tsas.iter().filter(move |tsa| !is_elsewhere(tsa));
        let elsewhere = config.tsas.iter().filter(is_elsewhere);
        AssembledTenant {
            name: config.name.clone(),
            formerly: config.formerly.clone(),
            line: at.line("formerly"),
            hosts: config.hosts.clone(),
            path: config.path.clone(),
            policy: config.own_policy(),
            signatures_per_second: config.signatures_per_second,
            time_stamps_per_second: config.time_stamps_per_second,
            request_anchors: anchors.unwrap_or_default().into(),
            presign: config.presign.clone(),
            forwarded: self.forwarded(config, &issuers),
            issuers,
            tsas: here().filter_map(|tsa| self.tsa(&config.name, tsa)).collect(),
            tsas_elsewhere: elsewhere.filter_map(|tsa| self.tsa_elsewhere(tsa)).collect(),
        }
    }
}

impl Assembler<'_> {
    /// The certificates of a signer's file, as [`chain_of`]. Where they cannot be read, renewed ones may be of help.
    fn chain_of_signer(&self, config: &SignerConfig) -> Option<Vec<Certificate>> {
        let at = self.problems.at(&config.place);
        let path = config.certificate.as_deref().filter(|path| !path.as_os_str().is_empty())?;
        let read = certificates(path);
        let renewed = self.state_dir.join(renew::DIRECTORY);
        let Err(problem) = &read else { return read.ok() };
        if config.renew.is_some() && fs::read_dir(&renewed).is_ok_and(|mut kept| kept.next().is_some()) {
            let renewed = renewed.display();
            let text = format_args!(
                "{problem}; certificates that were renewed are kept in {renewed}: copy the newest of this signer back (`openssl x509 -noout -subject -enddate -in FILE` tells which it is)"
            );
            at.problem("certificate", text);
            return None;
        }
        at.noted("certificate", read)
    }
}

/// The certificates of a file, the wanted one first; `None` if a problem was noted, now or before.
fn chain_of(at: &At<'_>, path: Option<&Path>) -> Option<Vec<Certificate>> {
    let path = path.filter(|path| !path.as_os_str().is_empty())?;
    at.noted("certificate", certificates(path))
}

#[cfg(test)]
mod tests;
