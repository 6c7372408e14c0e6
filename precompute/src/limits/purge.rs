//! Bounds of what tells caches.

use std::{ops::RangeInclusive, time::Duration};

/// Caches that are told: an operator with more has a layer of his own that tells them.
pub const TARGETS_MAX: usize = 16;
/// Keys of one issuer that wait for one cache. If there are more, the issuer's own key is purged instead: thousands of single
/// keys take a CDN longer than filling its cache again takes the replicas. 100 KB.
pub const KEYS_OF_ISSUER_MAX: usize = 1000;
/// Keys that wait to be purged a second time. If there are more, the keys of their issuers are purged instead. 1 MB.
pub const KEYS_AGAIN_MAX: usize = 10_000;
/// Serials of one issuer of which it is found out one by one whether the feed has them; each takes a look into the book.
pub const SERIALS_TOLD_MAX: usize = KEYS_OF_ISSUER_MAX;

/// How long after the first purge the second one follows: a replica that lags by more than that is not fresh, and says so.
pub const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// What may be set in its place.
pub const AGAIN_AFTER_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// How long after the feed has a change caches are told of it: replicas apply it within milliseconds (`benches/feed`). A cache that is told earlier and asked at once fetches the old answer again, and keeps it until the
/// second purge.
pub const APPLIED_WITHIN: Duration = Duration::from_millis(25);
const _: () = assert!(APPLIED_WITHIN.as_millis() < AGAIN_AFTER_RANGE.start().as_millis());

/// Requests a minute that may be set.
pub const PER_MINUTE_RANGE: RangeInclusive<i64> = 1..=60_000;
/// Keys of one request for Varnish. A key has at most 57 characters (16, a hyphen, and 40 of a serial of 20 bytes), and
/// Varnish takes 8 KiB of a header (`http_req_hdr_len`): 64 keys have 3.7 KiB.
pub const VARNISH_KEYS_MAX: usize = 64;
/// Requests a minute for Varnish: each BAN is compared with every object, so hundreds a second would slow it down.
pub const VARNISH_PER_MINUTE: u32 = 3000;
/// Requests for Varnish that may come at once.
pub const VARNISH_BURST: u32 = 100;
/// Keys of one request for Fastly, as its reference says.
pub const FASTLY_KEYS_MAX: usize = 256;
/// Requests a minute for Fastly: what else uses the account's limit has room.
pub const FASTLY_PER_MINUTE: u32 = 60;
/// Requests for Fastly that may come at once.
pub const FASTLY_BURST: u32 = 30;
/// Keys of one request for Cloudflare ("max operations per request").
pub const CLOUDFLARE_KEYS_MAX: usize = 100;
/// Requests a minute for Cloudflare: those of its smallest plan. Pro has 300, Business 600, Enterprise 3000.
pub const CLOUDFLARE_PER_MINUTE: u32 = 5;
/// Requests for Cloudflare that may come at once: the bucket of its smallest plan.
pub const CLOUDFLARE_BURST: u32 = 25;
/// Keys of one request for Akamai. A body may have 50,000 bytes, which 800 keys fill.
pub const AKAMAI_KEYS_MAX: usize = 100;
/// Requests a minute for Akamai: with [`AKAMAI_KEYS_MAX`] the 500 cache tags a minute that an account has.
pub const AKAMAI_PER_MINUTE: u32 = 5;
/// Requests for Akamai that may come at once: with [`AKAMAI_KEYS_MAX`] the account's bucket of 5000 cache tags.
pub const AKAMAI_BURST: u32 = 50;
/// Keys of one request of a template, unless the operator says otherwise.
pub const TEMPLATE_KEYS: usize = 64;
/// The most that may be said: a body of 60 KB.
pub const TEMPLATE_KEYS_MAX: usize = 1000;
/// Requests a minute of a template.
pub const TEMPLATE_PER_MINUTE: u32 = 60;
/// Requests of a template that may come at once.
pub const TEMPLATE_BURST: u32 = 10;
/// Headers of a template.
pub const TEMPLATE_HEADERS_MAX: usize = 16;
/// Bytes of a template's body, and of one of its headers.
pub const TEMPLATE_OCTETS_MAX: usize = 4096;

/// Bytes of a file with credentials: three tokens of Akamai have less than 300.
pub const CREDENTIALS_OCTETS_MAX: u64 = 4096;
/// Bytes of a token: shorter ones are a file that is not filled in yet.
pub const TOKEN_OCTETS_MIN: usize = 8;

/// How long what does not press waits for others: certificates that are good now were issued, or released from hold. A CA that
/// issues all the time takes six requests a minute by it, and revocations take those that they need.
pub const GATHER: Duration = Duration::from_secs(10);

/// How long a connection is waited for.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a request may take as a whole. CDNs answer within a second.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer that are looked at: more than any vendor's answer to 256 keys.
pub const ANSWER_OCTETS_MAX: u64 = 64 << 10;
/// Letters of an answer that a message quotes.
pub const ANSWER_SHOWN_MAX: usize = 200;

/// The pause after the first failure. It doubles with each further one.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// The longest pause that an answer may ask for by Retry-After.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// How often it is looked whether the configuration or who leads has changed; changed records wake at once.
pub const LOOK: Duration = Duration::from_millis(500);
/// How long the end of the service waits for the threads that tell caches.
pub const END_WAIT: Duration = Duration::from_secs(2);
/// For how long a cache may be behind before readiness says so.
pub const BEHIND_MAX: Duration = Duration::from_secs(10);
/// Keys that the journal names of one request. The rest are counted.
pub const KEYS_KEPT_MAX: usize = 20;
/// Upper bounds of the histogram of the time from a change to the answer of a cache that was told, in milliseconds.
pub const LATENCY_BOUNDS: [u64; 12] = [10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 600_000];
/// The same while something waits until the feed has it.
pub const LOOK_WAITING: Duration = Duration::from_millis(50);
