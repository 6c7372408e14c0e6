//! Bounds of journals: the record of time-stamps, and what happens to the service.

use std::time::Duration;

/// Entries of one serving thread that may wait: time-stamps of 0.6 s at 50,000 a second, because a disk may be busy that
/// long; 6 MiB.
pub const QUEUE_MAX: usize = 32 << 10;
/// How often waiting entries are written: 2,500 at 50,000 a second.
pub const INTERVAL: Duration = Duration::from_millis(50);
/// Entries of each queue that are written at once: 600 KiB of lines, and a write of them takes less than a millisecond.
pub const BATCH: usize = 1 << 10;
/// Bytes of unwritten lines at which notes are no longer added.
pub const PENDING_OCTETS_MAX: usize = 1 << 20;
/// Notes and requests to open the file again that may wait. Notes are what people and sources do: a push waits for the disk,
/// so a few hundred in an interval are many.
pub const ORDERS_MAX: usize = 4096;
/// How often lines are signed and synchronised with the disk, and so how much of them a loss of power takes.
pub const SYNCHRONISED_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a file before another is begun: less than two million time-stamps.
pub const FILE_OCTETS: u64 = 1 << 30;
/// And its age.
pub const FILE_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long the end waits for a disk that takes nothing.
pub const END_MAX: Duration = Duration::from_secs(2);
/// Bytes of a line, without the bytes of its end: a note has a message of the service in it. A line is never longer.
pub const LINE_OCTETS_MAX: usize = 64 << 10;
/// Bytes of a torn line that are kept in the note about it.
pub const TORN_OCTETS_MAX: usize = 4 << 10;
/// Bytes in which a start looks for the last signature: those of two seconds at 50,000 time-stamps a second.
pub const TAIL_OCTETS_MAX: u64 = 64 << 20;
/// Files beside that are asked for the last line where the file itself has none.
pub const SIBLINGS_MAX: usize = 16;
/// Keys of a changed configuration that are named.
pub const KEYS_MAX: usize = 200;
/// Revocations by sources that are kept of one reading: 3 MiB. A CA that revokes more at once says so in its CRL.
pub const CHANGES_MAX: usize = 100_000;
/// Serial numbers in one line.
pub const SERIALS_MAX: usize = 256;
/// Bytes of the file with the key: PKCS#8 in PEM has 170.
pub const KEY_OCTETS_MAX: u64 = 4 << 10;

const _: () = {
    // Ten intervals fit what may wait, at 50,000 entries a second.
    assert!(QUEUE_MAX as u128 > 10 * 50 * INTERVAL.as_millis());
    assert!(LINE_OCTETS_MAX < PENDING_OCTETS_MAX && TORN_OCTETS_MAX < LINE_OCTETS_MAX);
};
