//! Sockets and HTTP: one thread per core, each with its own listeners, connections and buffers.
//!
//! [`listen`] binds, [`passed`] are bound already, [`accept`] takes connections in and [`balance`] spreads them, [`worker`] keeps the
//! [`deadline`]s, [`connection`] moves bytes through [`buffers`], [`http`] frames them (pure), [`route`] tells whom they are for (pure), [`conditions`] what a client's copy is worth (pure), [`head`] writes
//! what stands before a body, [`respond`] hands over to `certificates` and [`stamp`], who write what is asked for, where signatures wait for their [`turns`]. [`tls`] may lie under it and a [`proxy`] before it; [`client`] tells who asks (pure).
//! The only room that knows status codes.

pub mod accept;
pub mod balance;
pub mod buffers;
pub mod client;
pub mod connection;
pub mod deadline;
pub mod http;
mod idle_eviction;
pub mod listen;
pub mod passed;
pub mod proxy;
pub mod ring;
pub mod tls;
pub mod worker;
