//! Every bound of the generator, with where it comes from.
//!
//! Invariant: nothing that the peer sends, and nothing that a file holds, can make this program use more memory or
//! time than the figures here say. It does not know what the figures are used for beyond the sentence beside each.

use std::time::Duration;

/// Run length when neither `--duration` nor `--requests` is given: long enough for ten points of throughput.
pub(crate) const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// Ceiling on the run length when only `--requests` is given, so that a dead server still ends the run.
pub(crate) const DURATION_WITH_REQUESTS: Duration = Duration::from_secs(600);
/// A soak test over a day is a series of runs; 86,400 seconds of time line is about 10 MB of report.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long one request, or one TCP handshake, may take before it counts as a time-out.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The histograms' upper end; a time-out may not be longer, or its latency could not be recorded.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Connections of one run: a Linux client has about 28,000 ephemeral ports per (address, server), and several targets
/// or addresses multiply that; descriptors are the operating system's to refuse.
pub(crate) const CONNECTIONS_MAX: usize = 100_000;
/// More threads than any machine of today has cores.
pub(crate) const THREADS_MAX: usize = 1_024;
/// Requests in flight on one connection; servers commonly stop reading far earlier.
pub(crate) const PIPELINE_MAX: usize = 1_024;
/// Requests a second of an open loop: above what one network stack carries, below where the arithmetic on nanoseconds
/// loses its meaning (a request every 100 ns).
pub(crate) const RATE_MAX: f64 = 10_000_000.0;
/// Targets of one run; a target's number is kept in two bytes beside each time-stamp's serial number.
pub(crate) const TARGETS_MAX: usize = 256;

/// Certificates asked about: 20 million entries cost about 45 bytes each, under 1 GB.
pub(crate) const POPULATION_MAX: usize = 20_000_000;
/// Bytes of a serialNumber's encoding. RFC 5280 section 4.1.2.2 allows 20; some CAs issued 21 with a leading zero, and
/// a hostile or ancient one may be longer. Past 64 no responder is expected to look.
pub(crate) const SERIAL_OCTETS_MAX: usize = 64;
/// Files read whole (certificates, PEM chains); index and serial files are read by the line.
pub(crate) const CERT_FILE_OCTETS_MAX: u64 = 1 << 20;
/// One line of an index file: six fields, the longest a subject name.
pub(crate) const INDEX_LINE_OCTETS_MAX: usize = 64 * 1024;

/// Requests built before the run are kept as bytes up to this much; a larger population is encoded while sending,
/// which costs about 0.1 µs a request, rather than be swapped out.
pub(crate) const PREPARED_OCTETS_MAX: usize = 256 << 20;
/// Bodies remembered by each thread, so that a repeated answer costs one comparison instead of a parse.
pub(crate) const REMEMBERED_BODIES_MAX: usize = 16_384;
/// A remembered body's size; 16,384 of them are at most 64 MiB a thread. OCSP answers are 0.3 to 3 KB.
pub(crate) const REMEMBERED_BODY_OCTETS_MAX: usize = 4 * 1024;

/// Response head: servers cap what they accept at 8 to 16 KiB; what they send is far under it.
pub(crate) const RESPONSE_HEAD_OCTETS_MAX: usize = 16 * 1024;
/// Response body: an OCSP answer or a token with a chain of four RSA-4096 certificates is under 10 KiB, an ML-DSA-87
/// chain under 40 KiB.
pub(crate) const RESPONSE_BODY_OCTETS_MAX: usize = 256 * 1024;
/// One read takes at most this much; a whole response, or a pipelined batch of them, fits.
pub(crate) const READ_OCTETS: usize = 64 * 1024;
/// Readiness events taken from the kernel at once.
pub(crate) const EVENTS_AT_ONCE: usize = 256;
/// Interval of the sweep for time-outs and reconnections; it is also the longest sleep of a thread.
pub(crate) const SWEEP: Duration = Duration::from_millis(20);
/// How long after the end of an open loop a request that fell due before it may still begin: one sweep, the longest a
/// thread sleeps.
pub(crate) const LATE_START: Duration = SWEEP;
/// Delay before a refused connection is tried again, doubled each time up to the second figure.
pub(crate) const RECONNECT_FIRST: Duration = Duration::from_millis(10);
/// See [`RECONNECT_FIRST`].
pub(crate) const RECONNECT_LAST: Duration = Duration::from_secs(1);

