//! Starts and reloads while no token of a signer can be reached: nobody else is held up, what is there is served, and
//! what comes back is compared and tried before it signs.

use std::{
    fs,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, Responder, Signer, Site, SoftHsm, Status, Tenant, TokenServer, http, run_for,
    softhsm, until,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn try_later() -> Status {
    Status::Error("trylater".into())
}

/// A CA with a delegate whose key is `ocsp` on these tokens, and a certificate.
fn ca_with(hsm: &SoftHsm, tokens: &[&str]) -> (Ca, Signer, Leaf) {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    tokens.iter().for_each(|token| hsm.import(token, &signer.key, "ocsp", "01"));
    let leaf = ca.issue();
    (ca, signer, leaf)
}

fn index(ca: &Ca) -> String {
    format!("index = {:?}", ca.index())
}

fn lines(signer: &Signer, keys: &[String]) -> String {
    format!("certificate = {:?}\nkey = {keys:?}\nthreads = 2", signer.certificate)
}

/// With the tokens by the shim, and those behind servers of their own.
fn with_tokens(site: Site, hsm: &SoftHsm, served: &[&str]) -> Site {
    let site = hsm.shim_environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value));
    served.iter().fold(site, |site, token| {
        let (name, value) = TokenServer::environment(hsm, token);
        site.environment(&name, value)
    })
}

fn token(responder: &Responder, metric: &str, token: &str) -> f64 {
    responder.metric(&format!("ostia_token_{metric}"), &format!("token=\"{token}\""))
}

#[track_caller]
fn until_up(responder: &Responder, name: &str) {
    until("the token is at work", PATIENCE, || (token(responder, "up", name) == 1.0).then_some(()));
}

/// Asks until that is the answer: at first what is stored is still being read.
#[track_caller]
fn until_answered(ask: &Ask, responder: &Responder, path: &str, status: Status) {
    until("the answer", PATIENCE, || (ask.at(responder.http(), path).status == status).then_some(()));
    ask.at(responder.http(), path).expect(status);
}

/// Lines of the log that say this.
fn said(responder: &Responder, text: &str) -> usize {
    responder.log().lines().filter(|line| line.contains(text)).count()
}

#[test]
fn with_both_token_servers_down_a_start_serves_what_is_stored_and_others_and_signs_once_one_is_back() {
    let hsm = SoftHsm::new(&["a", "b"]);
    let (ca, signer, stored) = ca_with(&hsm, &["a", "b"]);
    let keys = ["a", "b"].map(|token| TokenServer::uri(&hsm, token, "ocsp"));
    let (other_ca, other_signer, other) = ca_with(&hsm, &[]);
    let tenants = [
        Tenant::new("apart").set("path = \"/apart\"").presigned().issuer(
            "ca",
            &ca,
            &index(&ca),
            &lines(&signer, &keys),
        ),
        Tenant::new("other").set("path = \"/other\"").issuer("ca", &other_ca, &index(&other_ca), &other_signer.lines()),
    ];
    fs::remove_file(&signer.key).unwrap();
    let servers = ["a", "b"].map(|token| TokenServer::start(&hsm, token));
    let mut responder = with_tokens(Site::new(&tenants), &hsm, &["a", "b"]).start();
    until("it is stored", PATIENCE, || (responder.metric("ostia_presign_stored_total", "") >= 1.0).then_some(()));
    assert!(responder.end_by("TERM").success());
    drop(servers);
    let fresh = ca.issue();

    let responder = responder.into_site().start();
    let asks = [Ask::about(&ca, &stored), Ask::about(&ca, &fresh), Ask::about(&other_ca, &other)];
    asks[2].at(responder.http(), "/other").expect(Status::Good);
    until_answered(&asks[0], &responder, "/apart", Status::Good);
    let begin = Instant::now();
    assert_eq!(asks[1].at(responder.http(), "/apart").status, try_later());
    // Who waits has his word after 5 s.
    assert!(begin.elapsed() < Duration::from_millis(4500), "{:?}", begin.elapsed());
    assert_eq!((token(&responder, "up", "a"), token(&responder, "up", "b")), (0.0, 0.0));
    let up = |tenant: &str| responder.metric("ostia_signer_up", &format!("tenant=\"{tenant}\""));
    assert_eq!((up("apart"), up("other")), (0.0, 1.0));
    let (status, ready) = responder.readiness();
    assert!(status == 200 && ready.contains("apart/ca: no key works"), "{ready}");
    for missing in ["has no token with token=a", "has no token with token=b"] {
        assert!(ready.contains(missing), "{ready}");
    }
    assert_eq!(said(&responder, "no token of this signer can be reached"), 1, "{}", responder.log());

    let a = TokenServer::start(&hsm, "a");
    until_up(&responder, "a");
    asks[1].at(responder.http(), "/apart").expect(Status::Good);
    assert_eq!((up("apart"), token(&responder, "up", "b")), (1.0, 0.0));
    assert!(!responder.readiness().1.contains("no key works"));
    let _b = TokenServer::start(&hsm, "b");
    until_up(&responder, "b");
    drop(a);
    let last = ca.issue();
    until_answered(&Ask::about(&ca, &last), &responder, "/apart", Status::Good);
    // Each server was given the PIN once for each time that it was reached.
    assert_eq!((hsm.calls("C_Login token=a"), hsm.calls("C_Login token=b")), (2, 2));
}

