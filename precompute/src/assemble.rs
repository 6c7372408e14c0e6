//! From a configuration to what it names: certificates parsed, keys opened and tried, threads that sign.
//!
//! Purpose: the one place that turns paths and URIs into live things. Invariant: what is made belongs to the
//! [`Assembly`], whose end ends its threads; and what is wrong is told with the line and key it stands under, together
//! with all that was wrong with the file itself. What is known of tokens from one time to the next is the caller's
//! [`Tokens`]. It does not know what the keys sign, nor who asks.

mod issuer;
mod key;
mod signer;
mod tokens;
mod tsa;

pub use issuer::AssembledIssuer;
pub use tokens::Tokens;
pub use tsa::AssembledTsa;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::{At, Config, ConfigError, Place, Problems, Reading, TenantConfig},
    ocsp::{HashAlgorithm, Policy},
    pki::{Certificate, UnixTime, certificates},
    state_dir,
};

/// All that a configuration names.
#[derive(Debug)]
pub struct Assembly {
    /// Where the book lies.
    pub state_dir: PathBuf,
    /// In the order of the file.
    pub tenants: Vec<AssembledTenant>,
}

/// A customer: issuers, keys and policies, kept apart from the others'.
#[derive(Debug)]
pub struct AssembledTenant {
    /// Stands in metrics, logs and the book.
    pub name: String,
    /// Host names of its URLs, lower case; empty for every host.
    pub hosts: Vec<String>,
    /// The path of its URLs, starting with a slash, without one at the end; empty for the root.
    pub path: String,
    /// How it answers, but for what its issuers have of their own.
    pub policy: Policy,
    /// CAs of clients that may sign requests.
    pub request_anchors: Arc<[Certificate]>,
    /// The hash algorithms of the CertIDs whose answers are signed before anybody asks; none where nothing is.
    pub presign: Vec<HashAlgorithm>,
    /// Without one it only time-stamps.
    pub issuers: Vec<AssembledIssuer>,
    /// Its time-stamping authorities.
    pub tsas: Vec<AssembledTsa>,
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

    /// Whether nothing of the configuration is missing.
    fn is_whole(&self, config: &Config) -> bool {
        let issuers = |(assembled, config): (&AssembledTenant, &TenantConfig)| {
            assembled.tsas.len() == config.tsas.len()
                && assembled.issuers.len() == config.issuers.len()
                && assembled
                    .issuers
                    .iter()
                    .zip(&config.issuers)
                    .all(|(assembled, config)| assembled.signers.all().len() == config.signers.len())
        };
        self.tenants.len() == config.tenants.len() && self.tenants.iter().zip(&config.tenants).all(issuers)
    }
}

/// Opens what was read; an error tells all that is wrong, also with the file.
pub fn open(reading: Reading<Config>, tokens: &Tokens, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
    reading.with(|config, problems| assemble(config, problems, tokens, now)).finish()
}

/// As much of the configuration as can be opened; what cannot be is among the problems then. What is missing or wrong in
/// the configuration itself stands empty there, and has been told.
pub fn assemble(config: &Config, problems: &Problems, tokens: &Tokens, now: UnixTime) -> Assembly {
    let root = problems.at(&config.place);
    if let Err(problem) = state_dir::check(&config.state_dir) {
        // Serving finds it as well, when it opens the book.
        root.problem_that_may_pass("state_dir", problem);
    } else if let Some(doubt) = state_dir::doubt(&config.state_dir) {
        root.warning("state_dir", doubt);
    }
    let assembler = Assembler { problems, tokens, now };
    let tenants: Vec<_> = config.tenants.iter().map(|config| assembler.tenant(config)).collect();
    tsa::check_all(&root, &tenants);
    let assembly = Assembly { state_dir: config.state_dir.clone(), tenants };
    if problems.is_empty() && !assembly.is_whole(config) {
        root.problem("version", "stands in a file of which something could not be opened, and nobody said what");
    }
    assembly
}

/// What is at hand for all of it.
struct Assembler<'a> {
    problems: &'a Problems,
    tokens: &'a Tokens,
    now: UnixTime,
}

impl<'a> Assembler<'a> {
    fn at(&self, place: &'a Place) -> At<'a> {
        self.problems.at(place)
    }

    fn tenant(&self, config: &'a TenantConfig) -> AssembledTenant {
        let at = self.at(&config.place);
        let anchors = config.request_anchors.as_deref();
        let anchors = anchors.and_then(|path| at.noted("request_anchors", certificates(path)));
        AssembledTenant {
            name: config.name.clone(),
            hosts: config.hosts.clone(),
            path: config.path.clone(),
            policy: config.own_policy(),
            request_anchors: anchors.unwrap_or_default().into(),
            presign: config.presign.clone(),
            issuers: self.issuers(config),
            tsas: config.tsas.iter().filter_map(|tsa| self.tsa(&config.name, tsa)).collect(),
        }
    }
}

/// The certificates of a file, the first of which is meant; `None` where that was told, now or before.
fn chain_of(at: &At<'_>, path: Option<&Path>) -> Option<Vec<Certificate>> {
    let path = path.filter(|path| !path.as_os_str().is_empty())?;
    at.noted("certificate", certificates(path))
}

#[cfg(test)]
mod tests;
