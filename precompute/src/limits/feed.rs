//! The bounds of the feed.

use std::{ops::RangeInclusive, time::Duration};

/// Bytes of a cluster's name: a host name's label has at most 63.
pub const CLUSTER_OCTETS_MAX: usize = 64;
/// Bytes of a tenant's name and of a writer's address: a URL with a host name of 253 characters.
pub const NAME_OCTETS_MAX: usize = 512;
/// Keys that a reader trusts: an old and a new one of as many writers as anybody runs, several times over.
pub const TRUSTED_KEYS_MAX: usize = 64;

/// Bytes of a host's name (RFC 1035 section 2.3.4, without the dot at its end).
pub const HOST_OCTETS_MAX: usize = 253;
/// Bytes of the path of a socket: `sun_path` of unix(7), with the zero behind it.
pub const SOCKET_PATH_OCTETS_MAX: usize = 107;
/// Bytes of the name of a user of Redis: such a name is a word.
pub const USER_OCTETS_MAX: usize = 128;
/// Bytes of the file with a password of Redis: the tokens that cloud providers give out in place of one have up to 2 KiB.
pub const PASSWORD_FILE_OCTETS_MAX: u64 = 4 << 10;
/// Bytes of a file with public keys: as many as are trusted, of 113 bytes each in PEM, with text around them.
pub const PUBLIC_KEYS_FILE_OCTETS_MAX: u64 = 64 << 10;
const _: () = assert!(TRUSTED_KEYS_MAX as u64 * 113 * 4 < PUBLIC_KEYS_FILE_OCTETS_MAX);

/// How long Redis may take to answer: it takes less than 10 ms, and a fork of 10 GB for its dump stops it for half a
/// second.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take to connect, with TLS and the password.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long the look-up of a name may take before that is told: name servers answer in milliseconds. Who waits for it is
/// told to stop, or given another configuration, within this time.
pub const NAME_WITHIN: Duration = Duration::from_secs(2);
/// For how long what comes of a look-up counts that is late, connecting included: by default a name server that is silent is
/// left for the next one after 5 s, and with TLS a name is looked up twice. Then another look-up begins beside it.
pub const NAME_KEPT: Duration = Duration::from_secs(15);
const _: () = assert!(NAME_KEPT.as_secs() > 2 * 5 + CONNECT_WITHIN.as_secs());
/// Letters of an error of Redis that are logged: its own are under 200, and another server may say anything.
pub const FAULT_LETTERS_MAX: usize = 300;

/// Records that one entry tells: they are in one commit of a standby, which takes 4 ms where they lie in pages of their
/// own, and a push waits for no more than one such entry.
pub const ENTRY_RECORDS_MAX: usize = 256;
/// Bytes of an entry's body: 256 records with hashes in as many sections take 26 KiB, and 64 KiB hold 13 answers of ML-DSA-87.
pub const ENTRY_BODY_OCTETS_MAX: usize = 64 << 10;
/// Bytes of one record that a reader takes: 33, or 65 with a certificate's hash, and what later versions add.
pub const RECORD_OCTETS_MAX: usize = 256;
/// Bytes of a packed signature with the tail behind it: that of ML-DSA-87, in whole words, and 48.
pub const PACKED_OCTETS_MAX: usize = 4680;
/// Digests in one heartbeat: 24 KiB a second. With more issuers they take turns.
pub const HEARTBEAT_DIGESTS_MAX: usize = 512;
/// Issuers in one entry of their status, each with two names of the greatest length: they fit a body.
pub const ENTRY_ISSUERS_MAX: usize = 64;