#[test]
fn a_first_start_with_no_token_at_all_is_ready_by_policy_and_signs_once_one_is_back() {
    let hsm = SoftHsm::new(&["a"]);
    let (ca, signer, leaf) = ca_with(&hsm, &["a"]);
    hsm.order("C_OpenSession return=CKR_TOKEN_NOT_PRESENT");
    let tenant = Tenant::new("tests").issuer("ca", &ca, &index(&ca), &lines(&signer, &[hsm.shim_uri("a", "ocsp")]));
    let site = with_tokens(Site::new(&[tenant]), &hsm, &[]);
    let checked = site.check();
    assert_eq!(checked.status.code(), Some(1), "{}", checked.text);
    assert!(checked.text.contains("signer.key: the token `a`: C_OpenSession says CKR_TOKEN_NOT_PRESENT"));
    site.edit_config(|text| text.replace("[admin]\n", "[admin]\nready_without_signers = false\n"));
    let (admin, http, ask, hsm) = (site.admin, site.http, Ask::about(&ca, &leaf), &hsm);
    let early = ask.clone();
    let responder = std::thread::scope(|scope| {
        // It is waited for until it is ready, which it is not before this.
        scope.spawn(move || {
            until("it answers operators", PATIENCE, || {
                let reply = http::exchange(admin, &http::request("GET", "/readyz/ocsp", "")).ok()?;
                assert_eq!(reply.status, 503, "{}", reply.text());
                assert!(reply.text().starts_with("not ready: no key of a signer works"), "{}", reply.text());
                Some(())
            });
            assert_eq!(early.at(http, "/").status, try_later());
            hsm.order("");
        });
        site.start()
    });
    ask.at(responder.http(), "/").expect(Status::Good);
    assert_eq!(hsm.calls("C_Login token=a"), 1);
}

#[test]
fn a_token_that_comes_back_as_another_than_it_should_be_is_told_and_does_not_sign() {
    let hsm = SoftHsm::new(&["a", "b", "c"]);
    let (ca, signer, leaf) = ca_with(&hsm, &[]);
    // A key of this name that is another's, none at all, and the right one behind a PIN that is wrong.
    let another = ca.delegate(Delegate::Proper, KeyKind::P256);
    hsm.import("a", &another.key, "ocsp", "01");
    hsm.import("c", &signer.key, "ocsp", "01");
    for (name, why, log) in [
        ("a", "is not the key of the certificate", "cannot sign what it is asked to"),
        ("b", "holds no private key with object=ocsp", "cannot sign what it is asked to"),
        ("c", "CKR_PIN_INCORRECT", "refuses the service"),
    ] {
        hsm.write_pin(if name == "c" { "1234-wrong" } else { softhsm::PIN });
        let keys = [TokenServer::uri(&hsm, name, "ocsp")];
        let tenant = Tenant::new("tests").issuer("ca", &ca, &index(&ca), &lines(&signer, &keys));
        let responder = with_tokens(Site::new(&[tenant]), &hsm, &[name]).start();
        let server = TokenServer::start(&hsm, name);
        until("it is told", PATIENCE, || (said(&responder, log) > 0).then_some(()));
        until("readiness says so, too", PATIENCE, || responder.readiness().1.contains(why).then_some(()));
        assert_eq!(Ask::about(&ca, &leaf).at(responder.http(), "/").status, try_later(), "{name}");
        assert_eq!(token(&responder, "up", name), 0.0);
        if name == "c" {
            assert_eq!(token(&responder, "locked", name), 1.0);
            std::thread::sleep(Duration::from_secs(3));
            assert_eq!(hsm.calls("C_Login token=c"), 1);
            // It is asked again once somebody has mended the PIN and said so.
            hsm.write_pin(softhsm::PIN);
            responder.reload(|text| text);
            until_answered(&Ask::about(&ca, &leaf), &responder, "/", Status::Good);
            assert_eq!((hsm.calls("C_Login token=c"), token(&responder, "locked", name)), (2, 0.0));
            hsm.write_pin("1234-wrong");
        }
        // The same is refused where the token is there from the start.
        let refused = run_for(PATIENCE, &mut responder.into_site().serve());
        assert!(refused.status.code() == Some(78) && refused.text.contains(why), "{refused:?}");
        drop(server);
    }
}

