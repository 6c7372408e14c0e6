//! When the status of which issuer is told.
//!
//! Invariant: what changes an answer (a CRL's end, another CRL) is told at once, and that sources are still in order at
//! intervals. An issuer is known to others by its status, so the first one is told when all its records have been: until
//! then a certificate of it would count as unlisted. It does not know how anything is told.

use std::{collections::HashMap, time::Duration};

use crate::{
    feed::{Body, Issuer, body::IssuerStatus},
    ledger::Ledger,
    limits::feed as limits,
    pki::UnixTime,
};

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    told: HashMap<Issuer, IssuerStatus>,
    /// When all were told last.
    all_at: Option<Duration>,
}

/// The status of an issuer whose sources this process reads; `None` if nothing is known of it, or nothing as a whole: a
/// process that was killed while it saved what the sources said first of all has a part of it in its book.
pub(super) fn status_of(ledger: &Ledger) -> Option<IssuerStatus> {
    let health = &ledger.state().health;
    let report = health.report();
    let alone_until = Some(health.told_until(Duration::ZERO)).filter(|end| *end < UnixTime::MAX);
    (health.is_known() && report.verified.is_some()).then(|| IssuerStatus {
        id: ledger.id().clone(),
        verified: report.verified,
        crl_next_update: if report.crl_alone { alone_until } else { report.crl_next_update },
        is_crl_alone: report.crl_alone,
        crl_marks: ledger.crl_marks(),
    })
}

impl Statuses {
    /// What is to be told `now`, on the monotonic clock, of issuers with their present status. `is_all_told`: whether all
    /// records of an issuer have been told; asked of those whose status was not.
    pub(super) fn due<T>(
        &mut self,
        now: Duration,
        present: impl Iterator<Item = (T, IssuerStatus)>,
        is_all_told: impl Fn(&T) -> bool,
    ) -> Vec<Body> {
        let all = self.all_at.is_none_or(|at| now.saturating_sub(at) >= limits::STATUS_INTERVAL);
        let is_due = |(of, status): &(T, IssuerStatus)| match self.told.get(&status.issuer()) {
            None => is_all_told(of),
            Some(told) if all => told != status,
            Some(told) => IssuerStatus { verified: told.verified, ..status.clone() } != *told,
        };
        let due: Vec<_> = present.filter(is_due).map(|(_, status)| status).collect();
        if all {
            self.all_at = Some(now);
        }
        self.told.extend(due.iter().map(|status| (status.issuer(), status.clone())));
        in_entries(due)
    }

    /// Whether this issuer's status has been told.
    pub(super) fn has_told(&self, issuer: Issuer) -> bool {
        self.told.contains_key(&issuer)
    }
}

