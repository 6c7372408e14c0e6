//! Bounds of what reads journals.

/// Faults, and notes, that are told one by one: more are counted.
pub const FINDINGS_MAX: usize = 100;
/// Keys that are told: a journal has one, or two after the first was lost.
pub const KEYS_MAX: usize = 8;
/// Bytes of a line: what [`super::journal::LINE_OCTETS_MAX`] allows, and more. A longer one is none of a journal.
pub const LINE_OCTETS_MAX: u64 = 1 << 20;
/// Bytes of a file that are read at a time.
pub const READ_OCTETS: usize = 1 << 20;
/// Lines of a page of the journal where no number is asked for: as many as a screen or two have.
pub const PAGE_LINES: usize = 100;
/// And at most: each may have [`super::journal::LINE_OCTETS_MAX`], and mostly has a few hundred bytes.
pub const PAGE_LINES_MAX: usize = 1000;
/// Bytes of a journal that are looked through for one page: a fifth of a second.
pub const PAGE_OCTETS_MAX: u64 = 32 << 20;
/// Files of a directory that are looked at: those of 300 years, one a day.
pub const FILES_MAX: usize = 100_000;
