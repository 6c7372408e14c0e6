//! The answers to OCSP requests: RFC 6960 between the bytes of a request and those of a response.
//!
//! [`get`] and [`request`] decode. [`exchange`] decides (no I/O, waits for nothing), using [`answer`] for one
//! certificate, [`signed`] for the request's signature and [`budget`] for the thread's time. [`store`] keeps signed
//! answers, a [`sign_request`] says what to sign, and [`miss`] has it signed, finds it [`shared`] by another replica, or gets it
//! from the replicas behind an [`edge`]. [`transactions`] records who was told what. It knows the [`site`](crate::site), and
//! not HTTP.

pub mod answer;
mod awaited;
pub mod budget;
pub mod edge;
pub mod exchange;
pub mod get;
pub mod miss;
pub mod request;
pub mod shared;
pub mod sign_request;
pub mod signed;
pub mod store;
pub mod transactions;
