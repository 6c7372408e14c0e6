//! Sockets and HTTP: one thread per core, each with its own listeners, connections and buffers.
//!
//! [`listen`] binds, [`worker`] accepts and keeps the deadlines, [`connection`] moves octets,
//! [`http`] frames them (pure), [`head`] writes what stands before a body. The only room that
//! knows status codes.

pub mod connection;
pub mod head;
pub mod http;
pub mod listen;
pub mod respond;
pub mod ring;
pub mod worker;
