//! Sockets and HTTP: one thread per core, each with its own listeners, connections and buffers.
//!
//! [`listen`] binds sockets, [`passed`] takes sockets that are bound already. [`run`] starts a thread's ring, in which
//! [`accept`] takes connections in and [`balance`] spreads them. A `connection` moves bytes through [`buffers`]; its
//! `worker` holds what all connections of the thread share. [`http`] frames requests (pure), and an implementation of
//! [`service`] answers them. [`tls`] may be below it and a [`proxy`] header before it. [`client`] finds the client's
//! address (pure), [`deadline`] limits how long each step may take, and `idle_eviction` ends idle connections if there
//! are too many.
//!
//! Invariant: it is a transport. It imports bounds and nothing else of this crate, and could serve something other than
//! OCSP and time-stamps without a change. Only [`http`] knows status codes.

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
