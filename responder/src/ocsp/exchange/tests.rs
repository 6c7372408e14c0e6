//! Which decision each request gets, without sockets, threads or waiting.

use std::{
    fmt,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use precompute::{
    engine::IssuerState,
    issuer::ActiveIssuer,
    issuer_id::IssuerId,
    ocsp::{CertStatus, HashAlgorithm, Policy, ResponseForm, Unlisted},
    pki::{Certificate, Reason, Record, Status, certificates, encode::wrapped},
    records::{Change, RecordsWriter},
    sign::{Job, SignError, Signing, SoftwareKey},
    signers::Signers,
};
use tempfile::TempDir;

use super::*;

/// A key at hand, or one that is elsewhere.
struct Key {
    key: SoftwareKey,
    here: bool,
    is_away: AtomicBool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Signing for Key {
    fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    fn signs_here(&self) -> bool {
        self.here
    }

    fn sign_here(&self, message: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        self.here.then(|| self.key.sign(message).map_err(|_| SignError::Failed))
    }

    fn submit(&self, job: Job) {
        let signed = self.key.sign(&job.message).map_err(|_| SignError::Failed);
        (job.done)(job.message, signed);
    }

    fn is_away(&self) -> bool {
        self.is_away.load(Relaxed)
    }
}

/// A CA that signs for itself, once in each of some places.
struct Ca {
    certificate: Certificate,
    keys: Vec<Arc<Key>>,
    issuer: Arc<Issuer>,
    writer: Mutex<RecordsWriter>,
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Ca {
    /// `here` says of each key whether it signs on the calling thread.
    fn new(dir: &Path, name: &str, policy: Policy, here: &[bool]) -> Self {
        let [key, pem, subject] = [format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}")];
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3000"];
        openssl(dir, &[&new[..], &["-subj", &subject, "-keyout", &key, "-out", &pem]].concat());
        let certificate = certificates(&dir.join(pem)).unwrap().remove(0);
        let (mut keys, mut signers) = (Vec::new(), Vec::new());
        for here in here {
            let software = SoftwareKey::from_file(&dir.join(&key)).unwrap();
            let public = software.public_key_octets().to_vec();
            let key = Arc::new(Key { key: software, here: *here, is_away: AtomicBool::new(false) });
            let (ca, signing, form) = (&certificate, Arc::clone(&key) as Arc<dyn Signing>, ResponseForm::default());
            signers.push(Arc::new(OcspSigner::new(ca, ca, &public, signing, form, UnixTime::now()).unwrap()));
            keys.push(key);
        }
        let id = IssuerId::of("tests", &certificate);
        let (state, writer) = IssuerState::in_order(id.clone(), UnixTime::now());
        let active = ActiveIssuer::new(&id, name, policy, &certificate, state, Signers::new(signers).unwrap()).unwrap();
        let ca =
            Self { certificate, keys, issuer: Arc::new(Issuer::new(Arc::new(active), 1)), writer: Mutex::new(writer) };
        ca.set(SERIAL, Some(Status::Good));
        ca
    }

    fn set(&self, serial: u8, status: Option<Status>) {
        let serial = Serial::from_magnitude(&[serial]).unwrap();
        let record = status.map(|status| Record { status, not_after: None });
        self.writer.lock().unwrap().apply([Change::new(serial, record)]);
    }

    /// An element CertID.
    fn id(&self, serial: u8) -> Vec<u8> {
        let hash = HashAlgorithm::Sha1;
        let (name, key) = self.issuer.hashes.get(hash);
        let algorithm = tlv(0x30, &[tlv(6, hash.oid()), vec![5, 0]].concat());
        tlv(0x30, &[algorithm, tlv(4, name), tlv(4, key), tlv(2, &[serial])].concat())
    }
}

/// One tenant, two CAs of it, and a thread's own.
struct World {
    dir: TempDir,
    tenant: Tenant,
    one: Ca,
    two: Ca,
    store: Store,
    budget: Cell<Budget>,
    may_wait: bool,
}

/// One that is good.
const SERIAL: u8 = 7;

const REVOKED: Status = Status::Revoked { time: UnixTime(1), reason: Reason::KeyCompromise };

const NONCE: &[u8; 16] = b"sixteen bytes...";

impl World {
    fn new(policy: Policy) -> Self {
        Self::with_keys(policy, &[true])
    }

    fn with_keys(policy: Policy, here: &[bool]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Ca::new(dir.path(), "one", policy, here), Ca::new(dir.path(), "two", policy, here));
        let anchors = Arc::new([one.certificate.clone()]);
        let tenant = Tenant::of(policy, vec![Arc::clone(&one.issuer), Arc::clone(&two.issuer)], anchors);
        let budget = Cell::new(Budget::new(Instant::now()));
        Self { dir, tenant, one, two, store: Store::new(1 << 30, 1 << 20), budget, may_wait: true }
    }

    fn at(&self, now: UnixTime) -> Exchange<'_> {
        let Self { tenant, store, budget, may_wait, .. } = self;
        Exchange { tenant, now, store, budget, clock: Instant::now, may_wait: *may_wait }
    }

    fn decide<'d>(&self, der: &'d [u8]) -> Decision<'_, 'd> {
        self.at(UnixTime::now()).decide(der, &mut Vec::new()).1
    }

    /// The name of a decision, with the details that matter.
    fn decided(&self, der: &[u8]) -> String {
        match self.decide(der) {
            Decision::Refuse(error) => format!("{error:?}"),
            Decision::Serve { inquiry, answer, is_due } => {
                let answer = if matches!(answer, KeptAnswer::Compact(_)) { "compact" } else { "whole" };
                let successor = if is_due { ", and its successor" } else { "" };
                format!("serve {answer} of {}{successor}", inquiry.place)
            }
            Decision::Sign(request) => format!("sign by {}", self.place(&request)),
            Decision::SignOnce { request, on_budget } => {
                let has_nonce = request.prepare(UnixTime::now(), 0).unwrap().response_data;
                let has_nonce = has_nonce.windows(NONCE.len()).any(|window| window == NONCE);
                let nonce = if has_nonce { " with the nonce" } else { "" };
                let budget = if on_budget { " on budget" } else { "" };
                format!("sign once by {}{nonce}{budget}", self.place(&request))
            }
            Decision::Forward(asked) => format!("forward to {}", asked.issuer.group().of()),
            Decision::OutputFirst => "output first".to_owned(),
        }
    }

    fn place(&self, request: &SignRequest) -> usize {
        let signers = self.one.issuer.signers.all();
        signers.iter().position(|signer| Arc::ptr_eq(signer, &request.signer)).unwrap()
    }

    fn spend_budget(&self) {
        Budget::spend_from(&self.budget, Spender::of(&self.tenant), Duration::from_secs(3600));
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    wrapped(tag, &[content])
}

/// An OCSPRequest for these CertIDs, with this nonce.
fn ask(ids: &[Vec<u8>], nonce: Option<&[u8]>) -> Vec<u8> {
    let list: Vec<_> = ids.iter().map(|id| tlv(0x30, id)).collect();
    let extensions = nonce.map_or_else(Vec::new, |nonce| {
        let oid = tlv(6, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02]);
        let extension = tlv(0x30, &[oid, tlv(4, &tlv(4, nonce))].concat());
        tlv(0xa2, &tlv(0x30, &extension))
    });
    tlv(0x30, &tlv(0x30, &[tlv(0x30, &list.concat()), extensions].concat()))
}

