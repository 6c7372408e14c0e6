//! Orders of events that matter, forced: a real key behind a gate that the test opens.

mod awaited;
mod shared;

use std::{fmt, process::Command, sync::atomic::AtomicBool, time::Duration};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use precompute::{
    engine::IssuerState,
    issuer::ActiveIssuer,
    issuer_id::IssuerId,
    ocsp::{
        CertId, CertStatus, HashAlgorithm, Policy, ResponseForm, SignerIdentity, Unlisted,
        profile::{Kept, Times},
    },
    pki::{Certificate, Reason, Record, Serial, Status, certificates},
    records::{Change, RecordsWriter},
    sign::{Algorithm, Signing, SoftwareKey},
    signers::{OcspSigner, Signers},
};

use super::*;
use crate::{
    ocsp::answer::{CertificateVerdict, decide},
    site::Issuer,
};

/// Keeps jobs until they are let through, in whatever order the test likes.
struct Gate {
    key: SoftwareKey,
    open: AtomicBool,
    jobs: Mutex<Vec<Job>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    fn sign(&self, job: Job) {
        let signature = self.key.sign(&job.message).map_err(|_| SignError::Failed);
        (job.done)(job.message, signature);
    }

    /// Lets the job in this place through.
    fn pass(&self, place: usize) {
        let job = self.jobs.lock().unwrap().remove(place);
        self.sign(job);
    }

    fn waiting(&self) -> Vec<Priority> {
        self.jobs.lock().unwrap().iter().map(|job| job.priority).collect()
    }
}

impl Signing for Gate {
    fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    fn signs_here(&self) -> bool {
        false
    }

    fn sign_here(&self, _: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        None
    }

    fn is_apart(&self) -> bool {
        true
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.key.public_key_octets()).verify(message, signature).is_ok()
    }

    fn submit(&self, job: Job) {
        if self.open.load(Relaxed) {
            return self.sign(job);
        }
        self.jobs.lock().unwrap().push(job);
    }
}

struct World {
    ca: Certificate,
    gate: Arc<Gate>,
    issuer: Arc<Issuer>,
    writer: Mutex<RecordsWriter>,
    misses: Arc<Misses>,
}

const SERIAL: [u8; 1] = [7];

impl World {
    fn new() -> Self {
        Self::valid_for("30")
    }

    /// With a certificate that is valid for so many days.
    fn valid_for(days: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |file: &str| dir.path().join(file);
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=CA"])
            .args(["-days", days])
            .arg("-keyout")
            .arg(path("ca.key"))
            .arg("-out")
            .arg(path("ca.pem"))
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ca = certificates(&path("ca.pem")).unwrap().remove(0);
        let key = SoftwareKey::from_file(&path("ca.key")).unwrap();
        let public = key.public_key_octets().to_vec();
        let gate = Arc::new(Gate { key, open: AtomicBool::new(true), jobs: Mutex::default() });
        let signing = Arc::clone(&gate) as Arc<dyn Signing>;
        let now = UnixTime::now();
        let signer = OcspSigner::new(&ca, &ca, &public, signing, ResponseForm::default(), now).unwrap();
        gate.open.store(false, Relaxed);
        let (issuer, writer) = issuer(&ca, vec![signer]);
        let world =
            Self { ca, gate, issuer, writer: Mutex::new(writer), misses: Misses::new(Store::new(1 << 30, 1 << 20)) };
        world.set(Status::Good);
        world
    }

    fn set(&self, status: Status) {
        let serial = Serial::from_magnitude(&SERIAL).unwrap();
        self.writer.lock().unwrap().apply([Change::new(serial, Some(Record { status, not_after: None }))]);
    }

    fn revoke(&self) {
        self.set(Status::Revoked { time: UnixTime(1), reason: Reason::KeyCompromise });
    }

    fn id(&self) -> CertId<'_> {
        let (issuer_name_hash, issuer_key_hash) = self.issuer.hashes.get(HashAlgorithm::Sha1);
        CertId { hash: HashAlgorithm::Sha1, issuer_name_hash, issuer_key_hash, serial: &SERIAL }
    }

    fn ask(&self) -> oneshot::Receiver<Outcome> {
        match self.misses.answer(self.request(), || true) {
            Miss::Waiting(receiver) => receiver,
            Miss::Ended(outcome) => panic!("ended at once: {outcome:?}"),
        }
    }

    fn refresh(&self) {
        self.misses.refresh(self.request());
    }

    fn request(&self) -> SignRequest {
        let signer = self.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
        SignRequest::one(&self.issuer, signer, &self.id())
    }

    /// For one client alone.
    fn ask_once(&self, nonce: &[u8]) -> oneshot::Receiver<Outcome> {
        let (_, signer) = self.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
        let ids = std::iter::once((&self.issuer, self.id()));
        match self.misses.answer(SignRequest::once(Arc::clone(signer), ids, Some(nonce)), || true) {
            Miss::Waiting(receiver) => receiver,
            Miss::Ended(outcome) => panic!("ended at once: {outcome:?}"),
        }
    }

    fn kept(&self) -> Option<CertStatus> {
        self.stored().map(|(kept, _)| kept.statement.status)
    }

    /// With its packed signature.
    fn stored(&self) -> Option<(Kept, Vec<u8>)> {
        let key = self.issuer.key(HashAlgorithm::Sha1, 0, &Serial::from_magnitude(&SERIAL)?);
        let mut packed = Vec::new();
        let kept =
            self.misses.store().compact(&key, self.issuer.packed_length(self.issuer.signers.first()), &mut packed)?;
        Some((kept, packed))
    }
}

