//! What the lock-free slots of records and answers are made of.
//!
//! The slots are compiled a second time against another `crate::sync`, whose atomics try every order that the memory model
//! allows: `tests/models`. So a slot uses nothing but these and plain words.

pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering, fence},
};
