//! What the tests of this room share.

use precompute::tsp::{Oid, TsaPolicy};

/// As of a configuration that says no more than it must.
pub(super) fn policy() -> TsaPolicy {
    TsaPolicy::of(vec![Oid::parse("1.3.6.1.4.1.99999.1").unwrap()])
}
