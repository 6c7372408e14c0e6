//! A cluster of real processes when something fails: each row of the feed's failure table that one Redis suffices for.
//!
//! What becomes of readers is in `replicas`, of Redis in `redis`, of writers in `writers`, of the feed when somebody else
//! writes into it in `strangers`; how soon revocations come is in `lag`. Replicas with keys and without are in `keys`, answers
//! that they share in `sharing`, edges, which have none, in `edges`, those who give them the feed in `givers`, what starts without Redis in `starts`, long outages in `outage`, connections of a replica that
//! dies in `killed`, acknowledgements and hand-overs in `standbys`, a second site in `sites`, the page that sets it all up in
//! `page`, changed configurations in `reloads` (replicas) and `roles` (writers). What is not as it is taken for: issuers that
//! one side lacks in `issuers`, streams, keys and clocks in `mistaken`, sources of snapshots in `sources`, TLS before writers in
//! `https`; and in `reported` what others have met. Hashes of pushed certificates are in `hashes`. Books that come back from a backup are in `backup`, the
//! list of servers in `servers`, published configurations in `configurations`, caches that writers tell in `caches`, and
//! Prometheus's rules in `watching`.
//!
//! Invariant: a certificate that a replica has once called revoked is never called anything else again, whatever fails.
//! Take-overs come after two seconds, so that all of it takes minutes; the tables' figures are for the default of six.

mod backup;
mod balancers;
mod caches;
mod configurations;
mod edges;
mod freshness;
mod givers;
mod hashes;
mod https;
mod issuers;
mod keys;
mod killed;
mod lag;
mod mistaken;
mod outage;
mod page;
mod proofs;
mod redis;
mod reloads;
mod replicas;
mod reported;
mod roles;
mod sentinels;
mod servers;
mod sharing;
mod sites;
mod sources;
mod standbys;
mod starts;
mod strangers;
mod watching;
mod writers;

use ostia_tests::words::{SOON, issued, revoked, until_logged, until_told};

/// The lines of a Redis that keeps what it acknowledged.
const DURABLE: &str = "appendonly yes\nappendfsync always\n";