#[test]
fn a_token_that_hangs_at_the_start_is_waited_for_once_and_not_for_long() {
    let hsm = SoftHsm::new(&["a"]);
    let (ca, signer, leaf) = ca_with(&hsm, &["a"]);
    let (second_ca, second_signer, second) = ca_with(&hsm, &[]);
    hsm.import("a", &second_signer.key, "second", "02");
    let (other_ca, other_signer, other) = ca_with(&hsm, &[]);
    hsm.order("C_OpenSession hang");
    let tenant = Tenant::new("tests")
        .issuer("ca", &ca, &index(&ca), &lines(&signer, &[hsm.shim_uri("a", "ocsp")]))
        .issuer("second", &second_ca, &index(&second_ca), &lines(&second_signer, &[hsm.shim_uri("a", "second")]))
        .issuer("other", &other_ca, &index(&other_ca), &other_signer.lines());
    let begin = Instant::now();
    let responder = with_tokens(Site::new(&[tenant]), &hsm, &[]).start();
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    Ask::about(&other_ca, &other).at(responder.http(), "/").expect(Status::Good);
    assert_eq!(Ask::about(&ca, &leaf).at(responder.http(), "/").status, try_later());
    assert_eq!(said(&responder, "opening a session has not returned for 8 s"), 2, "{}", responder.log());
    hsm.order("");
    until("both sign", PATIENCE, || (token(&responder, "up", "a") == 2.0).then_some(()));
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    Ask::about(&second_ca, &second).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn a_reload_while_no_token_can_be_reached_is_taken_and_one_that_is_wrong_is_not() {
    let hsm = SoftHsm::new(&["a"]);
    let (ca, signer, leaf) = ca_with(&hsm, &["a"]);
    let tenant = Tenant::new("tests").issuer("ca", &ca, &index(&ca), &lines(&signer, &[hsm.shim_uri("a", "ocsp")]));
    let responder = with_tokens(Site::new(&[tenant]), &hsm, &[]).start();
    let ask = Ask::about(&ca, &leaf);
    ask.at(responder.http(), "/").expect(Status::Good);
    let gone = "return=CKR_TOKEN_NOT_PRESENT";
    hsm.order(&format!("C_SignInit {gone}\nC_OpenSession {gone}"));
    // Other answers are wanted, so that what is kept is of no use.
    responder.reload(|text| text.replacen("[[tenant]]\n", "[[tenant]]\nvalidity = \"9h\"\n", 1));
    until_answered(&ask, &responder, "/", try_later());
    assert_eq!(said(&responder, "the configuration was read again"), 1, "{}", responder.log());
    assert_eq!(said(&responder, "no token of this signer can be reached"), 1, "{}", responder.log());
    let faulty = || responder.metric("ostia_config_faulty", "");
    assert_eq!(faulty(), 0.0);
    hsm.order("");
    until_up(&responder, "a");
    ask.at(responder.http(), "/").expect(Status::Good);

    responder.reload(|text| text.replace("object=ocsp", "object=absent"));
    until("it is refused", PATIENCE, || (faulty() == 1.0).then_some(()));
    assert!(responder.readiness().1.contains("holds no private key with object=absent"));
    ask.at(responder.http(), "/").expect(Status::Good);
}

/// The sessions of the running configuration were all that the token gives, so that the next one had no token.
#[test]
fn a_reload_takes_the_sessions_of_before_where_a_token_gives_no_more() {
    let hsm = SoftHsm::new(&["a", "b"]);
    let (ca, signer, leaf) = ca_with(&hsm, &["a", "b"]);
    hsm.order("C_OpenSession sessions=3");
    let keys = [hsm.shim_uri("a", "ocsp")];
    let tenant = Tenant::new("tests").issuer("ca", &ca, &index(&ca), &lines(&signer, &keys));
    let responder = with_tokens(Site::new(&[tenant]), &hsm, &[]).start();
    let ask = Ask::about(&ca, &leaf);
    let mut before = ask.at(responder.http(), "/").expect(Status::Good);
    let sessions = || token(&responder, "sessions", "a");
    until("all that it gives", PATIENCE, || (sessions() == 2.0).then_some(()));
    for validity in ["9h", "30h"] {
        responder.reload(|text| {
            let text = text.replace("validity = \"9h\"\n", "");
            text.replacen("[[tenant]]\n", &format!("[[tenant]]\nvalidity = \"{validity}\"\n"), 1)
        });
        before = until("answers of the new configuration", PATIENCE, || {
            // None is missing in between.
            let answer = ask.at(responder.http(), "/").expect(Status::Good);
            (answer.next_update != before.next_update).then_some(answer)
        });
        until("all of them again", PATIENCE, || (sessions() == 2.0).then_some(()));
    }
    assert!(hsm.calls("C_OpenSession token=a CKR_SESSION_COUNT") > 0);
    assert_eq!(
        (responder.metric("ostia_config_faulty", ""), said(&responder, "the configuration was read again")),
        (0.0, 2)
    );
    assert_eq!(said(&responder, "can be reached"), 0, "{}", responder.log());
    assert_eq!(said(&responder, "offers no session now"), 2, "{}", responder.log());
    // One that is locked is no reason against it either, as long as there is this one.
    hsm.order("C_OpenSession token=a sessions=3\nC_Login token=b return=CKR_PIN_INCORRECT");
    let both = format!("{:?}", ["a", "b"].map(|token| hsm.shim_uri(token, "ocsp")));
    responder.reload(|text| text.replace(&format!("{keys:?}"), &both));
    until("it is read", PATIENCE, || (said(&responder, "the configuration was read again") == 3).then_some(()));
    ask.at(responder.http(), "/").expect(Status::Good);
    until("all of them again", PATIENCE, || (sessions() == 2.0).then_some(()));
}

#[test]
fn a_token_that_has_no_session_to_give_at_a_start_is_waited_for_and_not_for_ever() {
    let hsm = SoftHsm::new(&["a"]);
    let (ca, signer, leaf) = ca_with(&hsm, &["a"]);
    let tenant = Tenant::new("tests").issuer("ca", &ca, &index(&ca), &lines(&signer, &[hsm.shim_uri("a", "ocsp")]));
    let site = with_tokens(Site::new(&[tenant]), &hsm, &[]);
    hsm.order("C_OpenSession return=CKR_SESSION_COUNT");
    let checked = site.check();
    assert!(checked.status.success(), "{}", checked.text);
    let responder = site.start();
    assert_eq!(said(&responder, "offers no session now"), 1, "{}", responder.log());
    assert_eq!(token(&responder, "up", "a"), 1.0);
    let ask = Ask::about(&ca, &leaf);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask.at(responder.http(), "/"));
        until("it waits", PATIENCE, || (responder.metric("ostia_signing_pending", "") == 1.0).then_some(()));
        hsm.order("");
        asked.join().unwrap().expect(Status::Good);
    });
    let site = {
        let mut responder = responder;
        assert!(responder.end_by("TERM").success());
        responder.into_site()
    };
    hsm.order("C_OpenSession return=CKR_SESSION_COUNT");
    let responder = site.start();
    until("it counts as away", PATIENCE, || (token(&responder, "up", "a") == 0.0).then_some(()));
    assert!(responder.readiness().1.contains("CKR_SESSION_COUNT"), "{}", responder.readiness().1);
    hsm.order("");
    until_up(&responder, "a");
    ask.at(responder.http(), "/").expect(Status::Good);
}
