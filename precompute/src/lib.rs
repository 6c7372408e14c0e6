//! What the CA knows, stored durably and prepared for answers.
//!
//! The modules, in the order in which a revocation passes through them: a [`source`] states it (`index.txt`, a CRL),
//! the [`engine`] compares that with what is known, the [`records`] show the difference to every thread, the [`book`]
//! puts it on disk (in the [`state_dir`]; [`backup`] is a copy of it), and with a key of [`sign`] it becomes one of [`ocsp`]'s responses.
//! A source that is elsewhere is made a file by a [`feeder`]; CRLs and the CA's certificates are served on by [`publication`].
//! The [`feed`] tells records to readers elsewhere. [`signers`] are keys with their certificates, and [`renew`] gets their next
//! ones. [`config`] has the issuers,
//! sources and signers, and [`assemble`] opens them. [`answers`] holds signed answers, and [`presign`] fills it before
//! anybody asks. [`purge`] tells caches what is old. [`service`] has all of these at work, [`admin`] tells operators how it fares, [`api`]
//! takes pushes, [`console`] has pages for people, and [`relay`] copies a feed to another site.
//! A [`journal`] keeps what has to be proven, and [`audit`] verifies it; [`transparency`] is a replica's proof of what it said. [`principals`] are who may ask for something, and [`tls`] is how they ask unheard. [`pki`] has the basic values, [`tsp`] those of time-stamping, [`limits`] every bound.
//!
//! Nothing but `admin`, `api`, the command line and the rim of `feed` knows sockets or HTTP. The responder links this
//! library and runs it alone on one machine; `ostia-precompute` gives it a command line.

pub mod issuer_id;
pub mod pki;
pub mod principals;

pub mod source;

pub mod publication;

pub mod ledger;

pub mod feed;

pub mod feeder;

pub mod purge;

pub mod engine;

pub mod audit;
pub mod backup;
pub mod book;
pub mod journal;
pub mod state_dir;

pub mod records;

pub mod sign;

pub mod tls;

pub mod signers;

pub mod ocsp;

pub mod tsp;

pub mod usage;

pub mod issuer;

pub mod answers;

pub mod transparency;

pub mod presign;

pub mod config;

pub mod renew;

pub mod assemble;

pub mod service;

pub mod admin;

pub mod api;

pub mod console;

pub mod relay;

pub mod cli;
pub mod ending;
mod file_events;
#[cfg(test)]
mod left_out;
pub mod limits;
pub mod log;
pub mod output;
#[cfg(test)]
mod rng;
mod sync;