/// Chain hashes that a `begin` continues from: 2 MiB. At 1,000 entries a second they go back a minute.
pub const BEGIN_CHAINS_MAX: usize = 1 << 16;
/// Records that a `begin` states again: 4.3 MiB. Who would need more takes a snapshot.
pub const BEGIN_RECORDS_MAX: usize = 1 << 17;
/// Records that it states with the hash of their certificate: 1 MiB more. Hashes stand in sections of their own, so that
/// they make no other record longer.
pub const BEGIN_HASHES_MAX: usize = 1 << 15;
/// Bytes of its body: all of that, and two sections for each of ten thousand issuers.
pub const BEGIN_BODY_OCTETS_MAX: usize = 8 << 20;
/// Bytes of an entry or a manifest of a later version behind what every version has in front, as far as its signature is
/// looked at: twice the longest of this one.
pub const LATER_OCTETS_MAX: usize = 2 * BEGIN_BODY_OCTETS_MAX;
const _: () = assert!(
    BEGIN_CHAINS_MAX * 32 + BEGIN_RECORDS_MAX * 33 + BEGIN_HASHES_MAX * 32 + 2 * 10_000 * 38 + 1024
        < BEGIN_BODY_OCTETS_MAX
);
const _: () = assert!(ENTRY_RECORDS_MAX * (65 + 38) + 64 < ENTRY_BODY_OCTETS_MAX);
const _: () = assert!(HEARTBEAT_DIGESTS_MAX * 48 + NAME_OCTETS_MAX + 64 < ENTRY_BODY_OCTETS_MAX);
const _: () = assert!(ENTRY_ISSUERS_MAX * (NAME_OCTETS_MAX + 256) + 64 < ENTRY_BODY_OCTETS_MAX);

/// Bytes of a snapshot's chunk: it is fetched and verified in some 40 ms at 1 Gbit/s, and it is held in memory whole.
pub const CHUNK_OCTETS: usize = 4 << 20;
/// Bytes of a snapshot: 300 million answers of P-256 with their records.
pub const SNAPSHOT_OCTETS_MAX: u64 = 64 << 30;
/// Its chunks. The manifest has a hash of each: 512 KiB.
pub const CHUNKS_MAX: usize = (SNAPSHOT_OCTETS_MAX / CHUNK_OCTETS as u64) as usize;
/// Bytes of a manifest.
pub const MANIFEST_OCTETS_MAX: usize = CHUNKS_MAX * 32 + 512;

/// Bytes of the stream that a writer remembers, so that who was at one of these entries needs no snapshot,
pub const RING_OCTETS_MAX: usize = 64 << 20;
/// and for how long it remembers entries whatever they take: a fail-over by Sentinel takes 11 s until the demoted master
/// lets its readers go.
pub const RING_TIME_MIN: Duration = Duration::from_secs(15);

