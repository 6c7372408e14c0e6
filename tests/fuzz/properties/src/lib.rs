//! What must hold of every decoder of the house, whatever it is given.
//!
//! Purpose: one function for each decoder, which takes arbitrary bytes and panics where the decoder
//! breaks a promise; "does not panic itself" is the least of them. The fuzz targets call these
//! functions and nothing else, and so do this crate's tests, with every seed and every truncation of it: what
//! the fuzzer checks for hours is checked in each run of the tests for a moment. Invariant: nothing
//! is asserted that is not either written in the decoder's own documentation or said by another
//! decoder (`x509-ocsp`, `x509-tsp`, `x509-cert`, `der`, `base64`, `toml`) of the same bytes.
//! It does not know the fuzzer.

mod admin;
mod config;
mod crl;
pub mod feed;
mod get;
mod http;
mod index;
mod journal;
mod proof;
mod query;
mod request;

pub use admin::admin;
pub use config::config;
pub use crl::crl;
pub use get::get;
pub use http::http;
pub use index::index;
pub use journal::journal;
pub use proof::proof;
pub use query::query;
pub use request::request;

/// A target: bytes in, a panic where a promise is broken; `true` where the decoder took them.
pub type Property = fn(&[u8]) -> bool;

/// Every target by its name, which is also the name of its seeds' directory.
pub const PROPERTIES: [(&str, Property); 15] = [
    ("http", http),
    ("request", request),
    ("get", get),
    ("query", query),
    ("index", index),
    ("crl", crl),
    ("admin", admin),
    ("config", config),
    ("journal", journal),
    ("proof", proof),
    ("feed_entry", feed::entry),
    ("feed_manifest", feed::manifest),
    ("feed_chunk", feed::chunk),
    ("feed_redis", feed::redis),
    ("feed_shelf", feed::shelf),
];
