//! The rules of the protocol that a test may leave out, and what may become of a record that the feed speaks of.
//!
//! Purpose: each rule that earns its place has a name, so that a simulation can show what goes wrong without it.
//! Invariant: outside of tests every rule is kept, and the question costs nothing. It does not know when they apply.

use crate::{
    ledger::reconcile::{Known, contradicts},
    records::Change,
};

/// A rule, by the number that it has in the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests leave rules out"))]
pub(crate) enum Rule {
    /// 9: an epoch is at least the time.
    TimeEpoch,
    /// 9: an ID more than a day ahead is removed with the stream.
    Poison,
    /// 11: nothing but the fence creates the stream.
    NoMkStream,
    /// 12: a new writer reads up to its fence.
    ReadUp,
    /// 12: and takes over what is stricter in what it does not continue.
    Absorb,
    /// 13: a `begin` names earlier entries, and states again what has changed since.
    Restate,
    /// 14: what is committed has a row in the outbox until it is told.
    Outbox,
    /// 14: the manifest is asserted again.
    AssertHead,
    /// 14: what is told of a record comes with the hash of its certificate.
    Hash,
    /// 15: a refused entry that stands there already is written.
    SameBlob,
    /// 16: before anything foreign is applied, what was not told is undone.
    Undo,
    /// 17: what a book knows better is submitted to the writer.
    Submit,
    /// 18: a standby's word counts up to the entry that it names.
    Confirm,
    /// 19: only an entry that follows the last one counts.
    Follow,
    /// 20: an entry below the own position is waited for.
    Wait,
    /// 20: but not for ever.
    Yield,
    /// 21: a final revocation stays.
    Sticky,
    /// 22: what is forged is passed over.
    Forged,
    /// 23: digests are compared.
    Digest,
    /// 25: a heartbeat counts near its own time only.
    Current,
}

/// Which rules are kept.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Rules {
    #[cfg(test)]
    left_out: Option<Rule>,
}

impl Rules {
    /// All but one.
    #[cfg(test)]
    pub(crate) const fn without(rule: Rule) -> Self {
        Self { left_out: Some(rule) }
    }

    #[cfg(test)]
    pub(crate) fn keep(&self, rule: Rule) -> bool {
        self.left_out != Some(rule)
    }

    #[cfg(not(test))]
    pub(crate) const fn keep(&self, _: Rule) -> bool {
        true
    }
}

/// What becomes of a record when the feed says something of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// What was said.
    Becomes(Change),
    /// It stays finally revoked: the feed contradicts (rule 21).
    Stays,
}

/// What becomes of `present` when the feed says `said`. The order of the chain is the version, so everything else counts
/// as it is said.
pub fn by_feed(present: &Change, said: &Change) -> Verdict {
    decide(Rules::default(), present, said)
}

pub(crate) fn decide(rules: Rules, present: &Change, said: &Change) -> Verdict {
    if rules.keep(Rule::Sticky) && contradicts(Known::of(present), Known::of(said)) {
        Verdict::Stays
    } else {
        Verdict::Becomes(*said)
    }
}

/// Whether it says that a certificate is revoked for good.
pub(crate) fn is_final(change: &Change) -> bool {
    change.record.is_some_and(|record| record.status.is_final())
}
