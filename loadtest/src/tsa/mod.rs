//! Time-stamping (RFC 3161, RFC 5816) from the asking side.
//!
//! In the order of an exchange: [`request`] encodes it, [`response`] takes the reply and its token apart, [`judge`]
//! matches it cheaply, [`proof`] verifies the token's signature, attributes and chain, [`serials`] finds numbers given
//! twice. [`workload`] puts them together for the engine.

pub(crate) mod judge;
pub(crate) mod proof;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod serials;
pub(crate) mod workload;
