//! Sockets and HTTP: one thread per core, each with its own listeners, connections and buffers.
//!
//! [`listen`] binds, [`passed`] are bound already; [`run`] starts a thread's ring, in which [`accept`] takes connections in and
//! [`balance`] spreads them. A `connection` moves bytes through [`buffers`] with what its `worker` shares among all of the
//! thread, [`http`] frames them (pure), and whoever implements [`service`] answers. [`tls`] may lie under it and a [`proxy`]
//! header before it; [`client`] tells who asks (pure), [`deadline`] how long all of it may take, and `idle_eviction` who goes
//! where there are too many.
//!
//! Invariant: it is a transport. It imports bounds and nothing else of this crate, and would serve something else than OCSP
//! and time-stamps without a change. Only [`http`] knows status codes.

pub mod accept;
pub mod balance;
pub mod buffers;
pub mod client;
mod connection;
pub mod counters;
pub mod deadline;
pub mod http;
mod idle_eviction;
pub mod listen;
pub mod passed;
pub mod policy;
pub mod proxy;
pub mod ring;
pub mod run;
pub mod service;
pub mod tls;
mod worker;
