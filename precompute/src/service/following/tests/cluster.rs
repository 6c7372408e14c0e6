//! A real Redis, a CA, and a writer that tells whatever the test wants.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

use crate::{
    admin::listener::{Bounds, serve},
    answers::Answers,
    assemble::{AssembledAdmin, AssembledFeed, AssembledIssuer, AssembledTenant, Assembly, SnapshotPlaces},
    config::Sources,
    feed::{
        Body, Chain, Cluster, Entry, Issuer, Manifest, Position, Trusted, WriterKey,
        body::{AnswerSection, Begin, Heartbeat, IssuerStatus, Section},
        https::Https,
        redis::{Address, Server, Stream},
        shelf::{Directory, router},
        snapshot::SnapshotWriter,
    },
    issuer::ActiveIssuer,
    issuer_id::IssuerId,
    ledger::IssuerState,
    ocsp::{HashAlgorithm, IssuerHashes, Policy, ResponseForm, SignerIdentity},
    pki::{Certificate, Record, Serial, Status, UnixTime},
    presign::{Outcome, Subject},
    records::{Change, RecordsWriter},
    service::{
        Threads,
        following::{FeedReport, Following},
    },
    sign::SoftwareKey,
    signers::{OcspSigner, Signers},
    source::{
        CrlMarks,
        openssl::{Ca, KEYS},
    },
    state_dir::{Purpose, ServerId, own},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Redis {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Redis {
    pub(super) fn start() -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap().port();
        let mut redis = Self { dir: tempfile::tempdir().unwrap(), port, child: None };
        redis.restart();
        redis
    }

    pub(super) fn cli(&self, arguments: &[&str]) {
        let done = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// It comes back empty.
    pub(super) fn restart(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(self.dir.path()).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let mut stream = self.stream();
        until("Redis answers", || stream.extent().is_ok());
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn server(&self) -> Server {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: self.port };
        Server::at(address)
    }

    pub(super) fn stream(&self) -> Stream {
        Stream::new(self.server(), &cluster())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn cluster() -> Cluster {
    Cluster::new("followed").unwrap()
}

fn key() -> WriterKey {
    WriterKey::from_seed(&[1; 32])
}

pub(super) fn trusted() -> Trusted {
    Trusted::of(&[key().public()]).unwrap()
}

pub(super) fn serial(number: u32) -> Serial {
    Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap()
}

/// A CA with its records and answers as its writer has them.
pub(super) struct Issued {
    pub(super) id: IssuerId,
    _ca: Ca,
    certificate: Certificate,
    key: SoftwareKey,
    writer: RecordsWriter,
    subject: Subject,
    answers: Answers,
    told: BTreeMap<Serial, Change>,
}

impl Issued {
    pub(super) fn new(tenant: &str) -> Self {
        let ca = Ca::new("Followed", KEYS[1]);
        let certificate = ca.certificate();
        let key = SoftwareKey::from_file(&ca.path("ca.key")).unwrap();
        let id = IssuerId::of(tenant, &certificate);
        let (state, writer) = IssuerState::in_order(id.clone(), UnixTime::now());
        let signers = keyless(&certificate, &key);
        let issuer = ActiveIssuer::new(&id, "CA", Policy::DEFAULT, &certificate, state, signers).unwrap();
        let subject = Subject { issuer: Arc::new(issuer), ahead: vec![HashAlgorithm::Sha1] };
        let (answers, told) = (Answers::new(1 << 30), BTreeMap::new());
        Self { id, _ca: ca, certificate, key, writer, subject, answers, told }
    }

    pub(super) fn active(&self) -> &Arc<ActiveIssuer> {
        &self.subject.issuer
    }

    pub(super) fn issuer(&self) -> Issuer {
        Issuer::from(&self.id)
    }

    pub(super) fn set(&mut self, number: u32, status: Option<Status>) -> Section {
        let record = status.map(|status| Record { status, not_after: None });
        let change = Change::new(serial(number), record);
        self.writer.apply([change]);
        self.told.insert(change.serial, change);
        Section::new(self.issuer(), vec![change])
    }

    /// Signs what the records say of these.
    pub(super) fn sign(&self, numbers: impl IntoIterator<Item = u32>) -> AnswerSection {
        let now = UnixTime::now();
        let form = &self.subject.forms(now)[0];
        let mut entries = Vec::new();
        for number in numbers {
            let found = self.subject.issuer.state.records.get(&serial(number)).unwrap();
            let (draft, message) = self.subject.prepare(form, &serial(number), found, now, 0).unwrap();
            let signature = self.key.sign(&message).unwrap();
            let Outcome::Kept(stored) = self.subject.complete(form, &draft, &signature, now, &self.answers) else {
                panic!("{number} is not kept");
            };
            assert!(stored.write(&mut entries));
        }
        let packed_length = form.signer.packing().length();
        AnswerSection { issuer: self.issuer(), form: form.fingerprint, packed_length, entries }
    }

    pub(super) fn status(&self) -> IssuerStatus {
        IssuerStatus {
            is_crl_alone: false,
            id: self.id.clone(),
            verified: Some(UnixTime::now()),
            crl_next_update: None,
            crl_marks: CrlMarks::default(),
        }
    }

    fn assembled(&self) -> AssembledIssuer {
        AssembledIssuer {
            id: self.id.clone(),
            name: "CA".to_owned(),
            line: None,
            certificate: self.certificate.clone(),
            hashes: IssuerHashes::of(&self.certificate),
            sources: Sources::default(),
            crl_issuers: Vec::new(),
            policy: Policy::DEFAULT,
            unlisted_is_said: false,
            signers: keyless(&self.certificate, &self.key),
            published: None,
            renewing: Vec::new(),
            signers_count: 1,
        }
    }
}

fn keyless(certificate: &Certificate, key: &SoftwareKey) -> Signers {
    let form = ResponseForm::default();
    let identity = SignerIdentity::new(certificate, certificate, key.algorithm(), form, UnixTime::now()).unwrap();
    Signers::new(vec![Arc::new(OcspSigner::without_key(identity))]).unwrap()
}

pub(super) fn assembly(state_dir: &Path, issuers: &[&Issued]) -> Assembly {
    let tenant = |issued: &&Issued| AssembledTenant {
        forwarded: Vec::new(),
        tsas_elsewhere: Vec::new(),
        name: issued.id.tenant().to_owned(),
        formerly: None,
        line: None,
        hosts: Vec::new(),
        path: format!("/{}", issued.id.tenant()),
        policy: Policy::DEFAULT,
        signatures_per_second: None,
        time_stamps_per_second: None,
        request_anchors: Arc::new([]),
        presign: vec![HashAlgorithm::Sha1],
        issuers: vec![issued.assembled()],
        tsas: Vec::new(),
    };
    let tenants = issuers.iter().map(tenant).collect();
    let (admin, purge) = (AssembledAdmin::default(), Vec::new());
    Assembly { file: "ostia.toml".into(), state_dir: state_dir.to_owned(), admin, feed: None, purge, tenants }
}

/// A writer by hand.
pub(super) struct Teller {
    stream: Stream,
    dir: TempDir,
    snapshots: Directory,
    pub(super) url: String,
    last: Position,
    chain: Chain,
}

impl Teller {
    pub(super) fn new(redis: &Redis) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Directory::open(&dir.path().join("own"), cluster(), Arc::new(trusted())).unwrap();
        let url = format!("http://{}", give_out(&snapshots));
        Self { stream: redis.stream(), dir, snapshots, url, last: Position::START, chain: Chain::START }
    }

    /// A new epoch that goes on from what was told last.
    pub(super) fn begin(&mut self) {
        self.stream.disconnect();
        let fence = Position { epoch: micros().max(self.last.epoch + 1), sequence: 0 };
        let entry = Entry { position: fence, author: author(), prev: self.chain, body: Body::Fence };
        self.stream.put(fence, &entry.seal(&cluster(), &key()).bytes, true).unwrap();
        self.last = fence;
        let continues = vec![self.chain];
        self.tell(Body::Begin(Begin { continues, ..Begin::default() }));
    }

    pub(super) fn tell(&mut self, body: Body) -> Position {
        let entry = Entry { position: self.last.next(), author: author(), prev: self.chain, body };
        let sealed = entry.seal(&cluster(), &key());
        self.stream.put(sealed.position, &sealed.bytes, false).unwrap();
        (self.last, self.chain) = (sealed.position, sealed.chain);
        self.last
    }

    pub(super) fn beat(&mut self, digests: &[&Issued]) {
        let digests = digests.iter().map(|issued| (issued.issuer(), issued.writer.records().digest())).collect();
        self.tell(Body::Heartbeat(Heartbeat { time: micros(), digests, ..Heartbeat::default() }));
    }

    /// Makes a snapshot of what was told, and names it in Redis.
    pub(super) fn snapshot(&mut self, issuers: &[&Issued], answers: &[AnswerSection]) -> Manifest {
        let (mut draft, mut writer) = (self.snapshots.draft().unwrap(), SnapshotWriter::with_chunks_of(20_000));
        let mut done = |chunk: &[u8]| draft.put(chunk);
        for issued in issuers {
            writer.issuer(&issued.status(), issued.told.len() as u64, &mut done).unwrap();
        }
        for issued in issuers {
            for change in issued.told.values().filter(|change| change.record.is_some()) {
                writer.record(issued.issuer(), change, &mut done).unwrap();
            }
        }
        answers.iter().for_each(|section| writer.answers(&section.rows(), &mut done).unwrap());
        let written = writer.finish(&mut done).unwrap();
        let manifest = Manifest {
            position: self.last,
            chain: self.chain,
            author: author(),
            made: micros(),
            records: written.records,
            octets: written.octets,
            chunk_octets: written.chunk_octets,
            record_chunks: written.record_chunks,
            chunks: written.hashes.into(),
        };
        let sealed = manifest.seal(&cluster(), &key());
        draft.finish(&sealed).unwrap();
        self.stream.set_manifest(&sealed).unwrap();
        manifest
    }

    /// A new epoch that goes on from what no reader has, as after a pause that is longer than the writer remembers.
    pub(super) fn begin_elsewhere(&mut self) {
        self.chain = Chain([8; 32]);
        self.begin();
    }

    /// What is left of its snapshots is nothing.
    pub(super) fn forget_snapshots(self) -> TempDir {
        self.dir
    }
}

fn author() -> ServerId {
    ServerId::from_bytes([9; 16])
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// On a thread that ends with the test's process.
pub(super) fn give_out(directory: &Directory) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let (address, router) = (listener.local_addr().unwrap(), router(directory.clone()));
    std::thread::spawn(move || runtime.block_on(serve(listener, router, Bounds::SNAPSHOTS)));
    address
}

/// A source in front of another one, which says nothing when it is asked for this chunk or a later one. Gives its URL,
/// and how often it was.
pub(super) fn withholding(url: &str, first: usize) -> (String, Arc<AtomicUsize>) {
    let behind = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, withheld) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&withheld);
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut client in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let asked = String::from_utf8_lossy(&head).split(' ').nth(1).map(str::to_owned).unwrap_or_default();
            let number = asked.rsplit('/').next().and_then(|number| number.parse::<usize>().ok());
            if number.is_some_and(|number| number >= first) {
                count.fetch_add(1, Relaxed);
                silent.push(client);
                continue;
            }
            let mut source = TcpStream::connect(&behind).unwrap();
            source.write_all(&head).unwrap();
            // Who ends in the middle is not told of it.
            let _ = io::copy(&mut source, &mut client);
        }
    });
    (url, withheld)
}

