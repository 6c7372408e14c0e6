//! The bounds of the registry of servers.

use std::time::Duration;

/// Places for servers in Redis: a cluster has tens, and those that were stopped or killed lately beside them.
pub const SLOTS: usize = 256;
/// Bytes of what a server tells of itself: names and keys of a hundred issuers, and the longest texts. All places together take
/// 16 MiB, and those of a cluster as people run it some 20 KiB.
pub const NOTICE_OCTETS_MAX: usize = 64 << 10;
/// Bytes of the names of issuers and the fingerprints of keys in it: what does not fit is left out and counted.
pub const NOTICE_KEYS_OCTETS_MAX: usize = 24 << 10;
/// Letters of a text in it, such as a name or an address.
pub const TEXT_LETTERS_MAX: usize = 128;
/// Letters of the reason for which a configuration was refused: an error with a file, a line and a remedy, or several.
pub const REASON_LETTERS_MAX: usize = 2000;
/// Addresses of one kind in it.
pub const ADDRESSES_MAX: usize = 8;
// Letters have up to four bytes, and a quotation mark is escaped.
const _: () = assert!(
    NOTICE_KEYS_OCTETS_MAX + 4 * REASON_LETTERS_MAX + (5 * ADDRESSES_MAX + 12) * (4 * TEXT_LETTERS_MAX + 32)
        < NOTICE_OCTETS_MAX
);
/// How often a server tells who it is, if nothing changes,
pub const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// and how soon after that it tells what has changed: one that is fresh and lags by turns writes no more often than that.
pub const TELL_CHANGE_INTERVAL: Duration = Duration::from_secs(3);
/// How often it looks whether it does something else than it has told: some numbers of its own, without Redis.
pub const STATE_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often writers look at all servers: one of them warns.
pub const LOOK_INTERVAL_OF_WRITERS: Duration = Duration::from_secs(5);
/// The same of replicas, of which there are more: each compares its own keys with those of the others.
pub const LOOK_INTERVAL_OF_REPLICAS: Duration = Duration::from_secs(10);
/// After how long without a word a server counts as gone: two may be late, or lost with a fail-over of Redis.
pub const SILENT_AFTER: Duration = Duration::from_secs(150);
const _: () = assert!(SILENT_AFTER.as_secs() > 2 * TELL_INTERVAL.as_secs() + LOOK_INTERVAL_OF_REPLICAS.as_secs());
/// How long a server that fell silent is listed,
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// and one that was stopped: where replicas come and go, each is another server.
pub const STOPPED_FORGOTTEN_AFTER: Duration = Duration::from_secs(86_400);
/// How far apart the clocks of servers may be: a time daemon keeps them within milliseconds. Past
/// [`CLOCK_SKEW_MAX`](super::CLOCK_SKEW_MAX) nothing counts as fresh.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(20);
const _: () = assert!(CLOCKS_APART_MAX.as_secs() * 2 < super::CLOCK_SKEW_MAX.as_secs());
/// Replicas below which the writers warn.
pub const REPLICAS_WANTED_DEFAULT: i64 = 2;
/// The most that may be wanted.
pub const REPLICAS_WANTED_MAX: i64 = SLOTS as i64;
/// Servers that were decommissioned and are remembered: those of years. 16 KiB.
pub const GONE_MAX: usize = 512;
/// Bytes of their list.
pub const GONE_OCTETS_MAX: usize = GONE_MAX * 24 + 256;
/// Instances of one server that are remembered: one that comes back after another one was there is a second process.
pub const INSTANCES_MAX: usize = 4;
/// For how long a second process of the same identity is told after it was seen last.
pub const TWIN_TOLD: Duration = Duration::from_secs(300);
/// How long a server that ends goes on for a last word.
pub const LAST_WORD_WITHIN: Duration = Duration::from_millis(500);
