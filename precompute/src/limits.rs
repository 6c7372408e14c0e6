//! Every bound of this crate, with its derivation.

use std::time::Duration;

/// Bytes of a certificate file: a chain of a few certificates, each of which can hold an
/// ML-DSA key and signature (about 8 KiB), with wide room.
pub const CERTIFICATE_FILE_OCTETS_MAX: u64 = 1 << 20;

/// Bytes of a key file: RSA-4096 as PKCS#8 PEM is 3.3 KiB.
pub const KEY_FILE_OCTETS_MAX: u64 = 64 << 10;

/// Bits of an RSA key whose signatures count: below it a signature can be forged (NIST SP 800-131A),
/// above it one verification takes milliseconds. Those of aws-lc-rs.
pub const RSA_BITS: std::ops::RangeInclusive<u64> = 2048..=8192;
/// Bits of its public exponent, as in aws-lc-rs: 65537 has 17, and a long one would make each verification slow.
pub const RSA_EXPONENT_BITS_MAX: u64 = 33;

/// Bytes of the configuration file: 500 tenants of 2 KiB each, and as much again for comments, squared up.
pub const CONFIG_FILE_OCTETS_MAX: u64 = 4 << 20;

/// Bytes of a CRL: 10 million entries of about 40 bytes.
pub const CRL_FILE_OCTETS_MAX: u64 = 512 << 20;

/// Bytes of one line of `index.txt`: the subject is the only long field, and OpenSSL caps a
/// name's encoding far below this.
pub const INDEX_LINE_OCTETS_MAX: usize = 64 << 10;

/// Bytes of the book's page cache: it is written in large sorted batches and read once from end to end, so
/// that a cache helps little beyond the inner pages of the tree.
pub const BOOK_CACHE_OCTETS: usize = 64 << 20;

/// How often it is seen whether the book still lies in its place: `stat` of one file for each issuer. What came meanwhile
/// is in memory and goes into the new one.
pub const BOOK_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Looks at a book that another process writes, until one makes sense: it commits a few times a second at most, within
/// milliseconds each but for the largest batches.
pub const BOOK_LOOKS_MAX: u32 = 5;
/// The pause between them.
pub const BOOK_LOOK_PAUSE: Duration = Duration::from_millis(300);

/// Threads that one software key may sign with: more than the cores of any machine this runs on.
pub const SIGN_THREADS_MAX: i64 = 256;

/// Sessions that sign on each token of a signer by default: SoftHSM on two cores gives the most with
/// four, hardware and whatever is reached over a network works on more at once.
pub const TOKEN_THREADS_DEFAULT: usize = 8;

/// Tokens that may hold one signer's key: two at each of two places, and as many again while they are replaced.
pub const SIGNER_TOKENS_MAX: usize = 8;

/// Bytes of a PIN: PKCS#11 tokens allow up to 255.
pub const PIN_FILE_OCTETS_MAX: usize = 255;

/// How long a token counts as well after it has signed: its library is not initialised anew to find another token, since
/// it would lose its sessions, and more where C_Initialize takes long or hangs. An idle one is tested that often twice.
pub const TOKEN_WELL: Duration = Duration::from_secs(45);
const _: () = assert!(TOKEN_WELL.as_secs() > 2 * TEST_INTERVAL.as_secs());

/// How soon a PKCS#11 library that has lost a token is initialised anew, where no other is well: a server that is
/// restarted is back after so long.
pub const MODULE_RENEWAL_PAUSE_MIN: Duration = Duration::from_secs(2);
/// It doubles with each time in vain, up to this, so that libraries that leak a little each time, and servers that are
/// down for long, are spared; a token that comes back waits as long.
pub const MODULE_RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(30);
const _: () = assert!(MODULE_RENEWAL_PAUSE_MIN.as_secs() < MODULE_RENEWAL_PAUSE_MAX.as_secs());

/// How long a library that is to be initialised anew keeps newcomers out for those inside to leave: a signature takes
/// milliseconds, on a token that everybody uses at once some hundreds of them.
pub const MODULE_QUIET_WAIT: Duration = Duration::from_secs(2);

/// How long one waits to get into a library that is being initialised anew: C_Initialize connects to each token.
pub const MODULE_ENTER_WAIT: Duration = Duration::from_secs(5);
const _: () = assert!(MODULE_QUIET_WAIT.as_secs() < MODULE_ENTER_WAIT.as_secs());

/// How long one waits for a session to be closed: a round trip. One that takes longer is left to its own thread.
pub const SESSION_CLOSE_WAIT: Duration = Duration::from_secs(1);