/// Has the requested answer signed, and returns it with the signed bytes.
fn signed(request: &SignRequest) -> (Answer, Vec<u8>) {
    let now = UnixTime::now();
    let unsigned = request.prepare(now, 0).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    request.signer.signing().unwrap().submit(Job {
        message: unsigned.response_data.clone(),
        priority: precompute::sign::Priority::Live,
        deadline: Instant::now() + Duration::from_secs(5),
        done: Box::new(move |_, signature| sender.send(signature).unwrap()),
    });
    let signature = receiver.recv().unwrap().unwrap();
    (request.complete(&unsigned, &signature, now).unwrap(), signature)
}

impl World {
    /// Signs what the decision asks for, and keeps it.
    fn keep(&self, der: &[u8]) -> Arc<Answer> {
        let Decision::Sign(request) = self.decide(der) else { panic!("nothing is to be kept") };
        let (answer, signature) = signed(&request);
        let answer = Arc::new(answer);
        self.store.keep(request.key.unwrap(), &answer, request.signer.packing(), &signature);
        answer
    }
}

#[test]
fn a_nonce_counts_as_the_policy_says_for_every_kind_of_request() {
    let malformed = "MalformedRequest";
    let (once, with_nonce) = ("sign once by 0 on budget", "sign once by 0 with the nonce on budget");
    for (nonce, [plain, with, with_short, several, several_with]) in [
        (NoncePolicy::Ignore, ["sign by 0", "sign by 0", "sign by 0", once, once]),
        (NoncePolicy::Echo, ["sign by 0", with_nonce, "sign by 0", once, with_nonce]),
        (NoncePolicy::Require, [malformed, with_nonce, malformed, malformed, with_nonce]),
    ] {
        let world = World::new(Policy { nonce, ..Policy::DEFAULT });
        let (one, two) = ([world.one.id(SERIAL)], [world.one.id(SERIAL), world.one.id(8)]);
        for (ids, nonce, expected) in [
            (&one[..], None, plain),
            (&one, Some(&NONCE[..]), with),
            (&one, Some(&NONCE[..15]), with_short),
            (&two, None, several),
            (&two, Some(NONCE), several_with),
        ] {
            assert_eq!(
                world.decided(&ask(ids, nonce)),
                expected,
                "{:?} {} {nonce:?}",
                world.tenant.policy.nonce,
                ids.len()
            );
        }
    }
}

