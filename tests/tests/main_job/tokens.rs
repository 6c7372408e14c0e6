//! Keys on PKCS#11 tokens: SoftHSM, asked by the built responder.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Signer, Site, SoftHsm, Status, Tenant, softhsm, until};

/// A site with one issuer, whose signer has these lines; its programs find the tokens.
fn site(hsm: &SoftHsm, ca: &Ca, signer: &str) -> Site {
    let sources = format!("index = {:?}", ca.index());
    let site = Site::new(&[Tenant::new("tests").issuer("ca", ca, &sources, signer)]);
    hsm.shim_environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value))
}

/// A delegate's lines with the key elsewhere than in its file.
fn lines(signer: &Signer, key: &str) -> String {
    format!("certificate = {:?}\nkey = {key}", signer.certificate)
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A CA with a P-256 delegate, whose key is `ocsp` on each of the tokens.
fn ca_and_tokens(labels: &[&str]) -> (Ca, Leaf, Signer, SoftHsm) {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let hsm = SoftHsm::new(labels);
    labels.iter().for_each(|label| hsm.import(label, &signer.key, "ocsp", "01"));
    fs::remove_file(&signer.key).unwrap();
    let leaf = ca.issue();
    (ca, leaf, signer, hsm)
}

#[test]
fn openssl_verifies_what_every_algorithm_signs_on_a_token() {
    let hsm = SoftHsm::new(&["keys"]);
    for (number, (kind, line)) in [
        (KeyKind::P256, ""),
        (KeyKind::P384, ""),
        (KeyKind::Rsa2048, ""),
        (KeyKind::Rsa2048, "\nalgorithm = \"rsa-pss\""),
        (KeyKind::Ed25519, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let ca = Ca::with_key("CA", kind);
        let (good, revoked) = (ca.issue(), ca.issue());
        ca.revoke(&revoked, &[]);
        let delegate = ca.delegate(Delegate::Proper, kind);
        let keys = [("delegate", &delegate.key), ("ca", &ca.key())];
        let [delegate_uri, ca_uri] = keys.map(|(who, key)| {
            let label = format!("{who}-{number}");
            hsm.import("keys", key, &label, &format!("{number}{}", who.len()));
            quoted(&hsm.uri("keys", &label))
        });
        // A delegate, and the CA itself, which has no certificate of its own here.
        for signer in [lines(&delegate, &delegate_uri), format!("key = {ca_uri}")] {
            let responder = site(&hsm, &ca, &(signer + line)).start();
            for (leaf, status) in [(&good, Status::Good), (&revoked, Status::Revoked)] {
                Ask::about(&ca, leaf).at(responder.http(), "/").expect(status);
            }
        }
    }
}

#[test]
fn a_signer_has_its_key_on_two_tokens_with_so_many_sessions_each() {
    let (ca, leaf, signer, hsm) = ca_and_tokens(&["a", "b"]);
    let keys = ["a", "b"].map(|token| hsm.shim_uri(token, "ocsp"));
    let responder = site(&hsm, &ca, &(lines(&signer, &format!("{keys:?}")) + "\nthreads = 3")).start();
    for token in ["a", "b"] {
        // One is that of the login.
        assert_eq!(hsm.calls(&format!("C_OpenSession token={token}")), 4);
        assert_eq!(hsm.calls(&format!("C_Login token={token}")), 1);
    }
    assert_eq!(hsm.calls("C_Initialize"), 1);
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn a_start_does_not_fail_because_one_of_two_tokens_is_down() {
    let (ca, leaf, signer, hsm) = ca_and_tokens(&["a", "b"]);
    let both = lines(&signer, &format!("{:?}", ["a", "b"].map(|token| hsm.shim_uri(token, "ocsp"))));
    hsm.order("C_OpenSession token=a return=CKR_TOKEN_NOT_PRESENT");
    let responder = site(&hsm, &ca, &both).start();
    let log = responder.log();
    assert!(
        log.contains("WARN") && log.contains("a token cannot be used now") && log.contains("CKR_TOKEN_NOT_PRESENT"),
        "{log}"
    );
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    drop(responder);
    hsm.order("C_OpenSession return=CKR_TOKEN_NOT_PRESENT");
    let none = site(&hsm, &ca, &both);
    // A check tells that none of them can be reached, which keeps nobody from starting (see `token_start`).
    let checked = none.check();
    for said in ["the token `a`: C_OpenSession says CKR_TOKEN_NOT_PRESENT", "the token `b`: C_OpenSession"] {
        assert!(checked.text.contains(said), "{}", checked.text);
    }
    assert_eq!(checked.status.code(), Some(1));
    // What is wrong with the file keeps everybody.
    none.edit_config(|text| text + "\n[http2]\n");
    assert_eq!(none.check().status.code(), Some(78));
    assert_eq!(none.serve().status().unwrap().code(), Some(78));
    // A token that is locked must not keep the other from answering; it is told loudly, and its PIN tried once.
    hsm.order("C_Login token=a return=CKR_PIN_INCORRECT");
    let tried = hsm.calls("C_Login token=a");
    let responder = site(&hsm, &ca, &both).start();
    let log = responder.log();
    assert!(log.contains("ERROR") && log.contains("`a`: C_Login says CKR_PIN_INCORRECT"), "{log}");
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    until("it counts as locked", Duration::from_secs(20), || {
        (responder.metric("ostia_token_locked", "token=\"a\"") == 1.0).then_some(())
    });
    assert_eq!(hsm.calls("C_Login token=a"), tried + 1);
}

#[test]
fn a_wrong_pin_is_tried_once_at_a_start_whatever_is_configured() {
    let (ca, _, signer, hsm) = ca_and_tokens(&["keys"]);
    hsm.write_pin("1234-wrong");
    let key = quoted(&hsm.shim_uri("keys", "ocsp"));
    let own = format!("key = {key}");
    // Two issuers, each with a signer on the token and with eight sessions.
    let other = Ca::new("Another CA");
    let sources = [&ca, &other].map(|ca| format!("index = {:?}", ca.index()));
    let tenant = Tenant::new("tests").issuer("ca", &ca, &sources[0], &lines(&signer, &key)).issuer(
        "other",
        &other,
        &sources[1],
        &own,
    );
    let environment = hsm.shim_environment();
    let site = environment.into_iter().fold(Site::new(&[tenant]), |site, (name, value)| site.environment(name, value));
    let checked = site.check();
    let said = "the token `keys`: C_Login says CKR_PIN_INCORRECT to the PIN in";
    assert!(!checked.status.success() && checked.text.contains(said), "{}", checked.text);
    assert!(checked.text.contains("it is not tried again: write the right PIN into that file"), "{}", checked.text);
    assert!(!checked.text.contains("1234"), "{}", checked.text);
    assert_eq!(hsm.calls("C_Login"), 1);
}

#[test]
fn what_is_wrong_with_a_key_on_a_token_is_told_with_what_was_looked_for_and_found() {
    let (ca, _, signer, hsm) = ca_and_tokens(&["keys"]);
    (0..2).for_each(|_| hsm.add_token("twin"));
    let other = ca.delegate(Delegate::Proper, KeyKind::P256);
    hsm.import("keys", &other.key, "other", "02");
    hsm.import("keys", &other.key, "double", "03");
    hsm.import("keys", &other.key, "double", "04");
    let uri = |token: &str, object: &str| hsm.uri(token, object);
    let elsewhere = |module: &str| hsm.uri_with("keys", "ocsp", Path::new(module));
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.lines().find(|line| line.contains("/libc")).unwrap().split_whitespace().last().unwrap().to_owned();
    let open_pin = hsm.dir().join("open.pin");
    fs::write(&open_pin, softhsm::PIN).unwrap();
    fs::set_permissions(&open_pin, fs::Permissions::from_mode(0o644)).unwrap();
    let pin = |source: &str| uri("keys", "ocsp").replace(hsm.pin_file().to_str().unwrap(), source);
    for (key, said) in [
        (elsewhere("/nowhere/lib.so"), &["the PKCS#11 module /nowhere/lib.so cannot be read: No such file"][..]),
        (elsewhere("/etc/passwd"), &["/etc/passwd cannot be loaded as a PKCS#11 module", "invalid ELF header"]),
        (elsewhere(&libc), &["cannot be loaded as a PKCS#11 module", "C_GetFunctionList"]),
        (uri("twin", "ocsp"), &["has more than one token with token=twin: `token=twin;serial="]),
        (
            uri("keys", "absent"),
            &["the token `keys` holds no private key with object=absent; it holds", "`object=ocsp;id=%01`"],
        ),
        (
            uri("keys", "double"),
            &["the token `keys` holds more than one private key with object=double", "id=%03", "id=%04"],
        ),
        (uri("keys", "other"), &["the key `object=other` on the token `keys` is not the key of the certificate"]),
        (pin(open_pin.to_str().unwrap()), &["the PIN of the token `keys`", "has mode 0644", "chmod 600"]),
        (pin("/nowhere/pin"), &["the PIN of the token `keys`: /nowhere/pin: cannot be read: No such file"]),
        (
            uri("keys", "ocsp").replace("pin-source=", "pin-value="),
            &["has a pin-value, and a PIN must not be in the configuration"],
        ),
        (uri("keys", "ocsp").replace("object=", "colour="), &["has the attribute `colour`, which is not known here"]),
    ] {
        let said = [&["signer.key: "], said].concat();
        site(&hsm, &ca, &lines(&signer, &quoted(&key))).is_refused(&said);
    }
    let any = |uri: String| uri.replace("token=keys;", "");
    site(&hsm, &ca, &lines(&signer, &quoted(&any(uri("keys", "ocsp"))))).is_refused(&[
        "signer.key: the PKCS#11 module",
        " has more than one token: `token=",
        "name the one by token=… and",
    ]);
    // A token that may be plugged in later, and a SoftHSM that does not find its own configuration: only a check fails.
    let absent = site(&hsm, &ca, &lines(&signer, &quoted(&uri("absent", "ocsp"))));
    let lost = site(&hsm, &ca, &lines(&signer, &quoted(&uri("keys", "ocsp")))).environment("SOFTHSM2_CONF", "/nowhere");
    let single = SoftHsm::new(&["single"]);
    site(&hsm, &ca, &lines(&signer, &quoted(&any(uri("keys", "absent")))))
        .environment("SOFTHSM2_CONF", single.config())
        .is_refused(&["signer.key: the token `any` holds no private key with object=absent"]);
    let empty = SoftHsm::new(&[]);
    let none = |key: &str| site(&hsm, &ca, &lines(&signer, &quoted(key))).environment("SOFTHSM2_CONF", empty.config());
    for (site, said) in [
        (
            none(&uri("keys", "ocsp")),
            &[
                "has no token with token=keys; it has none at all: initialise one with the module's own tools, such as softhsm2-util --init-token",
            ][..],
        ),
        (none(&any(uri("keys", "ocsp"))), &["libsofthsm2.so has no initialised token"]),
        (absent, &["has no token with token=absent; it has", "`token=keys;serial=", "`token=twin;serial="]),
        (
            lost,
            &[
                "the PKCS#11 module",
                "C_Initialize says CKR_",
                "; SoftHSM reports this when it cannot read its configuration: SOFTHSM2_CONF is /nowhere; set it for the service",
            ],
        ),
    ] {
        let checked = site.check();
        assert_eq!(checked.status.code(), Some(1), "{}", checked.text);
        let log = site.start().log();
        for said in said {
            assert!(checked.text.contains(said) && log.contains(said), "no `{said}` in: {}\n{log}", checked.text);
        }
    }
}

#[test]
fn every_attribute_of_rfc_7512_says_which_key_is_meant() {
    let (ca, leaf, signer, hsm) = ca_and_tokens(&["keys", "twin"]);
    let uri = hsm.uri("keys", "ocsp");
    let with = |path: &str, query: &str| uri.replace("?", &format!(";{path}?")) + query;
    let softhsm = "library-manufacturer=SoftHSM;library-description=Implementation%20of%20PKCS11;library-version=2.6;slot-manufacturer=SoftHSM%20project;manufacturer=SoftHSM%20project;type=private";
    for proper in [
        with(softhsm, "&vendor-bbb=value-b"),
        // Blanks at the end say nothing, since PKCS#11 fills labels up with them.
        uri.replace("token=keys", "token=keys%20%20"),
    ] {
        let responder = site(&hsm, &ca, &lines(&signer, &quoted(&proper))).start();
        Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    }
    for (other, said) in [
        ("library-version=2.7", "has no token with token=keys;library-version=2.7; it has `token=keys;"),
        ("library-manufacturer=Other", "has no token with token=keys;library-manufacturer=Other"),
        ("library-description=Other", "library-description=Other; it has"),
        ("slot-description=Left", "slot-description=Left; it has"),
        ("slot-manufacturer=Other", "slot-manufacturer=Other; it has"),
    ] {
        let checked = site(&hsm, &ca, &lines(&signer, &quoted(&with(other, "")))).check();
        assert!(!checked.status.success() && checked.text.contains(said), "no `{said}` in: {}", checked.text);
    }
}

#[test]
fn a_file_that_is_no_library_for_this_machine_is_told() {
    let (ca, _, signer, hsm) = ca_and_tokens(&["keys"]);
    let library = fs::read(softhsm::softhsm_module()).unwrap();
    let with = |at: usize, byte: u8| {
        let mut library = library.clone();
        library[at] = byte;
        library
    };
    let other = if cfg!(target_arch = "aarch64") { (62, "it is for x86_64") } else { (183, "it is for aarch64") };
    for (content, said) in [
        (with(18, other.0), other.1),
        (with(4, 1), "it is for programs of 32 bits"),
        (library[..1000].to_vec(), "the file is cut off; install it again"),
        (b"no library".to_vec(), "the file is no library"),
    ] {
        let module = hsm.dir().join("module.so");
        fs::write(&module, content).unwrap();
        let uri = hsm.uri_with("keys", "ocsp", &module);
        site(&hsm, &ca, &lines(&signer, &quoted(&uri))).is_refused(&[
            "signer.key: ",
            "module.so cannot be loaded as a PKCS#11 module: ",
            said,
        ]);
    }
}

#[test]
fn a_pin_that_a_token_refuses_is_told_with_what_to_do() {
    let (ca, _, signer, hsm) = ca_and_tokens(&["keys"]);
    let uri = hsm.shim_uri("keys", "ocsp");
    for (value, said) in [
        ("CKR_PIN_INCORRECT", "write the right PIN into that file and reload, or unblock the token and restart"),
        ("CKR_PIN_LOCKED", "the PIN is locked after wrong ones; unblock the token as its security officer"),
        ("CKR_PIN_EXPIRED", "the PIN has expired; set another with the token's own tools"),
        ("CKR_PIN_LEN_RANGE", "it is too short, too long, or has characters that the token does not accept"),
        ("CKR_USER_PIN_NOT_INITIALIZED", "the token's user has no PIN yet; have its security officer set one"),
    ] {
        hsm.order(&format!("C_Login return={value}"));
        let told =
            format!("C_Login says {value} to the PIN in {}; it is not tried again: {said}", hsm.pin_file().display());
        site(&hsm, &ca, &lines(&signer, &quoted(&uri))).is_refused(&["signer.key: the token `keys`: ", &told]);
    }
}

#[test]
fn a_pin_comes_from_a_systemd_credential() {
    let (ca, leaf, signer, hsm) = ca_and_tokens(&["keys"]);
    let key = hsm.uri("keys", "ocsp").replace(hsm.pin_file().to_str().unwrap(), "pin");
    let site = site(&hsm, &ca, &lines(&signer, &quoted(&key)));
    site.is_refused(&[&format!("{}: cannot be read", site.dir().join("pin").display())]);
    let responder = site.environment("CREDENTIALS_DIRECTORY", hsm.dir()).start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn a_token_that_allows_fewer_sessions_than_threads_are_wanted_is_used_with_those() {
    let (ca, leaf, signer, hsm) = ca_and_tokens(&["keys"]);
    let key = lines(&signer, &quoted(&hsm.shim_uri("keys", "ocsp")));
    for order in ["C_GetTokenInfo sessions=4", "C_OpenSession after=4 return=CKR_SESSION_COUNT"] {
        hsm.order(order);
        let before = hsm.calls("C_OpenSession token=keys CKR_OK");
        let responder = site(&hsm, &ca, &(key.clone() + "\nthreads = 5")).start();
        assert_eq!(hsm.calls("C_OpenSession token=keys CKR_OK") - before, 4, "{order}");
        let log = responder.log();
        assert!(log.contains("the token allows fewer sessions than `threads`"), "{log}");
        Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    }
}

#[test]
fn a_reload_goes_on_signing_with_the_token() {
    let (ca, leaf, signer, hsm) = ca_and_tokens(&["keys"]);
    let key = lines(&signer, &quoted(&hsm.shim_uri("keys", "ocsp")));
    let responder = site(&hsm, &ca, &(key + "\nthreads = 2")).start();
    let ask = Ask::about(&ca, &leaf);
    let mut before = ask.at(responder.http(), "/").expect(Status::Good);
    for validity in ["9h", "30h"] {
        responder.reload(|text| {
            let text = text.replace("validity = \"9h\"\n", "");
            text.replacen("[[tenant]]\n", &format!("[[tenant]]\nvalidity = \"{validity}\"\n"), 1)
        });
        before = until("answers of the new configuration", Duration::from_secs(20), || {
            let answer = ask.at(responder.http(), "/").expect(Status::Good);
            (answer.next_update != before.next_update).then_some(answer)
        });
    }
    until("the sessions of former configurations are closed", Duration::from_secs(20), || {
        (hsm.calls("C_CloseSession token=keys CKR_OK") >= 4).then_some(())
    });
    // How a key is used can be changed, too.
    responder.reload(|text| text.replace("threads = 2", "threads = 3"));
    until("a session more", Duration::from_secs(20), || {
        (responder.metric("ostia_token_sessions", "token=\"keys\"") == 3.0).then_some(())
    });
    ask.at(responder.http(), "/").expect(Status::Good);
    assert_eq!((hsm.calls("C_Login"), hsm.calls("C_Initialize"), hsm.calls("C_Logout")), (1, 1, 0));
}

/// Tells whether these bytes stand anywhere in the memory of a process that can be read.
fn holds(pid: u32, wanted: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let ranges = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (begin, end) = range.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some((address(begin)?, address(end)?))
    });
    let mut seen = 0;
    let found = ranges.into_iter().any(|(begin, end)| {
        const PIECE: u64 = 1 << 20;
        (begin..end).step_by(PIECE as usize).any(|at| {
            // Pieces overlap, so that none is missed at their border.
            let mut piece = vec![0; (PIECE + wanted.len() as u64).min(end - at) as usize];
            let read = memory.read_at(&mut piece, at).unwrap_or(0);
            seen += read;
            piece[..read].windows(wanted.len()).any(|octets| octets == wanted)
        })
    });
    assert!(found || seen > 1 << 20, "only {seen} bytes could be read");
    found
}

#[test]
fn no_pin_stays_in_memory_neither_a_right_nor_a_refused_one() {
    let (ca, leaf, signer, hsm) = ca_and_tokens(&["a", "b"]);
    const WRONG: &str = "77123-wrong-one";
    let other = hsm.dir().join("wrong.pin");
    fs::write(&other, WRONG).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let a = hsm.shim_uri("a", "ocsp").replace(hsm.pin_file().to_str().unwrap(), other.to_str().unwrap());
    let responder = site(&hsm, &ca, &lines(&signer, &format!("{:?}", [a, hsm.shim_uri("b", "ocsp")]))).start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    assert_eq!(hsm.calls("C_Login token=a CKR_PIN_INCORRECT"), 1);
    assert!(holds(responder.pid(), b"wrong.pin"), "its file's name does, so that they are looked for rightly");
    assert!(!holds(responder.pid(), WRONG.as_bytes()), "the refused one");
    assert!(!holds(responder.pid(), softhsm::PIN.as_bytes()), "the right one");
}
