//! The atomics of the lock-free slots of records and answers.
//!
//! The slots are compiled a second time with another `crate::sync`, whose atomics try every order that the memory model
//! allows: `tests/models`. So a slot uses only these and plain words. It does not know what a slot holds.

pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering, fence},
};