/// How often a writer gives a sign of life.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a writer is silent before another one takes over: five heartbeats may be late.
pub const TAKEOVER_AFTER_DEFAULT: Duration = Duration::from_secs(6);
const _: () = assert!(TAKEOVER_AFTER_DEFAULT.as_secs() > 5 * HEARTBEAT_INTERVAL.as_secs());
/// Its bounds. Two heartbeats, of which one may be late; and an hour, in which somebody can decide.
pub const TAKEOVER_AFTER_RANGE: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(3600);
const _: () = assert!(TAKEOVER_AFTER_RANGE.start().as_secs() >= 2 * HEARTBEAT_INTERVAL.as_secs());
/// The priority of who takes over last, a minute after the first.
pub const PRIORITY_MAX: i64 = 30;
const _: () = assert!(PRIORITY_MAX as u64 * TAKEOVER_PRIORITY_STEP.as_secs() == 60);
/// How long a push waits for the feed by default: Redis answers in less than 10 ms, or not within its own limit.
pub const ACKNOWLEDGE_WITHIN_DEFAULT: Duration = Duration::from_secs(2);
/// Its bounds. A flush on a busy disk takes 50 ms, and clients give up after 30 s.
pub const ACKNOWLEDGE_WITHIN_RANGE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(30);
/// How many servers that follow Redis may have to have what is acknowledged: more than anybody lets follow one master.
pub const REDIS_REPLICAS_MAX: i64 = 16;
/// How long a writer waits for them at once, before it looks after everything else: they are a network away.
pub const FOLLOWERS_WITHIN: Duration = Duration::from_millis(20);
/// How much longer a standby of the next priority waits: a take-over takes less.
pub const TAKEOVER_PRIORITY_STEP: Duration = Duration::from_secs(2);
/// By how much take-overs are spread, so that two standbys rarely begin at once. If they do, the higher epoch writes.
pub const TAKEOVER_JITTER: Duration = Duration::from_secs(2);
/// How much longer a standby that has no records yet waits, if there is a snapshot: who has them goes first.
pub const TAKEOVER_EMPTY_FACTOR: u32 = 10;
/// After how many lost take-overs in a row a writer no longer doubles the time that it gives another one which has begun to
/// take over: 3 min by default.
pub const TAKEOVER_DEFEATS_MAX: u32 = 5;
/// How far ahead of the clock an ID may be. One further ahead would keep every writer out, so the stream is removed.
pub const POISON_AHEAD: Duration = Duration::from_secs(24 * 3600);
/// How often the manifest is put into its place again: somebody may have removed or replaced it.
pub const HEAD_ASSERT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a chain below the own position has to live until a reader changes over to it: its writer lives, and the
/// one whose entries were lost would have come back within a fail-over.
pub const YIELD_AFTER: Duration = Duration::from_secs(30);
/// Without a sign of life for this long that begins anew.
pub const YIELD_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Up to this age of the last heartbeat a reader is fresh: a few of them may be late,
pub const FRESH_MAX: Duration = Duration::from_secs(5);
/// if it has asked Redis within this time, and had an answer. A balancer takes longer to leave one that hangs, so none comes
/// back into rotation by what it knew before;
pub const LOOKED_WITHIN: Duration = Duration::from_secs(2);
/// and, where it was away, once a step took no longer than this: others know only little more by then. Over a slow line the
/// second step counts instead;
pub const LEVEL_WITHIN: Duration = Duration::from_millis(100);
/// and up to this age it lags, as during a fail-over.
pub const LAGGING_MAX: Duration = Duration::from_secs(60);
/// Entries that are read at once: 16 MiB of the longest, and some 300 KiB of those with one push each.
pub const READ_ENTRIES_MAX: usize = 256;
/// How long one poll over HTTP waits for the first entry at most: longer than a reader's patience, and short beside the
/// deadlines of whatever stands in between.
pub const POLL_WAIT_MAX: Duration = Duration::from_secs(1);
/// Bytes of what one poll gives: the longest entry, and as many others as fit into half of it.
pub const POLL_OCTETS_MAX: usize = 2 * BEGIN_BODY_OCTETS_MAX + (1 << 20);
/// Bytes of the end of the stream that are kept for those who poll: minutes of a busy feed. Who is further behind has it read
/// from Redis.
pub const POLL_KEPT_OCTETS: usize = 16 << 20;
/// How long a connection is used for polls: who gives ends it after [`super::shelf::SENT_WITHIN`].
pub const POLL_CONNECTION_KEPT: Duration = Duration::from_secs(20);
const _: () =
    assert!(POLL_CONNECTION_KEPT.as_secs() + POLL_WAIT_MAX.as_secs() < super::shelf::SENT_WITHIN.as_secs() / 2);
const _: () = assert!(READ_PATIENCE.as_millis() <= POLL_WAIT_MAX.as_millis());
/// Entries without a trusted signature that a reader passes over in one step: more than anybody's mistake makes, and a few
/// hundred kilobytes of events. Then it goes on in the next step.
pub const REFUSED_AT_ONCE_MAX: usize = 4 * READ_ENTRIES_MAX;
/// Bytes of entries that a reader applies in one step, with all that they say: then it takes their answers, and looks at
/// whether it is to stop.
pub const FOLLOWED_OCTETS_MAX: usize = 32 << 20;
/// How soon a reader looks for another manifest if it can do nothing with the present one.
pub const HEAD_RETRY: Duration = Duration::from_secs(1);
/// How long a reader holds on to a snapshot that nobody has, or that is no newer than what it has.
pub const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(20);
/// Records that the entries after a snapshot may change while it is fetched: 100 MB of memory. A writer makes another one
/// after half as many.
pub const OVERLAY_RECORDS_MAX: usize = 1 << 20;

/// Bytes of the stream after which a new snapshot is wanted,
pub const SNAPSHOT_AFTER_OCTETS: u64 = 64 << 20;
/// or this part of the last one, if that is more,
pub const SNAPSHOT_AFTER_SHARE: u64 = 8;
/// or so many records, which readers hold in memory while they fetch it,
pub const SNAPSHOT_AFTER_RECORDS: usize = OVERLAY_RECORDS_MAX / 2;
/// or this time, by default.
pub const SNAPSHOT_INTERVAL_DEFAULT: Duration = Duration::from_secs(6 * 3600);
/// Its bounds. One of ten million records takes some 10 s to write; in a week there are 600,000 heartbeats, which a replica
/// that begins reads in some seconds.
pub const SNAPSHOT_INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(7 * 86_400);

