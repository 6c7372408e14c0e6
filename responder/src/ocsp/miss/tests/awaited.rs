//! Misses of a replica that has no key.

use super::*;

/// The same world without the key: what it signs is as good as come by the feed.
struct Keyless {
    signs: World,
    issuer: Arc<Issuer>,
    misses: Arc<Misses>,
}

impl Keyless {
    fn new(expects: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let signs = World::new();
        let now = UnixTime::now();
        let identity =
            SignerIdentity::new(&signs.ca, &signs.ca, signs.gate.key.algorithm(), ResponseForm::default(), now)
                .unwrap();
        let (issuer, writer) = issuer(&signs.ca, vec![OcspSigner::without_key(identity)]);
        *signs.writer.lock().unwrap() = writer;
        let misses = Misses::new(Store::new(1 << 30, 1 << 20));
        misses.await_feed(Box::new(expects)).unwrap();
        let keyless = Self { signs, issuer, misses };
        keyless.signs.set(Status::Good);
        keyless
    }

    fn request(&self) -> SignRequest {
        let signer = self.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
        SignRequest::one(&self.issuer, signer, &self.signs.id())
    }

    fn ask(&self) -> oneshot::Receiver<Outcome> {
        match self.misses.answer(self.request()) {
            Miss::Waiting(receiver) => receiver,
            Miss::Ended(outcome) => panic!("ended at once: {outcome:?}"),
        }
    }

    /// The answer of the present state comes by the feed.
    fn comes(&self) {
        let request = self.request();
        let unsigned = request.prepare(UnixTime::now(), 0).unwrap();
        let signature = self.signs.gate.key.sign(&unsigned.response_data).unwrap();
        let answer = Arc::new(request.complete(&unsigned, &signature, UnixTime::now()).unwrap());
        self.misses.store().keep(request.key.unwrap(), &answer, request.signer.packing(), &signature);
    }
}

fn ended(receiver: oneshot::Receiver<Outcome>) -> Result<CertStatus, OcspError> {
    receiver.blocking_recv().unwrap().map(|answer| answer.statements[0].status)
}

#[test]
fn where_records_have_come_a_miss_waits_for_the_answer_and_the_old_one_does_not_serve() {
    let keyless = Keyless::new(|| true);
    keyless.comes();
    keyless.signs.revoke();
    let waiting: Vec<_> = (0..10).map(|_| keyless.ask()).collect();
    std::thread::sleep(limits::AWAITED_GRACE * 3);
    keyless.comes();
    for receiver in waiting {
        assert!(matches!(ended(receiver), Ok(CertStatus::Revoked { .. })));
    }
    assert_eq!(keyless.misses.pending(), 0);
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_shortly_and_hardly_at_all_where_nothing_has_come() {
    for (expects, least) in [(true, limits::AWAITED_WITHIN), (false, limits::AWAITED_GRACE)] {
        let keyless = Keyless::new(move || expects);
        let begun = Instant::now();
        assert_eq!(ended(keyless.ask()), Err(OcspError::TryLater));
        let took = begun.elapsed();
        assert!(took >= least && (expects || took < limits::AWAITED_WITHIN), "{took:?}");
    }
}

#[test]
fn no_more_misses_wait_than_may_and_the_others_are_told_at_once() {
    let keyless = Keyless::new(|| true);
    let signer = || keyless.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
    let mut waiting = Vec::new();
    for number in 0..4 * limits::AWAITED_MAX as u32 {
        let serial = (number + 1_000_000).to_be_bytes();
        let id = CertId { serial: serial.strip_prefix(&[0]).unwrap_or(&serial), ..keyless.signs.id() };
        let serial = Serial::from_magnitude(&serial).unwrap();
        let record = Record { status: Status::Good, not_after: None };
        keyless.signs.writer.lock().unwrap().apply([Change::new(serial, Some(record))]);
        match keyless.misses.answer(SignRequest::one(&keyless.issuer, signer(), &id)) {
            Miss::Waiting(receiver) => waiting.push(receiver),
            Miss::Ended(outcome) => panic!("ended at once: {outcome:?}"),
        }
    }
    let mut at_once = 0;
    for mut receiver in waiting {
        at_once += usize::from(receiver.try_recv().is_ok());
    }
    assert!(at_once >= limits::AWAITED_MAX, "{at_once}");
}
