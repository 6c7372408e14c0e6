//! Bounds of what fetches sources from elsewhere.

use std::{ops::RangeInclusive, time::Duration};

/// Bytes of a URL, as most servers take it.
pub const URL_OCTETS_MAX: usize = 2048;
/// Characters of a URL in a message: EJBCA's with a long name of an issuer.
pub const URL_SHOWN_MAX: usize = 300;
/// Characters of host and path in the name of a mirror; file systems take 255 bytes.
pub const MIRROR_WORDS_MAX: usize = 80;
/// Bytes of the notes beside a mirror: a URL, two validators and some numbers.
pub const NOTES_OCTETS_MAX: u64 = 64 << 10;
/// Bytes of an ETag or a date that is kept: longer ones are not sent back.
pub const VALIDATOR_OCTETS_MAX: usize = 1024;
/// Bytes of the head of an answer.
pub const HEAD_OCTETS_MAX: usize = 64 << 10;
/// Bytes that are read at once.
pub const PART_OCTETS: usize = 64 << 10;
/// Redirects that are followed: http to https, and to a mirror of it, and some more.
pub const REDIRECTS_MAX: usize = 5;
/// Bytes at the beginning of what came in place of a source, for a message.
pub const BEGIN_SHOWN_MAX: usize = 48;

/// URLs that a CRL may name for its delta: LDAP, HTTP, and a second place of each.
pub const FRESHEST_MAX: usize = 8;

/// How long a name or an address may take to answer.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing may come: a CA that makes its CRL when it is asked for needs some seconds for a million entries.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take in all: [`super::CRL_FILE_OCTETS_MAX`] at a megabyte a second.
pub const WHOLE_WITHIN: Duration = Duration::from_secs(600);
/// The same where a person waits for it (`check`, `source try`).
pub const TRIED_WITHIN: Duration = Duration::from_secs(60);
/// How many origins `check` asks at once.
pub const TRIED_AT_ONCE: usize = 16;

/// How long a very first start waits for what was never fetched. A CRL of ten thousand entries takes a second on a slow line;
/// what comes later counts when it is there.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How often it looks.
pub const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Origins that are asked at once: a thread each, of which nearly all wait for the network.
pub const ASKED_AT_ONCE: usize = 64;
/// Of them at one host: it answers the others sooner or later, and one that hangs takes no more than this.
pub const ASKED_AT_ONCE_OF_HOST: usize = 4;

/// The least between two questions to an origin that answers: a conditional one costs it little.
pub const INTERVAL_MIN: Duration = Duration::from_secs(60);
/// The most, unless caches may keep an answer for longer: a CRL that a CA issues out of turn is seen within this.
pub const INTERVAL_MAX: Duration = Duration::from_secs(15 * 60);
/// The most in any case.
pub const INTERVAL_CACHED_MAX: Duration = Duration::from_secs(3600);
/// Between the two, an origin is asked so many times from one issue to the next.
pub const ASKED_AN_ISSUE: u32 = 24;
/// How often the operator may have it asked instead: a CA that makes a CRL with each revocation gives it out at once.
pub const CRL_EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// How soon an origin is asked again that should have something new by now; the interval grows with the delay.
pub const OVERDUE_MIN: Duration = Duration::from_secs(10);
/// How much later than what is new is expected its origin is asked, at most: not all who wait for it come in one second.
pub const EXPECTED_JITTER_MAX: Duration = Duration::from_secs(30);
/// How many issues the rhythm is taken from.
pub const ISSUES_KEPT: usize = 8;

/// How soon an origin is asked again that has failed. The pause doubles with each failure,
pub const RETRY_MIN: Duration = Duration::from_secs(2);
/// up to this: one that is back is seen within this, and one that is overloaded hears little.
pub const RETRY_MAX: Duration = Duration::from_secs(300);
/// How long a delta waits for the CRL that names it, which asks for it sooner whatever becomes of it.
pub const WAITS_AT_MOST: Duration = Duration::from_secs(3600);
/// The most that an origin may ask to be left alone (`Retry-After`).
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// How often a database is asked for changes, unless the operator says otherwise, and the least and most that may be said.
pub const ROWS_EVERY: Duration = Duration::from_millis(500);
/// See [`ROWS_EVERY`].
pub const ROWS_EVERY_MIN: Duration = Duration::from_millis(100);
/// See [`ROWS_EVERY`].
pub const ROWS_EVERY_MAX: Duration = Duration::from_secs(3600);
/// How often all rows are read, unless the operator says otherwise, and the least and most that may be said.
pub const ROWS_WHOLE_EVERY: Duration = Duration::from_secs(3600);
/// See [`ROWS_WHOLE_EVERY`].
pub const ROWS_WHOLE_EVERY_MIN: Duration = Duration::from_secs(1);
/// See [`ROWS_WHOLE_EVERY`].
pub const ROWS_WHOLE_EVERY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much earlier than the newest row another may be dated that is committed after it: clocks that differ, and a
/// transaction of a minute.
pub const ROWS_OVERLAP: Duration = Duration::from_secs(120);
/// The most that an operator may say of that: so long, all changed rows are asked for again and again.
pub const ROWS_OVERLAP_MAX: Duration = Duration::from_secs(24 * 3600);
/// How soon at the latest a database is asked again that has failed: a fail-over takes some seconds.
pub const ROWS_RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a database may take to say what has changed.
pub const CHANGES_WITHIN: Duration = Duration::from_secs(10);
/// Rows that may have changed within the overlap: more are read with all others. 20 MB of memory. Fewer in tests, which
/// write so many.
pub const CHANGES_MAX: u64 = if cfg!(test) { 2_000 } else { 200_000 };
/// Rows dated within the overlap that are asked for again with each question, which takes both sides some 50 ms. Where
/// more were read with all others, they are left out from then on.
pub const CHANGES_AGAIN_MAX: u64 = CHANGES_MAX / 20;
const _: () = assert!(CHANGES_AGAIN_MAX < CHANGES_MAX);
/// Bytes of changes that are appended to a mirror before all rows are read again: some 300,000 rows.
pub const CHANGES_OCTETS_MAX: u64 = 16 << 20;
/// Bytes of rows that are written at a time.
pub const ROWS_OCTETS_AT_ONCE: usize = 128 << 10;
/// How long a connection to a database is used: a server that a fail-over has left behind is not asked for longer.
pub const LINK_LIFETIME: Duration = Duration::from_secs(300);
/// How old the notes may become of an origin that is asked all the time.
pub const NOTED_EVERY: Duration = Duration::from_secs(60);
/// Bytes of an operator's own query.
pub const QUERY_OCTETS_MAX: usize = 16 << 10;
