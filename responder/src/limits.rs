//! The bounds of the responder that an operator or a client may meet, each with its derivation.

pub mod upstream;

use std::time::Duration;

use precompute::limits::{
    ADMIN_CONNECTIONS_MAX, API_UPLOADS_MAX, ENGINE_END_MAX, POOL_END_MAX, READING_END_MAX, TOKENS_END_MAX,
    journal::END_MAX as JOURNAL_END_MAX,
};

/// CertIDs in one request: RFC 6960 sets none, clients send one; each costs part of a live signature.
pub const CERT_IDS_MAX: usize = 10;

/// Extensions in a list of a time-stamp request: RFC 3161 defines none.
pub const EXTENSIONS_MAX: usize = 16;

/// Extensions in one list that are compared without allocating: RFC 6960 and its successors define eight for requests.
/// Only the length of the request bounds their number.
pub const EXTENSIONS_USUAL: usize = 16;

/// Bytes of a nonce that is echoed or required, RFC 9654 section 2.1.
pub const NONCE_OCTETS_MAX: usize = 128;

/// Bytes of a request target. RFC 9110 section 4.1 requires at least 8,000.
pub const TARGET_OCTETS_MAX: usize = 8 << 10;

/// Bytes of a header section with its request line.
pub const HEAD_OCTETS_MAX: usize = 16 << 10;

/// Header fields of a request that are read without allocating: browsers behind two proxies send about 30.
pub const HEADERS_USUAL: usize = 64;
/// The most that fit into a header section: a field takes at least three bytes (`a:` and a line feed). Chains of
/// proxies add any number of them.
pub const HEADERS_MAX: usize = HEAD_OCTETS_MAX / 3;

/// Bytes of a request's body: ten CertIDs in SHA-512 with extensions are 2 KiB, a signed request with a chain 8.
pub const BODY_OCTETS_MAX: usize = 10 << 10;

/// Bytes of the body of a request for a time-stamp: an imprint and a nonce take 100, a policy of many UUIDs some 1000.
pub const TSA_BODY_OCTETS_MAX: usize = 16 << 10;

/// A chunked body may be this many times as long as its content, so that chunks of a few bytes pass,
pub const CHUNKED_FACTOR: usize = 2;
/// and the largest such body.
pub const CHUNKED_OCTETS_MAX: usize = CHUNKED_FACTOR * TSA_BODY_OCTETS_MAX;

/// Bytes that a connection reads at a time, and keeps while it is idle: a GET or POST for one certificate with a
/// browser's headers is under 1 KiB.
pub const READ_OCTETS: usize = 4 << 10;

/// Bytes of answers that are collected before they are written, so that a client that pipelines without reading holds
/// no more than this and one answer.
pub const WRITE_OCTETS_MAX: usize = 64 << 10;

/// Bytes of a document that are copied into the output like an answer; longer ones are sent from the memory that they are
/// in. Copying costs less than another write up to about this length.
pub const COPIED_OCTETS_MAX: usize = 16 << 10;
/// Bytes of a long body that are written at once: over TLS that much is encrypted before anybody else has a turn.
pub const PIECE_OCTETS: usize = 64 << 10;
/// Bytes of a body that the kernel takes beyond what is on its way to the client (TCP_NOTSENT_LOWAT): a piece is under way
/// while the next one is handed over. What a connection waits for is thus at most two pieces, and with [`WRITE_DEADLINE`]
/// a client that reads 4.3 KiB a second gets on.
pub const UNSENT_OCTETS: u32 = 2 * PIECE_OCTETS as u32;

/// Requests that are answered in a row before other connections of the worker get their turn.
pub const PIPELINE_MAX: u64 = 64;

/// How many of those a signed answer counts for: it takes 20 µs by P-256, so a row of them takes no longer than a row
/// of hits.
pub const SIGNED_WEIGHT: u64 = 8;

/// How long a header section may take from its first byte.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a body may take from the end of the header section.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may be silent between requests: longer than the limit of balancers, which is mostly 60 s. So
/// the balancer closes the connection, and no request meets one that is being closed.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(75);
/// How long a client may take to read what is written at once, and each piece of a long body.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long a client waits for an answer to be signed before it gets `tryLater`: clients give up after about as long.
pub const MISS_DEADLINE: Duration = Duration::from_secs(5);

/// How long a miss of a replica without the key waits for its answer, where records have come in the last
/// [`precompute::limits::feed::ANSWERS_FOLLOW_WITHIN`]: what follows a record follows in milliseconds.
pub const AWAITED_WITHIN: Duration = Duration::from_secs(1);
/// How long one waits where none have come, as far as is known: a record shows before the feed's thread has noted it.
pub const AWAITED_GRACE: Duration = Duration::from_millis(10);
/// How often it is looked for,
pub const AWAITED_LOOK: Duration = Duration::from_millis(2);
/// and how many may wait: each holds a request of a connection.
pub const AWAITED_MAX: usize = 1024;

/// How often an answer is signed again because its record has changed in the meantime; if a record changes faster than
/// that, the next request gets the change.
pub const SIGN_ATTEMPTS_MAX: usize = 3;

