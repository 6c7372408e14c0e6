//! Time-stamping, RFC 3161: vouching for a time.
//!
//! The rooms, in the order in which a request passes through them: [`routes`] tell whom it is for, [`request`] decodes it, [`exchange`] decides what is done with it, an [`authority`]
//! holds it against its policy, a [`clock`] (of all [`clocks`]) says what time it is, [`serial`] numbers the token, [`token`] is
//! what comes back, [`failure`] what comes back without one; [`counters`] counts, [`promised`] keeps tokens in order across a restart, [`remembered`] distrust in the clock, [`record`] keeps what was vouched for.

pub mod authority;
pub mod clock;
pub mod clocks;
pub mod counters;
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
