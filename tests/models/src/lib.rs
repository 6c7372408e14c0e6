//! The lock-free slots of records and answers, under every order that the memory model allows.
//!
//! Purpose: x86 never lets a store overtake a store, so that no test on it can find an ordering that is too weak. Here the
//! very source of the slots is compiled again, with `sync` in the place of `precompute`'s `crate::sync`, and `loom` tries
//! all executions. Invariant: each model is red as soon as one kind of ordering is weakened, which a test beside it tries.
//! It does not know tables, segments or time.
//!
//! Nothing but these models depends on `loom`; the programs never see it.

#![cfg(test)]

#[allow(dead_code, reason = "what only the table calls")]
#[path = "../../../precompute/src/answers/slot.rs"]
mod answer;
#[allow(dead_code, reason = "what only the table calls")]
#[path = "../../../precompute/src/records/slot.rs"]
mod record;
mod sync;

mod answers;
mod records;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sync::{Kind, weakly};

/// Switches between threads at any point that one execution may have, beside those where a thread ends. What a load may see
/// of what others have stored is tried in full all the same; the tests of weaker orders show that this is enough.
const PREEMPTIONS_MAX: usize = 2;

/// Tries all executions.
fn explore(model: fn()) {
    let mut all = loom::model::Builder::new();
    all.preemption_bound = Some(PREEMPTIONS_MAX);
    all.check(model);
}

/// Whether the model finds a fault while operations of this kind are relaxed.
fn is_red(kind: Kind, model: fn()) -> bool {
    catch_unwind(AssertUnwindSafe(|| weakly(kind, || explore(model)))).is_err()
}
