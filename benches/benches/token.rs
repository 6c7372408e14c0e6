//! The signing pool over a SoftHSM token, beside bare threads that do nothing but call C_Sign.
//!
//! `cargo bench -p ostia-benches --bench token -- 5 2`: so many rounds, so many seconds for each (by default 3 and 2).
//! Bare threads and the pool, which verifies every signature or a sample, take turns with each number of threads, so that
//! they share whatever else the machine does; the best number of each is compared. Needs Debian's softhsm2 and openssl.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::Attribute,
    slot::Slot,
};
use precompute::{
    pki::{Certificate, certificates},
    sign::{
        Algorithm, Holder, Job, KeyPurpose, Pkcs11Token, Pool, PoolSettings, Priority, Signing, Verify, pkcs11::Uri,
    },
};

/// About what ResponseData of one certificate takes.
const MESSAGE: [u8; 200] = [7; 200];
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "1234";
const THREADS: [usize; 4] = [1, 2, 4, 8];
/// Jobs handed in and not yet signed.
const OUTSTANDING: usize = 256;

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; apt-get install softhsm2 openssl"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A token with one P-256 key, and its certificate.
fn token(dir: &Path) -> Certificate {
    fs::create_dir(dir.join("tokens")).unwrap();
    fs::write(dir.join("softhsm2.conf"), format!("directories.tokendir = {}\n", dir.join("tokens").display())).unwrap();
    let hsm = |arguments: &str| run(Command::new("softhsm2-util").args(arguments.split(' ')).current_dir(dir));
    let arguments =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=CA -keyout ca.key -out ca.pem";
    run(Command::new("openssl").args(arguments.split(' ')).current_dir(dir));
    hsm(&format!("--init-token --free --label bench --pin {PIN} --so-pin {PIN}"));
    hsm(&format!("--import ca.key --token bench --label ca --id 01 --pin {PIN}"));
    fs::write(dir.join("pin"), PIN).unwrap();
    run(Command::new("chmod").arg("600").arg(dir.join("pin")));
    certificates(&dir.join("ca.pem")).unwrap().remove(0)
}

/// Signatures a second of so many threads, each with a session of its own.
fn bare((module, slot): (&Pkcs11, Slot), threads: usize, time: Duration) -> f64 {
    let sessions: Vec<_> = (0..threads)
        .map(|_| {
            let session = module.open_ro_session(slot).unwrap();
            let key = session.find_objects(&[Attribute::Label("ca".into()), Attribute::Private(true)]).unwrap()[0];
            (session, key)
        })
        .collect();
    let begin = Instant::now();
    let signed: u64 = thread::scope(|scope| {
        let sign = |(session, key): (cryptoki::session::Session, _)| {
            let mut signed = 0;
            while begin.elapsed() < time {
                session.sign(&Mechanism::Ecdsa, key, &[7; 32]).unwrap();
                signed += 1;
            }
            signed
        };
        let running: Vec<_> = sessions.into_iter().map(|session| scope.spawn(move || sign(session))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    signed as f64 / begin.elapsed().as_secs_f64()
}

/// The same of a pool that is given bulk work all the time.
fn pooled(pool: &Pool, time: Duration) -> f64 {
    let state = Arc::new((Mutex::new((0usize, 0u64)), Condvar::new()));
    let begin = Instant::now();
    while begin.elapsed() < time {
        let told = Arc::clone(&state);
        let done = move |_, outcome: Result<Vec<u8>, _>| {
            let mut counts = told.0.lock().unwrap();
            // Those that wait when the pool ends are told so.
            *counts = (counts.0 - 1, counts.1 + u64::from(outcome.is_ok()));
            if counts.0 < OUTSTANDING / 2 {
                told.1.notify_one();
            }
        };
        let mut counts = state.0.lock().unwrap();
        while counts.0 >= OUTSTANDING {
            counts = state.1.wait(counts).unwrap();
        }
        counts.0 += 1;
        drop(counts);
        let deadline = Instant::now() + Duration::from_secs(60);
        pool.submit(Job { message: MESSAGE.to_vec(), priority: Priority::Bulk, deadline, done: Box::new(done) });
    }
    let signed = state.0.lock().unwrap().1;
    signed as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(dir: &Path) {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (rounds, seconds) = (numbers.first().copied().unwrap_or(3), numbers.get(1).copied().unwrap_or(2));
    let time = Duration::from_secs(seconds);
    let certificate = token(dir);
    let uri = format!("pkcs11:token=bench;object=ca?module-path={MODULE}&pin-source={}", dir.join("pin").display());
    let holder = Pkcs11Token::new(&Uri::parse(&uri).unwrap(), dir, &certificate, Algorithm::EcdsaP256Sha256).unwrap();
    let holder: Arc<dyn Holder> = Arc::new(holder);
    // Logs in, and has the library initialised, which is then so for the bare threads as well.
    let first = holder.open().unwrap();
    let module = Pkcs11::new(MODULE).unwrap();
    let _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slot = module.get_slots_with_token().unwrap()[0];

    println!("SoftHSM, P-256, signatures a second; {rounds} rounds of {seconds} s");
    println!("| threads | bare | pool, all verified | of bare | pool, a sample | of bare |\n|---|---|---|---|---|---|");
    let mut found: BTreeMap<usize, [Vec<f64>; 3]> = BTreeMap::new();
    for _ in 0..rounds {
        for threads in THREADS {
            let entry = found.entry(threads).or_default();
            entry[0].push(bare((&module, slot), threads, time));
            for (verify, rates) in [Verify::All, Verify::Sample].into_iter().zip(&mut entry[1..]) {
                let settings = PoolSettings {
                    name: "bench".into(),
                    purpose: KeyPurpose::OcspSigning { others: false },
                    key: String::new(),
                    threads,
                    queue_length_max: 2 * OUTSTANDING,
                    primary_first: false,
                    verify,
                };
                let holders = vec![Arc::clone(&holder)];
                let pool = Pool::new(Algorithm::EcdsaP256Sha256, certificate.spki_der(), holders, settings).unwrap();
                while pool.status().members[0].sessions < threads {
                    thread::sleep(Duration::from_millis(5));
                }
                rates.push(pooled(&pool, time));
            }
        }
    }
    let mut best = [0.0f64; 3];
    for (threads, rates) in found {
        let rates = rates.map(median);
        let [bare, all, sample] = rates;
        println!("| {threads} | {bare:.0} | {all:.0} | {:.2} | {sample:.0} | {:.2} |", all / bare, sample / bare);
        best = std::array::from_fn(|which| best[which].max(rates[which]));
    }
    let [bare, all, sample] = best;
    println!("best of the pool of the best of bare threads: {:.2}, with a sample {:.2}", all / bare, sample / bare);
    drop(first);
    // Both would end the library.
    std::mem::forget(module);
}

fn main() {
    if let Some(config) = std::env::var_os("SOFTHSM2_CONF") {
        return measure(Path::new(&config).parent().unwrap());
    }
    // The module reads its configuration from the environment: started anew with it.
    let dir = tempfile::tempdir().unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(std::env::args_os().skip(1)).env("SOFTHSM2_CONF", dir.path().join("softhsm2.conf"));
    let status = again.status().unwrap();
    assert!(status.success(), "{status}");
}
