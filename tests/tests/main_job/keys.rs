//! Keys made by `ostia-precompute keys generate` and tried by `keys check`, with certificates by the real CA.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use ostia_tests::{
    Ask, Ca, Delegate, Ended, KeyKind, Site, SoftHsm, Status, Tenant, bash, openssl, programs, run, run_for,
};

/// `ostia-precompute keys` with these arguments, which finds the tokens; in `dir`.
fn keys(dir: &Path, hsm: &SoftHsm, arguments: &[&str]) -> Ended {
    let mut command = Command::new(&programs().precompute);
    run(command.arg("keys").args(arguments).envs(hsm.shim_environment()).current_dir(dir))
}

fn check(site: &Site, hsm: &SoftHsm) -> Ended {
    keys(site.dir(), hsm, &["check", "--config", site.config().to_str().unwrap()])
}

/// What `keys generate` says; it must succeed.
#[track_caller]
fn generate(dir: &Path, hsm: &SoftHsm, key: &str, algorithm: &[&str], purpose: &str, csr: &Path) -> String {
    let subject = ["--purpose", purpose, "--subject", "CN=Generated signer,O=Ostia tests"];
    let file = ["generate", "--key", key, "--csr", csr.to_str().unwrap()];
    let ended = keys(dir, hsm, &[&file[..], &subject, algorithm].concat());
    assert!(ended.status.success(), "{}", ended.text);
    ended.text
}

fn site(hsm: &SoftHsm, tenants: &[Tenant]) -> Site {
    hsm.shim_environment().into_iter().fold(Site::new(tenants), |site, (name, value)| site.environment(name, value))
}

/// The command by which the CA is told to issue the certificate, and the signer's lines in the configuration.
fn next_steps(said: &str) -> (String, String) {
    let lines = |begin: &str| said.lines().find_map(|line| line.strip_prefix("    ")?.strip_prefix(begin));
    let issue = lines("openssl ca ").unwrap_or_else(|| panic!("{said}"));
    let signer = lines("signer = { ").map(|line| line.trim_end_matches(" }").replace(", key = ", "\nkey = "));
    // What it asks a person, it is to take as said.
    (format!("openssl ca -batch {issue}"), signer.unwrap_or_default())
}

#[test]
fn a_generated_key_is_certified_by_the_printed_command_and_answers() {
    let hsm = SoftHsm::new(&["keys"]);
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    for algorithm in ["p256", "p384", "rsa2048", "ed25519"] {
        for on_token in [true, false] {
            let scratch = tempfile::tempdir().unwrap();
            let file = scratch.path().join("a file's name.key");
            let key = if on_token { hsm.uri("keys", algorithm) } else { file.to_str().unwrap().to_owned() };
            let csr = scratch.path().join("ocsp.csr");
            let said = generate(scratch.path(), &hsm, &key, &["--algorithm", algorithm], "ocsp", &csr);

            let request = openssl(scratch.path(), ["req", "-in", "ocsp.csr", "-noout", "-verify", "-text"]);
            assert!(request.contains("Subject: O = Ostia tests, CN = Generated signer"), "{request}");
            let spaceless = request.split_whitespace().collect::<String>();
            for wanted in ["KeyUsage:criticalDigitalSignature", "ExtendedKeyUsage:OCSPSigning", "OCSPNoCheck:"] {
                assert!(spaceless.contains(wanted), "{wanted}: {request}");
            }
            if !on_token {
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
                openssl(scratch.path(), ["pkey", "-in", file.to_str().unwrap(), "-check", "-noout"]);
            }

            let (issue, signer) = next_steps(&said);
            bash(ca.dir(), &issue);
            let tenant = Tenant::new("tests").issuer("ca", &ca, &format!("index = {:?}", ca.index()), &signer);
            let site = site(&hsm, &[tenant]);
            let checked = check(&site, &hsm);
            assert!(checked.status.success(), "{algorithm}: {}", checked.text);
            assert!(checked.text.contains("CN=Generated signer,O=Ostia tests"), "{}", checked.text);
            // Without a warning: the certificate has all that it should have.
            assert!(!checked.text.contains("WARN"), "{}", checked.text);
            let responder = site.start();
            Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        }
    }
}

