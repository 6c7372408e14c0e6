//! A CA that is revoked, and its certificates with it: signed ahead anew, and taken by who says the same.

use super::{received::Sent, *};
use crate::{
    issuer::{self, OwnRecord},
    ocsp::{CaRevoked, Unlisted},
    pki::Serial,
    records::{Records, RecordsWriter},
};

const SINCE: u64 = 1_750_000_000;
const BY_CA: CertStatus = CertStatus::Revoked { time: UnixTime(SINCE), reason: Reason::CaCompromise };
const ALL: Policy = Policy { ca_revoked: CaRevoked::All, unlisted: Unlisted::Good, ..POLICY };

/// The records of the CA above.
struct Above {
    own: OwnRecord,
    writer: RecordsWriter,
}

impl Above {
    fn new() -> Self {
        let (records, writer) = Records::new();
        let mut above = Self {
            own: OwnRecord { records, serial: Serial::from_magnitude(&[9]).unwrap(), above: issuer::Above::Nothing },
            writer,
        };
        above.says(Status::Good);
        above
    }

    fn says(&mut self, status: Status) {
        let record = crate::pki::Record { status, not_after: None };
        self.writer.apply([Change::new(self.own.serial, Some(record))]);
    }

    fn over(&self, subject: Arc<Subject>) -> Arc<Subject> {
        let Subject { issuer, ahead } = Arc::into_inner(subject).unwrap();
        let issuer = Arc::into_inner(issuer).unwrap().with_own_record(Some(self.own.clone()));
        Arc::new(Subject { issuer: Arc::new(issuer), ahead })
    }
}

fn told(subject: &Subject, number: u64) -> Option<Status> {
    subject.issuer.find(&serial(number)).unwrap().map(|found| found.status)
}

#[test]
fn once_the_ca_above_lists_it_as_revoked_its_certificates_are_signed_anew_as_revoked() {
    let world = World::new(10);
    world.set(7, revoked());
    let mut above = Above::new();
    let subject = above.over(world.subject_with(ALL, world.pool()));
    let runner = runner(None);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 10);
    // A hold may end.
    above.says(HOLD);
    assert!(!subject.issuer.note_revoked_ca());
    assert_eq!(kept(&runner, &subject, 1), Some(CertStatus::Good));
    assert_eq!(told(&subject, 99), None, "of an unlisted one, the policy says good");
    above.says(Status::Revoked { time: UnixTime(SINCE), reason: Reason::Superseded });
    assert!(subject.issuer.note_revoked_ca() && !subject.issuer.note_revoked_ca(), "noted once");
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 9);
    assert_eq!(kept(&runner, &subject, 1), Some(BY_CA));
    let own = CertStatus::Revoked { time: UnixTime(1_700_000_000), reason: Reason::KeyCompromise };
    assert_eq!(kept(&runner, &subject, 7), Some(own), "it was revoked before");
    assert_eq!(told(&subject, 99), Some(Status::Revoked { time: UnixTime(SINCE), reason: Reason::CaCompromise }));
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 0);
    // One that is issued now is no exception.
    world.set(11, Status::Good);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 1);
    assert_eq!(kept(&runner, &subject, 11), Some(BY_CA));
    // Who does not say so answers as before.
    let other = above.over(world.subject_with(POLICY, world.pool()));
    assert!(!other.issuer.note_revoked_ca());
    assert_eq!(told(&other, 1), Some(Status::Good));
}

/// A writer notes within a second that the CA is revoked, and a replica may learn of it by the answers.
#[test]
fn a_replica_takes_the_answers_of_a_revoked_ca_once_it_has_the_record_above() {
    let world = World::new(3);
    let mut above = Above::new();
    let signing = above.over(world.subject_with(ALL, world.pool()));
    let replica = above.over(world.without_key_under(ALL));
    let runner = runner(None);
    let received = Received::new(&runner.answers, [&replica.issuer], &Arc::default());
    received.take(&Sent::by(&signing, 3).rows(), UnixTime::now(), |_| true);
    assert_eq!(kept(&runner, &replica, 1), Some(CertStatus::Good));
    above.says(Status::Revoked { time: UnixTime(SINCE), reason: Reason::CaCompromise });
    signing.issuer.note_revoked_ca();
    received.take(&Sent::by(&signing, 3).rows(), UnixTime::now(), |_| true);
    assert_eq!(kept(&runner, &replica, 1), Some(BY_CA));
}

#[test]
fn by_the_operators_word_it_is_revoked_whoever_lists_it() {
    let world = World::new(2);
    let policy = Policy { ca_revoked: CaRevoked::AllSince(UnixTime(SINCE)), ..POLICY };
    let subject = world.subject_with(policy, world.pool());
    let runner = runner(None);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 2);
    assert_eq!(kept(&runner, &subject, 1), Some(BY_CA));
    assert_eq!(told(&subject, 99), None, "unlisted ones stay unauthorized");
}

#[test]
fn a_ca_that_has_fallen_stays_so_over_a_reload_that_loses_the_ca_above() {
    let world = World::new(1);
    let mut above = Above::new();
    let subject = above.over(world.subject_with(ALL, world.pool()));
    above.says(Status::Revoked { time: UnixTime(SINCE), reason: Reason::Superseded });
    assert!(subject.issuer.note_revoked_ca());
    let reloaded = |policy| {
        let Subject { issuer, .. } = Arc::into_inner(world.subject_with(policy, world.pool())).unwrap();
        Arc::into_inner(issuer).unwrap().after(Some(&subject.issuer)).ca_revoked_since()
    };
    assert_eq!(reloaded(ALL), Some(UnixTime(SINCE)));
    assert_eq!(reloaded(Policy { ca_revoked: CaRevoked::ItAlone, ..ALL }), None, "by the operator's word");
}
