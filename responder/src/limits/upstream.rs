//! The bounds of what is asked of upstream responders.

use std::{ops::RangeInclusive, time::Duration};

/// Upstreams of one issuer, or of an edge.
pub const UPSTREAMS_MAX: usize = precompute::limits::UPSTREAMS_MAX;

/// Requests that wait for upstreams at once, of all clients together: each holds a client's connection and about 2 KiB. At
/// 0.2 s for an answer from another continent they are 5,000 misses a second.
pub const WAITING_MAX: usize = 1024;

/// How many of them may be useful to one client alone: with its nonce, for several certificates, time-stamps. So a flood of
/// those leaves room for misses, of which each answers everybody.
pub const WAITING_ALONE_MAX: usize = WAITING_MAX / 2;

/// Connections to one upstream. One is busy for a round trip: 64 carry 320 requests a second at 0.2 s, and 64,000 on one
/// machine. Whoever finds none free waits for one, within its deadline.
pub const CONNECTIONS_MAX: usize = 64;

/// How long connecting may take, with TLS: three round trips to another continent take 0.9 s.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long one upstream gets for an answer. Two of them fit into [`super::MISS_DEADLINE`], after which the client gets
/// `tryLater`.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long an upstream gets that has failed and is tried again with a client's request: the client has to be answered by
/// another one if it still fails.
pub const TRIAL_WITHIN: Duration = Duration::from_millis(500);
/// Upstreams that are asked for one request.
pub const ATTEMPTS_MAX: usize = 3;

/// How long an unused connection is kept. Servers close theirs after 60 s or more, nginx after 75 s.
pub const IDLE_KEPT: Duration = Duration::from_secs(30);

/// Bytes of an answer: one with a chain of four certificates and a signature by ML-DSA-87 is under 40 KiB.
pub const REPLY_OCTETS_MAX: usize = 64 << 10;
/// Bytes of the header section of an answer, and its fields.
pub const REPLY_HEAD_OCTETS_MAX: usize = 16 << 10;
/// See [`REPLY_HEAD_OCTETS_MAX`].
pub const REPLY_FIELDS_MAX: usize = 64;

/// SingleResponses in an answer: for the ten certificates that may be asked for, in each of four hash algorithms, and more
/// where an upstream adds others.
pub const SINGLES_MAX: usize = 64;
/// Certificates in an answer that are looked at.
pub const CERTIFICATES_MAX: usize = 8;

/// Failures in a row after which an upstream is left. One alone may be a restart.
pub const FAILURES_IN_A_ROW: u32 = 3;
/// When an upstream that was left is tried again first; the time doubles with each trial that fails,
pub const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// up to this: an upstream that is back is noticed within that time.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// How often an upstream that answers again is tried until it counts as back.
pub const TRIAL_EVERY: Duration = Duration::from_secs(1);
/// How long a preferred upstream has to answer before it is gone back to.
pub const FAIL_BACK_DEFAULT: Duration = Duration::from_secs(30);
/// What may be asked for.
pub const FAIL_BACK_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// How far an upstream's clock may be ahead: what NTP keeps is far less, and clients allow minutes.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);
/// How old an answer without nextUpdate may be. It says that newer information is available all the time, so it is signed
/// when it is asked for.
pub const AGE_WITHOUT_END_MAX: Duration = Duration::from_secs(300);

/// How long a refusal of an upstream is kept: a certificate that was issued a moment ago is known to it a moment later.
pub const REFUSAL_KEPT: Duration = Duration::from_secs(5);

/// Bytes of kept answers of other CAs' responders, of all issuers together: 30,000 answers of 1.5 KiB.
pub const KEPT_OCTETS_MAX: u64 = 64 << 20;

/// Bytes of the newest that was said of certificates of other CAs, of all issuers together, so that nothing older takes its place:
/// 30,000 with their answers.
pub const NEWEST_OCTETS_MAX: u64 = 64 << 20;

/// How often the log tells of an upstream's faults of one kind.
pub const TOLD_EVERY: Duration = Duration::from_secs(60);

const _: () = {
    assert!(ANSWER_WITHIN.as_secs() * 2 < super::MISS_DEADLINE.as_secs());
    assert!(TRIAL_WITHIN.as_millis() + 2 * ANSWER_WITHIN.as_millis() < super::MISS_DEADLINE.as_millis());
    assert!(IDLE_KEPT.as_secs() < super::IDLE_DEADLINE.as_secs());
    assert!(UPSTREAMS_MAX <= 32, "a set of them is a word");
};