fn issuer(ca: &Certificate, signers: Vec<OcspSigner>) -> (Arc<Issuer>, RecordsWriter) {
    issuer_as(Policy::DEFAULT, ca, signers)
}

fn issuer_as(policy: Policy, ca: &Certificate, signers: Vec<OcspSigner>) -> (Arc<Issuer>, RecordsWriter) {
    let id = IssuerId::of("tests", ca);
    let (state, writer) = IssuerState::in_order(id.clone(), UnixTime::now());
    let signers = Signers::new(signers.into_iter().map(Arc::new).collect()).unwrap();
    let active = ActiveIssuer::new(&id, "CA", policy, ca, state, signers).unwrap();
    (Arc::new(Issuer::new(Arc::new(active), 1)), writer)
}

fn said(receiver: &mut oneshot::Receiver<Outcome>) -> Option<CertStatus> {
    Some(receiver.try_recv().ok()?.expect("signed").statements[0].status)
}

#[test]
fn a_record_that_changes_while_its_answer_is_signed_voids_the_signature() {
    let world = World::new();
    let mut waiting = world.ask();
    world.revoke();
    world.gate.pass(0);
    assert_eq!((said(&mut waiting), world.kept()), (None, None), "the good one is thrown away");
    world.gate.pass(0);
    assert!(matches!(said(&mut waiting), Some(CertStatus::Revoked { .. })));
    assert!(matches!(world.kept(), Some(CertStatus::Revoked { .. })));
    assert_eq!(world.misses.pending(), 0);
}

#[test]
fn a_record_that_changes_with_every_signature_ends_in_try_later() {
    let world = World::new();
    let mut waiting = world.ask();
    for time in 0..limits::SIGN_ATTEMPTS_MAX {
        world.set(Status::Revoked { time: UnixTime(time as u64), reason: Reason::CertificateHold });
        world.gate.pass(0);
    }
    assert_eq!(waiting.try_recv().unwrap().unwrap_err(), OcspError::TryLater);
    assert_eq!((world.kept(), world.misses.pending(), world.gate.waiting().len()), (None, 0, 0));
}

#[test]
fn those_who_ask_for_one_certificate_share_one_signature() {
    let world = World::new();
    let mut waiting: Vec<_> = (0..100).map(|_| world.ask()).collect();
    assert_eq!(world.gate.waiting(), [Priority::Live]);
    drop(waiting.pop());
    world.gate.pass(0);
    assert!(waiting.iter_mut().all(|receiver| said(receiver) == Some(CertStatus::Good)));
}

#[test]
fn a_refresh_puts_the_successor_in_the_place_of_the_answer_kept() {
    let world = World::new();
    let mut waiting = world.ask();
    world.gate.pass(0);
    assert!(waiting.try_recv().unwrap().is_ok());
    let first = world.stored().unwrap();
    world.refresh();
    assert_eq!(world.gate.waiting(), [Priority::Refresh]);
    world.gate.pass(0);
    let second = world.stored().unwrap();
    assert_eq!(first.0.statement, second.0.statement);
    assert_ne!(first.1, second.1, "another signature");
    assert_eq!(world.misses.pending(), 0);
}

#[test]
fn a_live_request_overtakes_the_refresh_of_the_same_certificate() {
    let world = World::new();
    world.refresh();
    world.refresh();
    assert_eq!(world.gate.waiting(), [Priority::Refresh], "one is enough");
    let mut waiting = world.ask();
    let mut joined = world.ask();
    assert_eq!(world.gate.waiting(), [Priority::Refresh, Priority::Live]);
    world.gate.pass(1);
    assert_eq!(said(&mut waiting), Some(CertStatus::Good));
    assert_eq!(said(&mut joined), Some(CertStatus::Good));
    // The overtaken job tells nobody, and takes nobody's place.
    let mut later = world.ask();
    world.gate.pass(0);
    assert_eq!(said(&mut later), None);
    world.gate.pass(0);
    assert_eq!(said(&mut later), Some(CertStatus::Good));
}