/// How old the newest snapshot is before another is made because an issuer is not in it: as for the shortest interval, so
/// that issuers that are configured one by one cost no more than that.
pub const SNAPSHOT_OF_ANOTHER_ISSUER: Duration = *SNAPSHOT_INTERVAL_RANGE.start();

/// How soon a snapshot that could not be made is tried again: a full disk may have room by then.
pub const SNAPSHOT_RETRY: Duration = Duration::from_secs(30);
/// The same where it was too long, which was seen when all that one may have was written: two minutes' work for a disk.
pub const SNAPSHOT_TOO_LONG_RETRY: Duration = Duration::from_secs(3600);

/// Debts that are submitted at once: 6 MB of memory. The next ones follow when the feed shows these.
pub const DEBTS_MAX: usize = 1 << 16;
/// Debts that are read of the book at once, while nobody writes to it: less than 1 ms.
pub const DEBTS_READ: usize = 256;

/// Issuers of the feed that a replica names although it does not know them: 32 KiB.
pub const STRANGERS_MAX: usize = 1024;
/// How many of several issuers are named in one line for people: as many as anybody reads.
pub const STRANGERS_NAMED_MAX: usize = 8;

/// How long a look at Redis may take: Sentinels, a name, connecting and ten answers, each as late as it may be, and the wait for
/// a sign of life.
pub const PROBE_WITHIN: Duration = Duration::from_secs(30);
const _: () = assert!(
    SENTINELS_WITHIN.as_secs()
        + NAME_WITHIN.as_secs()
        + CONNECT_WITHIN.as_secs()
        + 10 * ANSWER_WITHIN.as_secs()
        + PROBE_LIFE.as_secs()
        < PROBE_WITHIN.as_secs()
);
/// How long it waits for a sign of life: two heartbeats, of which one may be late.
pub const PROBE_LIFE: Duration = Duration::from_secs(2);
const _: () = assert!(PROBE_LIFE.as_secs() >= 2 * HEARTBEAT_INTERVAL.as_secs());
/// How often each Sentinel is asked where the master is: it names a new one a second after a fail-over at the latest, and
/// this often costs nothing.
pub const SENTINEL_INTERVAL: Duration = Duration::from_secs(1);
/// For how long what a Sentinel said counts as recent. It may miss a few questions.
pub const SENTINEL_RECENT: Duration = Duration::from_secs(5);
const _: () = assert!(SENTINEL_RECENT.as_secs() >= 3 * SENTINEL_INTERVAL.as_secs());
/// After how many failures in a row the log says that a Sentinel is away.
pub const SENTINEL_FAILURES_TOLD: u32 = 3;
/// How many Sentinels may be named: each has a thread here.
pub const SENTINELS_MAX: usize = 9;
/// How long a look waits for what all of them say.
pub const SENTINELS_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of the name of a master.
pub const MASTER_NAME_OCTETS_MAX: usize = 64;
/// How long a reader waits for the next entry before it looks at the stream again, and at whether it is to stop. An entry
/// that comes ends the wait.
pub const READ_PATIENCE: Duration = Duration::from_millis(250);
/// The same while a snapshot comes: it is used as soon as it is there.
pub const READ_PATIENCE_COMPARING: Duration = Duration::from_millis(20);
/// The pause where a step of a reader ended at once with nothing, as where there is no manifest yet.
pub const IDLE_PAUSE: Duration = Duration::from_millis(20);
/// How long nothing may come until a reader connects anew: three heartbeats. A reader that waits past the end of a stream
/// that lost its last entries, or on a server that is no longer the master, waits for ever without an error.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
const _: () =
    assert!(SILENCE_MAX.as_secs() >= 3 * HEARTBEAT_INTERVAL.as_secs() && SILENCE_MAX.as_secs() < FRESH_MAX.as_secs());
