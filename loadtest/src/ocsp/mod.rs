//! OCSP (RFC 6960, RFC 9654) from the asking side.
//!
//! In the order of an exchange: [`request`] encodes it, [`response`] reads what came back, [`judge`] matches it cheaply
//! against what was asked and what is known, [`remembered`] spares that for answers seen before, [`proof`] checks
//! signature and signer. [`workload`] puts them together for the engine.

pub(crate) mod judge;
pub(crate) mod proof;
mod remembered;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod workload;