#[test]
fn a_signature_counts_as_the_policy_says_and_costs_of_the_budget() {
    let (sign, refused) = ("sign by 0", "Unauthorized");
    for (signed_requests, [unsigned, signed, by_stranger, without_budget]) in [
        (SignedRequests::Ignore, [sign, sign, sign, sign]),
        (SignedRequests::Verify, [sign, sign, refused, "TryLater"]),
        (SignedRequests::Require, ["SigRequired", sign, refused, "TryLater"]),
    ] {
        let world = World::new(Policy { signed_requests, ..Policy::DEFAULT });
        let signed_by = |signer: &str| {
            let [pem, key] = [format!("{signer}.pem"), format!("{signer}.key")];
            let about = ["ocsp", "-sha1", "-issuer", "one.pem", "-serial", "7", "-no_nonce", "-reqout", "request.der"];
            openssl(world.dir.path(), &[&about[..], &["-signer", &pem, "-signkey", &key]].concat());
            std::fs::read(world.dir.path().join("request.der")).unwrap()
        };
        let (by_anchor, by_other) = (signed_by("one"), signed_by("two"));
        assert_eq!(world.decided(&ask(&[world.one.id(SERIAL)], None)), unsigned, "{signed_requests:?}");
        assert_eq!(world.decided(&by_anchor), signed, "{signed_requests:?}");
        assert_eq!(world.decided(&by_other), by_stranger, "{signed_requests:?}");
        world.spend_budget();
        assert_eq!(world.decided(&by_anchor), without_budget, "{signed_requests:?}");
    }
}

#[test]
fn what_is_kept_is_served_while_it_may_leave_and_its_successor_is_asked_for_when_due() {
    let world = World::new(Policy::DEFAULT);
    let der = ask(&[world.one.id(SERIAL)], None);
    assert_eq!(world.decided(&der), "sign by 0");
    let times = world.keep(&der).times;
    assert_eq!(world.decided(&der), "serve compact of 0");
    let at = |now| match world.at(now).decide(&der, &mut Vec::new()).1 {
        Decision::Serve { is_due, .. } => Some(is_due),
        _ => None,
    };
    assert_eq!(at(UnixTime(times.refresh_at.0 - 1)), Some(false));
    assert_eq!(at(times.refresh_at), Some(true));
    assert_eq!(at(times.next_update), None);
    world.one.set(SERIAL, Some(REVOKED));
    assert_eq!(world.decided(&der), "sign by 0", "what was kept says good");
    world.one.set(SERIAL, None);
    assert_eq!(world.decided(&der), "Unauthorized");
}

#[test]
fn what_has_no_place_in_the_compact_table_is_served_whole() {
    let world = World::new(Policy { unlisted: Unlisted::Unknown, ..Policy::DEFAULT });
    let der = ask(&[world.one.id(9)], None);
    assert_eq!(*world.keep(&der).statements.iter().map(|said| said.status).collect::<Vec<_>>(), [CertStatus::Unknown]);
    assert_eq!(world.decided(&der), "serve whole of 0");
    world.one.set(9, Some(Status::Good));
    assert_eq!(world.decided(&der), "sign by 0");
}

#[test]
fn nothing_in_the_output_waits_for_a_signature_that_is_made_elsewhere() {
    let policy = Policy { nonce: NoncePolicy::Echo, ..Policy::DEFAULT };
    for (here, sign, once) in
        [(true, "sign by 0", "sign once by 0 with the nonce on budget"), (false, "output first", "output first")]
    {
        let world = World { may_wait: false, ..World::with_keys(policy, &[here]) };
        let (plain, with_nonce) = (ask(&[world.one.id(SERIAL)], None), ask(&[world.one.id(SERIAL)], Some(NONCE)));
        assert_eq!(world.decided(&plain), sign);
        assert_eq!(world.decided(&with_nonce), once);
        assert_eq!(world.decided(&ask(&[world.one.id(9)], None)), "Unauthorized", "who is refused waits for nobody");
        let world = World { may_wait: true, ..world };
        world.keep(&plain);
        let world = World { may_wait: false, ..world };
        assert_eq!(world.decided(&plain), "serve compact of 0", "nor who gets what is kept");
    }
}