/// Answers waiting for their signature to be checked, per thread: 1,024 × a few KB. Full: a sample is skipped (and said
/// so), `--verify all` waits.
pub(crate) const PROOFS_WAITING_MAX: usize = 1_024;
/// Failed proofs whose repetitions are still counted one by one.
pub(crate) const BAD_PROOFS_KEPT: usize = 65_536;
/// Signer certificates from responses whose chain verdict is remembered, per verifying thread.
pub(crate) const SIGNERS_REMEMBERED: usize = 16;
/// Certificates looked at in one response: a signer and a chain. More are ignored, so that a peer cannot buy signature
/// checks from us.
pub(crate) const CERTS_IN_RESPONSE_MAX: usize = 10;
/// Certificates between a time-stamp's signer and an anchor, both included.
pub(crate) const CHAIN_DEPTH_MAX: usize = 8;
/// SingleResponses looked at in one response for the one asked about.
pub(crate) const SINGLE_RESPONSES_MAX: usize = 64;

/// Time-stamp serial numbers kept for the check for repeats: 22 bytes each, 1.1 GB at the limit.
pub(crate) const TSA_SERIALS_MAX: usize = 50_000_000;
/// Bytes of a time-stamp's serialNumber: RFC 3161 section 2.4.2 has clients accept up to 160 bits.
pub(crate) const TSA_SERIAL_OCTETS: usize = 20;
/// Repeated serial numbers named in the report; all are counted.
pub(crate) const REPEATS_NAMED: usize = 8;
/// Examples of wrong answers kept per run, for the report.
pub(crate) const EXAMPLES_KEPT: usize = 8;

/// Certificates revoked by one `lag` run.
pub(crate) const LAG_SERIALS_MAX: usize = 100_000;
/// What revokes may take so many times `--timeout` before the replicas are no longer asked: a command takes one; a push
/// is tried again for one, and the last try may take another.
pub(crate) const LAG_ACT_TIMEOUTS: u64 = 3;
/// Certificates of each replica that are asked about once more at the end of `lag`: under ten seconds at 1,000 a second.
pub(crate) const LAG_SWEPT_MAX: usize = 10_000;
/// Failures in a row that end that: a replica that is gone then costs a few seconds.
pub(crate) const LAG_SWEEP_FAILURES: usize = 3;
/// Pushes go to the next instance after so long without an answer. An Ostia instance refuses what it cannot acknowledge
/// within `acknowledge_within`, 2 s by default.
pub(crate) const LAG_TRY_TIMEOUT: Duration = Duration::from_secs(3);
/// Certificates asked about after a bulk upload: each must be revoked by then, and a thousand take under a second.
pub(crate) const LAG_BULK_ASKED: usize = 1_000;
/// An upload: at a thousand records a second, far under what is useful, 20 million take 6 hours.
pub(crate) const LAG_BULK_TIME_MAX: Duration = Duration::from_secs(6 * 3600);
/// A file with a bearer token: RFC 6750 sets no bound; servers cap header sections at 8 KiB and more.
pub(crate) const TOKEN_FILE_OCTETS_MAX: u64 = 4 * 1024;

const _: () = {
    assert!(READ_OCTETS >= RESPONSE_HEAD_OCTETS_MAX, "a legal head must fit one read");
    assert!(REMEMBERED_BODY_OCTETS_MAX <= RESPONSE_BODY_OCTETS_MAX);
    assert!(TARGETS_MAX <= 1 << 16);
    assert!(POPULATION_MAX <= u32::MAX as usize, "entries are numbered in four bytes");
    assert!(POPULATION_MAX * SERIAL_OCTETS_MAX <= u32::MAX as usize, "so are the bytes of their serials");
    assert!(TIMEOUT_DEFAULT.as_nanos() <= TIMEOUT_MAX.as_nanos());
    assert!(CERTS_IN_RESPONSE_MAX >= CHAIN_DEPTH_MAX);
};
