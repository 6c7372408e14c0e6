//! A real CA with records, its keys behind pools that can be told to fail.

use std::{
    fmt,
    hash::RandomState,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use der::Decode as _;
use tempfile::TempDir;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::super::*;
use crate::{
    answers::Answers,
    engine::IssuerState,
    issuer::ActiveIssuer,
    issuer_id::IssuerId,
    limits,
    ocsp::{Carried, CertStatus, HashAlgorithm, Policy, ResponseForm, SignerIdentity, profile::Kept},
    pki::{Certificate, Reason, Record, Serial, Status, UnixTime, verify_signed},
    records::{Change, Details, RecordsWriter},
    sign::{Algorithm, Job, KeyPurpose, Pool, PoolSettings, SignError, Signing, SoftwareKey, Verify},
    signers::{OcspSigner, Signers},
    source::openssl::{Ca, KEYS},
};

pub(super) const NEVER: Stop<'static> = &|| false;

/// A pool that reports each job, and fails on request.
pub(super) struct Watched {
    pool: Pool,
    /// So many next jobs fail,
    pub(super) fail: AtomicU64,
    /// and then so many find the queue full.
    pub(super) refuse: AtomicU64,
    pub(super) jobs: AtomicU64,
    /// Whether it has been away for a while.
    pub(super) away: AtomicBool,
    /// Called before each job is put in.
    pub(super) before: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl Signing for Watched {
    fn algorithm(&self) -> Algorithm {
        self.pool.algorithm()
    }

    fn signs_here(&self) -> bool {
        false
    }

    fn sign_here(&self, _: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        None
    }

    fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    fn submit(&self, job: Job) {
        self.jobs.fetch_add(1, Relaxed);
        for (left, error) in [(&self.fail, SignError::Failed), (&self.refuse, SignError::Busy)] {
            if left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                return (job.done)(job.message, Err(error));
            }
        }
        if let Some(before) = &mut *self.before.lock().unwrap() {
            before();
        }
        self.pool.submit(job);
    }
}

/// A CA with its own key as the signer, and records.
pub(super) struct World {
    pub(super) dir: TempDir,
    ca: Ca,
    pub(super) certificate: Certificate,
    key: SoftwareKey,
    state: IssuerState,
    writer: Arc<Mutex<RecordsWriter>>,
    pub(super) watched: Arc<Watched>,
}

pub(super) fn serial(number: u64) -> Serial {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Serial::from_magnitude(&[&mixed.to_be_bytes()[..], &number.to_be_bytes()].concat()).unwrap()
}

impl World {
    pub(super) fn new(count: u64) -> Self {
        let ca = Ca::new("Ahead", KEYS[1]);
        let certificate = ca.certificate();
        let key = SoftwareKey::from_file(&ca.path("ca.key")).unwrap();
        let watched = Watched {
            pool: pool(&key, &certificate, 2),
            fail: AtomicU64::new(0),
            refuse: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            away: AtomicBool::new(false),
            before: Mutex::default(),
        };
        let (state, writer) = IssuerState::in_order(IssuerId::of("tests", &certificate), UnixTime::now());
        let (dir, writer, watched) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(writer)), Arc::new(watched));
        let world = Self { dir, ca, certificate, key, state, writer, watched };
        (0..count).for_each(|number| world.set(number, Status::Good));
        world
    }

    /// Changes records, on any thread.
    pub(super) fn setter(&self) -> impl Fn(u64, Status) + Send + use<> {
        let (changes, writer) = (Arc::clone(&self.state.changes), Arc::clone(&self.writer));
        move |number, status| {
            let serial = serial(number);
            writer.lock().unwrap().apply([Change::new(serial, Some(Record { status, not_after: None }))]);
            changes.tell(1, [serial].into_iter());
        }
    }

    pub(super) fn set(&self, number: u64, status: Status) {
        self.setter()(number, status);
    }

    /// Makes a change that nobody is told.
    pub(super) fn apply(&self, change: Change) {
        self.writer.lock().unwrap().apply([change]);
    }

    fn signer(&self, signing: Arc<dyn Signing>) -> Arc<OcspSigner> {
        let (form, now) = (ResponseForm::default(), UnixTime::now());
        let public = self.key.public_key_octets();
        Arc::new(OcspSigner::new(&self.certificate, &self.certificate, public, signing, form, now).unwrap())
    }

    /// The same signer, whose key is elsewhere.
    pub(super) fn without_key(&self) -> Arc<Subject> {
        self.without_key_under(POLICY)
    }

    pub(super) fn without_key_under(&self, policy: Policy) -> Arc<Subject> {
        let (form, now) = (ResponseForm::default(), UnixTime::now());
        let algorithm = self.key.algorithm();
        let identity = SignerIdentity::new(&self.certificate, &self.certificate, algorithm, form, now).unwrap();
        self.subject_of(policy, Arc::new(OcspSigner::without_key(identity)))
    }

    pub(super) fn subject_with(&self, policy: Policy, signing: Arc<dyn Signing>) -> Arc<Subject> {
        self.subject_of(policy, self.signer(signing))
    }

    fn subject_of(&self, policy: Policy, signer: Arc<OcspSigner>) -> Arc<Subject> {
        let signers = Signers::new(vec![signer]).unwrap();
        let state = self.state.clone();
        let issuer = ActiveIssuer::new(&state.id().clone(), "CA", policy, &self.certificate, state, signers).unwrap();
        Arc::new(Subject { issuer: Arc::new(issuer.numbered(1)), ahead: vec![HashAlgorithm::Sha1] })
    }

    /// What answers carry of certificates.
    pub(super) fn details(&self) -> Arc<Details> {
        Arc::clone(&self.state.details)
    }

    /// The key on threads of its own.
    pub(super) fn pool(&self) -> Arc<dyn Signing> {
        Arc::new(pool(&self.key, &self.certificate, 1))
    }

    /// Signs on the threads of a pass.
    pub(super) fn here(&self) -> Arc<Subject> {
        let pool = pool(&self.key, &self.certificate, 1);
        self.subject_with(POLICY, Arc::new(pool))
    }

    /// Signs on a pool.
    pub(super) fn pooled(&self) -> Arc<Subject> {
        let subject = self.subject_with(POLICY, Arc::clone(&self.watched) as Arc<dyn Signing>);
        // That of its self-test.
        self.watched.jobs.store(0, Relaxed);
        subject
    }

    pub(super) fn both(&self) -> [Arc<Subject>; 2] {
        [self.here(), self.pooled()]
    }
}

