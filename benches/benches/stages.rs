//! What each stage between the bytes of a request and those of a response costs.
//!
//! `cargo bench -p ostia-benches --bench stages`; a word after `--` chooses.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    hint::black_box,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use precompute::{
    answers::{AnswerKey, Answers, Entry},
    engine::Engine,
    ocsp::{CertId, CertStatus, Content, HashAlgorithm, Single},
    pki::{Record, Serial, Status, UnixTime},
    records::{Change, Records, StateWord},
    service::Tenants,
    usage::Usage,
};
use responder::{
    assemble::Opener,
    demo, limits,
    net::http::{
        self,
        conditions::Validators,
        response::{Context, Representation},
    },
    ocsp::{
        answer::{CertificateVerdict, decide},
        get,
        miss::{Miss, Misses},
        request::Request,
        sign_request::SignRequest,
        store::{Answer, Etag, Store},
    },
    site::{Around, Issuer, Site},
    tsa::{clock::ClockSource, clocks::Clocks},
    upstream::forwarded::Upstreams,
};

/// Random numbers of a fixed seed (splitmix64): the same keys in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// The serial with a place in a population.
fn serial(place: u64) -> Serial {
    let mut random = Random(place);
    let octets: Vec<u8> = [random.next() | 1, random.next()].iter().flat_map(|word| word.to_be_bytes()).collect();
    Serial::from_magnitude(&octets).unwrap()
}

/// Serials of a population, drawn beforehand so that drawing costs nothing later.
fn drawn_from(count: u64) -> Vec<Serial> {
    let mut random = Random(7);
    (0..1 << 16).map(|_| serial(random.next() % count)).collect()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[tag, content.len() as u8], content].concat()
}

fn request(id: &CertId<'_>) -> Vec<u8> {
    let algorithm = der(0x30, &[der(0x06, id.hash.oid()), vec![5, 0]].concat());
    let hashes = [der(4, id.issuer_name_hash), der(4, id.issuer_key_hash)].concat();
    let id = der(0x30, &[algorithm, hashes, der(2, id.serial)].concat());
    (0..4).fold(id, |content, _| der(0x30, &content))
}

/// The demo, read and ready.
struct World {
    _dir: tempfile::TempDir,
    issuer: Arc<Issuer>,
    misses: Arc<Misses>,
    serial: Serial,
    der_serial: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let demo = demo::prepare(&dir.path().join("demo"), any, any, &mut |_| ()).unwrap();
        let (config, assembly) = Opener::new(&demo.config_path).read(UnixTime::now()).unwrap();
        let mut engine = Engine::open(&assembly.common).unwrap();
        engine.read_all(|_, _, _| ()).unwrap();
        let state_dir = &config.common.state_dir;
        let clocks = Clocks::new(ClockSource::Unchecked, limits::CLOCK_LEASE, state_dir, Arc::new(|_| ()));
        let tenants = Tenants::new(&assembly.common, &engine.states(), None).unwrap();
        let usage = Usage::open(state_dir, "bench", UnixTime::now()).unwrap();
        let around = Around { clocks: &clocks, usage: &usage, upstreams: &Upstreams::default() };
        let site = Site::new(&assembly.common, &tenants, around, 1, None).unwrap();
        let good = precompute::pki::certificates(Path::new(&demo.asked)).unwrap();
        let serial = good[0].serial().unwrap();
        let der_serial = der_content(&serial);
        let config_issuer = &assembly.common.tenants[0].issuers[0];
        let (name, key) = config_issuer.hashes.get(HashAlgorithm::Sha1);
        let id =
            CertId { hash: HashAlgorithm::Sha1, issuer_name_hash: name, issuer_key_hash: key, serial: &der_serial };
        let issuer = Arc::clone(site.tenants()[0].issuer(&id).unwrap());
        Self { _dir: dir, issuer, misses: Misses::new(Store::new(1 << 30, 256 << 20)), serial, der_serial }
    }

    /// A whole miss; the demo's key is cheap, so that it is signed here.
    fn answer(&self) -> Arc<Answer> {
        let signer = self.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
        let request = SignRequest::one(&self.issuer, signer, &self.cert_id(HashAlgorithm::Sha1));
        match self.misses.answer(request, || true) {
            Miss::Ended(outcome) => outcome.unwrap(),
            Miss::Waiting(_) => panic!("a cheap key signs at once"),
        }
    }

    fn cert_id(&self, hash: HashAlgorithm) -> CertId<'_> {
        let (issuer_name_hash, issuer_key_hash) = self.issuer.hashes.get(hash);
        CertId { hash, issuer_name_hash, issuer_key_hash, serial: &self.der_serial }
    }
}

