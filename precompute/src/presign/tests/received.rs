//! Answers that a writer has signed, put into the table of a replica without a key.

use super::{
    super::{Received, SoFar, store::AnswerStore},
    *,
};
use crate::{
    answers::HEAD,
    feed::{Issuer, body::AnswerRows},
};

/// What a writer has signed for all records of a world, as it is sent.
pub(super) struct Sent {
    issuer: Issuer,
    form: [u8; 32],
    packed_length: usize,
    entries: Vec<u8>,
}

impl Sent {
    fn of(world: &World, count: u64) -> Self {
        Self::by(&world.here(), count)
    }

    pub(super) fn by(subject: &Arc<Subject>, count: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signing = runner(Some(dir.path()));
        done(signing.pass(&[Arc::clone(subject)], NEVER), count);
        drop(signing);
        let form = &subject.forms(UnixTime::now())[0];
        let mut entries = Vec::new();
        let mut store = AnswerStore::open(dir.path(), 1 << 40).unwrap();
        store
            .load(&form.fingerprint, |run| {
                entries.extend_from_slice(run);
                true
            })
            .unwrap();
        let issuer = Issuer::from(subject.issuer.id());
        Self { issuer, form: form.fingerprint, packed_length: form.signer.packing().length(), entries }
    }

    /// Says that they were signed so many seconds later.
    fn sign_later(&mut self, seconds: i32) {
        let entry_octets = HEAD + self.packed_length;
        for entry in self.entries.chunks_mut(entry_octets) {
            let signed = entry.get_mut(28..).and_then(<[u8]>::first_chunk_mut::<4>).unwrap();
            *signed = u32::from_be_bytes(*signed).strict_add_signed(seconds).to_be_bytes();
        }
    }

    pub(super) fn rows(&self) -> AnswerRows<'_> {
        let Self { issuer, form, packed_length, entries } = self;
        AnswerRows { issuer: *issuer, form: *form, packed_length: *packed_length, entries }
    }
}

/// Taken, void, late, of unknown forms, of strangers.
fn counts(so_far: &SoFar) -> [u64; 5] {
    let SoFar { taken, void, late, unknown, strangers, .. } = so_far;
    [taken, void, late, unknown, strangers].map(|counter| counter.load(Relaxed))
}

#[test]
fn answers_of_a_writer_are_served_where_the_record_says_the_same_and_nowhere_else() {
    const COUNT: u64 = 100;
    let world = World::new(COUNT);
    let sent = Sent::of(&world, COUNT);
    let (subject, runner) = (world.without_key(), runner(None));
    let received = Received::new(&runner.answers, [&subject.issuer], &Arc::default());
    world.set(1, revoked());
    world.apply(Change::new(serial(2), None));
    // On hold and back: the answer is of before that, and whoever knows says so.
    world.set(3, HOLD);
    world.set(3, Status::Good);
    received.take(&sent.rows(), UnixTime::now(), |about| *about != serial(3));
    assert_eq!(counts(received.so_far()), [COUNT - 3, 3, 0, 0, 0]);
    for number in 0..COUNT {
        let expected = (!(1..=3).contains(&number)).then_some(CertStatus::Good);
        assert_eq!(kept(&runner, &subject, number), expected, "{number}");
    }
    // What came is voided by a change like what was signed here.
    world.set(4, HOLD);
    world.set(4, Status::Good);
    assert_eq!(kept(&runner, &subject, 4), None);
}

#[test]
fn an_answer_that_says_good_displaces_none_of_a_final_revocation_and_voids_one_of_a_hold() {
    let world = World::new(2);
    let before = Sent::of(&world, 2);
    world.set(0, revoked());
    world.set(1, HOLD);
    let after = Sent::of(&world, 2);
    let (subject, runner) = (world.without_key(), runner(None));
    let received = Received::new(&runner.answers, [&subject.issuer], &Arc::default());
    let now = UnixTime::now();
    received.take(&after.rows(), now, |_| true);
    let stands = |number| kept(&runner, &subject, number).is_some_and(|status| status != CertStatus::Good);
    assert!(stands(0) && stands(1));
    // A writer that has lost the revocation goes on signing; its answers are later ones.
    let mut later = before;
    later.sign_later(2);
    received.take(&later.rows(), now, |_| true);
    assert!(stands(0), "nothing comes after it");
    assert_eq!(kept(&runner, &subject, 1), None, "the hold may have been released and set again");
}

