//! A test in a process of its own, with tokens, a certificate and orders for the shim.

use std::{
    any::type_name_of_val,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use cryptoki::{
    context::Pkcs11,
    session::{Session as Pkcs11Session, UserType},
    types::AuthPin,
};
use ostia_tests::{KeyKind, SoftHsm, openssl, programs, run, softhsm};
use precompute::{
    ending::Ending,
    pki::{Certificate, certificates, verify_signed},
    sign::{Algorithm, Fault, FaultClass, Holder, Pkcs11Token, Session, pkcs11::Uri},
};

/// What a test of this file has: in `dir` a certificate for each key, and what the shim reads and writes.
pub(crate) struct Bench {
    dir: PathBuf,
}

const VARIABLE: &str = "OSTIA_HOLDER_TEST";

/// Runs `body` in a process of its own. `prepare` is done before, outside.
pub(crate) fn alone_with(prepare: impl FnOnce(&SoftHsm), body: impl FnOnce(&Bench)) {
    if let Some(dir) = env::var_os(VARIABLE) {
        // As in every program: the process is not gone before its libraries are finalised.
        let _ending = Ending::watch().unwrap();
        return body(&Bench { dir: dir.into() });
    }
    // `holder::login::a_test::{{closure}}`, of which libtest knows `login::a_test`.
    let name = type_name_of_val(&body);
    let name = name.split_once("::").unwrap().1.trim_end_matches("::{{closure}}");
    let hsm = SoftHsm::new(&["a", "b"]);
    key(&hsm, KeyKind::P256, "key", "01", &["a", "b"]);
    prepare(&hsm);
    let mut test = Command::new(env::current_exe().unwrap());
    test.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(VARIABLE, hsm.dir());
    test.envs(hsm.shim_environment()).env("OSTIA_SHIM", &programs().pkcs11_shim);
    // Where p11-kit's client looks for its server.
    test.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", hsm.dir().join("server").display()));
    let ended = run(&mut test);
    assert!(ended.status.success(), "{}", ended.text);
    assert!(ended.text.contains("1 passed"), "no test of the name {name}: {}", ended.text);
}

/// The same with nothing but a P-256 key `key` on both tokens.
pub(crate) fn alone(body: impl FnOnce(&Bench)) {
    alone_with(|_| (), body);
}

/// Makes a key with a certificate and puts it on tokens.
pub(crate) fn key(hsm: &SoftHsm, kind: KeyKind, label: &str, id: &str, tokens: &[&str]) {
    let file = format!("{label}.key");
    kind.generate(hsm.dir(), &file);
    let certificate = format!("{label}.pem");
    openssl(
        hsm.dir(),
        ["req", "-new", "-x509", "-key", &file, "-subj", "/CN=test", "-days", "9", "-out", &certificate],
    );
    tokens.iter().for_each(|token| hsm.import(token, &hsm.dir().join(&file), label, id));
}

impl Bench {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn order(&self, orders: &str) {
        softhsm::order(&self.dir, orders);
    }

    pub(crate) fn calls(&self, begin: &str) -> usize {
        softhsm::calls(&self.dir, begin)
    }

    pub(crate) fn pin_file(&self) -> PathBuf {
        self.dir.join("pin")
    }

    pub(crate) fn shim() -> PathBuf {
        env::var_os("OSTIA_SHIM").unwrap().into()
    }

    pub(crate) fn certificate(&self, key: &str) -> Certificate {
        certificates(&self.dir.join(format!("{key}.pem"))).unwrap().remove(0)
    }

    /// The key of a certificate, on the token that `path` names (`token=a;object=key`).
    pub(crate) fn holder_of(&self, path: &str, certificate: &str, algorithm: Algorithm) -> Pkcs11Token {
        self.holder_by(&Self::shim(), path, certificate, algorithm)
    }

    pub(crate) fn holder_by(&self, module: &Path, path: &str, certificate: &str, algorithm: Algorithm) -> Pkcs11Token {
        let uri = format!("pkcs11:{path}?module-path={}&pin-source=pin", module.display());
        let uri = Uri::parse(&uri).unwrap();
        Pkcs11Token::new(&uri, &self.dir, &self.certificate(certificate), algorithm).unwrap()
    }

    /// The P-256 key of a token.
    pub(crate) fn holder(&self, token: &str) -> Pkcs11Token {
        self.holder_of(&format!("token={token};object=key"), "key", Algorithm::EcdsaP256Sha256)
    }

    /// A session, which signs rightly.
    #[track_caller]
    pub(crate) fn opens(&self, holder: &Pkcs11Token) -> Box<dyn Session> {
        let mut session = holder.open().unwrap_or_else(|fault| panic!("{fault}"));
        session.sign(b"message").unwrap_or_else(|fault| panic!("{fault}"));
        session
    }

    /// A connection to the same module beside the holders', in the same process and with its login.
    pub(crate) fn beside(&self, token: &str) -> Pkcs11Session {
        let module = Pkcs11::new(Self::shim()).unwrap();
        let slots = module.get_slots_with_token().unwrap().into_iter();
        let mut slots = slots.filter(|slot| module.get_token_info(*slot).unwrap().label() == token);
        let session = module.open_rw_session(slots.next().unwrap()).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::new(ostia_tests::softhsm::PIN.into())));
        // The module stays loaded by the holders.
        session
    }

    pub(crate) fn write_pin(&self, pin: &str) {
        fs::write(self.pin_file(), pin).unwrap();
    }
}

/// The signature of `message`, which has to verify under the certificate.
#[track_caller]
pub(crate) fn signs(session: &mut dyn Session, certificate: &Certificate, algorithm: Algorithm, message: &[u8]) {
    let signature = session.sign(message).unwrap_or_else(|fault| panic!("{fault}"));
    let identifier = der::Decode::from_der(algorithm.identifier()).unwrap();
    verify_signed(certificate.spki_der(), &identifier, message, &signature).unwrap();
}

/// An open that fails, as a class, saying all of `wanted`.
#[track_caller]
pub(crate) fn refuses(holder: &Pkcs11Token, class: FaultClass, wanted: &[&str]) -> Fault {
    let Err(fault) = holder.open() else { panic!("opened; expected {wanted:?}") };
    assert_eq!(fault.class, class, "{fault}");
    wanted.iter().for_each(|wanted| assert!(fault.message.contains(wanted), "no `{wanted}` in: {fault}"));
    fault
}
