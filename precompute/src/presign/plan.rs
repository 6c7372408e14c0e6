//! What to sign ahead, and in what order; pure.
//!
//! Purpose: finds what is due, from the records of one issuer, the kept answers and the time. Invariant: exactly these
//! are due: answers that could not be served from memory `now`, and answers to be replaced. So there is no state of its
//! own: after an interruption a new plan continues where the last one was, because kept answers are not due. It does
//! not know keys, threads or where answers are kept.
//!
//! First come answers that cannot be served (absent, or void because the record has changed), then those that expire
//! soonest. Ten million due answers are not listed: a plan counts all and names only the first
//! [`limits::PRESIGN_LIST_MAX`]; after those, there is another plan. Absent answers have no order among themselves and
//! can be signed during the walk. [`Times::plan`] spreads the times of answers, so that answers signed together are not
//! all replaced together.
//!
//! [`Times::plan`]: crate::ocsp::profile::Times::plan
//! [`limits::PRESIGN_LIST_MAX`]: crate::limits::PRESIGN_LIST_MAX

use crate::{
    answers::Entry,
    issuer::under_revoked_ca,
    ocsp::{
        Policy,
        profile::{Kept, statement},
    },
    pki::{Serial, Status, UnixTime},
    records::{Details, Found, Records},
};

/// Why an answer is due; the more urgent reason is less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// There is none that could be served.
    Absent,
    /// It has to be replaced before it ends.
    Refresh {
        /// When it ends.
        next_update: UnixTime,
    },
}

/// One answer to be signed; the earlier one in the order is less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Item {
    /// Why.
    pub due: Due,
    /// The certificate.
    pub serial: Serial,
    /// The form, of those that the question has.
    pub form: u8,
}

/// Whether an answer about a record is due. `told_until`: the latest nextUpdate that an answer may have. `lasts_until`:
/// when an answer signed `now` would end. A replacement that would end no later than the old answer is not due (the
/// signer's certificate ends before either).
#[inline]
pub fn due(
    (policy, told_until): (&Policy, UnixTime),
    found: Found,
    kept: Option<&Entry>,
    lasts_until: UnixTime,
    now: UnixTime,
) -> Option<Due> {
    // A serial that is refused unsigned needs no answer.
    let statement = statement(policy, Some(found), now).ok()?;
    match kept.and_then(Kept::of) {
        Some(kept) if kept.serves(&statement, policy, told_until, now) => {
            let next_update = kept.times.next_update;
            (kept.times.refresh_at <= now && next_update < lasts_until).then_some(Due::Refresh { next_update })
        }
        _ => Some(Due::Absent),
    }
}

/// The question for one issuer.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its policy.
    pub policy: &'a Policy,
    /// Its records.
    pub records: &'a Records,
    /// Since when the CA itself is revoked, if its certificates are revoked with it.
    pub ca_revoked: Option<UnixTime>,
    /// Where answers carry the certificate's hash: an answer that says *good* waits for it.
    pub hashes: Option<&'a Details>,
    /// The latest nextUpdate that its sources allow.
    pub told_until: UnixTime,
    /// For each form, when an answer signed now would end.
    pub forms: &'a [UnixTime],
    /// The time.
    pub now: UnixTime,
}

impl Question<'_> {
    /// Calls `each` with everything due in one segment of the records, in any order. `kept` looks up the kept answer in
    /// a form.
    pub fn each_due(
        &self,
        segment: usize,
        mut kept: impl FnMut(u8, &Serial) -> Option<Entry>,
        mut each: impl FnMut(Item, Found),
    ) {
        self.records.each_in(segment, |serial, found| {
            let found = self.ca_revoked.map_or(found, |since| under_revoked_ca(found, since));
            let waits = |details: &Details| found.status == Status::Good && details.hash(&serial).is_none();
            if self.hashes.is_some_and(waits) {
                return;
            }
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

/// How many answers are due, and the first of them.
#[derive(Clone, Debug)]
pub struct Plan {
    first: Vec<Item>,
    list_max: usize,
    /// How many are absent,
    absent: u64,
    /// and how many have to be replaced.
    refresh: u64,
}

impl Plan {
    /// Empty; will name at most `list_max`.
    pub fn new(list_max: usize) -> Self {
        Self { first: Vec::new(), list_max, absent: 0, refresh: 0 }
    }

    /// How many it names at most.
    pub fn list_max(&self) -> usize {
        self.list_max
    }

    /// Adds one that is due.
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

    /// How many it holds now, whether it will name them or not.
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

    /// Whether more are absent than it can name: then it is better to sign them during the walk.
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
