//! The bounds of this crate that an operator, a CA or a client may meet, each with its derivation.

use std::{ops::RangeInclusive, time::Duration};

pub mod audit;
pub mod configuration;
pub mod console;
pub mod directory;
pub mod feed;
pub mod fetch;
pub mod journal;
pub mod purge;
pub mod renew;
pub mod servers;
pub mod sharing;
pub mod shelf;
pub mod transparency;

/// Bytes of a certificate file: a chain of a few certificates, each of which can hold an
/// ML-DSA key and signature (about 8 KiB), with wide room.
pub const CERTIFICATE_FILE_OCTETS_MAX: u64 = 1 << 20;

/// Names of files in one directory that are looked at for the one that was probably meant: as many as a directory of keys has,
/// and far fewer than take a moment.
pub const NAMES_LOOKED_AT_MAX: usize = 1000;

/// Bytes of a key file: RSA-4096 as PKCS#8 PEM is 3.3 KiB.
pub const KEY_FILE_OCTETS_MAX: u64 = 64 << 10;

/// Bits of an RSA key whose signatures count, as in aws-lc-rs: below the range a signature can be forged (NIST SP
/// 800-131A), above it one verification takes milliseconds.
pub const RSA_BITS: RangeInclusive<u64> = 2048..=8192;
/// Bits of its public exponent, as in aws-lc-rs: 65537 has 17, and a long one would make each verification slow.
pub const RSA_EXPONENT_BITS_MAX: u64 = 33;

/// Bytes of the configuration file: 500 tenants of 2 KiB each, twice that with comments, and twice that again as a
/// margin.
pub const CONFIG_FILE_OCTETS_MAX: u64 = 4 << 20;

/// Bytes of a CRL: 10 million entries of about 40 bytes.
pub const CRL_FILE_OCTETS_MAX: u64 = 512 << 20;
/// CRL files of an issuer: the largest public CA has 128 shards, each perhaps with a delta.
pub const CRL_FILES_MAX: usize = 256;
/// Hashes of certificates that may be kept although these are listed no longer, beside a quarter of all: 8 MB. Fewer are not
/// worth a walk through them.
pub const HASHES_SPARE: usize = 100_000;
/// CRLs in one file: as many as that, from a bundle of many CAs.
pub const CRLS_IN_FILE_MAX: usize = 1024;
/// Scopes of CRLs of which an issuer keeps the newest one: as many as it has files. With their marks they fit an entry
/// of the feed.
pub const CRL_SCOPES_MAX: usize = 256;
/// Certificates of those who sign an issuer's CRLs beside it: an earlier and a later key, and a few CRL issuers.
pub const CRL_ISSUERS_MAX: usize = 16;

/// Characters of the part of a URL by which a published CRL is named: file names are shorter.
pub const PUBLISHED_LABEL_MAX: usize = 64;
/// How old a published document is before its date is told: by then another one that its CA has issued within the same
/// second is here as well.
pub const DATED_AFTER: Duration = Duration::from_secs(60);
/// How long caches may keep a published document that does not say when there is another one: an acceptable delay for a
/// renewed certificate, or the next CRL of a CA that states no nextUpdate.
pub const UNDATED_MAX_AGE: Duration = Duration::from_secs(3600);

/// Files of an issuer that list certificates: an operator who has more may join them.
pub const LISTINGS_MAX: usize = 64;

/// CAs above a CA whose revocation takes its certificates with it: the longest chains that browsers build have eight.
pub const CAS_ABOVE_MAX: usize = 8;

/// Certificates beside an index that `check` looks at: one of another CA is among so many where they are not a few.
pub const CERTIFICATES_SAMPLED: usize = 64;

/// Bytes of one line of `index.txt`: the subject is the only long field, and OpenSSL caps a
/// name's encoding far below this.
pub const INDEX_LINE_OCTETS_MAX: usize = 64 << 10;

/// Bytes of the book's page cache. The book is written in large sorted batches and read once from end to end, so a
/// cache helps little beyond the inner pages of the tree.
pub const BOOK_CACHE_OCTETS: usize = 64 << 20;

/// How often to check that the book is still in its place: one `stat` for each issuer. Changes made in the meantime are
/// in memory and go into the new book.
pub const BOOK_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long a lock that somebody has is waited for, and how often it is tried. A process that has just been killed has its
/// locks until its memory is gone, and a child has those of its parent until its own program begins.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two attempts.
pub const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How often a book that another process is writing is read again until it is consistent. The other process commits a
/// few times a second at most, within milliseconds each except for the largest batches.
pub const BOOK_LOOKS_MAX: u32 = 5;
/// Issuers that one refusal names: a line of them is still read, and `ostia-precompute forget` lists all.
pub const DEPARTED_SHOWN_MAX: usize = 8;
/// Tenants that are listed where somebody names one that is not there.
pub const TENANTS_SHOWN_MAX: usize = 8;
/// The pause between looks at a book that another process is writing.
pub const BOOK_LOOK_PAUSE: Duration = Duration::from_millis(300);

