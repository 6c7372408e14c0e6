//! What is answered to what: RFC 6960 between the bytes of a request and those of a response.
//!
//! [`get`] and [`request`] decode, [`exchange`] decides (no I/O, no clock, no lock) with what [`answer`] says of one
//! certificate, [`signed`] of the request's signature and [`budget`] of the thread's time; [`store`] keeps what was signed, a
//! [`sign_request`] is what is to be signed, and [`miss`] has it signed. It knows the [`site`](crate::site), and not HTTP.

pub mod answer;
pub mod budget;
pub mod exchange;
pub mod get;
pub mod miss;
pub mod request;
pub mod sign_request;
pub mod signed;
pub mod store;
