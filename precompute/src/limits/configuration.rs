//! The bounds of configurations that are published.

use std::time::Duration;

/// Bytes of a version with the files that it names: the largest configuration file, and four certificates of 2 KiB for each of
/// 500 tenants, in base64, twice.
pub const VERSION_OCTETS_MAX: usize = 16 << 20;
const _: () = assert!(VERSION_OCTETS_MAX as u64 > super::CONFIG_FILE_OCTETS_MAX + 2 * 500 * 4 * 2048 * 4 / 3);
/// Bytes in front of a version that say which it is.
pub const HEAD_OCTETS: usize = 128;
/// Versions that are kept on the disk of each server.
pub const KEPT_MAX: usize = 20;
/// How often a server looks whether there is another version.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a replica that has none yet waits for the first one at its start.
pub const FIRST_WITHIN: Duration = Duration::from_secs(20);
/// Differences that are told.
pub const DIFFERENCES_MAX: usize = 200;
