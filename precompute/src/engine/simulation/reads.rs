//! The reads of the simulation: begun, handed over later, prepared for a reload, or replaced.
//!
//! What a read says has to be in the index, and nothing of the index may be missing: this is checked of each read, before
//! the truth follows it.

use super::*;
use crate::records::Stated;

/// A read that has begun.
pub(super) struct Read {
    comparison: Comparison,
    /// What the CA had written.
    of: Content,
    /// Whether the reader spoke for the issuer when it began.
    is_open: bool,
    /// What was known when it began.
    known: Vec<Truth>,
    /// Revocations that were news then, where they can be read.
    news: Vec<u32>,
}

/// A read that was handed over.
pub(super) struct Handed {
    said: Vec<Stated>,
    of: Content,
    is_open: bool,
    news: Vec<u32>,
    /// Places of records that changed in between.
    overtaken: Vec<usize>,
    is_of_appended: bool,
    /// Whether something waits until the index is still; or why it was refused.
    outcome: Result<bool, String>,
}

/// A reader that is prepared for a reload.
pub(super) struct Fresh {
    reader: SourceReader,
    of: usize,
    read: Option<Read>,
    held: Vec<Handed>,
}

/// A reader that was replaced, and does not know it yet.
pub(super) struct Replaced {
    reader: SourceReader,
    of: usize,
    read: Option<Read>,
}

/// The reader that speaks for the issuer. It travels to the moments inside pushes and saves.
pub(super) struct Speaker {
    pub(super) reader: SourceReader,
    pub(super) read: Option<Read>,
    pub(super) handed: Option<Handed>,
}

fn known(reader: &SourceReader) -> Vec<Truth> {
    (1..=CERTIFICATES).map(|number| Truth::shown(reader.ledger.look_up(&serial(number)))).collect()
}

fn begin(reader: &mut SourceReader, ca: &ModelCa, is_still: bool) -> Read {
    reader.look_whether_adopted();
    reader.removal_delay = Duration::from_secs(if is_still { 0 } else { 3600 });
    reader.watch.changed();
    let is_open = reader.handover.health().is_some();
    let known = known(reader);
    let rank = |number: u32| known[number as usize - 1].rank();
    let mut news = Vec::new();
    if ca.broken != Some("away") && ca.lines.iter().any(|(number, _)| rank(*number).is_some()) {
        let is_news = |(number, record): &&(u32, Record)| strictness(record.status) > rank(*number).unwrap_or(0);
        news = ca.lines.iter().filter(is_news).map(|(number, _)| *number).collect();
    }
    Read { comparison: reader.compare(Accepted::default()), of: ca.lines.clone(), is_open, known, news }
}

pub(super) fn hand_over(reader: &mut SourceReader, read: Read) -> Handed {
    let Read { comparison, of, is_open, known: before, news } = read;
    let now = known(reader);
    let overtaken = (0..now.len()).filter(|place| before[*place] != now[*place]).collect();
    let (said, is_of_appended) = (comparison.changes.clone(), comparison.is_of_appended);
    let outcome = reader.hand_over(comparison, Instant::now());
    let outcome = outcome.map(|pass| pass.held_back).map_err(|faults| faults.to_string());
    Handed { said, of, is_open, news, overtaken, is_of_appended, outcome }
}

impl Handed {
    fn said(&self) -> Vec<(usize, Option<Status>)> {
        let said = |change: &Stated| (number(&change.serial) + 1, change.record().map(|record| record.status));
        self.said.iter().map(said).collect()
    }

    /// Whether what it says is in the index, and what is in the index is said.
    fn check(&self) -> Checked {
        for change in &self.said {
            let number = number(&change.serial) as u32 + 1;
            let written = ModelCa::says(&self.of, number);
            let may_be = match (&self.outcome, change.record()) {
                // A refused index counts only as far as it revokes.
                (Err(_), said) => said.is_some_and(|said| said.status != Status::Good),
                (Ok(is_held_back), None) => !is_held_back,
                (Ok(_), Some(_)) => true,
            };
            if change.record() != written || !may_be {
                return Err(format!("a read ({:?}) says {change:?}; in the index it is {written:?}", self.outcome));
            }
        }
        let is_said = |news: &u32| self.said.iter().any(|change| change.serial == serial(*news));
        if let (Err(fault), Some(missed)) = (&self.outcome, self.news.iter().find(|news| !is_said(news))) {
            return Err(format!("a refused read does not say that {missed} is revoked: {fault}"));
        }
        Ok(())
    }

    /// Whether it shows that everything is as the CA had written it.
    pub(super) fn is_whole(&self) -> bool {
        self.is_open && self.outcome == Ok(false)
    }
}

