//! Every bound of the responder, with its derivation.

use std::time::Duration;

use precompute::limits::{POOL_END_MAX, TOKENS_END_MAX};

/// CertIDs in one request: RFC 6960 sets none, clients send one; each costs part of a live signature.
pub const CERT_IDS_MAX: usize = 10;

/// Extensions in a list of a request for a time-stamp: RFC 3161 defines none.
pub const EXTENSIONS_MAX: usize = 16;

/// Extensions in one list that are compared without asking for memory: RFC 6960 and its successors define eight for
/// requests. How many more there may be is left to the length of the request.
pub const EXTENSIONS_USUAL: usize = 16;

/// Bytes of a nonce that is echoed or required, RFC 9654 section 2.1.
pub const NONCE_OCTETS_MAX: usize = 128;

/// Bytes of a request target. RFC 9110 section 4.1 asks for 8,000 at least.
pub const TARGET_OCTETS_MAX: usize = 8 << 10;

/// Bytes of a header section with its request line.
pub const HEAD_OCTETS_MAX: usize = 16 << 10;

/// Header fields of a request that are read without asking for memory: browsers behind two proxies send about 30.
pub const HEADERS_USUAL: usize = 64;
/// And all that a header section has room for: a field takes at least three bytes (`a:` and a line feed). Chains of
/// proxies add as many as they like.
pub const HEADERS_MAX: usize = HEAD_OCTETS_MAX / 3;

/// Bytes of a request's body: ten CertIDs in SHA-512 with extensions are 2 KiB, a signed request with a chain 8.
pub const BODY_OCTETS_MAX: usize = 10 << 10;

/// Bytes of the body of a request for a time-stamp: an imprint and a nonce take 100, a policy of many UUIDs some 1000.
pub const TSA_BODY_OCTETS_MAX: usize = 16 << 10;

/// In how many times its bytes a chunked body may arrive, so that chunks of a few bytes pass,
pub const CHUNKED_FACTOR: usize = 2;
/// and the largest.
pub const CHUNKED_OCTETS_MAX: usize = CHUNKED_FACTOR * TSA_BODY_OCTETS_MAX;

/// Bytes that a connection reads at a time, and keeps while it is idle: a GET or POST for one certificate
/// with a browser's headers is under 1 KiB.
pub const READ_OCTETS: usize = 4 << 10;

/// Bytes of answers that are gathered before they are written, so that a client that pipelines without reading
/// holds no more than this and one answer.
pub const WRITE_OCTETS_MAX: usize = 64 << 10;

/// Requests that are answered in a row before other connections of the worker get their turn.
pub const PIPELINE_MAX: u64 = 64;

/// What a signed answer counts for among those: 20 µs by P-256, so that a row of them takes no longer than one of hits.
pub const SIGNED_WEIGHT: u64 = 8;

/// How long a header section may take from its first byte.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a body may take from the end of the header section.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may be silent between requests: longer than balancers keep theirs, most of them for 60 s, so that it is
/// the ones that end it, and no request meets a connection that is just being closed.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(75);
/// How long a client may take to read what is written at once.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long a client waits for an answer to be signed before it is told `tryLater`: clients give up after about as long.
pub const MISS_DEADLINE: Duration = Duration::from_secs(5);

/// How often an answer is signed anew because its record changed meanwhile; a record that changes
/// faster than that is told by the next request.
pub const SIGN_ATTEMPTS_MAX: usize = 3;

/// Connections of one worker, where the limit of open files allows as many. Idle ones hold [`READ_OCTETS`], 64 MiB
/// together; clients that send and never read hold at most [`HEAD_OCTETS_MAX`] + [`CHUNKED_OCTETS_MAX`] +
/// 2 × [`WRITE_OCTETS_MAX`], 2.75 GiB together.
pub const CONNECTIONS_MAX: usize = 16 << 10;

/// Connections waiting to be accepted, of one listener; the kernel caps it with net.core.somaxconn.
pub const BACKLOG: i32 = 4096;

/// How long an address that is taken is waited for at a start: after kill -9 the kernel was seen to need some tenths of a
/// second for the listeners of io_uring on a busy machine.
pub const LISTEN_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
pub const LISTEN_AGAIN: Duration = Duration::from_millis(50);