pub(super) const POLICY: Policy = Policy::DEFAULT;

/// The issuer of a subject that nobody shares.
pub(super) fn issuer(subject: &mut Subject) -> &mut ActiveIssuer {
    Arc::get_mut(&mut subject.issuer).unwrap()
}

/// The same with another number.
pub(super) fn numbered(subject: Subject, number: u32) -> Subject {
    Subject { issuer: Arc::new(Arc::into_inner(subject.issuer).unwrap().numbered(number)), ..subject }
}

pub(super) fn revoked() -> Status {
    Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::KeyCompromise }
}

pub(super) const HOLD: Status = Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::CertificateHold };

pub(super) fn runner(store: Option<&Path>) -> PresignRunner {
    let progress = Arc::new(Progress::default());
    let writer = store.map(|dir| StoreWriter::open(dir.to_owned(), 1 << 40, &progress).unwrap());
    PresignRunner {
        answers: Arc::new(Answers::new(1 << 30)),
        writer,
        progress,
        heard_by: None,
        spread: RandomState::new(),
    }
}

pub(super) fn signed(runner: &PresignRunner) -> u64 {
    runner.progress.report().signed
}

pub(super) fn restore(runner: &PresignRunner, subject: &Subject) -> u64 {
    let now = UnixTime::now();
    let before = runner.progress.report().restored;
    let writer = runner.writer.as_ref().unwrap();
    writer.restore(subject, &subject.forms(now), &runner.answers, now, NEVER);
    runner.progress.report().restored - before
}

/// What clients would be given about a certificate; its signature is verified.
pub(super) fn kept(runner: &PresignRunner, subject: &Subject, number: u64) -> Option<CertStatus> {
    let now = UnixTime::now();
    let forms = subject.forms(now);
    let mut packed = Vec::new();
    let serial = serial(number);
    let entry = subject.kept(&runner.answers, &forms[0], &serial, &mut packed)?;
    let kept = Kept::of(&entry)?;
    let found = subject.issuer.listed(&serial);
    let policy = &subject.issuer.policy;
    if !kept.serves(&crate::ocsp::profile::statement(policy, found, now).ok()?, policy, UnixTime::MAX, now) {
        return None;
    }
    let carried = packed.split_at(forms[0].signer.packing().length()).1;
    let carried = Carried::of_tail(policy.carries, carried);
    // Made again from what is kept of it, it is what was signed.
    let again = Subject::response_data(subject, &forms[0], &serial, &kept.statement, &kept.times, &carried);
    let mut signature = Vec::new();
    let signer = &forms[0].signer;
    signer.packing().unpack(&packed, &mut signature);
    let algorithm = AlgorithmIdentifierOwned::from_der(signer.algorithm().identifier()).unwrap();
    let certificate = Certificate::from_der(signer.certificate_der()).unwrap();
    verify_signed(certificate.spki_der(), &algorithm, &again, &signature).unwrap();
    Some(kept.statement.status)
}

pub(super) fn done(passed: Passed, due: u64) {
    assert_eq!((passed.end, passed.due, passed.again), (End::Done, due, false));
}

/// A signer of the world's CA by a certificate that ends so soon.
pub(super) fn delegate(world: &World, stem: &str, left: &str) -> Arc<OcspSigner> {
    let script = format!(
        "set -e; umask 077
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {stem}.key -subj /CN={stem} -out {stem}.csr
        printf 'extendedKeyUsage=OCSPSigning\\nnoCheck=ignored\\n' > {stem}.ext
        openssl ca -config ca.cnf -batch -notext -extfile {stem}.ext -in {stem}.csr -out {stem}.pem \
            -enddate $(date -u -d '{left}' +%Y%m%d%H%M%SZ)"
    );
    let output =
        std::process::Command::new("bash").args(["-c", &script]).current_dir(world.ca.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let certificate = crate::pki::certificates(&world.ca.path(&format!("{stem}.pem"))).unwrap().remove(0);
    let key = SoftwareKey::from_file(&world.ca.path(&format!("{stem}.key"))).unwrap();
    let pool = Arc::new(pool(&key, &certificate, 1));
    let (public, now) = (key.public_key_octets(), UnixTime::now());
    let signer = OcspSigner::new(&world.certificate, &certificate, public, pool, ResponseForm::default(), now);
    Arc::new(signer.unwrap())
}

fn pool(key: &SoftwareKey, certificate: &Certificate, threads: usize) -> Pool {
    let queue_length_max = limits::SIGN_QUEUE_LENGTH_MAX;
    let settings = PoolSettings {
        name: "test".into(),
        purpose: KeyPurpose::OcspSigning { others: false },
        key: String::new(),
        threads,
        queue_length_max,
        primary_first: false,
        verify: Verify::All,
    };
    Pool::software(key, certificate.spki_der(), settings).unwrap()
}
