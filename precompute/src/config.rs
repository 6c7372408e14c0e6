//! The configuration file: reads it once into plain values.
//!
//! Purpose: from TOML to typed values: absolute paths, PKCS#11 URIs, durations, policies, names. Invariant: a
//! [`Config`] is a plain value, so two files can be compared; no file, key or socket is opened for it. Either
//! everything in the file is right, or all problems are reported at once, each with file, line, key and remedy.
//! [`crate::assemble`] looks at the files that it names, and adds its problems to the same list ([`Reading`]). Unknown
//! keys are problems. A default belongs to the type of its value, such as `Policy::DEFAULT`. It does not know listeners
//! for relying parties: the programs read their own sections of the same [`Document`].

mod admin;
mod cache;
mod document;
mod feed;
mod in_use;
mod journal;
pub mod keys;
mod purge;
mod relay;
mod secret_file;
mod tenant;
mod transparency;

pub use admin::{Admin, AdminTls, OF_TOKEN_FILE, PrincipalConfig, overlap};
pub use cache::Cache;
pub use document::{At, ConfigError, Document, Place, Problems, Reading, Section, in_words, quoted};
pub use feed::{Feed, TlsTrust};
pub use in_use::{Change, InUse, differences};
pub use journal::Transactions;
pub use purge::{DriverConfig, PurgeConfig};
pub use relay::RelayConfig;
pub use secret_file::SecretFile;
use tenant::Role;
pub(crate) use tenant::shown_path;
pub use tenant::{
    ClientConfig, ClientsConfig, Fetched, ForwardedConfig, IssuerConfig, KeyConfig, ListingFile, Publish, Quota,
    RenewBy, RenewConfig, SignerConfig, Sources, TenantConfig, TsaConfig, upstreams,
};
pub use transparency::Transparency;

use std::path::{Path, PathBuf};

use crate::journal::Options as Journal;

/// The version of the file format that this program reads.
const VERSION: i64 = 1;

/// What every program of this project needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The root of the file.
    pub place: Place,
    /// The directory of the book.
    pub state_dir: PathBuf,
    /// How much memory answers may take.
    pub cache: Cache,
    /// Health and metrics.
    pub admin: Admin,
    /// The feed; without one each program works alone.
    pub feed: Option<Feed>,
    /// Where what happens to the service is kept.
    pub journal: Option<Journal>,
    /// The record of OCSP transactions, which a program that answers keeps.
    pub transactions: Option<Transactions>,
    /// Where a replica keeps what it says.
    pub transparency: Option<Transparency>,
    /// The caches that are told of changes.
    pub purge: Vec<PurgeConfig>,
    /// At least one; each with at least one issuer or time-stamping authority.
    pub tenants: Vec<TenantConfig>,
}

impl Config {
    /// Reads the common sections from the root of a document.
    pub fn read(root: &mut Section<'_>) -> Self {
        let version = root.integer("version", VERSION..=VERSION);
        if version.is_none() && !root.has("version") {
            root.problem("version", "is missing; write `version = 1`");
        }
        let state_dir = read_state_dir(root);
        let (cache, admin) = (cache::read(root), admin::read(root));
        let feed::Read { feed, is_of_replica } = feed::read(root, admin.listen);
        let journal::Journals { journal, transactions } = journal::read(root, &state_dir);
        let transparency = transparency::read(root);
        let purge = purge::read(root);
        let role = Role { is_of_replica, has_feed: root.has("feed"), is_edge: root.has("edge") };
        let tenants_come = feed.as_ref().is_some_and(|feed| feed.is_published);
        let tenants = tenant::read_all(root, role, tenants_come, &state_dir);
        Self { place: root.place(), state_dir, cache, admin, feed, journal, transactions, transparency, purge, tenants }
    }

    /// Where OCSP transactions are kept, if they are.
    pub fn kept_transactions(&self) -> Option<&Journal> {
        self.transactions.as_ref().filter(|transactions| transactions.is_on).map(|transactions| &transactions.options)
    }

    /// The state directory alone, for a program that asks the running service and does not need the rest of the file.
    pub fn state_dir_of(path: &Path) -> Result<PathBuf, ConfigError> {
        Document::open(path)?.read(|root| Some(read_state_dir(root)))
    }

    /// The same of a document.
    pub fn state_dir_in(root: &mut Section<'_>) -> PathBuf {
        read_state_dir(root)
    }

    /// The names of its tenants alone, as far as the file states any: a replica may have all of them from the feed.
    pub fn tenant_names_in(document: &Document) -> Vec<String> {
        tenant::names_in(&document.tables())
    }

    /// The feed alone, for a program that needs nothing else of the file.
    pub fn feed_in(root: &mut Section<'_>) -> Option<Feed> {
        let admin = admin::read(root);
        feed::read(root, admin.listen).feed
    }

    /// What is kept of what is said alone, with the same.
    pub fn transparency_in(root: &mut Section<'_>) -> Option<Transparency> {
        transparency::read(root)
    }

    /// The same for a program that only reads the feed, and does not open the key of a writer on the same machine.
    #[must_use]
    pub fn for_a_reader(&self) -> Self {
        let mut config = self.clone();
        if let Some(feed) = &mut config.feed {
            feed.key = None;
        }
        config
    }

    /// Every time-stamping authority with its tenant, in the order of the file.
    pub fn tsas(&self) -> impl Iterator<Item = (&TenantConfig, &TsaConfig)> {
        self.tenants.iter().flat_map(|tenant| tenant.tsas.iter().map(move |tsa| (tenant, tsa)))
    }
}

fn read_state_dir(root: &mut Section<'_>) -> PathBuf {
    root.path("state_dir").unwrap_or_else(|| root.resolve("state"))
}

#[cfg(test)]
mod tests;
