//! The responder: answers relying parties from memory.
//!
//! The modules, in the order in which a request passes through them: [`net`] frames it; [`front`] finds its target in
//! the [`site`] and asks the exchange of [`ocsp`] or [`tsa`], which decode and decide; `front` does the waiting and
//! writing, with what a thread has on its [`desk`], and writes through `net`. What cannot be answered here is asked of an [`upstream`]. ([`page`] is the page for people.) [`start`] starts and stops all of it, and [`reload`] takes a changed
//! configuration. [`admin`] reports to operators, [`metrics`] counts, and [`access`] logs a sample of the requests.
//! [`config`] is the file, [`assemble`] opens what it names, [`check`] tries what a start would do, [`limits`] has
//! every bound, and [`demo`] makes a CA to try it with.
//!
//! Records, keys and the encoding of responses are in `precompute`.

pub mod desk;
pub mod front;
pub mod net;
pub mod page;
pub mod site;

pub mod upstream;

pub mod ocsp;

pub mod quota;
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
