//! What a program has to say of readiness beside what all programs have. It does not know what.

use std::fmt;

/// Adds remarks, a line each.
pub(super) struct Beside(pub(super) Box<dyn Fn(&mut String) + Send + Sync>);

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beside")
    }
}
