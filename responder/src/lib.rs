//! The responder: answers relying parties from memory.
//!
//! The rooms, in the order in which a request passes through them: [`net`] frames it, [`site`]
//! tells whose it is ([`signer_watch`] whether those who sign still may, [`page`] what people are told), [`ocsp`] decodes and decides, has signed what is not kept, and `net` writes
//! the answer. [`start`] starts and stops all of it, [`reload`] takes a changed configuration; [`admin`] tells operators how it fares;
//! [`metrics`] counts, [`access`] tells a sample of the requests, [`config`] is the file, [`check`] tries what a start would do, [`limits`] every bound, [`demo`] a CA to try it on.
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
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod limits;
pub mod metrics;
