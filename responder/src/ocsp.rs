//! What is answered to what: RFC 6960 between the octets of a request and those of a response.
//!
//! [`request`] and [`get`] decode, [`answer`] decides (no I/O, no clock, no lock), [`cache`]
//! keeps what was signed on demand, [`miss`] has the rest signed.

pub mod answer;
pub mod cache;
pub mod get;
pub mod miss;
pub mod request;
