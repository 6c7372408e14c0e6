//! The house seen from outside: a real CA, the built programs, real clients.
//!
//! A test makes a [`Ca`] with the real `openssl`, writes a configuration with [`Site`], starts the
//! built program as a [`Responder`], and asks it with `openssl ocsp` ([`Ask`]) or with bytes of its
//! own ([`http`]), or for time-stamps ([`Query`]). A [`Cluster`] is
//! several processes and a [`RedisServer`] between them, on one machine or each on a [`Host`] of its own. Invariant: nothing here shares code with what is tested, so that a mistake cannot
//! cancel itself out; and nothing waits for a fixed time: [`until`] polls under a deadline. What a test
//! starts ends with it.
//!
//! Failures panic with the command and all it said; these are tools for tests only.

mod ask;
mod behind;
mod ca;
mod cache;
mod clients;
mod cluster;
mod database_server;
pub mod der;
mod fake_clock;
mod faulty_source;
mod front;
mod hosts;
pub mod http;
mod kept;
mod programs;
pub mod promtool;
mod python;
mod questions;
mod redis_server;
mod responder;
mod sentinels;
mod shell;
pub mod softhsm;
pub mod stamp;
mod token_server;
pub mod tsa;
mod upstream;

pub use ask::{Answer, Ask, Status};
pub use behind::Behind;
pub use ca::{Ca, Delegate, KeyKind, Leaf, Signer};
pub use cache::{Recorded, Recorder, Said, Varnish};
pub use clients::{Client, Clients, Tally};
pub use cluster::{AnotherIssuer, Api, Cluster, ClusterPlan, Member, Pushed, words};
pub use database_server::{DatabaseKind, DatabaseServer, Pooler, Session};
pub use fake_clock::FakeClock;
pub use faulty_source::{FaultySource, Way};
pub use front::{Haproxy, Nginx, write_tls_pair};
pub use hosts::{Host, Hosts, Seat};
pub use kept::Kept;
pub use programs::{Programs, programs};
pub use python::{openbao, python, python_command, python_module, python_module_in};
pub use questions::Questions;
pub use redis_server::RedisServer;
pub use responder::{Responder, Site, Tenant, free_port};
pub use sentinels::Sentinels;
pub use shell::{Ended, Launched, bash, openssl, run, run_for, until};
pub use softhsm::SoftHsm;
pub use stamp::{Query, Stamped};
pub use token_server::TokenServer;
pub use tsa::{Tsa, TsaCertificate};
pub use upstream::{FaultyUpstream, Manner, OpensslResponder};