/// How long the end of a program waits for PKCS#11 libraries: for calls that run as long as for an initialisation anew, then
/// for the closing of the sessions of the logins and for C_Finalize, which take a round trip to each token.
pub const TOKENS_END_MAX: Duration = Duration::from_secs(4);
const _: () = assert!(MODULE_QUIET_WAIT.as_secs() + SESSION_CLOSE_WAIT.as_secs() < TOKENS_END_MAX.as_secs());

/// How long one waits for another's login to the same token, which takes a second on slow ones; after that it hangs.
pub const TOKEN_TURN_WAIT: Duration = Duration::from_secs(10);

/// Tokens, and keys, that a message names where the wanted one is not among them: what a person reads.
pub const TOKEN_OBJECTS_TOLD_MAX: usize = 16;

/// Jobs that may wait for one signer in each priority. RSA-4096 signs about 600 a second and core: what
/// waits behind this many takes some seconds, longer than clients stay.
pub const SIGN_QUEUE_LENGTH_MAX: usize = 4096;

/// How far ahead the clock of a CA may be: machines without a time service drift by seconds a day.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

/// How long an index must not have changed before what it no longer lists goes: who rewrites it in place may pause
/// between two lines.
pub const REMOVAL_DELAY: Duration = Duration::from_secs(2);

/// How long `ostia-precompute sync` waits for that.
pub const REMOVAL_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often the book notes that an issuer's sources are in order: a restart knows it to the hour.
pub const VERIFIED_SAVE_INTERVAL: Duration = Duration::from_secs(3600);

/// How often sources are looked at. A change must show within a second, reading included: a million
/// lines take about 0.3 s.
pub const SOURCE_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long a first reading may take before the next one is begun beside it: a million lines take a second.
pub const FIRST_READ_QUICK: Duration = Duration::from_secs(2);

/// How long a start waits for the sources of an issuer that the book knows: thirty million lines. Meanwhile nobody is
/// answered, since what was revoked in between is not known.
pub const START_READ_MAX: Duration = Duration::from_secs(60);

/// How long a changed configuration waits for new sources: thirty million lines. More belong to a start.
pub const RELOAD_READ_MAX: Duration = Duration::from_secs(60);

/// How long the end of the service waits for sources that are being read and changes that are being written: a
/// million records are written in two seconds.
pub const FOLLOWERS_END_MAX: Duration = Duration::from_secs(3);

/// How often it looks whether they are done.
pub const FOLLOWERS_END_LOOK: Duration = Duration::from_millis(5);

/// How long a reload waits for the end of who followed the former sources of an issuer, so that what that one revokes last is
/// taken over: what is read by then is shown in less than half a second, or in the time that a pass takes.
pub const FORMER_END_MAX: Duration = Duration::from_secs(5);
/// How often it looks whether that is done.
pub const TAKE_OVER_LOOK: Duration = Duration::from_millis(5);

/// How long sources may go unchecked before that is reported: reading three million lines takes as long.
pub const LOOK_OVERDUE: Duration = Duration::from_secs(5);

/// How long after a fault a source or the book is tried again: soon enough after it was mended, rare enough
/// for reading a million lines each time.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Certificates that may vanish from a source at once without a question, however few there were: a small
/// CA that is cleaned up by hand.
pub const SHRINK_ALWAYS_ALLOWED: u64 = 16;

/// Reads in a row that may find a source changing under them before that is reported as a fault: five seconds.
pub const UNSTEADY_READS_MAX: u32 = 25;

/// Issuers that one process can tell apart in its life, those of earlier configurations included: a reload each
/// minute that changes one issuer takes 31 years to use them up.
pub const ISSUERS_MAX: u32 = 1 << 24;

/// How long after an issuer's sources were last in order answers about it are still signed by default:
/// an operator whose CRL is published daily, or whose index is copied nightly, has a week to notice that this stopped.
pub const STALE_AFTER_DEFAULT: Duration = Duration::from_secs(7 * 86_400);

/// Changes of one pass that the log tells by their serials.
pub const CHANGES_LOGGED_MAX: usize = 100;

/// Signers of one issuer: an old and a new one, in each of a few algorithms.
pub const SIGNERS_MAX: usize = 64;

/// Signers that the configuration may name for one issuer: an old and a new one in each of four algorithms. Each has
/// threads of its own.
pub const CONFIGURED_SIGNERS_MAX: usize = 8;
const _: () = assert!(CONFIGURED_SIGNERS_MAX <= SIGNERS_MAX);

/// Certificates that a response may carry beside the signer's: the deepest hierarchies in use have an issuing CA, two
/// above it and a cross-certificate. Each adds about 1.5 KiB to every response.
pub const CHAIN_CERTIFICATES_MAX: usize = 4;

/// CertIDs in one request: RFC 6960 sets none, clients send one; each costs part of a live signature.
pub const CERT_IDS_MAX: u8 = 10;

