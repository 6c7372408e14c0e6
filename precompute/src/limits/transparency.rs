//! Bounds of what is kept to be proven later.

use std::time::Duration;

/// Answers of one certificate that are in force at once: four hash algorithms of eight signers that follow one another.
pub const ANSWERS_MAX: usize = 32;
/// Statements about one certificate between two heads; then a head is made at once.
pub const KEY_STATEMENTS_MAX: usize = 256;
/// Statements of a leaf: what was in force, and those since.
pub const CONTENT_STATEMENTS_MAX: usize = 1 + ANSWERS_MAX + KEY_STATEMENTS_MAX;
/// Bytes of a content: 67 of an answer, the longest statement, for each.
pub const CONTENT_OCTETS_MAX: usize = 3 + CONTENT_STATEMENTS_MAX * 67;
/// Bytes of a frame in a file: a key and the largest content.
pub const FRAME_OCTETS_MAX: usize = 32 + CONTENT_OCTETS_MAX;
/// Statements at which a head is made at once: those of a bulk load, some 20 MiB in memory and in the file.
pub const STATEMENTS_MAX: usize = 100_000;
/// Statements that are held while the disk takes nothing. What comes beyond is looked up again later.
pub const HELD_MAX: usize = 4 * STATEMENTS_MAX;
/// Statements that wait for the thread, 30 MiB: those of a second of a load, while it makes a head.
pub const WAITING_MAX: usize = 256 << 10;
/// Bytes behind the last head that are looked through for another one: more than a crash can leave.
pub const BEHIND_OCTETS_MAX: u64 = 256 << 20;
/// Two heads that are further apart than this were not made one after the other by a clock that went right: twice what
/// `head_every` may be at most, four minutes.
pub const HEADS_APART_MAX: Duration = Duration::from_secs(480);
/// How far the clock may have moved against the monotonic one between two heads.
pub const CLOCK_MOVED_MAX: Duration = Duration::from_secs(1);
/// How often the thread takes them.
pub const TAKEN_EVERY: Duration = Duration::from_millis(100);
/// Certificates that are compared at once, while no statement can come: a tenth of a millisecond.
pub const COMPARED_AT_ONCE: usize = 64;
/// Bytes that a file may grow by beyond its beginning before another is begun, or that beginning's length if that is more.
pub const GROWN_OCTETS: u64 = 64 << 20;
/// Bytes of a file with a proof: two contents in hexadecimal, two ways of at most 256 steps, and what is around them.
pub const PROOF_OCTETS_MAX: u64 = 256 << 10;
/// Bytes of a response that a proof is compared with.
pub const RESPONSE_OCTETS_MAX: u64 = 64 << 10;

/// Certificates of such a response that are looked at.
pub const RESPONSE_CERTIFICATES_MAX: usize = 8;

const _: () = {
    assert!(CONTENT_STATEMENTS_MAX <= u16::MAX as usize && HELD_MAX > STATEMENTS_MAX);
    assert!(PROOF_OCTETS_MAX as usize > 2 * (2 * CONTENT_OCTETS_MAX + 256 * 100));
};
