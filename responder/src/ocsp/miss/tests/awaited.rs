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
        Self::with(Policy::DEFAULT, expects)
    }

    fn with(policy: Policy, expects: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let signs = World::new();
        let now = UnixTime::now();
        let identity =
            SignerIdentity::new(&signs.ca, &signs.ca, signs.gate.key.algorithm(), ResponseForm::default(), now)
                .unwrap();
        let (issuer, writer) = issuer_as(policy, &signs.ca, vec![OcspSigner::without_key(identity)]);
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
        self.ask_for(self.request())
    }

    /// About a serial number of four bytes.
    fn ask_about(&self, serial: u32) -> oneshot::Receiver<Outcome> {
        let signer = self.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
        let id = CertId { serial: &serial.to_be_bytes(), ..self.signs.id() };
        self.ask_for(SignRequest::one(&self.issuer, signer, &id))
    }

    fn ask_for(&self, request: SignRequest) -> oneshot::Receiver<Outcome> {
        match self.misses.answer(request, || true) {
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
    const MORE: usize = 256;
    let keyless = Keyless::new(|| true);
    let serials = || (0x0100_0000..).take(limits::AWAITED_MAX + MORE);
    let listed = serials().map(|serial: u32| {
        let serial = Serial::from_magnitude(&serial.to_be_bytes()).unwrap();
        Change::new(serial, Some(Record { status: Status::Good, not_after: None }))
    });
    keyless.signs.writer.lock().unwrap().apply(listed);
    // Whoever is told gives a place back, so it is the same again.
    for _ in 0..2 {
        let mut waiting = Vec::new();
        for serial in serials() {
            waiting.push(keyless.ask_about(serial));
            if waiting.len().is_multiple_of(MORE) {
                // The thread takes over what has come so far.
                std::thread::sleep(limits::AWAITED_LOOK * 2);
            }
        }
        waiting.retain_mut(|receiver| receiver.try_recv().is_err());
        assert!((1..=limits::AWAITED_MAX).contains(&waiting.len()), "{}", waiting.len());
        waiting.into_iter().for_each(|receiver| assert_eq!(ended(receiver), Err(OcspError::TryLater)));
    }
}

#[test]
fn what_the_feed_does_not_bring_does_not_wait_for_it() {
    let keyless = Keyless::with(Policy { unlisted: Unlisted::Unknown, ..Policy::DEFAULT }, || true);
    let told = keyless.ask_about(0x0100_0000).try_recv();
    assert!(matches!(told, Ok(Err(OcspError::TryLater))), "it is not listed: {told:?}");
    keyless.comes();
    keyless.misses.refresh(keyless.request());
    assert_eq!(keyless.misses.pending(), 0, "it is replaced by the feed");
}
