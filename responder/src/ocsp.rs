//! What is answered to what: RFC 6960 between the octets of a request and those of a response.
//!
//! [`request`] and [`get`] decode, [`answer`] decides (no I/O, no clock, no lock), [`store`]
//! keeps what was signed, [`miss`] has the rest signed.

pub mod answer;
pub mod get;
pub mod miss;
pub mod request;
pub mod store;