/// Submission entries of one worker's ring; a full one is submitted early, nothing is lost.
pub const RING_ENTRIES: u32 = 1024;

/// How long every kind of operation together may take on a new ring before the thread does without it: milliseconds, and
/// more on a machine where threads wait for a core.
pub const RING_PATIENCE: Duration = Duration::from_secs(5);

/// Workers that may be asked for.
pub const WORKERS_MAX: i64 = 1024;

/// How long connections get to end when the service stops.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// How long the end waits for the engine after the last connection: a million lines are read and written in about a
/// second, and with [`DRAIN_DEADLINE`] it stays below the 30 s after which systemd kills.
pub const ENGINE_END_MAX: Duration = Duration::from_secs(5);

/// How long the end waits for a configuration or a TLS certificate that is being read: what it says is used no more.
pub const READING_END_MAX: Duration = Duration::from_secs(1);

const _: () = {
    assert!(TARGET_OCTETS_MAX < HEAD_OCTETS_MAX, "a target fits its header section");
    assert!(READ_OCTETS <= HEAD_OCTETS_MAX);
    assert!(IDLE_DEADLINE.as_secs() > 60, "balancers are the first to end a connection");
    // ResponseData of ten SHA-512 CertIDs, and two certificates.
    assert!(WRITE_OCTETS_MAX > 16 << 10);
};

/// How long a refused client may go on sending before the connection is cut.
pub const LINGER_DEADLINE: Duration = Duration::from_secs(2);
/// And how much: the body of one honest request.
pub const LINGER_OCTETS_MAX: usize = 64 << 10;

/// How long a signed answer about an unlisted serial is valid: it may be issued the next moment, and clients keep
/// what they are told until nextUpdate.
pub const UNLISTED_VALIDITY: Duration = Duration::from_secs(300);

/// File descriptors that are not connections: listeners, rings, the book, sources, logs, the admin listener's.
pub const OTHER_DESCRIPTORS: u64 = 256;

// -- The network plane

/// Connections that are accepted in a row before those that are open get their turn.
pub const ACCEPTS_IN_A_ROW: usize = 64;

/// Connections that one look over all of them chooses to make room for others: a look at 16,384 takes about as long as
/// accepting ten.
pub const ROOM_AT_ONCE: usize = 256;

/// How long nothing is accepted after it failed for want of descriptors or memory, which others have to free.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections on the way from the other workers to one: a burst of all of them, each in its turn of accepting.
pub const HANDED_MAX: usize = 1024;

/// Buffers to answer in, and as many to read in, that one worker keeps for the next connections: as many as are at work
/// at once on a busy one.
pub const BUFFERS_KEPT_MAX: usize = 64;
/// The largest to answer in that is kept: dozens of pipelined answers; 4 MiB together.
pub const BUFFER_KEPT_OCTETS_MAX: usize = 64 << 10;

/// How long clients that have begun to connect get to finish when the service stops: the longest round trips are
/// under 0.3 s.
pub const HANDSHAKE_ALLOWANCE: Duration = Duration::from_millis(300);

/// How often a worker that stops looks for connections that have become idle.
pub const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What deadlines may be set to: under a second the clock that keeps them is too coarse, and over an hour the bounds
/// of connections are none.
pub const DEADLINE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Bytes of a TLS certificate file with its chain, or of a key file.
pub const TLS_FILE_OCTETS_MAX: u64 = 256 << 10;

/// How often it is looked whether anybody still uses what a reload has replaced: its sessions with tokens are wanted.
pub const FORMER_SITE_LOOK: Duration = Duration::from_millis(20);
/// How long, at most: requests that have begun with it end within some seconds.
pub const FORMER_SITE_WAIT: Duration = Duration::from_secs(30);

/// How often it is looked whether signing certificates are revoked, so that others sign, and what else has come to be
/// wrong with them, for the log; health tells it at once. A signer takes under a microsecond: with a thousand issuers it
/// is a thousandth of the control thread.
pub const SIGNER_LOOK: Duration = Duration::from_secs(1);