/// Records that a saver commits at first while a push may wait; `book::Pace` then follows what commits take. In a book of
/// ten million (`benches/benches/book.rs`) a commit of 512 in order takes 1.8 ms and a push beside it 2.2 ms, alone 0.9 ms.
pub const BOOK_SAVE_CHUNK: usize = 512;
/// The least: fewer cost as much, because the flushes take most of the time then. 32 that each lie in a page of their own
/// take 3 ms.
pub const BOOK_SAVE_CHUNK_MIN: usize = 32;
/// The most: 8192 in order take 10 ms, so it is reached only where they cost less.
pub const BOOK_SAVE_CHUNK_MAX: usize = 8192;
/// How much such a commit may cost, in time on a processor: on a machine with other things to do the
/// time on the clock says nothing. A push waits for one and then takes a flush itself: with two flushes of less than a
/// millisecond that is 5 ms together, of the 10 ms that a push has.
pub const BOOK_SAVE_CHUNK_TIME: Duration = Duration::from_millis(3);

/// How many commits of what was told may be in memory alone before one is flushed. Until a flush the pages that they
/// replace are not used again: a few each, so less than 2 MB. After a crash so many entries are read again.
pub const BOOK_TOLD_UNFLUSHED_MAX: u32 = 64;

/// Records that a load hands from the thread that walks the book to the one that takes them: 200 KB, and a wake-up costs
/// little beside the 2 ms that they take.
pub const BOOK_LOAD_PART: usize = 4096;
/// How many such parts may wait.
pub const BOOK_LOAD_PARTS: usize = 4;

/// How long the book keeps the answer to a request with an idempotency key: a client that repeats a request gives up
/// within hours.
pub const BOOK_ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How many of them it keeps for each issuer, the newest: 170 bytes each, 17 MB.
pub const BOOK_ANSWERS_MAX: u64 = 100_000;
/// How many more are removed in a commit than are added: a push pays for a few only, and a day's worth is gone after
/// 1,600 pushes.
pub const BOOK_ANSWERS_REMOVED_MAX: usize = 64;

/// Forms of answers of which the log says that no signer here has them: 32 KiB, and nobody reads more lines.
pub const FORMS_TOLD_MAX: usize = 1024;

/// Bytes of what an issuer's sources looked like: each file has a path, a stamp and digests, and an issuer has a few.
pub const BOOK_STAMPS_OCTETS_MAX: usize = 64 << 10;

/// Records in a frame of a backup of the book: 64 KiB, of which the hash behind it is a two-thousandth.
pub const BACKUP_ROWS: usize = 1724;
/// Bytes of a frame of a backup: more than any that is written, and little memory where a damaged length is read.
pub const BACKUP_FRAME_OCTETS_MAX: usize = 1 << 20;
/// Characters of the reason why a backup does not go on; a frame has room for them in any script.
pub const BACKUP_TEXT_CHARS_MAX: usize = 4096;
/// Issuers of a backup: a hundred times as many as a configuration file has room for.
pub const BACKUP_ISSUERS_MAX: usize = 1 << 20;
/// Records that a restore commits at once. Nobody waits for it, and what a commit costs at least is shared by all of them.
pub const BACKUP_RESTORED_AT_ONCE: usize = 1 << 16;
/// Pieces of a backup that wait for whoever fetches it: 1 MiB.
pub const BACKUP_PIECES_WAITING: usize = 16;

/// Threads that one software key may sign with: more than the cores of any machine this runs on.
pub const SIGN_THREADS_MAX: i64 = 256;

/// Sessions that sign on each token of a signer by default: SoftHSM on two cores is fastest with four; hardware and
/// tokens across a network work on more at once.
pub const TOKEN_THREADS_DEFAULT: usize = 8;

/// Tokens that may hold one signer's key: two at each of two places, and as many again while they are replaced.
pub const SIGNER_TOKENS_MAX: usize = 8;

/// Bytes of a PIN: PKCS#11 tokens allow up to 255.
pub const PIN_FILE_OCTETS_MAX: usize = 255;

/// How long after a signature a token counts as well. Its library is not initialised again meanwhile to find another
/// token: the token would lose its sessions, and more if C_Initialize takes long or hangs. An idle token is tested
/// twice in that time.
pub const TOKEN_WELL: Duration = Duration::from_secs(45);
const _: () = assert!(TOKEN_WELL.as_secs() > 2 * TEST_INTERVAL.as_secs());

