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
    /// What a commit takes however few records it has: the flushes.
    least: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: limits::BOOK_SAVE_CHUNK, least: Duration::MAX }
    }
}

impl Pace {
    /// How many records to commit next.
    pub fn size(&self) -> usize {
        self.size
    }

    /// A commit of this many records took so long.
    pub fn took(&mut self, records: usize, time: Duration) {
        if self.size == limits::BOOK_SAVE_CHUNK_MIN && records >= self.size {
            // The disk may have become slower, or each record may lie in a page of its own: half of either.
            self.least = time.saturating_sub(limits::BOOK_SAVE_CHUNK_TIME / 2);
        } else {
            self.least = self.least.min(time);
        }
        let most = self.least + limits::BOOK_SAVE_CHUNK_TIME;
        if time > most {
            self.size = (self.size / 2).max(limits::BOOK_SAVE_CHUNK_MIN);
        } else if records >= self.size {
            self.size = (self.size + self.size / 4).min(limits::BOOK_SAVE_CHUNK_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes and times of commits where a record costs this much.
    fn run(pace: &mut Pace, flush: Duration, record: Duration, commits: usize) -> Vec<(usize, Duration)> {
        let commit = || {
            let (size, time) = (pace.size(), flush + record * pace.size() as u32);
            pace.took(size, time);
            (size, time)
        };
        std::iter::repeat_with(commit).take(commits).collect()
    }

    #[test]
    fn chunks_come_to_take_a_few_milliseconds_more_than_the_flush_on_any_disk() {
        let us = Duration::from_micros;
        let mut one_disk = Pace::default();
        for (name, flush, record) in [
            ("in order", us(700), us(1)),
            ("each in its page", us(700), us(60)),
            ("a slow disk, in order", us(16_000), us(1)),
            ("a slow disk, each in its page", us(16_000), us(200)),
            ("a fast disk again", us(700), us(1)),
        ] {
            for pace in [&mut Pace::default(), &mut one_disk] {
                let settled = &run(pace, flush, record, 400)[200..];
                let mean = settled.iter().map(|(size, _)| size).sum::<usize>() / settled.len();
                let fits = (limits::BOOK_SAVE_CHUNK_TIME.as_micros() / record.as_micros()) as usize;
                assert!(
                    mean >= (fits / 3).clamp(limits::BOOK_SAVE_CHUNK_MIN, limits::BOOK_SAVE_CHUNK_MAX),
                    "{name}: {mean}"
                );
                for (size, time) in settled {
                    let is_short = *time <= flush + limits::BOOK_SAVE_CHUNK_TIME * 2;
                    // One step above the least.
                    assert!(is_short || *size <= limits::BOOK_SAVE_CHUNK_MIN * 5 / 4, "{name}: {size} in {time:?}");
                }
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
