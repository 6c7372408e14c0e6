//! Signers in whole configuration files. The real `openssl` makes certificates that are valid from now; to see them
//! expired or not yet valid, a test reads the file at another time.

use std::{fs, process::Command, time::Duration};

use super::*;
use crate::{
    assemble::{
        Assembly,
        tests::{read, read_at, refuses},
    },
    pki::{UnixTime, certificates},
    sign::Algorithm,
    source::openssl::{Ca, KEYS},
};

const DAY: Duration = Duration::from_secs(86_400);

fn openssl(ca: &Ca, arguments: &[&str]) {
    let output =
        Command::new("openssl").args(arguments).current_dir(ca.path("")).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate of this CA for its `leaf.key`, in `name.pem`.
fn certify(ca: &Ca, name: &str, days: &str, extension: &str) {
    fs::write(ca.path("extension"), extension).unwrap();
    let file = format!("{name}.pem");
    let request = ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(ca, &[&request[..], &["-days", days, "-extfile", "extension", "-out", &file]].concat());
}

const OCSP: &str = "extendedKeyUsage = OCSPSigning\nnoCheck = ignored\n";

fn with(signer: &str) -> String {
    format!("version = 1\n[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"index.txt\"\n{signer}\n")
}

fn signers(config: Assembly) -> Signers {
    config.tenants[0].issuers[0].signers.clone()
}

fn signers_at(ca: &Ca, text: &str, now: UnixTime) -> Result<Signers, String> {
    read_at(ca, text, now).map(|(_, assembly)| signers(assembly))
}

#[test]
fn an_rsa_key_signs_with_the_algorithm_that_is_asked_for() {
    use Algorithm::{RsaPkcs1Sha256, RsaPssSha256};
    let ca = Ca::new("RSA", KEYS[0]);
    for (line, algorithm) in [
        ("", RsaPkcs1Sha256),
        (", algorithm = \"rsa-pkcs1\"", RsaPkcs1Sha256),
        (", algorithm = \"rsa-pss\"", RsaPssSha256),
    ] {
        let config = read(&ca, &with(&format!("signer = {{ key = \"ca.key\"{line} }}"))).unwrap();
        assert_eq!(signers(config).first().algorithm(), algorithm, "{line}");
    }
    let problem = "issuer.signer.algorithm: is `pss`; expected one of `rsa-pkcs1`, `rsa-pss`";
    refuses(&ca, &with("signer = { key = \"ca.key\", algorithm = \"pss\" }"), &[problem]);
}

#[test]
fn an_algorithm_that_the_key_has_not_is_told_with_the_remedy() {
    for key in &KEYS[1..] {
        let ca = Ca::new("Not RSA", key);
        for algorithm in ["rsa-pkcs1", "rsa-pss"] {
            let text = with(&format!("signer = {{ key = \"ca.key\", algorithm = \"{algorithm}\" }}"));
            let error = read(&ca, &text).unwrap_err();
            assert!(error.contains("issuer.signer.algorithm: asks for RSA"), "{error}");
            assert!(error.contains("ca.key") && error.contains("remove `algorithm`"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn several_signers_keep_their_order() {
    let ca = Ca::new("Several", KEYS[0]);
    certify(&ca, "delegate", "20", OCSP);
    use Algorithm::{EcdsaP256Sha256, RsaPkcs1Sha256, RsaPssSha256};
    let tables = "[[issuer.signer]]\nkey = \"ca.key\"\nalgorithm = \"rsa-pss\"\n\
                  [[issuer.signer]]\nkey = \"leaf.key\"\ncertificate = \"delegate.pem\"\n\
                  [[issuer.signer]]\nkey = \"ca.key\"\n";
    let list = "signer = [{ key = \"ca.key\", algorithm = \"rsa-pss\" }, \
                { key = \"leaf.key\", certificate = \"delegate.pem\" }, { key = \"ca.key\" }]";
    for text in [tables, list] {
        let signers = signers(read(&ca, &with(text)).unwrap());
        let algorithms: Vec<_> = signers.all().iter().map(|signer| signer.algorithm()).collect();
        assert_eq!(algorithms, [RsaPssSha256, EcdsaP256Sha256, RsaPkcs1Sha256]);
        let now = UnixTime::now();
        let chosen = |preferred: &[Algorithm]| signers.choose(now, DAY, preferred.iter().copied()).unwrap().0;
        assert_eq!((chosen(&[]), chosen(&[EcdsaP256Sha256]), chosen(&[RsaPkcs1Sha256])), (0, 1, 2));
    }
}

#[test]
fn a_list_of_signers_that_cannot_be_is_told() {
    let ca = Ca::new("Lists", KEYS[1]);
    let signer = "[[issuer.signer]]\nkey = \"ca.key\"\n";
    refuses(&ca, &with("signer = []"), &["issuer.signer: is an empty list; name at least one signer"]);
    refuses(&ca, &with("signer = \"ca.key\""), &["issuer.signer: is `ca.key`; expected a table"]);
    refuses(&ca, &with("signer = [\"ca.key\"]"), &["issuer.signer: is not an array of tables"]);
    refuses(&ca, &with(&signer.repeat(2)), &["ostia.toml:8: issuer.signer[1].key: is that of another signer"]);
    let second = format!("{signer}[[issuer.signer]]\nkey = \"absent.key\"\n");
    refuses(&ca, &with(&second), &["ostia.toml:8: issuer.signer[1].key: "]);
    let error = read(&ca, &with(&signer.repeat(limits::CONFIGURED_SIGNERS_MAX + 1))).unwrap_err();
    assert!(error.contains("issuer.signer: names 9; an issuer has at most 8 signers"), "{error}");
}

#[test]
fn while_a_certificate_is_renewed_one_of_two_signers_has_to_be_valid() {
    let ca = Ca::new("Roll-over", KEYS[1]);
    let before = UnixTime::now();
    certify(&ca, "old", "10", OCSP);
    certify(&ca, "new", "20", OCSP);
    let signer = |name: &str| format!("[[issuer.signer]]\nkey = \"leaf.key\"\ncertificate = \"{name}.pem\"\n");
    let both = with(&(signer("old") + &signer("new")));
    let at = |days: u32| before.after(DAY * days);
    // Valid for ten and twenty days; answers last four.
    for (now, place) in [(at(1), 0), (at(5), 0), (at(7), 1), (at(11), 1), (at(17), 1)] {
        let signers = signers_at(&ca, &both, now).unwrap();
        let chosen = signers.choose(now, 4 * DAY, std::iter::empty()).map(|(place, _)| place);
        assert_eq!(chosen, Some(place), "{now}");
    }
    for (now, text, problems) in [
        (
            at(21),
            &both,
            &["issuer.signer[0].certificate: is valid from", "issuer.signer[1].certificate: is valid from"][..],
        ),
        (
            before.before(DAY),
            &both,
            &["ostia.toml:7: issuer.signer[0].certificate: ", "ostia.toml:10: issuer.signer[1].certificate: "],
        ),
        (at(11), &with(&signer("old")), &["ostia.toml:7: issuer.signer.certificate: is valid from"]),
        (before.before(DAY), &with(&signer("new")), &["issuer.signer.certificate: is valid from"]),
        (before.before(DAY), &with("signer = { key = \"ca.key\" }"), &["issuer.signer.key: is valid from"]),
    ] {
        let error = signers_at(&ca, text, now).unwrap_err();
        assert_eq!(error.lines().count(), problems.len(), "{error}");
        for problem in problems {
            assert!(
                error.contains(problem) && error.contains("not now; renew it"),
                "expected `{problem}` in:\n{error}"
            );
        }
    }
}

#[test]
fn a_designated_signer_may_come_from_another_ca() {
    let (ca, other) = (Ca::new("Asked", KEYS[1]), Ca::new("Other", KEYS[2]));
    certify(&other, "delegate", "20", OCSP);
    certify(&other, "server", "20", "extendedKeyUsage = serverAuth\n");
    let signer = |key: &str, certificate: &str, designated: &str| {
        let (key, certificate) = (other.path(key), other.path(certificate));
        with(&format!("signer = {{ key = {key:?}, certificate = {certificate:?}{designated} }}"))
    };
    let designated = ", designated = true";
    refuses(&ca, &signer("leaf.key", "delegate.pem", ""), &["is not a delegate of this issuer"]);
    refuses(&ca, &signer("leaf.key", "delegate.pem", ", designated = false"), &["or add `designated = true`"]);
    read(&ca, &signer("leaf.key", "delegate.pem", designated)).unwrap();
    refuses(&ca, &signer("leaf.key", "server.pem", designated), &["lacks the extended key usage OCSPSigning"]);
    // A different CA itself.
    read(&ca, &signer("ca.key", "ca.pem", designated)).unwrap();
    refuses(
        &ca,
        &signer("leaf.key", "ca.pem", designated),
        &["issuer.signer.certificate: does not belong to the private key"],
    );
    refuses(
        &ca,
        &with("signer = { key = \"ca.key\", designated = true }"),
        &["issuer.signer.designated: needs the certificate that clients are configured to trust"],
    );
}

/// A key on a token: everything except a module, which the tests of the programs have.
#[test]
fn a_key_on_a_token_that_cannot_be_is_told() {
    const MODULE: &str = "?module-path=/nowhere/libnone.so";
    let ca = Ca::new("Tokens", KEYS[1]);
    fs::write(ca.path("module.so"), "no library").unwrap();
    let tokens = |count: usize| {
        let uris: Vec<_> = (0..count).map(|number| format!("\"pkcs11:token=t{number}{MODULE}\"")).collect();
        format!("[{}]", uris.join(", "))
    };
    let beside = ca.path("module.so");
    for (key, problem) in [
        ("\"pkcs11:token=a;token=b\"".to_owned(), "issuer.signer.key: names `token` twice".to_owned()),
        ("\"pkcs11:token=a?pin-value=1\"".into(), "issuer.signer.key: has a pin-value, and a PIN must not".into()),
        (
            format!("[\"pkcs11:token=a{MODULE}\", \"pkcs11:colour=b\"]"),
            "key: number 2 has the attribute `colour`".into(),
        ),
        ("[\"pkcs11:token=a\", \"ca.key\"]".into(), "key: number 2 does not begin with `pkcs11:`".into()),
        ("[\"ca.key\", \"leaf.key\"]".into(), "key: is a list; only keys on tokens may be several".into()),
        ("[]".into(), "key: is a list; only".into()),
        ("\"pkcs11:token=a\"".into(), "key: names no PKCS#11 module; add its file, such as ?module-path=/usr".into()),
        (format!("\"pkcs11:token=a{MODULE}\""), "/nowhere/libnone.so cannot be read: No such file".into()),
        (
            "\"pkcs11:token=a?module-name=none-such\"".into(),
            "no PKCS#11 module has the name `none-such`: neither".into(),
        ),
        (
            "\"pkcs11:token=a?module-path=module.so\"".into(),
            format!("{} cannot be loaded as a PKCS#11 module", beside.display()),
        ),
        (tokens(9), "key: names 9 keys; a signer's key may be on at most 8 tokens".into()),
        (
            format!("[\"pkcs11:token=a{MODULE}\", \"pkcs11:token=a{MODULE}\"]"),
            "key: number 2 is the same as another one".into(),
        ),
        (
            format!("\"pkcs11:token=a{MODULE}\", algorithm = \"rsa-pss\""),
            "signer.algorithm: asks for RSASSA-PSS with SHA-256, which the key of this certificate cannot".into(),
        ),
    ] {
        refuses(&ca, &with(&format!("signer = {{ key = {key} }}")), &[&problem]);
    }
    // All at once.
    let text = with("signer = { key = [\"pkcs11:a=1\", \"pkcs11:b=1\"], certificate = \"absent.pem\" }");
    refuses(
        &ca,
        &text,
        &["number 1 has the attribute `a`", "number 2 has the attribute `b`", "absent.pem: cannot be read"],
    );
}

#[test]
fn one_signature_speaks_for_issuers_that_share_a_signer() {
    let (a, b) = (Ca::new("A", KEYS[0]), Ca::new("B", KEYS[1]));
    certify(&b, "delegate", "20", OCSP);
    let issuer = |ca: &Ca, signers: &[(&Ca, &str, &str)]| {
        let mut text = format!("[[issuer]]\ncertificate = {:?}\nindex = \"index.txt\"\n", ca.path("ca.pem"));
        for (ca, certificate, more) in signers {
            let key = if *certificate == "ca.pem" { "ca.key" } else { "leaf.key" };
            let (key, certificate) = (ca.path(key), ca.path(certificate));
            text += &format!("[[issuer.signer]]\nkey = {key:?}\ncertificate = {certificate:?}\n{more}\n");
        }
        text
    };
    let designated = "designated = true";
    let shared = |of_a: &[(&Ca, &str, &str)], now: UnixTime| {
        let of_b = [(&b, "ca.pem", ""), (&b, "delegate.pem", "")];
        let text = format!("version = 1\n{}{}", issuer(&a, of_a), issuer(&b, &of_b));
        let config = read(&a, &text).unwrap_or_else(|error| panic!("{error}"));
        let lists: Vec<_> = config.tenants[0].issuers.iter().map(|issuer| issuer.signers.clone()).collect();
        let shared = Signers::shared(&lists, now, DAY);
        shared.map(|shared| lists[1].all().iter().position(|signer| signer.is_same(&shared)).unwrap())
    };
    let now = UnixTime::now();
    let own = (&a, "ca.pem", "");
    let (ca_b, delegate_b) = ((&b, "ca.pem", designated), (&b, "delegate.pem", designated));
    assert_eq!(shared(&[own], now), None);
    assert_eq!(shared(&[own, delegate_b], now), Some(1));
    assert_eq!(shared(&[own, delegate_b, ca_b], now), Some(1), "in the order of the first issuer");
    assert_eq!(shared(&[own, ca_b, delegate_b], now), Some(0));
    assert_eq!(shared(&[own, delegate_b, ca_b], now.after(21 * DAY)), Some(0), "the delegate has expired");
    assert_eq!(shared(&[own, delegate_b], now.after(21 * DAY)), None);
    // The same certificate with another algorithm is another signer.
    let pss = (&a, "ca.pem", "algorithm = \"rsa-pss\"");
    assert_eq!(shared(&[own, pss], now), None);
    assert!(Signers::shared(&[], now, DAY).is_none(), "no issuer");
}

/// A delegate of B that also signs for A is revoked by B: A alone would not know.
#[test]
fn a_signer_that_one_of_the_issuers_has_revoked_signs_for_several_only_where_no_other_does() {
    let (a, b) = (Ca::new("A", KEYS[1]), Ca::new("B", KEYS[1]));
    certify(&b, "one", "20", OCSP);
    certify(&b, "two", "20", OCSP);
    let issuer = |ca: &Ca, names: &[&str]| {
        let mut text = format!("[[issuer]]\ncertificate = {:?}\nindex = \"index.txt\"\n", ca.path("ca.pem"));
        for name in names {
            let (key, certificate) = (b.path("leaf.key"), b.path(&format!("{name}.pem")));
            text += &format!("[[issuer.signer]]\nkey = {key:?}\ncertificate = {certificate:?}\ndesignated = true\n");
        }
        text
    };
    let now = UnixTime::now();
    for (of_a, revoked, expected) in [
        (&["one", "two"][..], &[][..], "one"),
        (&["one", "two"], &["one"], "two"),
        (&["one", "two"], &["two"], "one"),
        (&["one", "two"], &["one", "two"], "one"),
        (&["one"], &["one"], "one"),
    ] {
        let text = format!("version = 1\n{}{}", issuer(&a, of_a), issuer(&b, &["one", "two"]));
        let config = read(&a, &text).unwrap_or_else(|error| panic!("{error}"));
        let lists: Vec<_> = config.tenants[0].issuers.iter().map(|issuer| issuer.signers.clone()).collect();
        let der = |name: &str| certificates(&b.path(&format!("{name}.pem"))).unwrap()[0].der().to_vec();
        let serials: Vec<_> = revoked
            .iter()
            .map(|name| *lists[1].all().iter().find(|s| s.certificate_der() == der(name)).unwrap().serial().unwrap())
            .collect();
        let of_a_changed = lists[0].note_revoked(|serial| serials.contains(serial));
        assert!(!of_a_changed, "they are not A's to revoke");
        assert_eq!(lists[1].note_revoked(|serial| serials.contains(serial)), !serials.is_empty());
        for lists in [[&lists[0], &lists[1]], [&lists[1], &lists[0]]] {
            let shared = Signers::shared(lists, now, DAY).unwrap();
            assert!(shared.certificate_der() == der(expected), "{of_a:?} {revoked:?}");
        }
    }
}

#[test]
fn a_chain_that_goes_along_has_a_bound() {
    let ca = Ca::new("Chain", KEYS[1]);
    certify(&ca, "delegate", "20", OCSP);
    let file = |name: &str| fs::read_to_string(ca.path(name)).unwrap();
    let signer = "signer = { key = \"leaf.key\", certificate = \"chain.pem\" }";
    let text = |policy: &str| with(signer).replace("version = 1\n", &format!("version = 1\n{policy}\n"));
    let fingerprint = |policy: &str| *signers(read(&ca, &text(policy)).unwrap()).first().template().fingerprint();
    fs::write(ca.path("chain.pem"), file("delegate.pem") + &file("ca.pem").repeat(4)).unwrap();
    let (by_default, signer, chain, none) = (
        fingerprint(""),
        fingerprint("certificates = \"signer\""),
        fingerprint("certificates = \"chain\""),
        fingerprint("certificates = \"none\""),
    );
    assert!(by_default == signer && signer != chain && chain != none && none != signer);
    fs::write(ca.path("chain.pem"), file("delegate.pem") + &file("ca.pem").repeat(5)).unwrap();
    fingerprint("certificates = \"signer\"");
    refuses(
        &ca,
        &text("certificates = \"chain\""),
        &["issuer.signer.certificate: has 5 certificates after the signer's"],
    );
    refuses(
        &ca,
        &text("certificates = \"all\""),
        &["certificates: is `all`; expected one of `signer`, `chain`, `none`"],
    );
}

#[test]
fn a_delegate_whose_key_usage_does_not_let_it_sign_is_refused() {
    let ca = Ca::new("Key usage", KEYS[1]);
    let delegate = with("signer = { key = \"leaf.key\", certificate = \"delegate.pem\" }");
    for (usage, allowed) in [
        ("", true),
        ("keyUsage = critical, digitalSignature\n", true),
        ("keyUsage = nonRepudiation, digitalSignature\n", true),
        ("keyUsage = critical, keyEncipherment\n", false),
        ("keyUsage = cRLSign\n", false),
    ] {
        certify(&ca, "delegate", "20", &format!("{OCSP}{usage}"));
        if allowed {
            read(&ca, &delegate).unwrap();
        } else {
            refuses(&ca, &delegate, &["signer.certificate: has a keyUsage without digitalSignature"]);
        }
    }
    // The CA's own certificate has only keyCertSign and cRLSign, which is warned of: many are like that.
    assert!(!ca.certificate().may_sign());
    read(&ca, &with("signer = { key = \"ca.key\" }")).unwrap();
}