/// How soon a PKCS#11 library that has lost a token is initialised again, if no other token of it is well: a restarted
/// server takes about this long.
pub const MODULE_RENEWAL_PAUSE_MIN: Duration = Duration::from_secs(2);
/// The pause doubles with each failure, up to this value. That spares libraries that leak a little each time, and
/// servers that are down for long; a token that comes back may wait this long.
pub const MODULE_RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(30);
const _: () = assert!(MODULE_RENEWAL_PAUSE_MIN.as_secs() < MODULE_RENEWAL_PAUSE_MAX.as_secs());

/// How long a library that has to be initialised again admits no new calls, so that running ones can finish: a
/// signature takes milliseconds, on a busy token some hundreds of them.
pub const MODULE_QUIET_WAIT: Duration = Duration::from_secs(2);

/// How long a call waits for a library that is being initialised again: C_Initialize connects to each token.
pub const MODULE_ENTER_WAIT: Duration = Duration::from_secs(5);
const _: () = assert!(MODULE_QUIET_WAIT.as_secs() < MODULE_ENTER_WAIT.as_secs());

/// How long to wait for a session to close: a round trip. A close that takes longer is left to its own thread.
pub const SESSION_CLOSE_WAIT: Duration = Duration::from_secs(1);

/// How long the end of a program waits for PKCS#11 libraries: for running calls as long as before an initialisation,
/// then for closing the login sessions and for C_Finalize, which take a round trip to each token.
pub const TOKENS_END_MAX: Duration = Duration::from_secs(4);
const _: () = assert!(MODULE_QUIET_WAIT.as_secs() + SESSION_CLOSE_WAIT.as_secs() < TOKENS_END_MAX.as_secs());

/// How long to wait for another thread's login to the same token. It takes a second on slow tokens; after this time it
/// counts as hanging.
pub const TOKEN_TURN_WAIT: Duration = Duration::from_secs(10);

/// Tokens, or keys, that a message lists if the wanted one is not among them: as many as a person reads.
pub const TOKEN_OBJECTS_TOLD_MAX: usize = 16;

/// Jobs that may wait for one signer in each priority. RSA-4096 signs about 600 a second on each core: a job behind
/// this many waits some seconds, longer than clients do.
pub const SIGN_QUEUE_LENGTH_MAX: usize = 4096;

/// How far ahead the clock of a CA may be: machines without a time service drift by seconds a day.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

/// How long an index must not have changed before records that it no longer lists are removed: a program that rewrites
/// it in place may pause between two lines.
pub const REMOVAL_DELAY: Duration = Duration::from_secs(2);

/// How long `ostia-precompute sync` waits for that.
pub const REMOVAL_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often the book notes that an issuer's sources are in order: a restart knows it to the hour.
pub const VERIFIED_SAVE_INTERVAL: Duration = Duration::from_secs(3600);

/// How often sources are looked at. A change must show within a second, reading included: a million
/// lines take about 0.3 s.
pub const SOURCE_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What each reader adds to that where there are many: a look takes some 15 µs, so that all of them take 2 % of a core. A
/// thousand look each 800 ms, and more each two seconds at most; inotify tells of changes at once, where there is any.
pub const SOURCE_POLL_SHARE: Duration = Duration::from_micros(800);

/// The same of files that only this process writes, while inotify tells of each of their changes: what is left is that a
/// directory above them was moved.
pub const TOLD_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long ago the last change of a file must be for another one to show in its times: file systems record them in
/// steps of up to a timer tick (10 ms). Two steps and a margin.
pub const SETTLED_AFTER: Duration = Duration::from_millis(50);

/// How soon files that look unchanged are read again, to be sure: a store through mmap to a page that is to be written
/// to disk anyway changes neither the length nor the times, and the page is written within half a minute.
pub const REREAD_INTERVAL: Duration = Duration::from_secs(60);
/// It is this many times as long as such a read took, if that is more: reading takes 1 % of a core.
pub const REREAD_SHARE: u32 = 100;

/// Symbolic links on the way to one source: as many as Linux follows.
pub const SYMLINKS_MAX: usize = 40;

/// How long the thread that hears of changes in directories rests after waking readers: programs that write all the time
/// in the same directories cost at most 500 wake-ups a second.
pub const NOTIFIER_REST: Duration = Duration::from_millis(2);

/// How long a first reading may take before the next one is begun beside it: a million lines take a second.
pub const FIRST_READ_QUICK: Duration = Duration::from_secs(2);

