//! Chunks in memory, where there is no disk.
//!
//! Invariant: a few chunks at most, each held until it is taken. They are taken in order; who begins again, or goes
//! elsewhere, has them fetched from there. It does not know where they come from; who puts them in has verified them.

use std::collections::VecDeque;

use crate::limits::shelf as limits;

#[derive(Debug)]
pub(super) struct Window {
    /// How many there are in all.
    total: usize,
    /// The number of the first one held, or of the next to be fetched.
    start: usize,
    held: VecDeque<Vec<u8>>,
}

impl Window {
    pub(super) fn new(total: usize) -> Self {
        Self { total, start: 0, held: VecDeque::new() }
    }

    /// Which one is to be fetched; `None` while there is no room, or nothing left.
    pub(super) fn next(&self) -> Option<usize> {
        let next = self.start + self.held.len();
        (self.held.len() < limits::AHEAD && next < self.total).then_some(next)
    }

    /// Takes what was fetched, unless it is no longer what comes next.
    pub(super) fn put(&mut self, number: usize, chunk: Vec<u8>) {
        if self.next() == Some(number) {
            self.held.push_back(chunk);
        }
    }

    /// How many can be taken: all, as soon as the first few have come, since the others come while these are taken.
    pub(super) fn here(&self) -> usize {
        let is_beginning = self.start == 0 && self.held.len() < limits::AHEAD.min(self.total);
        if is_beginning { self.held.len() } else { self.total }
    }

    /// Lets go of it and of those before it. `None`: it has to be fetched first.
    pub(super) fn take(&mut self, number: usize) -> Option<Vec<u8>> {
        let place = number.checked_sub(self.start).filter(|place| *place <= self.held.len());
        let Some(place) = place else {
            self.held.clear();
            self.start = number.min(self.total);
            return None;
        };
        self.held.drain(..place);
        self.start += place;
        let chunk = self.held.pop_front()?;
        self.start += 1;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_taken_is_the_chunk_asked_for_and_few_are_held(
            total in 1..20usize,
            steps in vec(prop_oneof![3 => Just(None), 2 => (0..22usize).prop_map(Some)], 0..200),
        ) {
            let mut window = Window::new(total);
            for step in steps {
                match step {
                    None => {
                        if let Some(next) = window.next() {
                            window.put(next, vec![next as u8]);
                        }
                    }
                    Some(number) => {
                        let taken = window.take(number);
                        prop_assert!(taken.is_none_or(|chunk| chunk == [number as u8]));
                        // Asked for again, it comes.
                        if number < total && window.take(number).is_none() {
                            prop_assert_eq!(window.next(), Some(number));
                        }
                    }
                }
                prop_assert!(window.held.len() <= limits::AHEAD);
            }
        }
    }

    #[test]
    fn all_can_be_taken_in_order_once_the_first_few_have_come() {
        let mut window = Window::new(9);
        for number in 0..limits::AHEAD {
            assert_eq!(window.here(), number);
            window.put(number, vec![number as u8]);
        }
        assert_eq!((window.here(), window.next()), (9, None), "no more than these are held");
        for number in 0..9 {
            assert_eq!(window.take(number), Some(vec![number as u8]));
            assert_eq!(window.here(), 9);
            if let Some(next) = window.next() {
                window.put(next, vec![next as u8]);
            }
        }
        assert_eq!(window.next(), None);
        assert_eq!((window.take(0), window.next()), (None, Some(0)), "from the beginning");
    }
}
