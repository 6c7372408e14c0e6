//! Rules that a test leaves out, to see that another one misses them.
//!
//! Only tests have it. Invariant: a rule is left out on the thread that asks for that alone, so tests beside it keep all
//! rules. It does not know how a rule is kept: each place asks whether to skip it.

use std::cell::Cell;

/// A rule between sources, pushes and the book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// A push shows after it is on disk.
    DiskBeforeShow,
    /// A push is acknowledged after it is on disk.
    DiskBeforeAcknowledgement,
    /// A source releases no hold of a push.
    HoldsOfPushesStay,
    /// A source removes nothing that was pushed.
    PushedStays,
    /// What was decided from a record that has changed since is decided anew.
    DecidedAnew,
    /// What is saved is what shows once nobody else may write.
    SavedAsItIs,
    /// What could not be saved is saved later.
    SavedLater,
    /// A reader that was replaced changes nothing.
    ReplacedIsOut,
    /// Another book gets what was pushed as well.
    PushedIsWrittenAnew,
    /// The outbox has the value that was told last.
    FirstFormerValue,
}

impl Rule {
    pub(crate) const ALL: [Self; 10] = [
        Self::DiskBeforeShow,
        Self::DiskBeforeAcknowledgement,
        Self::HoldsOfPushesStay,
        Self::PushedStays,
        Self::DecidedAnew,
        Self::SavedAsItIs,
        Self::SavedLater,
        Self::ReplacedIsOut,
        Self::PushedIsWrittenAnew,
        Self::FirstFormerValue,
    ];
}

thread_local! {
    static LEFT_OUT: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// Whether this thread leaves the rule out.
pub(crate) fn is_left_out(rule: Rule) -> bool {
    LEFT_OUT.get() == Some(rule)
}

/// Runs `act` without this rule.
pub(crate) fn without<T>(rule: Rule, act: impl FnOnce() -> T) -> T {
    LEFT_OUT.set(Some(rule));
    let outcome = act();
    LEFT_OUT.set(None);
    outcome
}