#[test]
fn a_request_is_made_for_a_key_that_is_there() {
    let hsm = SoftHsm::new(&["keys"]);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    KeyKind::P384.generate(dir, "there.key");
    hsm.import("keys", &dir.join("there.key"), "there", "0a");
    let before = fs::read(dir.join("there.key")).unwrap();
    for (number, key) in [hsm.uri("keys", "there"), "there.key".into()].into_iter().enumerate() {
        let csr = dir.join(format!("{number}.csr"));
        let said = generate(dir, &hsm, &key, &["--csr-only"], "tsa", &csr);
        assert!(said.contains("The key was found") && said.contains("critical,timeStamping"), "{said}");
        openssl(dir, ["req", "-in", csr.to_str().unwrap(), "-noout", "-verify"]);
        let public = openssl(dir, ["req", "-in", csr.to_str().unwrap(), "-noout", "-pubkey"]);
        assert_eq!(public, openssl(dir, ["pkey", "-in", "there.key", "-pubout"]));
    }
    assert_eq!(fs::read(dir.join("there.key")).unwrap(), before);
}

#[test]
fn a_time_stamping_certificate_is_for_nothing_else() {
    let hsm = SoftHsm::new(&["keys"]);
    let ca = Ca::new("CA");
    let csr = ca.file("tsa.csr");
    let said = generate(ca.dir(), &hsm, "tsa.key", &["--algorithm", "p256"], "tsa", &csr);
    bash(ca.dir(), &next_steps(&said).0);
    let verified = openssl(
        ca.dir(),
        [
            "verify",
            "-CAfile",
            "ca.pem",
            "-purpose",
            "timestampsign",
            "-x509_strict",
            ca.file("tsa.pem").to_str().unwrap(),
        ],
    );
    assert!(verified.contains("OK"), "{verified}");
}

#[test]
fn nothing_is_written_over_and_what_is_wrong_is_told_before_there_is_a_key() {
    let hsm = SoftHsm::new(&["keys"]);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fs::write(dir.join("there"), "mine").unwrap();
    let token = hsm.shim_uri("keys", "new");
    let p256 = ["--algorithm", "p256"];
    for (key, csr, subject, algorithm, said) in [
        ("there", "new.csr", "CN=x", &p256[..], "there: already exists and is not overwritten"),
        ("new.key", "there", "CN=x", &p256, "there: already exists and is not overwritten"),
        ("new.key", "new.csr", "/CN=x", &p256, "the subject `/CN=x` cannot be read; write it as CN="),
        ("new.key", "new.csr", "CN=x", &[], "--algorithm"),
        ("new.key", "new.csr", "CN=x", &["--algorithm", "dsa"], "possible values: p256, p384"),
        ("new.key", "new.csr", "CN=x", &["--csr-only"], "new.key: cannot be read: No such file"),
        (&token, "there", "CN=x", &p256, "there: already exists"),
        (&token, "new.csr", "CN=", &p256, "has a part that is empty"),
        (&token, "new.csr", "CN=x", &["--algorithm", "ml-dsa-44"], "ML-DSA-44 keys can be made in files only"),
        (&token, "new.csr", "CN=x", &["--csr-only"], "the token `keys` holds no private key with object=new"),
        ("pkcs11:colour=red", "new.csr", "CN=x", &p256, "has the attribute `colour`, which is not known"),
        (&token.replace("token=keys", "token=absent"), "new.csr", "CN=x", &p256, "has no token with token=absent"),
        ("new.key", "no/such/place.csr", "CN=x", &p256, "place.csr: cannot be written: No such file or directory"),
        (&token, "no/such/place.csr", "CN=x", &p256, "place.csr: cannot be written: No such file or directory"),
        ("no/such/place.key", "new.csr", "CN=x", &p256, "cannot be written: No such file or directory"),
    ] {
        let file = ["generate", "--key", key, "--csr", csr, "--purpose", "ocsp", "--subject", subject];
        let ended = keys(dir, &hsm, &[&file[..], algorithm].concat());
        assert!(ended.status.code().is_some_and(|code| code != 0 && code != 101), "{key} {csr}: {}", ended.text);
        assert!(ended.text.contains(said), "no `{said}` in: {}", ended.text);
    }
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((left, fs::read_to_string(dir.join("there")).unwrap()), (vec!["there".into()], "mine".to_owned()));
    assert_eq!(hsm.calls("C_GenerateKeyPair"), 0);
    // A wrong PIN is tried once, and says so.
    hsm.write_pin("1234-wrong");
    let before = hsm.calls("C_Login");
    let file = ["generate", "--key", &token, "--csr", "new.csr", "--purpose", "ocsp", "--subject", "CN=x"];
    let ended = keys(dir, &hsm, &[&file[..], &p256].concat());
    assert!(ended.text.contains("C_Login says CKR_PIN_INCORRECT to the PIN in"), "{}", ended.text);
    assert_eq!(hsm.calls("C_Login") - before, 1);
}

