//! The responder: answers relying parties from memory.
//!
//! The rooms, in the order in which a request passes through them: [`net`] frames it, [`front`] finds out by the [`site`]
//! whose it is and asks the exchange of [`ocsp`] or [`tsa`], which decode and decide; what has to be waited for and written
//! is `front`'s, with what a thread has on its [`desk`], through the writer of `net`. ([`signer_watch`] tells whether those
//! who sign still may, [`page`] what people are told.)
//! [`start`] starts and stops all of it, [`reload`] takes a changed configuration; [`admin`] tells operators how it fares;
//! [`metrics`] counts, [`access`] tells a sample of the requests, [`config`] is the file, [`assemble`] opens what it names, [`check`] tries what a start would do, [`limits`] every bound, [`demo`] a CA to try it on.
//!
//! Records, keys and the encoding of responses are `precompute`'s.

pub mod desk;
pub mod front;
pub mod net;
pub mod page;
pub mod signer_watch;
pub mod site;

pub mod ocsp;

pub mod tsa;

pub mod start;

pub mod reload;

pub mod access;
pub mod admin;
pub mod assemble;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod limits;
pub mod metrics;