/// How long a start waits for the sources of an issuer that the book knows: thirty million lines. Meanwhile no request
/// is answered, because revocations since the last run are not known. Whoever begins to lead waits as long, and for an
/// issuer that the book does not know counted from the last line that was read.
pub const START_READ_MAX: Duration = Duration::from_secs(60);

/// How long a changed configuration waits for new sources: thirty million lines. Larger sources need a restart.
pub const RELOAD_READ_MAX: Duration = Duration::from_secs(60);

/// How long the end of the service waits for sources that are being read and changes that are being written: a
/// million records are written in two seconds.
pub const FOLLOWERS_END_MAX: Duration = Duration::from_secs(3);

/// How often it looks whether they are done.
pub const FOLLOWERS_END_LOOK: Duration = Duration::from_millis(5);

/// How long sources may go unchecked before that is reported: reading three million lines takes as long.
pub const LOOK_OVERDUE: Duration = Duration::from_secs(5);

/// How long after a fault a source or the book is tried again: soon enough after a repair, rare enough for reading a
/// million lines each time.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Certificates that may vanish from a source at once without a confirmation, however few there were: a small CA that
/// is cleaned up by hand.
pub const SHRINK_ALWAYS_ALLOWED: u64 = 16;

/// Reads in a row that may find a source changing before that is reported as a fault: five seconds.
pub const UNSTEADY_READS_MAX: u32 = 25;

/// Upstream responders of one issuer, or of an edge: two sites with two servers each, and as many again while they move.
pub const UPSTREAMS_MAX: usize = 8;

/// Issuers that one process can number in its life, including those of earlier configurations: if a reload each minute
/// changes one issuer, they last 31 years.
pub const ISSUERS_MAX: u32 = 1 << 24;

/// How long after an issuer's sources were last in order its answers are still signed by default. If a CRL is published
/// daily, or an index copied nightly, the operator has a week to notice that this stopped.
pub const STALE_AFTER_DEFAULT: Duration = Duration::from_secs(7 * 86_400);

/// From the signature to nextUpdate. Less than two minutes leaves no minute for a clock that is off, for the way to the
/// client and for signing a million answers again; a month is what the CRLs of offline CAs have.
pub const VALIDITY_RANGE: RangeInclusive<Duration> = Duration::from_secs(120)..=Duration::from_secs(30 * 86_400);

/// How far thisUpdate may be set back. Windows sets CRLs back by 10 minutes, public CAs by an hour, and a clock that is a
/// day slow fails at new certificates anyway.
pub const BACKDATE_MAX: Duration = Duration::from_secs(86_400);

/// How long caches may keep an answer at most: less than a second would forbid it, which is 0.
pub const MAX_AGE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=*VALIDITY_RANGE.end();

/// How long after its signature an answer is given out at most: half of the least validity is time for a replacement.
pub const SERVE_FOR_RANGE: RangeInclusive<Duration> = Duration::from_secs(60)..=*VALIDITY_RANGE.end();

/// How long a CRL that is the only source may be followed after its end at most: as long as an answer may be valid.
pub const CRL_GRACE_MAX: Duration = *VALIDITY_RANGE.end();

/// How often it is told that contradictions between sources and what is kept have become more. Beside an index that comes
/// nightly, each push is one until then.
pub const CONTRADICTIONS_TOLD_INTERVAL: Duration = Duration::from_secs(3600);

/// Changes of one pass, or pushes of one list, that the log lists by serial.
pub const CHANGES_LOGGED_MAX: usize = 100;

/// Signers of one issuer: an old and a new one, in each of a few algorithms.
pub const SIGNERS_MAX: usize = 64;

/// Signers that the configuration may name for one issuer: an old and a new one in each of four algorithms. Each has
/// its own threads.
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

/// How long opening a session may take, including the login and finding the key: network HSMs set up a TLS connection
/// for it, and openings wait for each other.
pub const OPEN_CALL_LIMIT: Duration = Duration::from_secs(20);

/// How long a start, or a reload, waits for a token before it continues without it: all tenants wait too, and a slower
/// token starts to work when it has answered.
pub const FIRST_OPEN_LIMIT: Duration = Duration::from_secs(8);
/// An opening that failed after this time is not tried again for the next signer on the same token,
pub const FIRST_OPEN_SLOW: Duration = Duration::from_secs(1);
/// before this much time has passed: a thousand signers are read in that time.
pub const FIRST_OPEN_AGAIN: Duration = Duration::from_secs(30);

/// Threads of one token that may be abandoned in calls that do not return, before no more are started: each holds a
/// stack and a session.
pub const WRITTEN_OFF_MAX: usize = 64;

/// How often to look for calls that do not return, and for jobs that no caller waits for any more.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// The first pause before a lost token is probed; it doubles each time.
pub const PROBE_PAUSE_MIN: Duration = Duration::from_millis(250);