/// The first pause after a connection that could not be made; it doubles,
pub const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// up to this: a second after Redis is back it is read.
pub const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// After how many failures of Redis in a row who takes a snapshot's answers goes on without those that were told after
/// it, and reads them later.
pub const TOLD_FAILURES_MAX: u32 = 3;
/// How often who takes a snapshot's answers looks for the next chunk.
pub const CHUNK_LOOK: Duration = Duration::from_millis(100);
/// In what time a replica's log lists at most [`super::CHANGES_LOGGED_MAX`] changes by serial: a writer tells thousands
/// a second where a list was uploaded.
pub const CHANGES_LOGGED_INTERVAL: Duration = Duration::from_secs(10);
/// How often the log is reminded of what lasts.
pub const REMARK_INTERVAL: Duration = Duration::from_secs(3600);
/// How long a replica may have no records until the log says why.
pub const FILLED_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of answers that wait to be told: 300,000 of P-256, some ten seconds of signing ahead on one core. What finds no
/// room is told once more later, with all others.
pub const ANSWERS_WAITING_OCTETS_MAX: usize = 32 << 20;
/// How often it is told that an issuer's sources are still in order. `stale_after` is minutes at least.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// How often a writer looks whether there is something to tell beside pushes, which wake it: changes of sources come a
/// second late anyway.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a standby waits for the next entry in one call.
pub const STANDBY_PATIENCE: Duration = Duration::from_millis(100);
/// How soon a standby submits its debts again.
pub const DEBTS_INTERVAL: Duration = Duration::from_secs(5);
/// Debts that are submitted at once.
pub const DEBTS_AT_ONCE: usize = 1000;
/// How long a writer that ends goes on telling what is committed, before it resigns.
pub const RESIGN_WITHIN: Duration = Duration::from_secs(2);
/// For how long of this what is committed goes before the resignation, which takes milliseconds.
pub const RESIGN_TELLING: Duration = Duration::from_secs(1);
const _: () = assert!(RESIGN_TELLING.as_secs() < RESIGN_WITHIN.as_secs());
/// How long others leave the feed to the standby that who led has named: it takes milliseconds.
pub const SUCCESSOR_WITHIN: Duration = Duration::from_secs(2);
/// How many entries a standby may lack that is named: signs of life come each second, so it was there a moment ago.
pub const SUCCESSOR_BEHIND_MAX: u64 = 8;
/// How soon a writer looks again what standbys have on disk while a push waits for it: a flush takes no less.
pub const STANDBYS_LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How many standbys may have to have what is acknowledged.
pub const STANDBYS_MAX: i64 = 8;
/// How long an operator waits for a writer to hand over, or to lead: it reads what was told, and then its sources.
pub const OPERATOR_WITHIN: Duration = Duration::from_secs(20);
/// How long the stream of a site that was promoted has to be gone before a relay fills it anew: its writer begins anew within
/// seconds.
pub const RELAY_EMPTY: Duration = Duration::from_secs(30);
/// How long a relay waits before it tries again.
pub const RELAY_RETRY: Duration = Duration::from_millis(500);
/// How long a submission of debts may take,
pub const DEBTS_WITHIN: Duration = Duration::from_secs(30);
/// and how long until the one that leads is reached: two lost packets. The next attempt is then [`DEBTS_INTERVAL`] after this one.
pub const DEBTS_CONNECT_WITHIN: Duration = Duration::from_secs(3);
const _: () = assert!(DEBTS_CONNECT_WITHIN.as_secs() < DEBTS_INTERVAL.as_secs());
/// How long answers wait for their records, which are saved and told in milliseconds. Past this they are told, so that
/// they hold up no others: who finds another record drops them, and they are told again once all records have been
/// told.
pub const ANSWERS_HELD_MAX: Duration = Duration::from_secs(5);
/// How old answers may be that a writer tells again when it leads for the first time since its start: what it had signed and
/// not told when it was killed is among them if it is started again within this time.
pub const ANSWERS_TOLD_AGAIN: Duration = Duration::from_secs(600);
/// How long answers gather for one entry, if nobody waits for them: some 300 of software keys on one core, 30 KiB.
pub const ANSWERS_GATHER: Duration = Duration::from_millis(10);
/// How long an acknowledgement waits for new answers beside the records: ten signatures in software. Until they come a
/// replica without keys says `tryLater` of a certificate that was changed.
pub const ANSWERS_WITHIN: Duration = Duration::from_millis(20);
/// For how long after records a replica expects their answers: signing a full entry of them takes less.
pub const ANSWERS_FOLLOW_WITHIN: Duration = Duration::from_secs(1);
/// For the answers of how many records an acknowledgement waits: those of more, as of a list, take longer anyway.
pub const ANSWERS_AWAITED_MAX: usize = 64;