#[test]
fn an_answer_with_a_nonce_is_signed_for_one_client_and_kept_for_nobody() {
    let world = World::new();
    let mut with_nonce = world.ask_once(b"sixteen bytes...");
    let mut with_another = world.ask_once(b"sixteen others..");
    let mut plain = world.ask();
    assert_eq!(world.gate.waiting(), [Priority::Once, Priority::Once, Priority::Live]);
    world.gate.pass(0);
    let answer = with_nonce.try_recv().unwrap().unwrap();
    assert!(answer.body.windows(16).any(|window| window == b"sixteen bytes..."));
    assert_eq!(world.kept(), None);
    world.gate.pass(0);
    assert!(!with_another.try_recv().unwrap().unwrap().body.windows(16).any(|window| window == b"sixteen bytes..."));
    world.gate.pass(0);
    assert_eq!((said(&mut plain), world.kept()), (Some(CertStatus::Good), Some(CertStatus::Good)));
}

#[test]
fn a_revocation_voids_an_answer_with_a_nonce_as_well() {
    let world = World::new();
    let mut waiting = world.ask_once(b"sixteen bytes...");
    world.revoke();
    world.gate.pass(0);
    assert_eq!(said(&mut waiting), None, "the good one is thrown away");
    world.gate.pass(0);
    assert!(matches!(said(&mut waiting), Some(CertStatus::Revoked { .. })));
}

#[test]
fn a_job_that_never_comes_back_does_not_hold_up_those_who_come_after_its_deadline() {
    let world = World::new();
    let _lost = world.ask();
    world.gate.jobs.lock().unwrap().drain(..).for_each(|job| std::mem::forget(job.done));
    world.misses.lock().values_mut().for_each(|pending| {
        pending.since -= limits::MISS_DEADLINE + Duration::from_secs(1);
    });
    let mut waiting = world.ask();
    world.gate.pass(0);
    assert_eq!(said(&mut waiting), Some(CertStatus::Good));
}

#[test]
fn without_a_key_what_is_kept_is_served_and_what_is_missed_is_to_be_asked_for_later() {
    let mut world = World::new();
    let now = UnixTime::now();
    let without_key = || {
        let identity =
            SignerIdentity::new(&world.ca, &world.ca, world.gate.algorithm(), ResponseForm::default(), now).unwrap();
        OcspSigner::without_key(identity)
    };
    let signing = Arc::clone(&world.gate) as Arc<dyn Signing>;
    world.gate.open.store(true, Relaxed);
    let public = world.gate.key.public_key_octets();
    let with_key = OcspSigner::new(&world.ca, &world.ca, public, signing, ResponseForm::default(), now).unwrap();
    let (both, _) = issuer(&world.ca, vec![without_key(), with_key]);
    let (issuer, writer) = issuer(&world.ca, vec![without_key()]);
    (world.issuer, world.writer) = (issuer, Mutex::new(writer));
    world.set(Status::Good);

    let mut missed = world.ask();
    assert!(matches!(missed.try_recv(), Ok(Err(OcspError::TryLater))), "a miss");
    let mut once = world.ask_once(&[1; 16]);
    assert!(matches!(once.try_recv(), Ok(Err(OcspError::TryLater))), "with a nonce");
    world.refresh();
    assert_eq!((world.misses.pending(), world.kept()), (0, None));

    // Signed where the key is, and kept here.
    let request = world.request();
    let unsigned = request.prepare(now, 0).unwrap();
    let signature = world.gate.key.sign(&unsigned.response_data).unwrap();
    let answer = Arc::new(request.complete(&unsigned, &signature, now).unwrap());
    world.misses.store().keep(request.key.unwrap(), &answer, request.signer.packing(), &signature);
    let (kept, packed) = world.stored().unwrap();
    let found = world.issuer.state.records.get(&Serial::from_magnitude(&SERIAL).unwrap());
    let verdict = decide(&world.issuer.policy, found, Some(&kept), UnixTime::MAX, now);
    assert_eq!(verdict, CertificateVerdict::Serve { refresh: false });
    let (_, signer) = world.issuer.choose(now, std::iter::empty()).unwrap();
    let mut unpacked = Vec::new();
    signer.packing().unpack(&packed, &mut unpacked);
    assert_eq!(unpacked, signature);

    // Beside one that has the key, it is chosen for what is kept, and the other for what is not.
    assert!(world.issuer.stand_in(0, now, std::iter::empty()).is_none());
    let chosen = both.choose(now, std::iter::empty()).unwrap().0;
    assert_eq!((chosen, both.stand_in(chosen, now, std::iter::empty()).map(|(place, _)| place)), (0, Some(1)));
}