/// The content bytes of a DER INTEGER.
fn der_content(serial: &Serial) -> Vec<u8> {
    let magnitude = serial.magnitude();
    let sign = if magnitude[0] & 0x80 != 0 { &[0][..] } else { &[] };
    [sign, magnitude].concat()
}

fn base64(octets: &[u8]) -> String {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in octets.chunks(3) {
        let word = (0..3).fold(0u32, |word, at| word << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let symbol = SYMBOLS[(word >> (18 - 6 * at)) as usize & 63] as char;
            text.push(if at <= group.len() { symbol } else { '=' });
        }
    }
    text
}

fn decoding(c: &mut Criterion) {
    let world = World::new();
    let mut group = c.benchmark_group("decode");
    for hash in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        let octets = request(&world.cert_id(hash));
        group.bench_function(BenchmarkId::new("request", format!("{hash:?}")), |b| {
            b.iter(|| Request::decode(black_box(&octets)).unwrap().single().is_some());
        });
    }
    let octets = request(&world.cert_id(HashAlgorithm::Sha1));
    let escaped = base64(&octets).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let path = format!("/{escaped}");
    let (mut symbols, mut decoded) = (Vec::new(), Vec::new());
    get::decode(path.as_bytes(), &mut symbols, &mut decoded).unwrap();
    assert_eq!(decoded, octets);
    group.bench_function("get escaped", |b| {
        b.iter(|| {
            get::decode(black_box(path.as_bytes()), &mut symbols, &mut decoded).unwrap();
            decoded.len()
        });
    });
    let text = format!("GET {path} HTTP/1.1\r\nHost: ocsp.example\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n");
    group.bench_function("http head", |b| b.iter(|| http::head(black_box(text.as_bytes())).unwrap().unwrap().length));
    group.finish();
}

fn looking_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("records get");
    for exponent in 3..=7 {
        let count = 10u64.pow(exponent);
        let record = Some(Record { status: Status::Good, not_after: None });
        let records = Records::of((0..count).map(|place| Change::new(serial(place), record)));
        let drawn = drawn_from(count);
        let mut at = 0;
        group.bench_function(BenchmarkId::from_parameter(format!("1e{exponent}")), |b| {
            b.iter(|| {
                at = (at + 1) % drawn.len();
                records.get(&drawn[at]).unwrap().state
            });
        });
    }
    group.finish();
}

/// The compact table at each size, drawn at random.
fn keeping(c: &mut Criterion) {
    let mut group = c.benchmark_group("answers get");
    for exponent in [3, 4, 5, 6, 7] {
        let count = 10u64.pow(exponent);
        let answers = Answers::new(1 << 40);
        let time = UnixTime(1_800_000_000);
        let entry = Entry { state: StateWord::from_word(1), this_update: time, next_update: time, refresh_at: time };
        let key = |serial: &Serial| AnswerKey::new(0, HashAlgorithm::Sha1, 0, serial);
        for place in 0..count {
            assert!(answers.insert(&key(&serial(place)), &entry, &[7; 64]));
        }
        eprintln!("1e{exponent} answers: {} bytes each", answers.octets() / count);
        let drawn = drawn_from(count);
        let (mut at, mut packed) = (0, Vec::new());
        let mut look = || {
            at = (at + 1) % drawn.len();
            answers.get(&key(&drawn[at]), 64, &mut packed).unwrap().refresh_at
        };
        group.bench_function(BenchmarkId::from_parameter(format!("1e{exponent}")), |b| b.iter(&mut look));
        if exponent == 7 {
            // Another thread replaces 10,000 answers a second meanwhile.
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut random = Random(9);
                    while !done.load(Relaxed) {
                        for _ in 0..10 {
                            assert!(answers.insert(&key(&serial(random.next() % count)), &entry, &[8; 64]));
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                });
                let name = BenchmarkId::from_parameter(format!("1e{exponent}, 10,000 a second replaced"));
                group.bench_function(name, |b| b.iter(&mut look));
                done.store(true, Relaxed);
            });
        }
    }
    group.finish();
}

