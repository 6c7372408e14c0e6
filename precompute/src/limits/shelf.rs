//! The bounds of snapshots as files.

use std::time::Duration;

use super::feed::{CHUNK_OCTETS, CHUNKS_MAX};

/// Whole snapshots that a directory keeps: who began with the second newest can finish it. With the one that is written or
/// fetched, a directory takes three times the length of a snapshot.
pub const KEPT: usize = 2;
/// After how many chunks what was written is flushed. Another file's flush on the same disk, a push's, waits for no more
/// than these 16 MiB: 80 ms at 200 MB/s.
pub const FLUSH_CHUNKS: usize = 4;
const _: () = assert!(FLUSH_CHUNKS * CHUNK_OCTETS <= 16 << 20);
/// Chunks that are held in memory where there is no disk: 16 MiB, so that fetching goes on while one is applied.
pub const AHEAD: usize = 4;

/// Chunks that are given out at once: 64 MiB together, and a link of 1 Gbit/s is busy with two. More wait their turn.
pub const CHUNKS_AT_ONCE: usize = 16;
/// Connections that are answered at once: those of chunks, and of readers that poll the feed, each some 10 KiB. More wait in
/// the listener's queue.
pub const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to send its request.
pub const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long its connection may last: 4 MiB at 0.6 Mbit/s.
pub const SENT_WITHIN: Duration = Duration::from_secs(60);

/// Base URLs to fetch from: every replica of a large cluster.
pub const SOURCES_MAX: usize = 64;
/// Bytes of a base URL.
pub const URL_OCTETS_MAX: usize = 2048;
/// How long a connection may take to be made: two lost packets.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long the head of an answer may take, and how long nothing may come of its body: the source reads 4 MiB from a
/// disk that is busy, and may have others before this one.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a chunk may take from the request to its last byte: as long as who gives it out has for it.
pub const CHUNK_WITHIN: Duration = SENT_WITHIN;
/// The same two while another source has not failed yet, which may be quicker: a busy disk answers within this, and a chunk
/// takes it at 3.4 Mbit/s. A slower link costs each source one such attempt; the next one has all the time.
pub const HURRIED_SILENCE_MAX: Duration = Duration::from_secs(3);
/// See [`HURRIED_SILENCE_MAX`].
pub const HURRIED_CHUNK_WITHIN: Duration = Duration::from_secs(10);
const _: () = assert!(HURRIED_CHUNK_WITHIN.as_secs() < CHUNK_WITHIN.as_secs());
/// How long a source may take altogether when it is only tried.
pub const TRIED_WITHIN: Duration = Duration::from_secs(5);
const _: () = assert!(CONNECT_WITHIN.as_secs() < TRIED_WITHIN.as_secs());
/// Bytes of an answer's head.
pub const HEAD_OCTETS_MAX: usize = 16 << 10;

/// The first pause before a source that failed is asked again; it doubles,
pub const RETRY_MIN: Duration = Duration::from_secs(1);
/// up to this.
pub const RETRY_MAX: Duration = Duration::from_secs(60);
/// The first pause of a source that gave something wrong: it costs a whole chunk to find that out, and a proxy whose server
/// is being started gives pages of its own for some seconds.
pub const RETRY_WRONG_MIN: Duration = Duration::from_secs(8);
/// How long who takes a chunk waits for it where there is no disk: one source fails as slowly as it can, and the next
/// one gives it.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(2 * CHUNK_WITHIN.as_secs());

/// Characters of a snapshot's name: two numbers of 20 digits, 32 hexadecimal digits.
pub const ID_OCTETS_MAX: usize = 20 + 1 + 20 + 1 + 32;
/// Characters of a chunk's number.
pub const NUMBER_OCTETS_MAX: usize = 5;
const _: () = assert!(CHUNKS_MAX <= 10_usize.pow(NUMBER_OCTETS_MAX as u32));

/// Bytes of the changes that a replica keeps since its newest snapshot: a million records, twice what comes until a writer
/// makes the next one. They are in memory whole while they are read.
pub const JOURNAL_OCTETS_MAX: u64 = 128 << 20;
