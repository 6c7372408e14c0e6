//! What is to be signed ahead, and in what order; pure.
//!
//! Purpose: from the records of one issuer, what is kept already and the time to what is due. Invariant: whatever could
//! not be served from memory `now` is due, and so is what is to be replaced; nothing else. So there is no state of its
//! own: whoever was interrupted plans anew and goes on where it was, because what is kept is not due.
//! It does not know keys, threads or where answers are kept.
//!
//! First comes what cannot be served (absent, or void because its record has changed), then what expires soonest. Of ten
//! million due ones no list is made: a plan counts all and names only the first [`limits::PRESIGN_LIST_MAX`]; whoever
//! has done those plans again. What is absent has no order of its own and can be signed while walking.
//! That not everything signed together is replaced together is in the times of each answer ([`Times::plan`]).
//!
//! [`Times::plan`]: crate::ocsp::profile::Times::plan
//! [`limits::PRESIGN_LIST_MAX`]: crate::limits::PRESIGN_LIST_MAX

use crate::{
    answers::Entry,
    ocsp::{
        Policy,
        profile::{Kept, statement},
    },
    pki::{Serial, UnixTime},
    records::{Found, Records},
};

/// Why an answer is to be signed; what is more urgent is less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// There is none that could be served.
    Absent,
    /// It is to be replaced before it ends.
    Refresh {
        /// When it ends.
        next_update: UnixTime,
    },
}

/// One answer to be signed; what comes first is less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Item {
    /// Why.
    pub due: Due,
    /// Of which certificate.
    pub serial: Serial,
    /// In which of the forms that were asked about.
    pub form: u8,
}

/// Whether an answer about a record is due, of which nothing may be told beyond `told_until`. `lasts_until` is when one that is signed `now` would end: a replacement that
/// would end no later than what it replaces is none (the signer's certificate ends before either).
#[inline]
pub fn due(
    (policy, told_until): (&Policy, UnixTime),
    found: Found,
    kept: Option<&Entry>,
    lasts_until: UnixTime,
    now: UnixTime,
) -> Option<Due> {
    // What is refused unsigned needs no answer.
    let statement = statement(policy, Some(found), now).ok()?;
    match kept.and_then(Kept::of) {
        Some(kept) if kept.serves(&statement, told_until, now) => {
            let next_update = kept.times.next_update;
            (kept.times.refresh_at <= now && next_update < lasts_until).then_some(Due::Refresh { next_update })
        }
        _ => Some(Due::Absent),
    }
}

/// What is asked of one issuer.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its policy.
    pub policy: &'a Policy,
    /// Its records.
    pub records: &'a Records,
    /// Until when what its sources say may be told.
    pub told_until: UnixTime,
    /// For each form, when an answer that is signed now would end.
    pub forms: &'a [UnixTime],
    /// The time.
    pub now: UnixTime,
}

impl Question<'_> {
    /// Calls `each` with what is due among one segment of the records, as it comes. `kept` looks up what is kept in a
    /// form.
    pub fn each_due(
        &self,
        segment: usize,
        mut kept: impl FnMut(u8, &Serial) -> Option<Entry>,
        mut each: impl FnMut(Item, Found),
    ) {
        self.records.each_in(segment, |serial, found| {
            for (form, lasts_until) in self.forms.iter().enumerate() {
                let form = form as u8;
                if let Some(due) =
                    due((self.policy, self.told_until), found, kept(form, &serial).as_ref(), *lasts_until, self.now)
                {
                    each(Item { due, serial, form }, found);
                }
            }
        });
    }
}

/// How much is due, and the first of it.
#[derive(Clone, Debug)]
pub struct Plan {
    first: Vec<Item>,
    list_max: usize,
    /// How many are absent,
    absent: u64,
    /// and how many are to be replaced.
    refresh: u64,
}

impl Plan {
    /// Nothing yet; will name at most `list_max`.
    pub fn new(list_max: usize) -> Self {
        Self { first: Vec::new(), list_max, absent: 0, refresh: 0 }
    }

    /// How many it names at most.
    pub fn list_max(&self) -> usize {
        self.list_max
    }

    /// Something more is due.
    pub fn add(&mut self, item: Item) {
        match item.due {
            Due::Absent => self.absent += 1,
            Due::Refresh { .. } => self.refresh += 1,
        }
        self.first.push(item);
        if self.first.len() >= 2 * self.list_max.max(1) {
            self.keep_first();
        }
    }

    /// Adds what another walk has found.
    pub fn merge(&mut self, other: Self) {
        self.absent += other.absent;
        self.refresh += other.refresh;
        self.first.extend(other.first);
        if self.first.len() >= 2 * self.list_max.max(1) {
            self.keep_first();
        }
    }

    /// How many it holds now, named later or not.
    pub fn held(&self) -> usize {
        self.first.len()
    }

    fn keep_first(&mut self) {
        if self.first.len() > self.list_max {
            self.first.select_nth_unstable(self.list_max);
            self.first.truncate(self.list_max);
        }
    }

    /// How many are due.
    pub fn due(&self) -> u64 {
        self.absent + self.refresh
    }

    /// Whether more is absent than can be named: then that is better signed while walking.
    pub fn is_flood(&self) -> bool {
        self.absent > self.list_max as u64
    }

    /// The first ones in order, and how many are not among them.
    pub fn into_order(mut self) -> (Vec<Item>, u64) {
        self.keep_first();
        self.first.sort_unstable();
        let left_out = self.due() - self.first.len() as u64;
        (self.first, left_out)
    }
}

#[cfg(test)]
mod tests;