/// A replica that follows.
pub(super) struct OneReplica {
    pub(super) following: Option<Following>,
    pub(super) answers: Arc<Answers>,
    pub(super) dir: TempDir,
    _threads: Threads,
}

impl OneReplica {
    pub(super) fn start(redis: &Redis, issuers: &[&Issued], from: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), redis, issuers, from)
    }

    pub(super) fn start_in(dir: TempDir, redis: &Redis, issuers: &[&Issued], from: &[&str]) -> Self {
        let feed = AssembledFeed {
            cluster: cluster(),
            redis: redis.server(),
            trusted: trusted(),
            key: None,
            https: Https::default(),
            api_url: None,
            snapshots: SnapshotPlaces { listen: None, from: from.iter().map(|&url| url.to_owned()).collect() },
            snapshot_interval: Duration::from_secs(3600),
            takeover_after: Some(Duration::from_secs(6)),
            priority: 0,
            acknowledge_within: Duration::from_secs(2),
            acknowledge_redis_replicas: 0,
            acknowledge_standbys: 0,
            shared_answers: false,
            name: None,
            replicas_wanted: 2,
        };
        let owned = own(dir.path(), Purpose::exclusive("a test")).unwrap();
        let opened = Following::open(&assembly(dir.path(), issuers), feed, owned).unwrap();
        let (answers, threads) = (Arc::new(Answers::new(1 << 30)), Threads::default());
        let following = opened.start(&answers, &threads, None).unwrap();
        Self { following: Some(following), answers, dir, _threads: threads }
    }

    pub(super) fn following(&self) -> &Following {
        self.following.as_ref().unwrap()
    }

    pub(super) fn report(&self) -> FeedReport {
        self.following().status().report()
    }

    pub(super) fn complaints(&self) -> String {
        self.following().status().complaints(Instant::now()).join("\n")
    }

    fn active(&self, issued: &Issued) -> Arc<ActiveIssuer> {
        let tenants = self.following().tenants();
        let tenants = tenants.borrow();
        let (_, issuer) = tenants.issuers().find(|(_, issuer)| *issuer.id() == issued.id).unwrap();
        Arc::clone(issuer)
    }

    /// What its record says; `Err` while that is `tryLater`.
    pub(super) fn says(&self, issued: &Issued, number: u32) -> Result<Option<Status>, ()> {
        self.active(issued).find(&serial(number)).map(|found| found.map(|found| found.status)).map_err(|_| ())
    }

    /// What the kept answer says that clients would get.
    pub(super) fn answers(&self, issued: &Issued, number: u32) -> Option<Status> {
        let issuer = self.active(issued);
        let found = issuer.find(&serial(number)).ok()??;
        let (place, signer) = issuer.signers.choose(UnixTime::now(), issuer.policy.validity, std::iter::empty())?;
        let key = issuer.key(HashAlgorithm::Sha1, place, &serial(number));
        let entry = self.answers.get(&key, signer.packing().length(), &mut Vec::new())?;
        (entry.state == found.state).then_some(found.status)
    }

    #[track_caller]
    pub(super) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}\n{}", self.report(), self.complaints());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn stop(mut self) -> TempDir {
        if let Some(following) = self.following.take() {
            following.end();
        }
        self.dir
    }
}

#[track_caller]
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
