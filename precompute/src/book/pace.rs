//! How many records to save with one commit while a push may come.
//!
//! Purpose: a push waits at most for the commit under way, so that must be short; a first save of millions must not take
//! ten times as long for it. What a record costs depends on where it lies: one beside the last takes a microsecond, one in
//! a page of its own sixty. So the size follows from the time that commits take. Invariant: it stays within its bounds in
//! `limits`. It does not know a clock or a book.

use std::time::Duration;

use crate::limits;

/// The size of a chunk, kept by whoever saves an issuer's records.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    size: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: limits::BOOK_SAVE_CHUNK }
    }
}

impl Pace {
    #[cfg(test)]
    pub(crate) fn of(size: usize) -> Self {
        Self { size }
    }

    /// How many records to commit next.
    pub fn size(&self) -> usize {
        self.size
    }

    /// A commit of this many records took so much of a processor's time.
    pub fn took(&mut self, records: usize, time: Duration) {
        if time > limits::BOOK_SAVE_CHUNK_TIME {
            self.size = (self.size / 2).max(limits::BOOK_SAVE_CHUNK_MIN);
        } else if records >= self.size {
            self.size = (self.size + self.size / 4).min(limits::BOOK_SAVE_CHUNK_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_to_take_a_few_milliseconds_whatever_a_record_costs() {
        let us = Duration::from_micros;
        let mut one = Pace::default();
        for (name, record) in
            [("in order", us(1)), ("each in its page", us(60)), ("in order again", us(1)), ("dear", us(500))]
        {
            for pace in [&mut Pace::default(), &mut one] {
                let mut sizes = Vec::new();
                for _ in 0..400 {
                    let size = pace.size();
                    sizes.push(size);
                    pace.took(size, us(200) + record * size as u32);
                }
                let settled = &sizes[200..];
                let mean = settled.iter().sum::<usize>() / settled.len();
                let fits = (limits::BOOK_SAVE_CHUNK_TIME.as_micros() / record.as_micros()) as usize;
                let bounds = limits::BOOK_SAVE_CHUNK_MIN..=limits::BOOK_SAVE_CHUNK_MAX;
                assert!(mean >= (fits / 2).max(*bounds.start()).min(*bounds.end()), "{name}: {mean}");
                // One step above what fits.
                let most = (fits * 5 / 4).max(bounds.start() * 5 / 4);
                assert!(settled.iter().all(|size| *size <= most && bounds.contains(size)), "{name}: {settled:?}");
            }
        }
    }

    #[test]
    fn a_commit_of_a_few_records_says_nothing_about_more() {
        let mut pace = Pace::default();
        (0..100).for_each(|_| pace.took(1, Duration::from_micros(700)));
        assert_eq!(pace.size(), limits::BOOK_SAVE_CHUNK);
    }
}
