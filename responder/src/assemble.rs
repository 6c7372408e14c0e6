//! From a configuration to all that it names: what `precompute` opens, and the TLS certificate.
//!
//! Purpose: one value for a file that is read again and again, with what is known of tokens in between. Invariant: every
//! problem of the file and of what it names is told at once. It does not know what is served.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use precompute::{
    assemble::{self, Assembly as Common, Tokens},
    config::{At, ConfigError, Document, Problems},
    pki::{Certificate, UnixTime},
};

use crate::{
    config::{Config, Tls},
    net::tls::Certificates,
    tsa::{promised::Promised, record},
};

/// All that a configuration names. What it has started ends with it.
#[derive(Debug)]
pub struct Assembly {
    /// Tenants with their certificates and keys.
    pub common: Common,
    /// What TLS is spoken with, where it is.
    pub certificates: Option<Arc<Certificates>>,
}

/// A configuration file, to be read again and again. Cloning shares what is known of tokens.
#[derive(Clone, Debug)]
pub struct Opener {
    path: PathBuf,
    tokens: Tokens,
}

impl Opener {
    /// Of this file; nothing is read yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), tokens: Tokens::default() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file and opens what it names: keys and certificates are opened and tried. A signer whose tokens are all
    /// out of reach is told by the log, and signs when one is back.
    pub fn read(&self, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        self.open(&Document::open(&self.path)?, now)
    }

    /// The same, where such a signer is a problem.
    pub fn check(&self, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        self.open(&Document::open(&self.path)?.to_be_checked(), now)
    }

    fn open(&self, document: &Document, now: UnixTime) -> Result<(Config, Assembly), ConfigError> {
        let reading = Config::reading(document).with(|config, problems| {
            let certificates = config.tls.as_ref().and_then(|tls| open_pair(tls, problems, now));
            check_record(config, problems);
            let common = assemble::assemble(&config.common, problems, &self.tokens, now);
            Assembly { common, certificates }
        });
        reading.finish()
    }
}

/// What is wrong with it has been told, now or before.
fn open_pair(tls: &Tls, problems: &Problems, now: UnixTime) -> Option<Arc<Certificates>> {
    let at = problems.at(&tls.place);
    if [&tls.certificate, &tls.key].iter().any(|path| path.as_os_str().is_empty()) {
        return None;
    }
    match Certificates::open(&tls.certificate, &tls.key) {
        Ok(certificates) => {
            tell_of_validity(&at, &certificates, now);
            Some(certificates)
        }
        Err(error) => {
            at.problem(if error.of_key { "key" } else { "certificate" }, error);
            None
        }
    }
}

/// Whether tokens can be recorded, and promises noted where they are kept across restarts.
fn check_record(config: &Config, problems: &Problems) {
    if let Some(Err(problem)) = config.time_stamping.record.as_ref().map(record::check) {
        // A start finds it as well; a running service goes on with the file that it has, and says what is wrong.
        problems.at(&config.time_stamping.place).problem_that_may_pass("record", problem);
    }
    if config.common.tsas().any(|(_, tsa)| tsa.policy.ordering)
        && let Err(problem) = Promised::check(&config.common.state_dir)
    {
        problems.at(&config.common.place).problem_that_may_pass("state_dir", problem);
    }
}

/// How long before its end a TLS certificate is warned of. Those of ACME are renewed 30 days before.
const TLS_ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// It is served whatever its validity: a new one is taken from the same files while the service runs.
fn tell_of_validity(at: &At<'_>, certificates: &Certificates, now: UnixTime) {
    let Some(certificate) = certificates.certificate().and_then(|der| Certificate::from_der(&der).ok()) else { return };
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    let problem = if now < not_before {
        format!("is valid only from {not_before} on; check this machine's clock")
    } else if not_after <= now {
        format!("expired at {not_after}; renew it")
    } else if not_after.since(now) < TLS_ENDS_SOON {
        format!("expires soon, at {not_after}; renew it")
    } else {
        return;
    };
    at.warning(
        "certificate",
        format_args!(
            "{problem}: clients refuse the connection; a new pair in the same files is used without a restart"
        ),
    );
}
