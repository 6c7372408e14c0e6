//! Which version of the sources this is; `build.rs` finds the commit and its day.

/// The version alone, for `-V`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version with commit and day, for `--version`, as in `0.2.0 (0123456789ab, 2026-11-30)`.
pub const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("OSTIA_DETAILS"));

/// The commit; empty if it is not known.
pub const COMMIT: &str = env!("OSTIA_COMMIT_SHORT");

/// The day of the sources, as in `2026-11-30`; empty if it is not known.
pub const DAY: &str = env!("OSTIA_DAY");

/// The day that manual pages have, which is never empty: that of the sources, or that of a build of unknown ones.
pub(crate) const PAGE_DAY: &str = env!("OSTIA_PAGE_DAY");
