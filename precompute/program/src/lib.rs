//! What the programs have in common for whoever runs them: exit statuses, versions, manual pages and completions.
//!
//! It knows neither certificates nor configurations, and reads nothing. So `ostia-loadtest` uses it without sharing any
//! code with what it tests.

mod exit;
mod manual;
mod version;

pub use exit::{Exit, statuses_in_words};
pub use manual::Manual;
pub use version::{COMMIT, DAY, LONG_VERSION, VERSION};

/// Where a configuration is looked for if none is named.
pub const DEFAULT_CONFIG: &str = "/etc/ostia/ostia.toml";

/// The variable that names a configuration.
pub const CONFIG_VARIABLE: &str = "OSTIA_CONFIG";
