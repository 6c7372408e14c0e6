//! A token behind `p11-kit server`, which is killed and started again.

use std::{
    fs,
    os::unix::net::UnixStream,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ostia_tests::{KeyKind, SoftHsm, run, softhsm::softhsm_module, until};
use precompute::sign::{Algorithm, Algorithm::*, FaultClass, Holder as _, Pkcs11Token, pkcs11::Uri};

use crate::bench::{Bench, alone_with, key, refuses, signs};

/// Killed when dropped, with the processes that it has for its clients.
struct Server(Child);

impl Server {
    fn start(dir: &Path) -> Self {
        let socket = dir.join("server");
        let _ = fs::remove_file(&socket);
        let mut server = Command::new("p11-kit");
        server.args(["server", "--foreground", "--name"]).arg(&socket).arg("--provider").arg(softhsm_module());
        server.arg("pkcs11:").process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(server.spawn().unwrap_or_else(|error| panic!("{error}; apt-get install p11-kit")));
        until("the server listens", Duration::from_secs(30), || UnixStream::connect(&socket).ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        run(Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.0.id())]));
        let _ = self.0.wait();
    }
}

fn holder(bench: &Bench, object: &str, algorithm: Algorithm) -> Pkcs11Token {
    let uri = format!("pkcs11:token=a;object={object}?module-name=p11-kit-client&pin-source=pin");
    Pkcs11Token::new(&Uri::parse(&uri).unwrap(), bench.dir(), &bench.certificate(object), algorithm).unwrap()
}

#[test]
fn a_server_that_was_killed_and_started_again_is_found_again() {
    let more = |hsm: &SoftHsm| key(hsm, KeyKind::Rsa2048, "rsa", "02", &["a"]);
    alone_with(more, |bench| {
        let server = Server::start(bench.dir());
        let begin = Instant::now();
        let (p256, rsa) = (holder(bench, "key", EcdsaP256Sha256), holder(bench, "rsa", RsaPssSha256));
        let apart = bench.holder("b");
        let (mut on_p256, mut on_rsa) = (bench.opens(&p256), bench.opens(&rsa));
        signs(&mut *on_rsa, &bench.certificate("rsa"), RsaPssSha256, b"message");
        let mut on_apart = bench.opens(&apart);

        drop(server);
        for session in [&mut on_p256, &mut on_rsa] {
            assert_eq!(session.sign(b"message").unwrap_err().class, FaultClass::Device);
        }
        refuses(&p256, FaultClass::Device, &["CKR_DEVICE_ERROR"]);

        let _server = Server::start(bench.dir());
        // The client has no way back but to be initialised anew, which is done once nobody has signed for a moment.
        let mut opened = until("the token is back", Duration::from_secs(120), || p256.open().ok());
        assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
        signs(&mut *opened, &bench.certificate("key"), EcdsaP256Sha256, b"message");

        // The other signer of the module has nothing to do but open another session.
        for session in [&mut on_p256, &mut on_rsa] {
            let fault = session.sign(b"message").unwrap_err();
            assert_eq!(fault.class, FaultClass::Session, "{fault}");
            assert!(fault.message.contains("was initialised anew"), "{fault}");
        }
        drop(on_rsa);
        let mut on_rsa = bench.opens(&rsa);
        signs(&mut *on_rsa, &bench.certificate("rsa"), RsaPssSha256, b"message");
        signs(&mut *opened, &bench.certificate("key"), EcdsaP256Sha256, b"message");
        // Another module has noticed nothing.
        on_apart.sign(b"message").unwrap();
        assert_eq!((bench.calls("C_Initialize"), bench.calls("C_Finalize")), (1, 0));
    });
}

#[test]
fn ecdsa_and_rsa_sign_through_the_server() {
    // Not Ed25519: p11-kit 0.24 does not pass CKM_EDDSA on.
    const KEYS: [(KeyKind, &str, &[Algorithm]); 3] = [
        (KeyKind::P256, "p256", &[EcdsaP256Sha256]),
        (KeyKind::P384, "p384", &[EcdsaP384Sha384]),
        (KeyKind::Rsa2048, "rsa", &[RsaPkcs1Sha256, RsaPssSha256]),
    ];
    let keys = |hsm: &SoftHsm| {
        for (number, (kind, label, _)) in KEYS.into_iter().enumerate() {
            key(hsm, kind, label, &format!("1{number}"), &["a"]);
        }
    };
    alone_with(keys, |bench| {
        let _server = Server::start(bench.dir());
        for (_, label, algorithms) in KEYS {
            for &algorithm in algorithms {
                let mut session = bench.opens(&holder(bench, label, algorithm));
                signs(&mut *session, &bench.certificate(label), algorithm, b"message");
            }
        }
    });
}
