//! What is kept of an issuer's CRLs, for comparison with the next.
//!
//! Purpose: no scope takes a CRL that is older than the one before, and none releases a hold that another one has listed.
//! Invariant: scopes are in order, each once, and at most [`limits::CRL_SCOPES_MAX`]. It does not know entries.

use std::cmp::Reverse;

use super::{CrlMark, CrlScope};
use crate::limits;

/// The newest CRLs of one scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScopeMarks {
    /// Which certificates they cover.
    pub scope: CrlScope,
    /// The complete CRL taken last.
    pub complete: Option<CrlMark>,
    /// The delta CRL taken last.
    pub delta: Option<CrlMark>,
}

/// What is kept of an issuer's CRLs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CrlMarks {
    scopes: Vec<ScopeMarks>,
    holds: Option<Vec<CrlScope>>,
}

impl CrlMarks {
    /// `holds`: as [`CrlMarks::holds`]. What is too much for the bound is left out, as are scopes without marks.
    pub fn new(scopes: impl IntoIterator<Item = ScopeMarks>, holds: Option<Vec<CrlScope>>) -> Self {
        let mut scopes: Vec<_> = scopes.into_iter().filter(|marks| marks.complete.or(marks.delta).is_some()).collect();
        scopes.sort_by_key(|marks| marks.scope);
        scopes.dedup_by_key(|marks| marks.scope);
        scopes.truncate(limits::CRL_SCOPES_MAX);
        let holds = holds.map(|mut holds| {
            holds.sort_unstable();
            holds.dedup();
            holds
        });
        // Who has listed a hold is then not known.
        let holds = holds.filter(|holds| holds.len() <= limits::CRL_SCOPES_MAX);
        Self { scopes, holds }
    }

    /// As versions before 0.2 kept it: of one complete and one delta CRL. `holds`: the scope of all holds, which was that of
    /// the CRLs.
    pub fn of_one(complete: Option<CrlMark>, delta: Option<CrlMark>, holds: Option<CrlScope>) -> Self {
        let scope = holds.unwrap_or(CrlScope::WHOLE);
        Self::new([ScopeMarks { scope, complete, delta }], holds.map(|scope| vec![scope]))
    }

    /// Of each scope, in their order.
    pub fn scopes(&self) -> &[ScopeMarks] {
        &self.scopes
    }

    /// The scopes under which CRLs have listed certificates that are on hold now, in order; `None` if they are not all
    /// known.
    pub fn holds(&self) -> Option<&[CrlScope]> {
        self.holds.as_deref()
    }

    /// The complete and the delta CRL of this scope.
    pub fn of(&self, scope: CrlScope) -> (Option<CrlMark>, Option<CrlMark>) {
        let at = self.scopes.binary_search_by_key(&scope, |marks| marks.scope);
        at.ok().map_or((None, None), |at| (self.scopes[at].complete, self.scopes[at].delta))
    }

    /// Whether a complete CRL was ever taken.
    pub fn has_complete(&self) -> bool {
        self.scopes.iter().any(|marks| marks.complete.is_some())
    }

    /// How many CRLs were ever taken: complete ones and deltas, one of each for each scope.
    pub fn count(&self) -> usize {
        self.scopes.iter().map(|marks| usize::from(marks.complete.is_some()) + usize::from(marks.delta.is_some())).sum()
    }

    /// With those of `taken`, which replace those of the same scope. Where they are too many, the oldest of other scopes
    /// are given up: those of CRLs that are no longer there.
    pub fn replaced_by(&self, taken: &[ScopeMarks], holds: Option<Vec<CrlScope>>) -> Self {
        let is_taken = |marks: &ScopeMarks| taken.iter().any(|taken| taken.scope == marks.scope);
        let mut others: Vec<_> = self.scopes.iter().filter(|marks| !is_taken(marks)).copied().collect();
        others.sort_by_key(|marks| Reverse(marks.complete.or(marks.delta).map(|mark| mark.this_update)));
        others.truncate(limits::CRL_SCOPES_MAX.saturating_sub(taken.len()));
        Self::new(taken.iter().copied().chain(others), holds)
    }

    /// What holds in both of two sets: of each scope the later CRL, and a hold may be released only by what may release it
    /// in both.
    pub fn merged(&self, here: &Self) -> Self {
        let later = |there: Option<CrlMark>, here: Option<CrlMark>| match (there, here) {
            (Some(there), Some(here)) if there.follows(Some(&here)).is_ok() => Some(there),
            (there, here) => here.or(there),
        };
        let both = here.scopes.iter().map(|marks| {
            let (complete, delta) = self.of(marks.scope);
            ScopeMarks {
                scope: marks.scope,
                complete: later(complete, marks.complete),
                delta: later(delta, marks.delta),
            }
        });
        let both: Vec<_> = both.collect();
        let holds = match (&self.holds, &here.holds) {
            (Some(there), Some(here)) => Some(there.iter().chain(here).copied().collect()),
            _ => None,
        };
        self.replaced_by(&both, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::UnixTime;

    fn marks(scope: u8, time: u64) -> ScopeMarks {
        let mark = CrlMark { number: None, this_update: UnixTime(time), digest: [scope; 32] };
        ScopeMarks { scope: CrlScope([scope; 32]), complete: Some(mark), delta: None }
    }

    #[test]
    fn each_scope_has_marks_of_its_own_and_the_oldest_of_those_that_are_gone_go_first() {
        let many: Vec<_> = (0..limits::CRL_SCOPES_MAX as u64)
            .map(|at| ScopeMarks {
                scope: CrlScope(std::array::from_fn(|i| if i == 31 { at as u8 } else { 1 })),
                ..marks(1, 100 + at)
            })
            .collect();
        let full = CrlMarks::new(many.iter().copied(), None);
        assert_eq!(full.scopes().len(), limits::CRL_SCOPES_MAX);
        let next = full.replaced_by(&[marks(9, 5), ScopeMarks { complete: marks(2, 1).complete, ..many[7] }], None);
        assert_eq!(next.scopes().len(), limits::CRL_SCOPES_MAX);
        assert_eq!(next.of(CrlScope([9; 32])).0, marks(9, 5).complete, "what is there stays, however old");
        assert_eq!(next.of(many[7].scope).0, marks(2, 1).complete, "replaced");
        assert_eq!((next.of(many[0].scope).0, next.of(many[1].scope).0.is_some()), (None, true), "the oldest is gone");
        assert!(next.scopes().is_sorted_by_key(|marks| marks.scope));
    }

    #[test]
    fn what_an_earlier_version_kept_is_of_the_scope_of_its_holds() {
        let mark = marks(1, 7).complete;
        let one = CrlMarks::of_one(mark, None, None);
        assert_eq!((one.of(CrlScope::WHOLE), one.holds(), one.count()), ((mark, None), None, 1));
        let part = CrlMarks::of_one(mark, mark, Some(CrlScope([3; 32])));
        assert_eq!((part.of(CrlScope([3; 32])), part.of(CrlScope::WHOLE).0, part.count()), ((mark, mark), None, 2));
        assert_eq!(part.holds(), Some(&[CrlScope([3; 32])][..]));
        assert_eq!(CrlMarks::of_one(None, None, None), CrlMarks::default());
    }
}
