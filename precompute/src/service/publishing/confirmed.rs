//! Who else has what was told, and whether enough do.
//!
//! Invariant: an entry counts as confirmed only by as many as said that they have it or a later one; what somebody has once
//! said stands, however little is heard of it later. It is pure, and does not know how it is found out.

/// How many of one kind have to have what was told, and what is known of them.
#[derive(Clone, Debug)]
pub(super) struct Confirmed {
    wanted: usize,
    /// The last entry that at least one of them has, that at least two have, and so on.
    has: Vec<u64>,
}

impl Confirmed {
    /// Of so many that are wanted.
    pub(super) fn of(wanted: u32) -> Self {
        Self { wanted: wanted as usize, has: Vec::new() }
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// What each of them has, in any order.
    pub(super) fn note(&mut self, mut has: Vec<u64>) {
        has.sort_unstable_by(|one, other| other.cmp(one));
        self.has.resize(self.has.len().max(has.len()), 0);
        for (known, has) in self.has.iter_mut().zip(has) {
            *known = (*known).max(has);
        }
    }

    /// How many have this entry.
    pub(super) fn reached(&self, entry: u64) -> usize {
        self.has.iter().filter(|has| **has >= entry).count()
    }

    /// Whether enough do.
    pub(super) fn suffices(&self, entry: u64) -> bool {
        self.reached(entry) >= self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_confirmed_by_as_many_as_have_it_or_a_later_one() {
        let mut two = Confirmed::of(2);
        assert!(!two.suffices(1) && Confirmed::of(0).suffices(u64::MAX));
        two.note(vec![3, 7]);
        assert_eq!([2, 3, 4, 7, 8].map(|entry| two.reached(entry)), [2, 2, 1, 1, 0]);
        assert!(two.suffices(3) && !two.suffices(4));
        two.note(vec![9]);
        assert_eq!([3, 4, 9].map(|entry| two.reached(entry)), [2, 1, 1], "one of them may be heard of no more");
        two.note(vec![1, 5]);
        assert_eq!([5, 9].map(|entry| two.reached(entry)), [1, 1], "both may be the same one");
        two.note(vec![6, 4]);
        assert!(two.suffices(4) && !two.suffices(5));
    }
}