/// How long all tokens of a signer must have been away before another signer of the issuer signs new answers: two
/// probes have failed by then, and clients that ask again find the other signer.
pub const STAND_IN_DELAY: Duration = Duration::from_secs(1);
// Each pause is at most a quarter longer than planned: the first probe comes after one pause, the second after twice
// that.
const _: () = assert!(STAND_IN_DELAY.as_millis() > (1 + 2) * PROBE_PAUSE_MIN.as_millis() * 5 / 4);

/// The longest pause: how long a token that has come back may stay unused.
pub const PROBE_PAUSE_MAX: Duration = Duration::from_secs(8);

/// How long an idle token goes without a test signature.
pub const TEST_INTERVAL: Duration = Duration::from_secs(20);

/// How long a token that came back must have worked before it is preferred again, if an order is kept: one that comes
/// and goes must not move the work each time.
pub const FAIL_BACK_DELAY: Duration = Duration::from_secs(30);

/// How many times in a row a token may report overload before it counts as gone: with pauses up to 320 ms, two to five
/// seconds.
pub const THROTTLES_MAX: u32 = 16;

/// The first pause after a token reported overload, plus or minus a half; it doubles up to 32 times that.
pub const THROTTLE_PAUSE_MIN: Duration = Duration::from_millis(10);

/// How long a signature may take while the token has several requests: half of the limit of a call, so that no call is
/// given up because others come first.
pub const SLOW_SIGNATURE: Duration = Duration::from_secs(1);
const _: () = assert!(SLOW_SIGNATURE.as_millis() * 2 <= SIGN_CALL_LIMIT.as_millis());

/// How long one signature may take for a second session to be tried: if the token serves its callers one after the
/// other and in no order, a call may wait for two others before that is noticed.
pub const SLOW_TO_ADD: Duration = Duration::from_millis(600);
const _: () = assert!(SLOW_TO_ADD.as_millis() * 3 < SIGN_CALL_LIMIT.as_millis());

/// How long after a token reported overload one more session is tried.
pub const ALLOWANCE_RISE: Duration = Duration::from_millis(500);

/// How long a token without a free session at a start or a reload is expected to have one, so that requests wait
/// instead of being refused. The sessions of the running configuration become free within a second of its end, which
/// comes when the new one has been read.
pub const FIRST_SESSION_WAIT: Duration = Duration::from_secs(15);
/// How often each thread asks it in the meantime: requests wait as long.
pub const FIRST_SESSION_PAUSE: Duration = Duration::from_millis(200);

/// How often one more session is requested if a token gave some and then no more, or was no faster with one more: other
/// programs may have released one.
pub const SESSION_RETRY: Duration = Duration::from_secs(30);

/// Signatures that are verified after a session was opened, if not all are; after that, one of [`VERIFIED_ONE_OF`].
pub const VERIFIED_FIRST: u64 = 8;

/// Verifying a P-256 signature takes twice as long as signing in software: about 1 % of the time.
pub const VERIFIED_ONE_OF: u64 = 256;

/// How long the end of a pool waits for calls that are running.
pub const POOL_END_MAX: Duration = Duration::from_secs(3);
// -- Answers

/// Bytes of the compact table of answers by default: 35 million answers by P-256. The memory is taken as answers come.
pub const ANSWERS_OCTETS_DEFAULT: i64 = 4 << 30;

/// Bytes of answers kept whole by default; some 200,000 answers.
pub const CACHE_OCTETS_DEFAULT: i64 = 256 << 20;
/// The least that makes sense: some 800 answers.
pub const CACHE_OCTETS_MIN: i64 = 1 << 20;
/// The most: a terabyte.
pub const CACHE_OCTETS_MAX: i64 = 1 << 40;

// -- Signing ahead

/// Changed records of one issuer that are reported to pre-signing by serial: a mass revocation of 65,536 takes seconds
/// to sign anyway. If there are more, all records are checked, which takes seconds for ten million. 1.3 MiB.
pub const CHANGES_TOLD_MAX: usize = 1 << 16;

/// Answers that a plan names: 40 bytes each, 80 MiB at most while it is made. More than a million are due at once only
/// at a first start and after a long stop; then absent answers are signed during the walk, and the rest in several
/// plans.
pub const PRESIGN_LIST_MAX: usize = 1 << 20;

/// The most answers that wait for a pool's signatures at once: enough for every session of every token, and only a part
/// of a pool's queue. A key that signs fewer than 400 a second gets fewer.
pub const PRESIGN_OUTSTANDING_MAX: usize = 1024;
const _: () = assert!(PRESIGN_OUTSTANDING_MAX < SIGN_QUEUE_LENGTH_MAX);

