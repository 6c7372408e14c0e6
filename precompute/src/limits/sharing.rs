//! The bounds of the answers that replicas share through Redis.

use std::time::Duration;

/// How long a miss may wait for an answer of another replica: Redis answers 64 questions in 0.1 ms, and a token takes a
/// millisecond or more for a signature.
pub const WITHIN: Duration = Duration::from_millis(5);
/// How old a question may be when it is sent: what is left suffices for an answer, so that a burst here is no fault of Redis.
pub const SENT_WITHIN: Duration = Duration::from_micros(2500);
const _: () = assert!(SENT_WITHIN.as_micros() * 2 <= WITHIN.as_micros());
/// Questions in one request to Redis. All of them found means as many verifications in a row: 2 ms of RSA-2048, and 3 ms of P-256.
pub const BATCH_MAX: usize = 32;
/// Questions and offers that wait for the thread: some milliseconds of both. Past this misses are signed at once.
pub const QUEUE_LENGTH_MAX: usize = 1024;
/// Offers that wait until Redis is free of questions: 400 KiB of RSA-2048.
pub const OFFERS_WAITING_MAX: usize = 1024;

/// The first pause after Redis was late or failed: that of a fork for its dump. It doubles with each failure, unless Redis was in
/// order for as long before,
pub const PAUSE_MIN: Duration = Duration::from_millis(20);
/// up to this.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long nothing is offered after Redis had no room for it, or refused it.
pub const OFFER_PAUSE: Duration = Duration::from_secs(60);
/// After how long without answers from Redis the log says so: a pause that ends sooner is nobody's concern.
pub const AWAY_TOLD_AFTER: Duration = Duration::from_secs(10);

/// Bytes of Redis that the offers of one process may take until they expire: 198,000 answers of P-256, 126,000 of
/// RSA-2048.
pub const OFFERED_OCTETS_MAX: usize = 64 << 20;
/// What Redis needs for a key that expires, beside the bytes of key and value: 125 to 157 bytes with Redis 7.0.
pub const KEY_OVERHEAD_OCTETS: usize = 170;