#[test]
fn the_budget_bounds_what_this_thread_signs_for_one_client_and_nothing_else() {
    let policy = Policy { nonce: NoncePolicy::Echo, ..Policy::DEFAULT };
    for (here, once) in [(true, "TryLater"), (false, "sign once by 0 with the nonce")] {
        let world = World::with_keys(policy, &[here]);
        world.spend_budget();
        assert_eq!(world.decided(&ask(&[world.one.id(SERIAL)], Some(NONCE))), once);
        assert_eq!(world.decided(&ask(&[world.one.id(SERIAL)], None)), "sign by 0", "which others get as well");
    }
}

#[test]
fn another_signs_while_a_key_is_away_and_what_the_first_signed_is_still_served() {
    let policy = Policy { nonce: NoncePolicy::Echo, ..Policy::DEFAULT };
    let world = World::with_keys(policy, &[false, false]);
    let [plain, other] = [SERIAL, 8].map(|serial| {
        world.one.set(serial, Some(Status::Good));
        ask(&[world.one.id(serial)], None)
    });
    world.keep(&plain);
    let away = |is_away| world.one.keys[0].is_away.store(is_away, Relaxed);
    away(true);
    assert_eq!(world.decided(&plain), "serve compact of 0");
    assert_eq!(world.decided(&other), "sign by 1");
    assert_eq!(world.decided(&ask(&[world.one.id(SERIAL)], Some(NONCE))), "sign once by 1 with the nonce");
    world.keep(&other);
    assert_eq!(world.decided(&other), "serve compact of 1");
    away(false);
    assert_eq!(world.decided(&other), "sign by 0", "as if it had never been away");
}

#[test]
fn several_certificates_are_answered_together_where_one_signer_speaks_for_all() {
    let world = World::new(Policy { cert_ids_max: 2, ..Policy::DEFAULT });
    let [one, other] = [SERIAL, 8].map(|serial| world.one.id(serial));
    assert_eq!(world.decided(&ask(&[one.clone(), other.clone()], None)), "sign once by 0 on budget");
    let of_both = ask(&[one.clone(), world.two.id(SERIAL)], None);
    assert_eq!(world.decided(&of_both), "Unauthorized", "neither's signer speaks for the other");
    assert_eq!(
        world.decided(&ask(&[one.clone(), other, one], None)),
        "MalformedRequest",
        "more than may be asked at once"
    );
}

#[test]
fn what_a_request_is_about_is_told_whatever_is_decided() {
    let world = World::new(Policy::DEFAULT);
    let about = |der: &[u8]| {
        let (about, _) = world.at(UnixTime::now()).decide(der, &mut Vec::new());
        (about.issuer.map(|issuer| issuer.name.clone()), about.serial().map(|serial| serial.magnitude().to_vec()))
    };
    let foreign = Ca::new(world.dir.path(), "foreign", Policy::DEFAULT, &[true]);
    let (one, two) = (world.one.id(SERIAL), world.two.id(9));
    assert_eq!(about(&ask(std::slice::from_ref(&one), None)), (Some("one".to_owned()), Some(vec![SERIAL])));
    assert_eq!(
        about(&ask(std::slice::from_ref(&two), None)),
        (Some("two".to_owned()), Some(vec![9])),
        "refused as not listed"
    );
    assert_eq!(about(&ask(&[two, one], None)), (Some("two".to_owned()), None));
    assert_eq!(about(&ask(&[foreign.id(SERIAL)], None)), (None, None));
    assert_eq!(about(b"no DER"), (None, None));
    assert_eq!(world.decided(&ask(&[foreign.id(SERIAL)], None)), "Unauthorized");
}

#[test]
fn an_answer_just_signed_leaves_only_if_it_says_what_the_records_say() {
    let world = World::new(Policy::DEFAULT);
    let der = ask(&[world.one.id(SERIAL)], None);
    let Decision::Sign(request) = world.decide(&der) else { panic!("nothing is kept") };
    let (answer, _) = signed(&request);
    let now = UnixTime::now();
    assert_eq!(after_signing(&request, &answer, now), AfterSigning::Serve);
    assert_eq!(after_signing(&request, &answer, answer.times.next_update), AfterSigning::SignAgain);
    world.one.set(SERIAL, Some(REVOKED));
    assert_eq!(after_signing(&request, &answer, now), AfterSigning::SignAgain);
    world.one.set(SERIAL, None);
    assert_eq!(after_signing(&request, &answer, now), AfterSigning::Refuse(OcspError::Unauthorized));
}