impl Sim<'_> {
    pub(super) fn begin_read(&mut self, is_still: bool) {
        let mut speaker = self.speaker.lock().unwrap();
        if speaker.read.is_none() {
            let read = begin(&mut speaker.reader, &self.cas[self.at], is_still);
            speaker.read = Some(read);
            drop(speaker);
            self.note(format_args!("a read of CA {} begins, still: {is_still}", self.at));
        }
    }

    /// Hands over what the speaker has read. Nobody has taken note of it yet.
    pub(super) fn whole_read(&mut self) -> Option<Handed> {
        self.begin_read(true);
        let mut speaker = self.speaker.lock().unwrap();
        let read = speaker.read.take()?;
        Some(hand_over(&mut speaker.reader, read))
    }

    pub(super) fn end_read(&mut self) -> Checked {
        if self.speaker.lock().unwrap().read.is_none() {
            self.begin_read(true);
        }
        let mut speaker = self.speaker.lock().unwrap();
        let Some(read) = speaker.read.take() else { return Ok(()) };
        let handed = hand_over(&mut speaker.reader, read);
        drop(speaker);
        self.taken(&handed)
    }

    /// A read of the speaker's was handed over.
    pub(super) fn taken(&mut self, handed: &Handed) -> Checked {
        self.note(format_args!("it hands over {:?}, {:?}", handed.said(), handed.outcome));
        self.follow(handed)?;
        let Ok(is_held_back) = handed.outcome else { return Ok(()) };
        for place in 0..self.truth.len() {
            let written = ModelCa::says(&handed.of, place as u32 + 1);
            if !handed.is_open || is_held_back && written.is_none() {
                continue;
            }
            let left = self.truth[place];
            let mut expected = left;
            expected.source_says(written);
            // Where a push came in between, or only appended lines were read, a read of the whole index will have the time
            // and who says so.
            let is_right = if handed.is_of_appended || handed.overtaken.contains(&place) {
                expected.rank() == left.rank()
            } else {
                expected == left
            };
            if !is_right {
                return Err(format!("a read left {} as {left:?}, in the index it is {written:?}", place + 1));
            }
        }
        Ok(())
    }

    /// The truth follows what a read says.
    fn follow(&mut self, handed: &Handed) -> Checked {
        handed.check()?;
        for change in &handed.said {
            let place = number(&change.serial);
            // Another reader has spoken since this read began, and may have stated the hold anew.
            let is_good = change.record().is_none_or(|record| record.status == Status::Good);
            if !handed.is_open && is_good && self.truth[place].is_held_by_source() {
                continue;
            }
            self.truth[place].source_says(change.record());
            self.possible[place].push(self.truth[place]);
        }
        Ok(())
    }

    pub(super) fn reload(&mut self) -> Checked {
        match (self.rng.below(6), self.fresh.take()) {
            (_, None) => {
                let of = self.rng.below(2);
                let issuer = issuer(self.stage, &self.id, &self.cas[of]);
                let reader = SourceReader::new(issuer, self.ledger.clone(), true, None, Vec::new(), &self.state_dir());
                self.note(format_args!("a reload to CA {of} is prepared"));
                self.fresh = Some(Fresh { reader, of, read: None, held: Vec::new() });
                self.fresh_reads()
            }
            (0, Some(_)) => {
                self.note("the reload is dropped");
                Ok(())
            }
            (1 | 2, fresh) => {
                self.fresh = fresh;
                self.fresh_reads()
            }
            (_, Some(fresh)) => self.adopt(fresh),
        }
    }

    fn fresh_reads(&mut self) -> Checked {
        let (still, hangs) = (self.rng.chance(75), self.rng.chance(30));
        let Some(fresh) = &mut self.fresh else { return Ok(()) };
        if let Some(read) = fresh.read.take() {
            fresh.held.push(hand_over(&mut fresh.reader, read));
        }
        let read = begin(&mut fresh.reader, &self.cas[fresh.of], still);
        if hangs {
            fresh.read = Some(read);
        } else {
            fresh.held.push(hand_over(&mut fresh.reader, read));
        }
        self.note(format_args!("it reads, still: {still}, hangs: {hangs}"));
        Ok(())
    }

    fn adopt(&mut self, fresh: Fresh) -> Checked {
        let Fresh { reader, of, read, held } = fresh;
        let mut speaker = self.speaker.lock().unwrap();
        speaker.reader.handover.close();
        reader.handover.open();
        let former = std::mem::replace(&mut speaker.reader, reader);
        let hanging = std::mem::replace(&mut speaker.read, read);
        drop(speaker);
        let former_at = std::mem::replace(&mut self.at, of);
        self.replaced.push(Replaced { reader: former, of: former_at, read: hanging });
        let said: Vec<_> = held.iter().map(Handed::said).collect();
        self.note(format_args!("the reload is adopted, with {said:?}"));
        held.iter().try_for_each(|handed| self.follow(handed))?;
        if self.rng.chance(50) {
            // Its thread has not heard of it yet, and finds news.
            let what = self.cas[former_at].acts(&mut self.rng, CERTIFICATES);
            self.note(format_args!("CA {former_at} {what}"));
            self.replaced_reads();
        }
        Ok(())
    }

    /// A reader that was replaced reads on, or ends the read in which it hangs. Nothing comes of it.
    pub(super) fn replaced_reads(&mut self) {
        let Some(Replaced { mut reader, of, read }) = self.replaced.pop() else { return };
        let read = read.unwrap_or_else(|| begin(&mut reader, &self.cas[of], true));
        let handed = hand_over(&mut reader, read);
        self.note(format_args!("a replaced reader hands over {:?}", handed.said()));
        if self.rng.chance(50) {
            self.replaced.push(Replaced { reader, of, read: None });
        }
    }
}