/// Nothing was told of the key that was there from then on, and the next run refused to make it once more.
#[test]
fn a_key_that_was_made_without_its_request_is_told_with_what_to_do() {
    let hsm = SoftHsm::new(&["keys"]);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    // A request for this name has more bytes than the file may have, and the key has not.
    let subject = (0..16).fold("CN=x".to_owned(), |name, number| format!("{name},OU={number:060}"));
    let limited = format!(
        "trap '' XFSZ; ulimit -f 1; exec {:?} keys generate --key new.key --csr new.csr --purpose ocsp --subject {subject} --algorithm p256",
        programs().precompute
    );
    let token = hsm.shim_uri("keys", "new");
    for (key, place, said) in [
        ("new.key", "in new.key", "new.csr: cannot be written: File too large"),
        (&token, "on the token `keys`", "C_SignInit says CKR_FUNCTION_FAILED"),
    ] {
        hsm.order("C_SignInit return=CKR_FUNCTION_FAILED");
        let generate = ["generate", "--key", key, "--csr", "new.csr", "--purpose", "ocsp", "--subject", &subject];
        let ended = if key == token {
            keys(dir, &hsm, &[&generate[..], &["--algorithm", "p256"]].concat())
        } else {
            run(Command::new("bash").args(["-c", &limited]).current_dir(dir))
        };
        assert!(!ended.status.success(), "{}", ended.text);
        for said in [said, &format!("The key was made {place} and stays there"), "with --csr-only"] {
            assert!(ended.text.contains(said), "no `{said}` in: {}", ended.text);
        }
        assert!(!dir.join("new.csr").exists(), "{key}");
        hsm.order("");
        let ended = keys(dir, &hsm, &[&generate[..], &["--csr-only"]].concat());
        assert!(ended.status.success(), "{}", ended.text);
        openssl(dir, ["req", "-in", "new.csr", "-noout", "-verify"]);
        fs::remove_file(dir.join("new.csr")).unwrap();
    }
}

/// Two issuers: one with a P-256 delegate whose key is on both tokens, one with its own RSA key in a file.
fn two_issuers(hsm: &SoftHsm) -> (Ca, Ca, Tenant) {
    let (ca, other) = (Ca::new("CA"), Ca::with_key("Another CA", KeyKind::Rsa2048));
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    ["a", "b"].iter().for_each(|token| hsm.import(token, &signer.key, "ocsp", "01"));
    let both = format!("{:?}", ["a", "b"].map(|token| hsm.shim_uri(token, "ocsp")));
    let lines = format!("certificate = {:?}\nkey = {both}\nthreads = 3", signer.certificate);
    let sources = [&ca, &other].map(|ca| format!("index = {:?}", ca.index()));
    let own = format!("key = {:?}\nthreads = 2", other.key());
    let tenant = Tenant::new("acme").issuer("ca", &ca, &sources[0], &lines).issuer("other", &other, &sources[1], &own);
    (ca, other, tenant)
}

/// The cells of the table's rows, which two spaces part.
fn rows(text: &str) -> Vec<Vec<String>> {
    let table = text.lines().skip_while(|line| !line.starts_with("TENANT/ISSUER"));
    let cells =
        |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
    table.skip(1).map(cells).collect()
}

fn number(cell: &str) -> u64 {
    cell.replace(',', "").parse().unwrap_or_else(|_| panic!("{cell} is no number"))
}

#[test]
fn keys_check_lists_every_signer_and_how_fast_it_signs() {
    let hsm = SoftHsm::new(&["a", "b"]);
    let (_ca, other, tenant) = two_issuers(&hsm);
    let checked = check(&site(&hsm, &[tenant]), &hsm);
    assert!(checked.status.success(), "{}", checked.text);
    let rows = rows(&checked.text);
    let [a, b, all, file] = &rows[..4] else { panic!("{}", checked.text) };
    assert_eq!(a[0], "acme/ca");
    assert!(a[1].starts_with("CN=ocsp-1,O=Ostia tests"), "{a:?}");
    assert!(a[2].ends_with("(364 days)") || a[2].ends_with("(365 days)"), "{a:?}");
    assert_eq!(a[3..7], ["ECDSA P-256 with SHA-256", "a", "object=ocsp", "3"]);
    assert_eq!(b[..3], ["b", "object=ocsp", "3"]);
    assert_eq!(all[..2], ["in all", "6"]);
    let rates = [&a[7], &b[3], &all[2]].map(|cell| number(cell));
    assert!(rates[0] > 100 && rates[1] > 100, "{rates:?}");
    assert!((rates[0] + rates[1]).abs_diff(rates[2]) < 100, "the whole is the sum of its parts: {rates:?}");
    assert_eq!((file[0].as_str(), file[1].as_str()), ("acme/other", "CN=Another CA,O=Ostia tests"));
    assert_eq!(file[3..6], ["RSA PKCS#1 v1.5 with SHA-256", "software", other.key().to_str().unwrap()]);
    assert!(number(&file[7]) > 50, "{file:?}");
    assert_eq!((hsm.calls("C_Login token=a"), hsm.calls("C_Login token=b")), (1, 1));
}