/// How often the files of the TLS certificate are looked at.
pub const TLS_LOOK: Duration = Duration::from_secs(1);

const _: () = assert!(ACCEPTS_IN_A_ROW <= HANDED_MAX);

/// Connections of the admin listener: monitors and operators, each with one request. With them [`OTHER_DESCRIPTORS`] has
/// room for what it is meant for.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long such a client may take to ask.
pub const ADMIN_HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long it may take for everything: metrics of thousands of issuers are some MiB, and come from the same network.
pub const ADMIN_DEADLINE: Duration = Duration::from_secs(30);
const _: () = assert!((ADMIN_CONNECTIONS_MAX as u64) < OTHER_DESCRIPTORS / 2);

/// Lines of the access log that may wait for their writer: a second's at 4,096 a second, which no log should have to take.
pub const ACCESS_LINES_WAITING_MAX: usize = 4096;

/// How often answers past their nextUpdate are taken off the table, so that there is room for others: a walk over ten
/// million takes a second of a thread that has nothing else to do, and holds a writer up for some milliseconds.
pub const CLEANING_INTERVAL: Duration = Duration::from_secs(600);

// -- Time-stamps

/// How long a serving thread makes signatures in one turn of its loop if it has nothing else to do: two by P-256, so that who
/// wants an answer from memory waits for no more.
pub const TURN_SIGNING_MIN: Duration = Duration::from_micros(40);
/// The same if no other kind has asked for [`TURNS_ALONE`] turns: a dozen by P-256.
pub const TURN_SIGNING_ALONE: Duration = Duration::from_micros(300);
/// Such turns of [`TURN_SIGNING_MIN`], with what it takes to read and write, last 5 ms: at 1,000 hits a second one in a
/// hundred comes later than that after the one before, and waits for a longer turn.
pub const TURNS_ALONE: u32 = 64;
/// What a hit on a connection of its own takes, TCP included: so much signing for each.
pub const TURN_SIGNING_EACH: Duration = Duration::from_micros(6);
/// And at most: what a full pipeline of hits takes.
pub const TURN_SIGNING_MAX: Duration = Duration::from_millis(1);

/// How long a token waits for its signature at least, where the accuracy is less: its genTime is that much before it.
pub const STAMP_DEADLINE_MIN: Duration = Duration::from_secs(1);

/// How long caches may keep the certificates of an authority: what nobody minds waiting for a renewed one, and a small
/// part of the day that a signer's certificate has to have left by default.
pub const CHAIN_MAX_AGE: Duration = Duration::from_secs(3600);

/// Bytes of a nonce beside its sign. RFC 3161 sets no bound; NuGet, dotnet sign and EU DSS always send 32. With 128, what
/// RFC 9654 takes for OCSP, nobody is refused who is known, and a token grows by no more than that.
pub const TSA_NONCE_BYTES_MAX: usize = 128;
// -- The clock of time-stamps
/// What accuracies may be promised: a millisecond takes a clock nearby, and beyond a minute nobody is served.
pub const CLOCK_ACCURACY_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// How long a reading of the clock's source may count: at least four times what a thread may have to wait for a busy
/// core, and at most as long as nobody minds time that is wrong.
pub const CLOCK_LEASE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// How long it counts where nothing else is said.
pub const CLOCK_LEASE: Duration = Duration::from_secs(1);

/// How often the source is asked in a lease: three answers may be late or lost in a row.
pub const CLOCK_READINGS_A_LEASE: u32 = 4;

/// What a clock may go wrong between two readings, in millionths: what the kernel assumes of an oscillator (MAXFREQ).
pub const CLOCK_DRIFT_PPM: u32 = 500;

/// A step is what moves the wall clock against the monotonic one by more than this part of the accuracy: 0.1 s of a
/// second. Both are slewed alike, so that only setting the clock moves them, and reading both takes microseconds.
pub const CLOCK_STEP_SHARE: i64 = 10;

/// How long before and after a leap second no time is told, besides the accuracy: what is being signed when it begins is
/// done by then.
pub const LEAP_MARGIN: Duration = Duration::from_secs(10);