/// How many at first, until their speed is known: two for each of eight sessions.
pub const PRESIGN_OUTSTANDING_FIRST: usize = 16;

/// How long they may take before there are to be fewer: clients wait as long.
pub const PRESIGN_WAIT_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(PRESIGN_WAIT_MAX.as_secs() * 10 <= PRESIGN_DEADLINE.as_secs());

/// How long an answer may wait for a pool with more urgent work, which lasts as long as clients keep it busy. It is
/// submitted again before its times are stale.
pub const PRESIGN_DEADLINE: Duration = Duration::from_secs(60);
/// Or this part of its validity, if that is less.
pub const PRESIGN_DEADLINE_SHARE: u32 = 8;

/// Issuers whose pools are kept busy at once: each takes a thread, and a token serves several issuers.
pub const PRESIGN_ISSUERS_AT_ONCE: usize = 16;

/// The first pause after failed signatures; each further one is twice as long.
pub const PRESIGN_FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Pauses after which an issuer is left until later, six seconds altogether.
pub const PRESIGN_PAUSES_MAX: u32 = 6;
/// When it is tried again.
pub const PRESIGN_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The pause between two passes: long enough that walking takes a fiftieth of one core's time (a walk over ten million
/// takes some ten seconds), within these bounds. A change is reported at once, and replacements are due hours before
/// the end.
pub const PRESIGN_PAUSE_FACTOR: u32 = 50;
/// See [`PRESIGN_PAUSE_FACTOR`].
pub const PRESIGN_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// See [`PRESIGN_PAUSE_FACTOR`].
pub const PRESIGN_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// What part of the time from when an answer becomes due to its end a pause may take, and a pass while another issuer
/// waits: two pauses and two passes fit, so one that fails is made up for.
pub const PRESIGN_LEAD_SHARE: u32 = 4;

/// How often to look for changed records that nobody reported: a net under the wake-up that comes with each change.
pub const PRESIGN_CHANGES_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of answers that are written together, some 2,500 for P-256: a little less than a power of two, which is what the
/// file reserves for a value. On a disk that writes 190 MB/s that takes 4 ms, and a push whose own commit meets it waits
/// as long: with 64 MiB it took half a second. In such parts the disk takes 58 MB/s, more than any key
/// signs.
pub const ANSWER_RUN_OCTETS_MAX: usize = (256 << 10) - (8 << 10);
/// How long an answer waits for others to be written with: what a crash loses is signed again. In ten days, the longest
/// validity, there are at most 432,000 runs for each signing thread, which take two seconds to read.
pub const ANSWER_RUN_AGE_MAX: Duration = Duration::from_secs(2);
/// How seldom answers have to be replaced so that they are stored. A million P-256 answers an hour write 2.5 GB a day, which
/// every disk bears for years; each minute it would be 150 GB. What is signed again within the hour anyway is also signed
/// again soon after a restart.
pub const ANSWER_STORED_MIN: Duration = Duration::from_secs(3600);
/// Runs that wait for the disk; a thread that brings more waits. 64 MiB.
pub const ANSWER_RUNS_WAITING_MAX: usize = 256;
/// How often runs that have ended are removed from the store.
pub const ANSWER_STORE_CLEANING_INTERVAL: Duration = Duration::from_secs(600);
/// Bytes of the answer store's page cache: it is appended to, and read once from end to end.
pub const ANSWER_STORE_CACHE_OCTETS: usize = 16 << 20;
/// How large the answer store may grow, as a multiple of the memory for answers: replaced answers stay for a quarter of
/// a validity, and while signers change there are two sets.
pub const ANSWER_STORE_FACTOR: u64 = 2;

/// For setpriority(2), for threads that read sources, or follow a feed beside serving: a third of a serving thread's share if both want the same core.
pub const SOURCE_PRIORITY: i32 = 5;
/// The same of who takes or signs answers that somebody may ask for soon: a tenth,
pub const LOW_PRIORITY: i32 = 10;
/// and of who signs ahead: a sixtieth.
pub const LOWEST_PRIORITY: i32 = 19;

/// Content bytes of a policy's OBJECT IDENTIFIER: some 20 arcs, or ten of them UUIDs.
pub const OID_OCTETS_MAX: usize = 256;