/// As many statuses in each entry as it has room for.
fn in_entries(statuses: Vec<IssuerStatus>) -> Vec<Body> {
    const ROOM: usize = limits::ENTRY_BODY_OCTETS_MAX - 64;
    let (mut bodies, mut some, mut octets) = (Vec::new(), Vec::new(), 0);
    for status in statuses {
        if some.len() == limits::ENTRY_ISSUERS_MAX || !some.is_empty() && octets + status.octets() > ROOM {
            bodies.push(Body::IssuerStatus(std::mem::take(&mut some)));
            octets = 0;
        }
        octets += status.octets();
        some.push(status);
    }
    if !some.is_empty() {
        bodies.push(Body::IssuerStatus(some));
    }
    bodies
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        book::Book,
        issuer_id::IssuerId,
        ledger::{Difference, Ledgers, Saver, SharedBook},
        pki::{Reason, Record, Serial, Status},
        records::Stated,
        source::{CrlMark, CrlMarks, CrlScope, ScopeMarks},
    };

    fn status(ca: u8, verified: u64, end: u64) -> IssuerStatus {
        IssuerStatus {
            id: IssuerId::new("tenant", [ca; 32]),
            verified: Some(UnixTime(verified)),
            crl_next_update: Some(UnixTime(end)),
            is_crl_alone: true,
            crl_marks: CrlMarks::default(),
        }
    }

    /// A writer was killed while it saved what the sources said first of all. Once it was started again it led, and told
    /// that the issuer is known before it had read the sources: what its book lacked counted as unlisted, which may be good.
    #[test]
    fn an_issuer_of_which_the_book_has_a_part_is_not_known_to_others() {
        let (dir, id) = (tempfile::tempdir().unwrap(), IssuerId::new("tenant", [7; 32]));
        let open = || {
            let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
            Ledger::open(&id, "ca", &book, &Saver::start().unwrap()).unwrap()
        };
        let opened = open();
        opened.ledger.serve("ca");
        let status = Status::Revoked { time: UnixTime(6), reason: Reason::KeyCompromise };
        let record = Record { status, not_after: None };
        let said = vec![Stated::new(Serial::from_magnitude(&[1]).unwrap(), Some(record))];
        opened.ledger.take(&Difference { said, ..Difference::default() });
        // When the sources were in order comes with the last part.
        let ledgers = Ledgers::default();
        ledgers.set(vec![opened.ledger.clone()]);
        ledgers.save().unwrap();
        drop((ledgers, opened));

        let opened = open();
        let health = opened.ledger.state().health.clone();
        health.verified_before(opened.verified, false, UnixTime(9));
        assert!(health.is_known() && opened.ledger.is_all_told().unwrap());
        assert_eq!(status_of(&opened.ledger), None);
        health.verified_before(Some(UnixTime(9)), false, UnixTime(9));
        assert!(status_of(&opened.ledger).is_some());
    }

    #[test]
    fn what_changes_an_answer_is_told_at_once_and_that_sources_are_in_order_at_intervals() {
        let mut statuses = Statuses::default();
        let mut told = |seconds: u64, present: &[IssuerStatus]| -> Vec<u8> {
            let bodies = statuses.due(
                Duration::from_secs(seconds),
                present.iter().map(|status| (status.id.ca()[0], status.clone())),
                |ca| *ca < 100,
            );
            let of = |body: Body| match body {
                Body::IssuerStatus(some) => some.into_iter().map(|status| status.id.ca()[0]).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            };
            bodies.into_iter().flat_map(of).collect()
        };
        let interval = limits::STATUS_INTERVAL.as_secs();
        assert_eq!(told(0, &[status(1, 10, 99), status(2, 10, 99)]), [1, 2], "the first time");
        assert_eq!(told(1, &[status(1, 11, 99), status(2, 11, 99)]), [0; 0], "only that they are still in order");
        assert_eq!(told(2, &[status(1, 12, 99), status(2, 12, 200)]), [2], "another end");
        assert_eq!(told(3, &[status(1, 12, 99), status(2, 12, 200), status(3, 1, 1)]), [3], "another issuer");
        assert_eq!(told(4, &[status(100, 1, 1)]), [0; 0], "its records have not been told yet");
        assert_eq!(told(interval, &[status(1, 40, 99), status(2, 12, 200)]), [1], "after the interval, if it is news");
        assert_eq!(told(interval + 1, &[status(1, 41, 99)]), [0; 0]);
        let many: Vec<_> = (0..200).map(|ca| status(ca, 50, 50)).collect();
        let bodies = Statuses::default().due(Duration::ZERO, many.into_iter().map(|status| ((), status)), |()| true);
        assert_eq!(bodies.len(), 200_usize.div_ceil(limits::ENTRY_ISSUERS_MAX), "as many as fit an entry");
    }

    #[test]
    fn issuers_with_many_shards_are_told_in_entries_that_a_reader_takes() {
        let mark = CrlMark { number: None, this_update: UnixTime(7), digest: [3; 32] };
        let of = |at: u8| ScopeMarks { scope: CrlScope([at; 32]), complete: Some(mark), delta: Some(mark) };
        let sharded = |ca| IssuerStatus { crl_marks: CrlMarks::new((0..128).map(of), None), ..status(ca, 1, 9) };
        let present = (0..20).map(|ca| ((), if ca % 2 == 0 { sharded(ca) } else { status(ca, 1, 9) }));
        let bodies = Statuses::default().due(Duration::ZERO, present, |()| true);
        assert!(bodies.len() > 1);
        let mut told = Vec::new();
        for body in bodies {
            let Body::IssuerStatus(some) = body else { panic!("{body:?}") };
            assert!(some.iter().map(IssuerStatus::octets).sum::<usize>() < limits::ENTRY_BODY_OCTETS_MAX);
            told.extend(some.iter().map(|status| status.id.ca()[0]));
        }
        assert_eq!(told, (0..20).collect::<Vec<_>>());
    }
}