fn answering(c: &mut Criterion) {
    let world = World::new();
    let id = world.cert_id(HashAlgorithm::Sha1);
    let fresh = world.answer();
    let now = UnixTime::now();
    let signer = world.issuer.signers.first();
    let key = world.issuer.key(HashAlgorithm::Sha1, 0, &world.serial);
    let (mut packed, mut signature) = (Vec::new(), Vec::new());
    let store = world.misses.store();
    let kept = store.compact(&key, signer.packing().length(), &mut packed).unwrap();

    let mut group = c.benchmark_group("answer");
    group.bench_function("find and decide", |b| {
        b.iter(|| {
            let found = world.issuer.state.records.get(black_box(&world.serial));
            let kept = store.compact(&key, signer.packing().length(), &mut packed);
            let told_until = world.issuer.told_until();
            matches!(
                decide(&world.issuer.policy, found, kept.as_ref(), told_until, now),
                CertificateVerdict::Serve { .. }
            )
        });
    });
    let context =
        Context { date: *b"Sun, 06 Nov 1994 08:49:37 GMT", keep_alive: true, http_1_0: false, head_only: false };
    let asked = http::head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
    let surrogate = [world.issuer.cache_key().as_bytes(), b"-", world.serial.to_string().as_bytes()].concat();
    let mut out = Vec::new();
    let single = Single {
        cert_id: id,
        status: CertStatus::Good,
        this_update: kept.times.signed_at,
        next_update: kept.times.next_update,
        archive_cutoff: None,
        carrying: None,
    };
    let content =
        Content { produced_at: kept.times.signed_at, singles: &[single], extended_revoke: false, nonce: None };
    signer.packing().unpack(&packed, &mut signature);
    assert_eq!(
        signer.template().response(&content, &signature),
        &fresh.body[..],
        "the answer kept is the answer signed"
    );
    group.bench_function("head into the buffer", |b| {
        b.iter(|| {
            out.clear();
            let etag = Etag::of(signer.template(), black_box(&signature));
            let representation = Representation {
                media_type: "application/ocsp-response",
                length: 900,
                validators: Validators { etag: etag.text(), modified: Some(kept.times.signed_at), dated: true },
                max_age: kept.times.max_age(&world.issuer.policy, now),
                expires: Some(kept.times.refresh_at.max(now)),
                may_be_transformed: false,
                surrogate_keys: Some([world.issuer.cache_key().as_bytes(), &surrogate]),
            };
            context.cacheable(&mut out, &asked, &representation, |_| ());
            out.len()
        });
    });
    group.bench_function("body into the buffer", |b| {
        b.iter(|| {
            out.clear();
            signer.packing().unpack(black_box(&packed), &mut signature);
            let layout = signer.template().lay_out(black_box(&content), signature.len());
            layout.write(&mut out, &signature);
            out.len()
        });
    });
    group.bench_function("encode response data", |b| {
        b.iter(|| signer.template().response_data(black_box(&content)).len());
    });
    group.bench_function("whole miss, P-256", |b| {
        b.iter(|| world.answer().body.len());
    });
    group.finish();
}

criterion_group!(stages, decoding, looking_up, keeping, answering);
criterion_main!(stages);