#[test]
fn keys_check_shows_a_token_that_stands_by() {
    let hsm = SoftHsm::new(&["a", "b"]);
    let (_ca, _other, tenant) = two_issuers(&hsm);
    let site = site(&hsm, &[tenant]);
    site.edit_config(|text| text.replacen("threads = 3", "threads = 3\nprimary_first = true", 1));
    let checked = check(&site, &hsm);
    assert!(checked.status.success(), "{}", checked.text);
    let rows = rows(&checked.text);
    assert!(number(&rows[0][7]) > 100, "{}", checked.text);
    assert_eq!(rows[1], ["b", "object=ocsp", "3", "stands by"], "{}", checked.text);
}

#[test]
fn keys_check_fails_where_a_key_does_not_sign_and_shows_the_others() {
    let hsm = SoftHsm::new(&["a", "b"]);
    let (_ca, _other, tenant) = two_issuers(&hsm);
    let site = site(&hsm, &[tenant]);
    for (order, said) in [
        // From the start, later (each session has made a test signature by then), and without an answer.
        ("C_Sign token=b return=CKR_DEVICE_ERROR", "b does not sign: "),
        ("C_Sign token=b after=9 return=CKR_DEVICE_ERROR", "C_Sign says CKR_DEVICE_ERROR"),
        ("C_Sign token=b after=9 hang", "b does not sign: "),
    ] {
        hsm.order(order);
        let checked = check(&site, &hsm);
        hsm.order("# none");
        assert!(checked.status.code() == Some(1), "{order}: {}", checked.text);
        assert!(checked.text.contains("1 of 3 keys do not sign"), "{order}: {}", checked.text);
        assert!(checked.text.contains("acme/ca: b does not sign: ") && checked.text.contains(said), "{}", checked.text);
        let rows = rows(&checked.text);
        assert!(number(&rows[0][7]) > 100, "{order}: {}", checked.text);
        assert_eq!((rows[1][0].as_str(), rows[1].last().unwrap().as_str()), ("b", "none"), "{}", checked.text);
    }
    // With both out of reach nothing is left but the key in the file.
    hsm.order("C_OpenSession return=CKR_TOKEN_NOT_PRESENT");
    let checked = check(&site, &hsm);
    assert!(checked.status.code() == Some(1) && checked.text.contains("2 of 3 keys do not sign"), "{}", checked.text);
    let rows = rows(&checked.text);
    let file = rows.iter().find(|row| row[0] == "acme/other").unwrap();
    assert!(rows[0].last().unwrap() == "none" && number(&file[7]) > 50, "{}", checked.text);
}

#[test]
fn keys_check_tells_faults_as_a_start_does_and_tries_a_wrong_pin_once() {
    let hsm = SoftHsm::new(&["a", "b"]);
    let (_ca, other, tenant) = two_issuers(&hsm);
    let site = site(&hsm, &[tenant]);
    hsm.write_pin("1234-wrong");
    let checked = check(&site, &hsm);
    assert_eq!(checked.status.code(), Some(78), "{}", checked.text);
    for said in [
        "issuer[0].signer.key: the token `a`: C_Login says CKR_PIN_INCORRECT to the PIN in",
        "issuer[0].signer.key: the token `b`: C_Login says CKR_PIN_INCORRECT to the PIN in",
    ] {
        assert!(checked.text.contains(said), "{}", checked.text);
    }
    assert!(!checked.text.contains("1234"), "{}", checked.text);
    assert_eq!((hsm.calls("C_Login token=a"), hsm.calls("C_Login token=b")), (1, 1));
    // The other issuer's signer is listed none the less.
    let rows = rows(&checked.text);
    assert_eq!((rows[0][0].as_str(), rows[0][5].as_str()), ("acme/other", other.key().to_str().unwrap()));
    // What `RestartPreventExitStatus` of the unit tells systemd to leave alone.
    assert_eq!(run_for(Duration::from_secs(20), &mut site.serve()).status.code(), Some(78));
}

#[test]
fn keys_check_reads_every_section_of_a_responders_configuration() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let hsm = SoftHsm::new(&[]);
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    site.edit_config(|text| text + "\n[log]\naccess_sample = 7\n\n[cache]\noctets = 1048576\n");
    let checked = check(&site, &hsm);
    assert!(checked.status.success(), "{}", checked.text);
    assert!(rows(&checked.text)[0].last().unwrap().ends_with(" a core"), "{}", checked.text);
}
