//! Time-stamping, RFC 3161.
//!
//! The modules, in the order in which a request passes through them: [`routes`] find its authorities, [`request`]
//! decodes it, [`exchange`] decides it, its [`clients`] say who may ask, an [`authority`] checks it against its policy, a [`clock`] (one of the
//! [`clocks`]) gives the time, [`serial`] numbers the token, and [`token`] encodes the response, or [`failure`] one
//! without a token. [`counters`] counts; [`promised`] keeps tokens in order across a restart, [`remembered`] the
//! clock's past; [`record`] keeps a line for each token. Of an edge, [`elsewhere`] has the authorities. It does not know HTTP.

pub mod authority;
pub mod clients;
pub mod clock;
pub mod clocks;
pub mod counters;
pub mod elsewhere;
pub mod exchange;
pub mod failure;
mod note;
pub mod promised;
pub mod record;
pub mod remembered;
pub mod request;
pub mod routes;
pub mod serial;
pub mod token;

#[cfg(test)]
mod testing;
