//! Serial numbers of tokens, and those that were given twice.
//!
//! Invariant: numbers are compared whole; memory is bounded by `limits`, and what was left out because of that is
//! counted. It does not know which tokens they came from, only which target.

use crate::hex::serial_to_hex;
use crate::limits::{REPEATS_NAMED, TARGETS_MAX, TSA_SERIAL_OCTETS, TSA_SERIALS_MAX};
use crate::tsa::judge::Serial;

const _: () = assert!(TARGETS_MAX <= 1 << 16, "a target's number has two bytes");

/// Serial and target, side by side without padding, in the order of comparison.
type Entry = [u8; TSA_SERIAL_OCTETS + 2];

/// What one thread collects.
#[derive(Debug)]
pub(crate) struct SerialLog {
    entries: Vec<Entry>,
    most: usize,
    pub(crate) beyond: u64,
}

/// What was found in all logs together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeats {
    pub(crate) collected: u64,
    /// Tokens beyond the first with their number.
    pub(crate) repeated: u64,
    pub(crate) beyond: u64,
    /// The first few numbers, in hex, with the targets that gave them.
    pub(crate) examples: Vec<(String, Vec<usize>)>,
}

impl SerialLog {
    /// A log for one of so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self { entries: Vec::new(), most: TSA_SERIALS_MAX / threads.max(1), beyond: 0 }
    }

    pub(crate) fn add(&mut self, serial: &Serial, target: usize) {
        if self.entries.len() >= self.most {
            self.beyond += 1;
            return;
        }
        let mut entry = [0; TSA_SERIAL_OCTETS + 2];
        entry[..TSA_SERIAL_OCTETS].copy_from_slice(serial);
        entry[TSA_SERIAL_OCTETS..].copy_from_slice(&(target as u16).to_be_bytes());
        self.entries.push(entry);
    }
}

/// Compares everything with everything, by sorting.
pub(crate) fn repeats(logs: Vec<SerialLog>) -> Repeats {
    let beyond = logs.iter().map(|log| log.beyond).sum();
    let mut all: Vec<Entry> = Vec::new();
    for log in logs {
        if all.is_empty() {
            all = log.entries; // the common case of one thread copies nothing
        } else {
            all.extend(log.entries);
        }
    }
    all.sort_unstable();
    let mut found = Repeats { collected: all.len() as u64, repeated: 0, beyond, examples: Vec::new() };
    for group in all.chunk_by(|a, b| a[..TSA_SERIAL_OCTETS] == b[..TSA_SERIAL_OCTETS]) {
        let [first, _, ..] = group else { continue };
        found.repeated += group.len() as u64 - 1;
        if found.examples.len() < REPEATS_NAMED {
            let digits = &first[..TSA_SERIAL_OCTETS];
            let leading = digits.iter().take_while(|b| **b == 0).count().min(TSA_SERIAL_OCTETS - 1);
            let mut targets: Vec<usize> = group
                .iter()
                .map(|e| usize::from(u16::from_be_bytes([e[TSA_SERIAL_OCTETS], e[TSA_SERIAL_OCTETS + 1]])))
                .collect();
            // One target is named twice if it repeated itself, and no more often than that.
            targets.dedup();
            if targets.len() == 1 {
                targets.push(targets[0]);
            }
            found.examples.push((serial_to_hex(&digits[leading..]), targets));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u64) -> Serial {
        let mut serial = [0; TSA_SERIAL_OCTETS];
        serial[12..].copy_from_slice(&n.to_be_bytes());
        serial
    }

    #[test]
    fn finds_numbers_given_twice_across_threads_and_targets() {
        let (mut a, mut b) = (SerialLog::new(2), SerialLog::new(2));
        for n in 0..1000 {
            a.add(&number(2 * n + 1), 0);
            b.add(&number(2 * n + 2), 1);
        }
        b.add(&number(0x1ff), 1);
        a.add(&number(4), 0);
        a.add(&number(4), 0);
        a.add(&number(7), 0);
        let found = repeats(vec![a, b]);
        assert_eq!((found.collected, found.repeated), (2004, 4));
        let named = |hex: &str, targets: &[usize]| (hex.to_owned(), targets.to_vec());
        assert_eq!(found.examples, [named("04", &[0, 1]), named("07", &[0, 0]), named("01FF", &[0, 1])]);
    }

    #[test]
    fn finds_nothing_where_all_differ() {
        let mut log = SerialLog::new(1);
        (1..=100).for_each(|n| log.add(&number(n), 0));
        assert_eq!(repeats(vec![log]).repeated, 0);
    }

    #[test]
    fn counts_what_it_has_no_room_for() {
        let mut log = SerialLog::new(TSA_SERIALS_MAX);
        assert_eq!(log.most, 1);
        log.add(&number(1), 0);
        log.add(&number(1), 0);
        let found = repeats(vec![log]);
        assert_eq!((found.collected, found.repeated, found.beyond), (1, 0, 1));
    }
}
