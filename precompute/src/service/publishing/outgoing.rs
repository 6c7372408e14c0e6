//! Answers on their way into the feed.
//!
//! Invariant: who signs never waits. What finds no room is not told, which is remembered: then every kept answer is told
//! once more, as soon as there is room. Many go into one entry, unless somebody waits for one. It does not know when anything is told.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::bell::Bell;
use crate::{
    answers::{HEAD, Stored},
    feed::{Body, Issuer, body::AnswerSection},
    limits::feed as limits,
    presign::{Form, Hears, Subject},
};

/// Bytes of an entry that its answers do not take: the count, and one section's head.
const OF_SECTION: usize = 4 + 32 + 32 + 2 + 4;
/// Sections in which there may be room for another answer: those of as many issuers and forms are signed at once.
const OPEN_SECTIONS: usize = 16;

/// The queue.
#[derive(Debug)]
pub(super) struct Outgoing {
    queue: Mutex<Queue>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whether anything is told at all.
    is_open: bool,
    sections: VecDeque<AnswerSection>,
    octets: usize,
    /// When the first of them came.
    since: Option<Instant>,
    is_incomplete: bool,
}

impl Outgoing {
    /// A closed one. `bell`: rung when there is something to tell.
    pub(super) fn new(bell: Bell) -> Self {
        Self { queue: Mutex::default(), bell }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on answers are told.
    pub(super) fn open(&self) {
        self.queue().is_open = true;
    }

    /// They no longer are. What was not told is forgotten.
    pub(super) fn close(&self) {
        *self.queue() = Queue::default();
    }

    /// Bytes that wait.
    pub(super) fn octets(&self) -> usize {
        self.queue().octets
    }

    /// Adds an answer in the form with this fingerprint; false if there is no room, which is remembered.
    pub(super) fn add(&self, issuer: Issuer, form: [u8; 32], answer: &Stored) -> bool {
        self.put(issuer, form, answer, true)
    }

    /// The same for who tries again: that there is no room is not remembered.
    pub(super) fn offer(&self, issuer: Issuer, form: [u8; 32], answer: &Stored) -> bool {
        self.put(issuer, form, answer, false)
    }

    fn put(&self, issuer: Issuer, form: [u8; 32], answer: &Stored, is_noted: bool) -> bool {
        let mut queue = self.queue();
        let octets = HEAD + answer.packed.len();
        if !queue.is_open {
            return true;
        }
        if queue.octets + octets > limits::ANSWERS_WAITING_OCTETS_MAX {
            queue.is_incomplete |= is_noted;
            return false;
        }
        let is_same = |section: &&mut AnswerSection| {
            section.issuer == issuer
                && section.form == form
                && OF_SECTION + section.entries.len() + octets <= limits::ENTRY_BODY_OCTETS_MAX
        };
        let was_empty = queue.sections.is_empty();
        let open = queue.sections.iter_mut().rev().take(OPEN_SECTIONS).find(is_same);
        let is_written = match open {
            Some(section) => answer.write(&mut section.entries),
            None => {
                let mut entries = Vec::new();
                let is_written = answer.write(&mut entries);
                let packed_length = answer.packed.len();
                if is_written {
                    queue.sections.push_back(AnswerSection { issuer, form, packed_length, entries });
                }
                is_written
            }
        };
        queue.octets += if is_written { octets } else { 0 };
        queue.since.get_or_insert_with(Instant::now);
        drop(queue);
        if was_empty {
            self.bell.ring();
        }
        true
    }

    /// The next entry of answers: a full one, or those that have gathered for a moment. `is_urgent`: whatever there is.
    pub(super) fn next(&self, is_urgent: bool) -> Option<Body> {
        let mut queue = self.queue();
        let is_due = queue.octets >= limits::ENTRY_BODY_OCTETS_MAX
            || queue.since.is_some_and(|since| since.elapsed() >= limits::ANSWERS_GATHER);
        if !is_urgent && !is_due {
            return None;
        }
        let (mut sections, mut octets) = (Vec::new(), 4);
        while let Some(section) = queue.sections.front()
            && sections.len() < limits::ENTRY_RECORDS_MAX
        {
            octets += OF_SECTION + section.entries.len();
            if octets > limits::ENTRY_BODY_OCTETS_MAX && !sections.is_empty() {
                break;
            }
            sections.extend(queue.sections.pop_front());
        }
        queue.octets -= sections.iter().map(|section| section.entries.len()).sum::<usize>();
        queue.since = queue.since.filter(|_| !queue.sections.is_empty());
        (!sections.is_empty()).then_some(Body::Answers(sections))
    }

    /// Whether something found no room since this was asked last.
    pub(super) fn take_incomplete(&self) -> bool {
        std::mem::take(&mut self.queue().is_incomplete)
    }
}

impl Hears for Outgoing {
    fn signed(&self, subject: &Subject, form: &Form, answer: &Stored) {
        self.add(Issuer::from(subject.issuer.id()), form.fingerprint, answer);
    }
}

#[cfg(test)]
mod tests;