/// How long a token may take to sign before it counts as gone: a network HSM takes a few milliseconds, RSA-4096 on a
/// small one 200. Short enough that another token can sign before the client's own limit of some five seconds.
pub const SIGN_CALL_LIMIT: Duration = Duration::from_secs(2);

/// How long opening a session may take, logging in and finding the key included: network HSMs set up a TLS connection
/// for it, and openings wait for each other.
pub const OPEN_CALL_LIMIT: Duration = Duration::from_secs(20);

/// How long a start, or a reload, waits for a token before it goes on without: all tenants wait with it, and a token that
/// takes longer is at work as soon as it has answered.
pub const FIRST_OPEN_LIMIT: Duration = Duration::from_secs(8);
/// An opening that failed after so long is not tried again for the next signer on the same token,
pub const FIRST_OPEN_SLOW: Duration = Duration::from_secs(1);
/// before so much time has passed: a thousand signers are read meanwhile.
pub const FIRST_OPEN_AGAIN: Duration = Duration::from_secs(30);

/// Threads of one token that may be left alone in calls that do not return, before no more are started: each holds a
/// stack and a session.
pub const WRITTEN_OFF_MAX: usize = 64;

/// How often calls that do not return, and jobs that no caller waits for any more, are looked for.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// The first pause before a token that went away is looked for; it doubles each time.
pub const PROBE_PAUSE_MIN: Duration = Duration::from_millis(250);

/// How long all tokens of a signer must have been away before another signer of the issuer signs what is not kept: they
/// have been looked for twice in vain, and clients that ask again find the other one.
pub const STAND_IN_DELAY: Duration = Duration::from_secs(1);
// At the most a quarter later than planned: for the first time, and for the second after twice the pause.
const _: () = assert!(STAND_IN_DELAY.as_millis() > (1 + 2) * PROBE_PAUSE_MIN.as_millis() * 5 / 4);

/// The longest pause: how long a token that is back may stay unused.
pub const PROBE_PAUSE_MAX: Duration = Duration::from_secs(8);

/// How long a token that is idle goes without a test signature.
pub const TEST_INTERVAL: Duration = Duration::from_secs(20);

/// How long a token that came back must have been at work before it is preferred again, where an order is kept: so
/// that one that comes and goes does not take the work with it each time.
pub const FAIL_BACK_DELAY: Duration = Duration::from_secs(30);

/// Times in a row that a token may say it has too much to do, before it counts as gone: with pauses up to 320 ms, two
/// to five seconds.
pub const THROTTLES_MAX: u32 = 16;

/// The first pause after a token said that it has too much to do, give or take a half; it doubles up to 32 times that.
pub const THROTTLE_PAUSE_MIN: Duration = Duration::from_millis(10);

/// How long a signature may take while the token is asked for more at once than one: half of what a call may take, so
/// that no call is given up because others are before it.
pub const SLOW_SIGNATURE: Duration = Duration::from_secs(1);
const _: () = assert!(SLOW_SIGNATURE.as_millis() * 2 <= SIGN_CALL_LIMIT.as_millis());

/// How long one may take for a second to be tried beside it: where the token serves one after the other and in no order,
/// a call may wait for two others before that is seen.
pub const SLOW_TO_ADD: Duration = Duration::from_millis(600);
const _: () = assert!(SLOW_TO_ADD.as_millis() * 3 < SIGN_CALL_LIMIT.as_millis());

/// How long after a token said so one more session is tried.
pub const ALLOWANCE_RISE: Duration = Duration::from_millis(500);

/// How long a token that has no session to give at a start or a reload is taken for one that will have, so that requests
/// wait instead of being refused: those of the running configuration come back within a second of its end, which is
/// when all of a new one was read.
pub const FIRST_SESSION_WAIT: Duration = Duration::from_secs(15);
/// How often it is asked meanwhile by each thread: requests wait as long.
pub const FIRST_SESSION_PAUSE: Duration = Duration::from_millis(200);

/// How often a session more is asked for where a token gave some and then no more, or signed no faster with one more:
/// other programs may leave it to this one.
pub const SESSION_RETRY: Duration = Duration::from_secs(30);

/// Signatures that are verified after a session was opened, where not all are; then one of [`VERIFIED_ONE_OF`].
pub const VERIFIED_FIRST: u64 = 8;

/// P-256 verifies in twice the time that software signs: about 1 % of it.
pub const VERIFIED_ONE_OF: u64 = 256;

/// How long the end of a pool waits for calls that are running.
pub const POOL_END_MAX: Duration = Duration::from_secs(3);
// -- Answers

/// Bytes that the compact table of answers may take where the configuration does not say: 35 million answers by P-256,
/// which are taken as answers come.
pub const ANSWERS_OCTETS_DEFAULT: i64 = 4 << 30;

