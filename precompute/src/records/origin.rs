//! Who has said what a record says: a source, a push, or both.
//!
//! Invariant: the value 0 is what a source alone has said, so records from before there were pushes keep their meaning.
//! It does not judge; `ledger::reconcile` does.

use std::fmt;

/// The origin of a record, in four bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Origin(u8);

impl Origin {
    /// A source lists it, and states its revocation or hold, if it has one. No push has said anything.
    pub const SOURCE: Self = Self(0);
    /// A push has said something about it.
    pub const PUSHED: Self = Self(1);
    /// A push states the present revocation or hold.
    pub const PUSH_RESTRICTS: Self = Self(2);
    /// No source lists it.
    pub const UNLISTED: Self = Self(4);
    /// No source states the present revocation or hold.
    pub const SOURCE_ALLOWS: Self = Self(8);

    /// The four bits, to be stored.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From such bits; others are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0xf)
    }

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This one without the other.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it has everything of the other.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a push has said something about the record: no source removes it.
    pub const fn is_pushed(self) -> bool {
        self.has(Self::PUSHED)
    }

    /// Whether a source lists the record.
    pub const fn is_listed(self) -> bool {
        !self.has(Self::UNLISTED)
    }
}

/// `source`, `push` or `both`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_listed(), self.is_pushed()) {
            (true, true) => "both",
            (false, true) => "push",
            (_, false) => "source",
        })
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}({:#06b})", self.0)
    }
}
