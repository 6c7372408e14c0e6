//! Answers of other responders: those of other CAs, and the replicas behind an edge.
//!
//! Purpose: what cannot be answered here is asked of an upstream over OCSP or TSP itself. [`question`] is what is asked and
//! [`answer`] reads what comes (pure); [`verify`] says whether that may leave, as [`token`] does of time-stamps (pure), and [`choice`] which upstream is asked
//! (pure, time is a parameter). [`client`] asks one upstream over HTTP, a [`group`] those that stand for one another, and
//! [`told`] counts and logs. [`forwarded`] is an issuer that is answered elsewhere, with what is kept of its answers;
//! [`newest`] keeps older ones from taking their place.
//!
//! Invariant: nothing that an upstream has sent leaves before it is verified, and nobody waits longer than
//! [`limits::MISS_DEADLINE`](crate::limits::MISS_DEADLINE).
//!
//! The requests run on a thread of their own (the [`courier`]), with hyper: it has all that hostile peers make necessary
//! (chunks, limits, connections that end), and one thread waits for hundreds of upstreams' answers. The way to it and back
//! costs two wake-ups, some 50 µs, which is little beside a round trip; serving threads stay free of TLS to others, of name
//! resolution, and of verifying what came.

pub mod answer;
pub mod choice;
pub mod client;
pub mod courier;
pub mod forwarded;
pub mod group;
pub mod newest;
pub mod question;
pub mod token;
pub mod told;
pub mod verify;
