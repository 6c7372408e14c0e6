//! `loom`'s atomics, of which a kind of ordering can be weakened: a model that stays green then proves nothing.

use std::cell::Cell;

pub(crate) use loom::{hint::spin_loop, sync::atomic::Ordering};

/// What is weakened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Stores that release.
    Release,
    /// Loads that acquire.
    Acquire,
    /// Fences that release.
    ReleaseFence,
    /// Fences that acquire.
    AcquireFence,
}

thread_local! {
    /// `loom` runs all threads of a model on the thread that called it.
    static WEAK: Cell<Option<Kind>> = const { Cell::new(None) };
}

/// Runs `step` with operations of this kind relaxed.
pub(crate) fn weakly(kind: Kind, step: impl FnOnce()) {
    struct Strong;
    impl Drop for Strong {
        fn drop(&mut self) {
            WEAK.set(None);
        }
    }
    let _strong = Strong;
    WEAK.set(Some(kind));
    step();
}

fn weakened(order: Ordering) -> Ordering {
    match (order, WEAK.get()) {
        (Ordering::Release, Some(Kind::Release)) | (Ordering::Acquire, Some(Kind::Acquire)) => Ordering::Relaxed,
        _ => order,
    }
}

pub(crate) fn fence(order: Ordering) {
    match (order, WEAK.get()) {
        (Ordering::Release, Some(Kind::ReleaseFence)) | (Ordering::Acquire, Some(Kind::AcquireFence)) => {}
        _ => loom::sync::atomic::fence(order),
    }
}

#[derive(Debug, Default)]
pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(word: u64) -> Self {
        Self(loom::sync::atomic::AtomicU64::new(word))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(weakened(order))
    }

    pub(crate) fn store(&self, word: u64, order: Ordering) {
        self.0.store(word, weakened(order));
    }
}
