//! What is answered to what: RFC 6960 between the bytes of a request and those of a response.
//!
//! [`request`] and [`get`] decode, [`answer`] decides (no I/O, no clock, no lock), [`store`]
//! keeps what was signed, a [`sign_request`] is what is to be
//! signed, and [`miss`] has it signed.

pub mod answer;
pub mod budget;
pub mod get;
pub mod miss;
pub mod request;
pub mod sign_request;
pub mod signed;
pub mod store;
