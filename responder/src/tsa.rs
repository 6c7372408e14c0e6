//! Time-stamping, RFC 3161: vouching for a time.
//!
//! The rooms, in the order in which a request passes through them: [`request`] decodes and checks it, [`serial`] numbers
//! the token, [`token`] is what comes back, [`failure`] what comes back without one.

pub mod failure;
pub mod request;
pub mod serial;
pub mod token;

#[cfg(test)]
mod testing;