/// Bytes of answers kept whole where the configuration does not say; some 200,000 answers.
pub const CACHE_OCTETS_DEFAULT: i64 = 256 << 20;
/// The least that makes sense: some 800 answers.
pub const CACHE_OCTETS_MIN: i64 = 1 << 20;
/// The most: a terabyte.
pub const CACHE_OCTETS_MAX: i64 = 1 << 40;

// -- Signing ahead

/// Changed records of one issuer that are named to signing ahead: a mass revocation of 65,536 takes seconds to
/// sign anyway. Of more, all records are looked at, which takes seconds at ten million. 1.3 MiB.
pub const CHANGES_TOLD_MAX: usize = 1 << 16;

/// Answers that a plan names: 40 bytes each, 80 MiB at most while it is made. More than a million are due at once only
/// at a first start and after a long stop; then what is absent is signed while walking, and the rest in several plans.
pub const PRESIGN_LIST_MAX: usize = 1 << 20;

/// Answers that wait for a pool's signatures at once at most: many enough for every session of every token, and a part of
/// what a pool lets wait. Fewer for a key that is slower than 400 a second.
pub const PRESIGN_OUTSTANDING_MAX: usize = 1024;
const _: () = assert!(PRESIGN_OUTSTANDING_MAX < SIGN_QUEUE_LENGTH_MAX);

/// How many at first, until it is known how quickly they come back: two for each of eight sessions.
pub const PRESIGN_OUTSTANDING_FIRST: usize = 16;

/// How long they may take to come back before there are to be fewer: so long clients wait as well.
pub const PRESIGN_WAIT_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(PRESIGN_WAIT_MAX.as_secs() * 10 <= PRESIGN_DEADLINE.as_secs());

/// How long an answer may wait for a pool that has more urgent work: all the while clients keep it busy, so that it is
/// put in again before its times are stale.
pub const PRESIGN_DEADLINE: Duration = Duration::from_secs(60);

/// Issuers whose pools are kept busy at once: each takes a thread, and a token serves several issuers.
pub const PRESIGN_ISSUERS_AT_ONCE: usize = 16;

/// The first pause after signatures could not be had; each further one is twice as long.
pub const PRESIGN_FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Pauses after which an issuer is left until later, six seconds altogether.
pub const PRESIGN_PAUSES_MAX: u32 = 6;
/// When it is tried again.
pub const PRESIGN_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// From one pass to the next: so long that walking takes a fiftieth of one core's time (a walk over ten million takes
/// some ten seconds), within these bounds. A change is heard of at once, and replacements are due hours before the end.
pub const PRESIGN_PAUSE_FACTOR: u32 = 50;
/// See [`PRESIGN_PAUSE_FACTOR`].
pub const PRESIGN_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// See [`PRESIGN_PAUSE_FACTOR`].
pub const PRESIGN_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// How often changed records are looked for.
pub const PRESIGN_CHANGES_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of answers that are written together, some 20,000 for P-256, in some milliseconds: a little less than the power
/// of two that the file keeps for a value.
pub const ANSWER_RUN_OCTETS_MAX: usize = (2 << 20) - (8 << 10);
/// How long an answer waits for others to be written with: what a crash loses is signed again. In ten days, the longest
/// validity, there are 432,000 runs at most for each thread that signs, which takes two seconds to read.
pub const ANSWER_RUN_AGE_MAX: Duration = Duration::from_secs(2);
/// Runs that wait for the disk; a thread that brings more waits. 64 MiB.
pub const ANSWER_RUNS_WAITING_MAX: usize = 32;
/// How often runs that have ended are removed from the store.
pub const ANSWER_STORE_CLEANING_INTERVAL: Duration = Duration::from_secs(600);
/// Bytes of the answer store's page cache: it is appended to, and read once from end to end.
pub const ANSWER_STORE_CACHE_OCTETS: usize = 16 << 20;
/// How large the answer store may grow, in bytes for each that answers may take in memory: what was replaced stays for a
/// quarter of a validity, and while signers change there are two sets.
pub const ANSWER_STORE_FACTOR: u64 = 2;

/// Of setpriority(2), for threads that read sources: a third of what a serving thread gets where both want the same core.
pub const SOURCE_PRIORITY: i32 = 5;

/// Content bytes of a policy's OBJECT IDENTIFIER: some 20 arcs, or ten of them UUIDs.
pub const OID_OCTETS_MAX: usize = 256;

/// Policies of one TSA: each request is compared with them in turn.
pub const TSA_POLICIES_MAX: usize = 16;
/// One token in so many is verified before it leaves: 40 µs among 20 ms of signing by P-256.
pub const TSA_VERIFY_ONE_IN_DEFAULT: u32 = 1000;