/// Policies of one TSA: each request is compared with them in turn.
pub const TSA_POLICIES_MAX: usize = 16;
/// Clients of one TSA, and networks and keys of one client: a request is compared with each.
pub const TSA_CLIENTS_MAX: usize = 1000;
/// See [`TSA_CLIENTS_MAX`].
pub const CLIENT_NETWORKS_MAX: usize = 256;
/// The present key, the next, and one for each of two servers.
pub const CLIENT_KEYS_MAX: usize = 4;
/// More than a server makes.
pub const QUOTA_PER_SECOND_MAX: u32 = 10_000_000;
/// How often the usage of time-stamps is saved: what `kill -9` takes with it.
pub const USAGE_SAVED_EVERY: Duration = Duration::from_secs(1);
/// One token in this many is verified before it is sent: 40 µs among 20 ms of signing by P-256.
pub const TSA_VERIFY_ONE_IN_DEFAULT: u32 = 1000;

/// How many pushes of several requests share a commit: about 50 ms of writing at random places.
pub const PUSHES_A_COMMIT: usize = 4096;
/// How many changes of a source are shown between two moments in which a push may be shown: less than 1 ms.
pub const SHOWN_AT_ONCE: usize = 2048;
/// How many are shown although a push has come meanwhile: some 20 µs, so that pushes one after the other do not stop it.
pub const SHOWN_AT_LEAST: usize = 64;
/// How long showing makes way for pushes between two such parts: a commit and a push that comes right after it. Beside
/// pushes without end ten million changes then take 50 s.
pub const SHOWING_MAKES_WAY: Duration = Duration::from_millis(10);
/// How long saving makes way for pushes that come one after the other, before it saves one more part.
pub const SAVER_MAKES_WAY: Duration = Duration::from_millis(50);
/// How long the end of a process waits for what is not saved yet. The rest is read from the sources again.
pub const SAVER_END_MAX: Duration = Duration::from_secs(2);

// -- A service and its admin listener

/// Bytes of a small file in the state directory that says whose it is: some lines with names of at most 256 bytes.
pub const STATE_NOTE_OCTETS_MAX: u64 = 4096;

/// How long the end waits for the engine after the last connection: a million lines are read and written in about a
/// second, and with the responder's time for requests under way it stays below the 30 s after which systemd kills the
/// service.
pub const ENGINE_END_MAX: Duration = Duration::from_secs(5);

/// How long the end waits for a configuration or a TLS certificate that is being read, though it is no longer used.
pub const READING_END_MAX: Duration = Duration::from_secs(1);

/// How long `health` waits for an answer: less than the interval at which container engines ask, 30 s.
pub const HEALTH_ANSWER_MAX: Duration = Duration::from_secs(10);

/// How many may wait for a reload at the socket: a person and a few scripts.
pub const RELOADS_ASKED_MAX: usize = 8;
/// How long one who connects there may take to ask: it is written at once.
pub const RELOAD_QUESTION_MAX: Duration = Duration::from_secs(5);
/// How long `reload` waits for the verdict: sources of ten million lines on slow disks take minutes, and one that hangs is not
/// waited for.
pub const RELOAD_VERDICT_MAX: Duration = Duration::from_secs(600);
/// Bytes of a verdict: a thousand problems.
pub const RELOAD_VERDICT_OCTETS_MAX: u64 = 1 << 20;

/// How often to check whether anything replaced by a reload is still in use: its sessions with tokens are needed.
pub const FORMER_SITE_LOOK: Duration = Duration::from_millis(20);
/// How long that is checked at most: requests that began with it end within some seconds.
pub const FORMER_SITE_WAIT: Duration = Duration::from_secs(30);

/// How often signing certificates are checked for revocation, so that another signer takes over, and for other faults,
/// which are logged; health shows them at once. One signer takes under a microsecond: for a thousand issuers that is a
/// thousandth of the control thread.
pub const SIGNER_LOOK: Duration = Duration::from_secs(1);

/// How often answers past their nextUpdate are removed from the table to make room: a walk over ten million takes a
/// second of an otherwise idle thread, and delays a writer by some milliseconds.
pub const CLEANING_INTERVAL: Duration = Duration::from_secs(600);

/// Connections of the admin listener: monitors and operators, each with one request. The responder keeps descriptors
/// for them.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long such a client may take to send its request.
pub const ADMIN_HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long the whole connection may take: metrics of thousands of issuers are some MiB, and go to the same network.
pub const ADMIN_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a TLS certificate file with its chain, or of a key file.
pub const TLS_FILE_OCTETS_MAX: u64 = 256 << 10;
/// How often the files of the TLS certificate are checked.
pub const TLS_LOOK: Duration = Duration::from_secs(1);
/// How long before a TLS certificate ends a warning begins. ACME certificates are renewed 30 days before.
pub const TLS_ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Principals of one service: people, programs and their successors. Each token that comes is compared with all, which takes
/// 50 µs.
pub const PRINCIPALS_MAX: usize = 1000;
/// Characters of a principal's name: it stands in every line about it.
pub const PRINCIPAL_NAME_OCTETS_MAX: usize = 64;
/// Grants, or denials, of a principal.
pub const GRANTS_MAX: usize = 1000;
/// How many requests or pushes a second a configuration may allow: more are not limited by anything.
pub const RATE_RANGE: std::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Refused requests that are told at once, in the log and in the journal,
pub const REFUSALS_TOLD_AT_ONCE: u32 = 20;
/// and how many a minute after that: a scan fills no disk, and who looks into it sees that it goes on.
pub const REFUSALS_TOLD_PER_MINUTE: u32 = 12;
/// Names under which the admin listener may be reached.
pub const ADMIN_HOSTS_MAX: usize = 64;

