//! What keys give: software keys by algorithm, and a SoftHSM token by number of threads.
//!
//! `cargo bench -p ostia-benches --bench signing`. The token needs Debian's softhsm2 and openssl.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::Attribute,
    session::UserType,
    slot::Slot,
    types::AuthPin,
};
use precompute::sign::SoftwareKey;

/// About what ResponseData of one certificate takes.
const MESSAGE: [u8; 200] = [7; 200];

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; apt-get install softhsm2 openssl"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn software(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("software key");
    group.throughput(Throughput::Elements(1));
    for (name, arguments) in [
        ("P-256", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
        ("P-384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("RSA-2048", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("RSA-3072", &["RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
        ("RSA-4096", &["RSA", "-pkeyopt", "rsa_keygen_bits:4096"]),
        ("Ed25519", &["ED25519"]),
    ] {
        let path = dir.path().join(format!("{name}.key"));
        run(Command::new("openssl").args(["genpkey", "-algorithm"]).args(arguments).arg("-out").arg(&path));
        let key = SoftwareKey::from_file(&path).unwrap();
        group.bench_function(name, |b| b.iter(|| key.sign(&MESSAGE).unwrap().len()));
    }
    group.finish();
}

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "1234";

/// A token with a key of each kind, in a directory of its own.
fn token(dir: &Path) -> (Pkcs11, Slot) {
    let tokens = dir.join("tokens");
    fs::create_dir(&tokens).unwrap();
    let config = dir.join("softhsm2.conf");
    fs::write(&config, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    // A process of its own for everything that needs the variable before threads exist.
    assert_eq!(std::env::var_os("SOFTHSM2_CONF").as_deref(), Some(config.as_os_str()));
    run(Command::new("softhsm2-util").args([
        "--init-token",
        "--free",
        "--label",
        "bench",
        "--pin",
        PIN,
        "--so-pin",
        PIN,
    ]));
    for (id, label, arguments) in [
        ("01", "P-256", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
        ("02", "RSA-2048", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ] {
        let path = dir.join(format!("{label}.pem"));
        run(Command::new("openssl").args(["genpkey", "-algorithm"]).args(arguments).arg("-out").arg(&path));
        run(Command::new("softhsm2-util")
            .args(["--import"])
            .arg(&path)
            .args(["--token", "bench", "--label", label, "--id", id, "--pin", PIN]));
    }
    let module = Pkcs11::new(MODULE).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_token().unwrap()[0];
    (module, slot)
}

fn softhsm(c: &mut Criterion) {
    // The module reads its configuration from the environment; this program is started anew with it
    // (see `main`), and finds its directory there.
    let Some(config) = std::env::var_os("SOFTHSM2_CONF") else { panic!("started without SOFTHSM2_CONF") };
    let (module, slot) = token(Path::new(&config).parent().unwrap());
    // One session stays logged in for the process.
    let login = module.open_ro_session(slot).unwrap();
    login.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();

    let digest = [7; 32];
    let digest_info = [
        &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ],
        &digest[..],
    ]
    .concat();
    let mut group = c.benchmark_group("SoftHSM, bare threads");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    for (label, mechanism, message) in [
        ("P-256", (|| Mechanism::Ecdsa) as fn() -> Mechanism<'static>, &digest[..]),
        ("RSA-2048", || Mechanism::RsaPkcs, &digest_info),
    ] {
        for threads in [1u64, 2, 4] {
            let sessions: Vec<_> = (0..threads)
                .map(|_| {
                    let session = module.open_ro_session(slot).unwrap();
                    let wanted = [Attribute::Label(label.into()), Attribute::Private(true)];
                    let key = session.find_objects(&wanted).unwrap()[0];
                    (session, key)
                })
                .collect();
            let mut sessions = Some(sessions);
            group.bench_function(BenchmarkId::new(label, threads), |b| {
                b.iter_custom(|signatures| {
                    let held = sessions.take().unwrap();
                    let begin = Instant::now();
                    let back = std::thread::scope(|scope| {
                        let share = signatures.div_ceil(threads);
                        let running: Vec<_> = held
                            .into_iter()
                            .map(|(session, key)| {
                                scope.spawn(move || {
                                    let mechanism = mechanism();
                                    for _ in 0..share {
                                        session.sign(&mechanism, key, message).unwrap();
                                    }
                                    (session, key)
                                })
                            })
                            .collect();
                        running.into_iter().map(|thread| thread.join().unwrap()).collect()
                    });
                    let took = begin.elapsed();
                    sessions = Some(back);
                    took
                });
            });
        }
    }
    group.finish();
}

criterion_group!(signing, software, softhsm);

fn main() {
    if std::env::var_os("SOFTHSM2_CONF").is_some() {
        signing();
        Criterion::default().configure_from_args().final_summary();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env("SOFTHSM2_CONF", dir.path().join("softhsm2.conf"))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