/// Connections of one worker, if the limit of open files allows as many. Idle ones hold [`READ_OCTETS`], 64 MiB
/// together; clients that send and never read hold at most [`HEAD_OCTETS_MAX`] + [`CHUNKED_OCTETS_MAX`] + 2 ×
/// [`WRITE_OCTETS_MAX`], 2.75 GiB together.
pub const CONNECTIONS_MAX: usize = 16 << 10;

/// Connections waiting to be accepted, of one listener; the kernel caps it with net.core.somaxconn.
pub const BACKLOG: i32 = 4096;

/// How long a start waits for an address that is in use: after kill -9 the kernel has needed some tenths of a second
/// for the listeners of io_uring on a busy machine.
pub const LISTEN_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried in that time.
pub const LISTEN_AGAIN: Duration = Duration::from_millis(50);

/// Submission entries of one worker's ring; a full one is submitted early, nothing is lost.
pub const RING_ENTRIES: u32 = 1024;

/// How long all kinds of operation together may take on a new ring before the thread uses epoll: milliseconds, and more
/// on a machine where threads wait for a core.
pub const RING_PATIENCE: Duration = Duration::from_secs(5);

/// Workers that may be asked for.
pub const WORKERS_MAX: i64 = 1024;

/// How long connections get to end when the service stops.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

const _: () = {
    assert!(TARGET_OCTETS_MAX < HEAD_OCTETS_MAX, "a target fits its header section");
    assert!(READ_OCTETS <= HEAD_OCTETS_MAX);
    assert!(IDLE_DEADLINE.as_secs() > 60, "balancers are the first to end a connection");
    // ResponseData of ten SHA-512 CertIDs, and two certificates.
    assert!(WRITE_OCTETS_MAX > 16 << 10);
    assert!(COPIED_OCTETS_MAX <= WRITE_OCTETS_MAX, "a copied document is no longer than other output");
};

/// How long a refused client may continue to send before the connection is cut.
pub const LINGER_DEADLINE: Duration = Duration::from_secs(2);
/// And how much: the body of one ordinary request.
pub const LINGER_OCTETS_MAX: usize = 64 << 10;

/// How long a signed answer about an unlisted serial is valid: it may be issued the next moment, and clients keep the
/// answer until nextUpdate.
pub const UNLISTED_VALIDITY: Duration = Duration::from_secs(300);

/// File descriptors other than connections: listeners, rings, the book, sources, logs, the admin listener's.
pub const OTHER_DESCRIPTORS: u64 = 256;

// -- The network plane

/// Connections that are accepted in a row before open ones get their turn.
pub const ACCEPTS_IN_A_ROW: usize = 64;

/// Connections that one search chooses to make room for others: searching 16,384 takes about as long as accepting ten.
pub const ROOM_AT_ONCE: usize = 256;

/// The pause in accepting after a failure for lack of descriptors or memory, which others have to free.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections on the way from the other workers to one: one burst from each of them.
pub const HANDED_MAX: usize = 1024;

/// Output buffers, and as many input buffers, that one worker keeps for the next connections: as many as are in use at
/// once on a busy worker.
pub const BUFFERS_KEPT_MAX: usize = 64;
/// The largest output buffer that is kept: dozens of pipelined answers; 4 MiB together.
pub const BUFFER_KEPT_OCTETS_MAX: usize = 64 << 10;

/// How long clients that have begun to connect get to finish when the service stops: the longest round trips are
/// under 0.3 s.
pub const HANDSHAKE_ALLOWANCE: Duration = Duration::from_millis(300);

/// How often a stopping worker looks for connections that have become idle.
pub const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// The values for deadlines: below a second the clock that enforces them is too coarse, and above an hour they would
/// not limit connections.
pub const DEADLINE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

const _: () = assert!(ACCEPTS_IN_A_ROW <= HANDED_MAX);

const _: () = assert!((ADMIN_CONNECTIONS_MAX + API_UPLOADS_MAX) as u64 <= OTHER_DESCRIPTORS / 2);

/// How much of a path a line of the access log has: a GET for one certificate has about 130 bytes.
pub const ACCESS_PATH_OCTETS_MAX: usize = 256;

/// Lines of the access log that may wait for their writer: one second at 4,096 a second, which is more than a log
/// should get.
pub const ACCESS_LINES_WAITING_MAX: usize = 4096;

// -- Time-stamps

/// How long a serving thread signs in one turn of its loop at least: two signatures by P-256, so that a request for a
/// kept answer waits for no more.
pub const TURN_SIGNING_MIN: Duration = Duration::from_micros(40);
/// The same if there were no other requests for [`TURNS_ALONE`] turns: a dozen by P-256.
pub const TURN_SIGNING_ALONE: Duration = Duration::from_micros(300);
/// That many turns of [`TURN_SIGNING_MIN`], with reading and writing, last 5 ms. At 1,000 hits a second, one gap
/// between hits in a hundred is longer, and the hit after it waits for a longer turn.
pub const TURNS_ALONE: u32 = 64;
/// The cost of a hit on a separate connection, TCP included: each hit allows this much signing.
pub const TURN_SIGNING_EACH: Duration = Duration::from_micros(6);
/// The most: the cost of a full pipeline of hits.
pub const TURN_SIGNING_MAX: Duration = Duration::from_millis(1);

