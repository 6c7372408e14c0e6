//! The configuration file: what is written, turned once into what is meant.
//!
//! Purpose: from TOML to values that need no second check: certificates parsed, keys opened and
//! tried, paths absolute. Invariant: either everything in the file is right, or all problems
//! are told at once, each with file, line, key and remedy. Unknown keys are problems. Defaults
//! stand here and nowhere else. It does not know listeners: the programs read their own
//! sections of the same [`Document`].

mod cache;
mod document;
mod tenant;

pub use cache::Cache;
pub use document::{ConfigError, Document, Section};
pub use tenant::{IssuerConfig, Sources, Tenant, TsaConfig};

use std::path::PathBuf;

use crate::{pki::UnixTime, state_dir};

/// The version of the file's layout that this program reads.
const VERSION: i64 = 1;

/// What every program of the house needs to know.
#[derive(Debug)]
pub struct Config {
    /// Where the book lies.
    pub state_dir: PathBuf,
    /// How much memory answers may take.
    pub cache: Cache,
    /// At least one; each with at least one issuer or time-stamping authority.
    pub tenants: Vec<Tenant>,
}

impl Config {
    /// Reads the common sections from the root of a document. `None` after a problem.
    pub fn read(root: &mut Section<'_>, now: UnixTime) -> Option<Self> {
        let version = root.integer("version", VERSION..=VERSION);
        if version.is_none() && !root.has("version") {
            root.problem("version", "is missing; write `version = 1`");
        }
        let state_dir = root.path("state_dir").unwrap_or_else(|| root.resolve("state"));
        if let Err(problem) = state_dir::check(&state_dir) {
            // Whoever serves finds it as well, when the book is opened.
            root.problem_that_may_pass("state_dir", problem);
        } else if let Some(doubt) = state_dir::doubt(&state_dir) {
            root.warning("state_dir", doubt);
        }
        let cache = cache::read(root);
        let tenants = tenant::read_all(root, now);
        version?;
        Some(Self { state_dir, cache, tenants: tenants? })
    }

    /// Every issuer with its tenant, in the order of the file.
    pub fn issuers(&self) -> impl Iterator<Item = (&Tenant, &IssuerConfig)> {
        self.tenants.iter().flat_map(|tenant| tenant.issuers.iter().map(move |issuer| (tenant, issuer)))
    }
}