/// The same for who promises least and hears for longest: it bounds for how long a leap second is remembered.
pub const LEAP_MARGIN_MAX: Duration = Duration::from_secs(
    LEAP_MARGIN.as_secs() + CLOCK_ACCURACY_RANGE.end().as_secs() + CLOCK_LEASE_RANGE.end().as_secs(),
);

/// By how much the clock has been elsewhere than is noted before that is noted anew: what reading both clocks is taken for
/// good by, twice. A start finds again what is less by looking itself.
pub const CLOCK_NOTED_WITHIN: Duration = Duration::from_micros(20);

/// Bytes of the note of what is known of the clock: a heading and five lines of numbers.
pub const CLOCK_NOTE_BYTES_MAX: u64 = 4 << 10;

/// How often it is looked whether there is more to note of the clock: chronyd measures once in 64 s and more, so that a
/// start finds the latest measurement noted but where it follows within a second.
pub const CLOCK_NOTE_LOOK: Duration = Duration::from_secs(1);

/// Bytes of the note of what is promised of tokens in order: a name takes 74, and nobody has ten thousand of them.
pub const PROMISES_OCTETS_MAX: u64 = 1 << 20;

/// How often it is looked whether less has come to be promised of tokens in order. Until then a restart waits longer.
pub const PROMISES_LOOK: Duration = Duration::from_secs(5);

/// How often both clocks are read for a pair without anything in between: a thread that is sent away each time is on a
/// machine where nothing is in time.
pub const CLOCK_PAIRS_MAX: usize = 5;
/// And when one is good enough: a thousandth of the shortest accuracy's step is not reached, a tenth is.
pub const CLOCK_PAIR_WITHIN: Duration = Duration::from_micros(10);

const _: () = {
    let step = CLOCK_ACCURACY_RANGE.start().as_nanos() as i64 / CLOCK_STEP_SHARE;
    assert!(CLOCK_PAIR_WITHIN.as_nanos() as i64 <= step / 10);
    assert!(LEAP_MARGIN.as_secs() > MISS_DEADLINE.as_secs());
};

// -- The record of time-stamps

/// Tokens of one serving thread that may wait for the record: those of 0.6 s at 50,000 a second, so that a disk may be
/// busy for that long; 6 MiB.
pub const RECORD_QUEUE_MAX: usize = 32 << 10;

/// How often what waits is written: 2,500 tokens at 50,000 a second.
pub const RECORD_INTERVAL: Duration = Duration::from_millis(50);

/// Tokens of each queue that are written at once: 350 KiB of lines, and a write of them takes less than a millisecond.
pub const RECORD_BATCH: usize = 1 << 10;

/// Bytes of lines at which changes of the clock are no longer put behind what could not be written.
pub const RECORD_PENDING_OCTETS_MAX: usize = 1 << 20;

/// Changes of the clock and requests to open the file again that may wait: a clock of which there are more than a few
/// a second is none.
pub const RECORD_ORDERS_MAX: usize = 256;

/// How often lines are synchronised with the disk, and so how much of them a loss of power takes.
pub const RECORD_SYNCHRONISED_EVERY: Duration = Duration::from_secs(1);

/// Bytes of a file of the record before another is begun: three million tokens.
pub const RECORD_FILE_OCTETS: u64 = 1 << 30;
/// And its age.
pub const RECORD_FILE_AGE: Duration = Duration::from_secs(24 * 3600);

/// How long the end waits for a disk that takes nothing.
pub const RECORD_END_MAX: Duration = Duration::from_secs(2);

const _: () = {
    // Ten intervals fit what may wait, at 50,000 tokens a second.
    assert!(RECORD_QUEUE_MAX as u128 > 10 * 50 * RECORD_INTERVAL.as_millis());
    // Together with the rest of the end below the 30 s after which systemd kills.
    assert!(
        DRAIN_DEADLINE.as_secs()
            + ENGINE_END_MAX.as_secs()
            + READING_END_MAX.as_secs()
            + RECORD_END_MAX.as_secs()
            + POOL_END_MAX.as_secs()
            + TOKENS_END_MAX.as_secs()
            < 30
    );
};