/// The pause in accepting after a failure for lack of descriptors or memory, which others have to free.
pub const ADMIN_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// -- The API for pushes

/// Characters of a token: 128 bits as hexadecimal digits cannot be guessed.
pub const TOKEN_OCTETS_MIN: usize = 32;
/// Bytes of its file: a JWT of another system fits as well.
pub const TOKEN_FILE_OCTETS_MAX: u64 = 4 << 10;

/// Bytes of a request's body: a certificate with an ML-DSA-87 key and signature takes 10 KiB in base64, one with
/// SLH-DSA 42 KiB.
pub const API_BODY_OCTETS_MAX: usize = 64 << 10;
/// Bytes that are read of a refused request's body, so that the client reads why: a part of a list as `ostia-precompute`
/// sends it, several times over. It takes no memory.
pub const API_UNREAD_OCTETS_MAX: usize = 16 << 20;
/// How long nothing of it may come: a client on the same machine that is sending does so at once.
pub const API_UNREAD_IDLE_MAX: Duration = Duration::from_millis(500);
/// Bytes of a line of a list, which says as much.
pub const API_LINE_OCTETS_MAX: usize = API_BODY_OCTETS_MAX;

/// Lines of a list that are committed together: a commit of a thousand records takes 16 ms, so a single push beside an
/// upload waits for no more than one of these.
pub const API_BATCH_LINES: usize = 1000;
/// How long a batch that is not full waits for more lines: a list that comes slowly is committed as it comes.
pub const API_BATCH_LINGER: Duration = Duration::from_millis(20);
/// How long an answer waits for the first bytes of a client that expects `100 Continue`: longer than one round trip.
pub const API_CONTINUE_WITHIN: Duration = Duration::from_secs(1);

/// Refused lines that an answer tells of: a person reads fewer, and they take 4 MiB.
pub const API_REFUSED_TOLD_MAX: usize = 10_000;
/// How often an answer to an upload tells how far it is.
pub const API_PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Uploads, and backups that are fetched, at once: each holds some MiB, and all of them wait for the same disk.
pub const API_UPLOADS_MAX: usize = 8;
/// How long an upload may send nothing, and whoever fetches a backup may take none: a query of a database behind the one,
/// and a disk behind the other, may take this long. While a backup is fetched the book cannot use room again, so nobody may
/// keep that up for ever.
pub const API_UPLOAD_IDLE_MAX: Duration = Duration::from_secs(60);

/// Seconds after which a client should try again what could not be made durable: the book is tried again as often.
pub const API_RETRY_AFTER: Duration = RETRY_INTERVAL;

/// Characters of an idempotency key: UUIDs have 36.
pub const IDEMPOTENCY_KEY_OCTETS_MAX: usize = 255;

/// When an index is read that looked unchanged at the start, and so was not read for it: the first answers come first.
pub const READ_AFTER_START: Duration = Duration::from_secs(10);

/// How long the command line waits for a connection to the service, which is on the same machine,
pub const CLIENT_CONNECT_MAX: Duration = Duration::from_secs(5);
/// and for an answer: as long as a connection of the admin listener lasts.
pub const CLIENT_ANSWER_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer: a thousand issuers with their certificates take 4 MiB.
pub const CLIENT_ANSWER_OCTETS_MAX: u64 = 64 << 20;
/// The first pause before the command line sends a part of a list again,
pub const CLIENT_RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
/// and the longest.
pub const CLIENT_RETRY_PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long it goes on without any progress: somebody has to make room on a disk.
pub const CLIENT_RETRY_MAX: Duration = Duration::from_secs(600);
/// Lines of a list that the command line uploads in one request: some commits, in under a second, so that the progress
/// is told and little is sent again.
pub const CLIENT_UPLOAD_LINES: usize = 5000;
/// Bytes of such a request, if its lines are long.
pub const CLIENT_UPLOAD_OCTETS: usize = 4 << 20;
// Every refusal of such a request is told.
const _: () = assert!(CLIENT_UPLOAD_LINES <= API_REFUSED_TOLD_MAX);