/// A replica heard of a hold from a writer that was cut off, and everything was compared with what another one knows: there
/// is an answer from before the hold, and none comes after it. It said `tryLater` until that was renewed.
#[test]
fn once_all_is_compared_an_answer_from_before_replaces_one_of_a_state_that_is_undone() {
    let world = World::new(3);
    let before = Sent::of(&world, 3);
    world.set(0, HOLD);
    world.set(1, HOLD);
    let mut after = Sent::of(&world, 3);
    after.sign_later(2);
    let (subject, runner) = (world.without_key(), runner(None));
    let received = Received::new(&runner.answers, [&subject.issuer], &Arc::default());
    let now = UnixTime::now();
    received.take(&after.rows(), now, |_| true);
    assert_eq!(counts(received.so_far()), [3, 0, 0, 0, 0]);
    world.set(0, Status::Good);
    // As it is followed, an answer of before the hold is of the past.
    received.take(&before.rows(), now, |_| true);
    assert_eq!(kept(&runner, &subject, 0), None);
    assert_eq!(counts(received.so_far()), [3, 1, 2, 0, 0]);
    received.take_compared(&before.rows(), now, |_| true);
    assert_eq!(kept(&runner, &subject, 0), Some(CertStatus::Good));
    // What says otherwise than the record changes nothing, and what is of its present state stays.
    assert_eq!(counts(received.so_far()), [4, 2, 3, 0, 0]);
}

/// One thread takes the answers of a snapshot while another follows the log: a record changes after the first has looked it up.
#[test]
fn the_answer_of_a_record_that_changes_while_another_one_is_taken_stays() {
    let world = World::new(2);
    for earlier in [2, 0, -2] {
        world.set(0, Status::Good);
        let mut before = Sent::of(&world, 2);
        before.sign_later(-earlier);
        let (subject, runner) = (world.without_key(), runner(None));
        let received = Received::new(&runner.answers, [&subject.issuer], &Arc::default());
        let now = UnixTime::now();
        received.take_compared(&before.rows(), now, |about| {
            if *about == serial(0) {
                world.set(0, HOLD);
                received.take(&Sent::of(&world, 2).rows(), now, |of| of == about);
            }
            true
        });
        let stands = kept(&runner, &subject, 0).is_some_and(|status| status != CertStatus::Good);
        assert!(stands, "{earlier} s earlier");
        assert_eq!(received.so_far().taken.load(Relaxed), 2);
    }
}

#[test]
fn answers_that_have_ended_or_are_of_others_are_counted_and_passed_over() {
    const COUNT: u64 = 10;
    let [world, other] = [World::new(COUNT), World::new(COUNT)];
    let sent = Sent::of(&world, COUNT);
    let runner = runner(None);
    let (subject, stranger) = (world.without_key(), other.without_key());
    let all = |subject: &Arc<Subject>| Received::new(&runner.answers, [&subject.issuer], &Arc::default());
    let (ours, others) = (all(&subject), all(&stranger));
    let now = UnixTime::now();
    let late = now.after(POLICY.validity).after(Duration::from_secs(1));
    let mut of_unknown_form = sent.rows();
    of_unknown_form.form = [7; 32];
    let mut of_another_length = sent.rows();
    of_another_length.packed_length += 8;
    for (what, received, rows, at, expected) in [
        ("ended", &ours, sent.rows(), late, [0, 0, COUNT, 0, 0]),
        ("not yet by far", &ours, sent.rows(), now.before(Duration::from_secs(600)), [0, 0, 2 * COUNT, 0, 0]),
        ("an unknown form", &ours, of_unknown_form, now, [0, 0, 2 * COUNT, COUNT, 0]),
        ("another issuer", &others, sent.rows(), now, [0, 0, 0, 0, COUNT]),
    ] {
        received.take(&rows, at, |_| true);
        assert_eq!(counts(received.so_far()), expected, "{what}");
        assert!(runner.answers.is_empty(), "{what}");
    }
    ours.take(&of_another_length, now, |_| true);
    assert!(counts(ours.so_far())[3] > COUNT && runner.answers.is_empty());
    // The writer's clock is a little ahead.
    ours.take(&sent.rows(), now.before(Duration::from_secs(200)), |_| true);
    assert_eq!(counts(ours.so_far())[0], COUNT);
    assert!(ours.has_only_forms_of(&ours) && !ours.has_only_forms_of(&others));
}