/// The least time that a token waits for its signature, if the accuracy is less: its genTime is that much before it.
pub const STAMP_DEADLINE_MIN: Duration = Duration::from_secs(1);

/// How long caches may keep the certificates of an authority: an acceptable delay for a renewed certificate, and a
/// small part of the day that a signer's certificate must have left by default.
pub const CHAIN_MAX_AGE: Duration = Duration::from_secs(3600);

/// Bytes of a nonce without its sign. RFC 3161 sets no bound; NuGet, dotnet sign and EU DSS always send 32. With 128,
/// as in RFC 9654 for OCSP, no known client is refused, and a token grows by no more than that.
pub const TSA_NONCE_BYTES_MAX: usize = 128;
// -- The clock of time-stamps
/// What accuracies may be promised: a millisecond takes a clock nearby, and beyond a minute nobody is served.
pub const CLOCK_ACCURACY_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// How long a reading of the clock's source may count: at least four times the longest wait of a thread for a busy
/// core, and at most as long as wrong time would be acceptable.
pub const CLOCK_LEASE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// How long it counts by default.
pub const CLOCK_LEASE: Duration = Duration::from_secs(1);

/// How often the source is asked in a lease: three answers in a row may be late or lost.
pub const CLOCK_READINGS_A_LEASE: u32 = 4;

/// How far a clock may drift between two readings, in millionths: the kernel's assumption about an oscillator
/// (MAXFREQ).
pub const CLOCK_DRIFT_PPM: u32 = 500;

/// A step moves the wall clock against the monotonic one by more than this part of the accuracy: 0.1 s for an accuracy
/// of a second. Both are slewed alike, so only setting the clock moves them apart, and reading both takes microseconds.
pub const CLOCK_STEP_SHARE: i64 = 10;

/// How long before and after a leap second no time is given, in addition to the accuracy: signatures that are being
/// made when it begins are done by then.
pub const LEAP_MARGIN: Duration = Duration::from_secs(10);

/// The same for the largest accuracy and the longest lease: it bounds how long a leap second is remembered.
pub const LEAP_MARGIN_MAX: Duration = Duration::from_secs(
    LEAP_MARGIN.as_secs() + CLOCK_ACCURACY_RANGE.end().as_secs() + CLOCK_LEASE_RANGE.end().as_secs(),
);

/// How far the clock must have moved from the noted place before it is noted again: twice the tolerance for reading
/// both clocks. A start finds smaller changes by its own reading.
pub const CLOCK_NOTED_WITHIN: Duration = Duration::from_micros(20);

/// Bytes of the note about the clock: a heading and five lines of numbers.
pub const CLOCK_NOTE_BYTES_MAX: u64 = 4 << 10;

/// How often to check whether there is more to note about the clock: chronyd measures once in 64 s or more, so a start
/// finds the latest measurement noted, unless it follows within a second.
pub const CLOCK_NOTE_LOOK: Duration = Duration::from_secs(1);

/// Bytes of the note about promises for ordered tokens: a name takes 74, and ten thousand of them are more than anybody
/// has.
pub const PROMISES_OCTETS_MAX: u64 = 1 << 20;

/// How often to check whether less is now promised for ordered tokens. Until then a restart waits longer.
pub const PROMISES_LOOK: Duration = Duration::from_secs(5);

/// How often both clocks are read to get a pair without an interruption: a machine that interrupts a thread each time
/// is too slow for anything.
pub const CLOCK_PAIRS_MAX: usize = 5;
/// And when a pair is good enough: a thousandth of the smallest accuracy's step cannot be reached, a tenth can.
pub const CLOCK_PAIR_WITHIN: Duration = Duration::from_micros(10);

const _: () = {
    let step = CLOCK_ACCURACY_RANGE.start().as_nanos() as i64 / CLOCK_STEP_SHARE;
    assert!(CLOCK_PAIR_WITHIN.as_nanos() as i64 <= step / 10);
    assert!(LEAP_MARGIN.as_secs() > MISS_DEADLINE.as_secs());
};

const _: () = {
    // A journal and the record of time-stamps. Together with the rest of the end below the 30 s after which systemd kills.
    assert!(
        DRAIN_DEADLINE.as_secs()
            + ENGINE_END_MAX.as_secs()
            + READING_END_MAX.as_secs()
            + 2 * JOURNAL_END_MAX.as_secs()
            + POOL_END_MAX.as_secs()
            + TOKENS_END_MAX.as_secs()
            < 30
    );
};

/// How long a replica's start waits for its first records before it counts as ready without: ten million come in 8 s, and
/// systemd waits for five minutes.
pub const FEED_FILLED_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of HTTP Basic in base64: a name and a key of a client, with wide room.
pub const BASIC_OCTETS_MAX: usize = 1024;
/// How long nothing more is logged of a client whose quota is used up: whoever has a loop fills no disk.
pub const QUOTA_TOLD_EVERY: Duration = Duration::from_secs(60);
