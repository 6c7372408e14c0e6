//! Tokens that are in order of their genTime, across threads and restarts.

use std::{fs, time::Instant};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Query, Signer, Site, Stamped, Status, Tenant, Tsa, TsaCertificate,
    der::{element, elements, only},
    openssl, until,
};

use crate::{PATIENCE, tokens::now_micros};

/// A site of one authority whose tokens are in order.
fn in_order(accuracy: &str) -> (Ca, Signer, Site) {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let policy = "ordering = true\nsole_instance = true\nprecision = \"microseconds\"";
    let tsa = Tsa::of("stamps", &signer).set(&format!("{policy}\naccuracy = {accuracy:?}"));
    let site = Site::new(&[Tenant::new("tests").tsa(&tsa)]);
    (ca, signer, site)
}

/// The line of the note about a signer: its subject is the TSA's name.
fn line(signer: &Signer, micros: u64) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let certificate = signer.certificate.to_str().unwrap();
    openssl(scratch.path(), ["x509", "-in", certificate, "-outform", "DER", "-out", "der"]);
    let der = fs::read(scratch.path().join("der")).unwrap();
    let tbs = elements(only(0x30, &der).content)[0].content;
    fs::write(scratch.path().join("name"), element(0xa4, elements(tbs)[5].whole)).unwrap();
    let digest = openssl(scratch.path(), ["dgst", "-sha256", "-r", "name"]);
    format!("{micros} {}\n", &digest[..64])
}

/// As the service leaves it when it has promised no more than this for a while.
fn note(site: &Site, signer: &Signer, micros: u64) {
    fs::create_dir_all(site.dir().join("state")).unwrap();
    fs::write(site.dir().join("state/ordering"), line(signer, micros)).unwrap();
}

fn noted(site: &Site) -> String {
    let text = fs::read_to_string(site.dir().join("state/ordering")).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn after_a_restart_with_a_smaller_accuracy_no_token_is_earlier_than_one_that_was_ahead() {
    let (_ca, signer, site) = in_order("100ms");
    // Of the time before: a token may have been three seconds ahead of UTC.
    note(&site, &signer, 3_000_000);
    let begin = Instant::now();
    let responder = site.start();
    let granted = || Some(Query::new(0).at(responder.http(), "/tsa")).filter(|stamped| stamped.status == 0);
    until("it gives tokens", PATIENCE, granted);
    assert!(begin.elapsed().as_millis() >= 3_100, "{:?}", begin.elapsed());
    assert_eq!(noted(&responder.site), line(&signer, 3_000_000), "it is not past for a restart right now");
    until("it is past", PATIENCE, || (noted(&responder.site) == line(&signer, 100_000)).then_some(()));
    // More is promised on disk before it is in a token.
    responder.reload(|text| text.replace("accuracy = \"100ms\"", "accuracy = \"7s\""));
    until("it is read again", PATIENCE, || responder.log().contains("was read again").then_some(()));
    assert_eq!(noted(&responder.site), line(&signer, 7_000_000));
}

#[test]
fn where_a_promise_cannot_be_noted_a_reload_is_refused_and_the_former_sources_are_followed() {
    let (ca, other) = (Ca::new("CA"), Ca::new("Time-stamping CA"));
    let (leaf, stamps) = (ca.issue(), other.tsa(TsaCertificate::Proper, KeyKind::P256));
    let policy = "ordering = true\nsole_instance = true\nprecision = \"microseconds\"\naccuracy = \"100ms\"";
    let tsa = Tsa::of("stamps", &stamps).set(policy);
    let site = Site::new(&[Tenant::of(&ca, &ca.delegate(Delegate::Proper, KeyKind::P256)).tsa(&tsa)]);
    note(&site, &stamps, 100_000);
    let responder = site.start();
    let ask = || Ask::about(&ca, &leaf).at(responder.http(), "/");
    ask().expect(Status::Good);
    // It is made anew under this name.
    fs::create_dir(responder.site.dir().join("state/ordering.new")).unwrap();
    let (index, copy) = (ca.index(), ca.file("copy.txt"));
    fs::copy(&index, &copy).unwrap();
    let (index, copy) = (format!("{index:?}"), format!("{copy:?}"));
    responder.reload(|text| text.replace(&index, &copy).replace("accuracy = \"100ms\"", "accuracy = \"7s\""));
    until("it is refused", PATIENCE, || responder.log().contains("the configuration stays as it was").then_some(()));
    ca.revoke(&leaf, &[]);
    until("the revocation", PATIENCE, || (ask().status == Status::Revoked).then_some(()));
}

#[test]
fn where_nothing_is_known_of_the_time_before_a_start_waits_for_the_largest_accuracy_of_all() {
    let (_ca, signer, site) = in_order("100ms");
    let responder = site.start();
    let (status, said) = responder.readiness_of("tsa");
    let left = said.split_once("tests/stamps: `ordering`: no token for ").unwrap_or_else(|| panic!("{said}")).1;
    let left: f64 = left.split(' ').next().unwrap().parse().unwrap();
    assert!(status == 503 && (30.0..=60.1).contains(&left), "{said}");
    // The clock is right; clients are told what they wait for.
    let stamped = Query::new(0).at(responder.http(), "/tsa");
    stamped.expect_rejection("timeNotAvailable");
    let text = stamped.text.unwrap();
    let seconds = text.split_once("for ").and_then(|(_, rest)| rest.split_once(" s more")).map(|(seconds, _)| seconds);
    let seconds: u32 = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    assert!((30..=61).contains(&seconds) && text.contains("ordered by their times"), "{text}");
    assert!(!text.contains("not known to be right"), "{text}");
    assert_eq!(noted(&responder.site), line(&signer, 60_000_000), "and the next start, if it comes now");
}

#[test]
fn where_tokens_are_in_order_no_two_have_one_time_whoever_asks() {
    const CLIENTS: u32 = 4;
    const EACH: u32 = 500;
    let (ca, signer, site) = in_order("500ms");
    note(&site, &signer, 500_000);
    let responder = site.start();
    // Whoever signed in this name before may have been ahead; so at first there is no time, and balancers are told.
    until("the authority is ready", PATIENCE, || {
        let (status, said) = responder.readiness_of("tsa");
        let stamped = Query::new(0).at(responder.http(), "/tsa");
        if status == 200 {
            return stamped.granted().info.ordering.then_some(());
        }
        assert!(said.contains("tests/stamps: `ordering`: no token for "), "{said}");
        // It may have become ready in between.
        if stamped.status != 0 {
            stamped.expect_rejection("timeNotAvailable");
        }
        None
    });
    let first = Query::new(0).at(responder.http(), "/tsa");
    assert!(first.granted().info.ordering);
    first.expect_verified(&Query::new(0).der(), &ca.certificate(), None);
    let mut tokens: Vec<(u64, u64, u64)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let address = responder.http();
                scope.spawn(move || {
                    let mut connection = ostia_tests::http::Connection::open(address).unwrap();
                    let token = |number: u32| {
                        let (query, begin) = (Query::new(client << 16 | number), now_micros());
                        connection.send(&query.request("/tsa", "")).unwrap();
                        let stamped = Stamped::read(&connection.receive(false).unwrap().unwrap());
                        let end = now_micros();
                        assert_eq!(stamped.granted().info.imprint, query.imprint());
                        (stamped.granted().info.micros(), begin, end)
                    };
                    (0..EACH).map(token).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    tokens.sort_unstable();
    assert_eq!(tokens.len(), (CLIENTS * EACH) as usize);
    assert!(tokens.windows(2).all(|pair| pair[0].0 < pair[1].0), "two tokens have one time");
    // A token that was there before another was asked for has the earlier time.
    let mut latest_begin = 0;
    for (time, begin, end) in tokens {
        assert!(end >= latest_begin, "{time} is later than that of a token asked for after it was there");
        latest_begin = latest_begin.max(begin);
    }
}

/// A clock that was set back by 90 s between two runs gave a token 88 s earlier than one before it, and nothing had warned.
#[test]
fn order_by_a_clock_that_nobody_checks_is_warned_of_with_those_who_promise_it() {
    let ca = Ca::new("Time-stamping CA");
    let tsa = |name: &str, lines: &str| {
        let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
        Tsa::of(name, &signer).set(&format!("path = \"/{name}\"\nprecision = \"microseconds\"\n{lines}"))
    };
    let in_order = "ordering = true\nsole_instance = true";
    let tenant = Tenant::new("tests").tsa(&tsa("loose", "tsa_name = \"none\"")).tsa(&tsa("strict", in_order));
    let responder = Site::new(&[tenant]).start();
    let warnings = || -> Vec<String> {
        let log = responder.log();
        log.lines()
            .filter(|line| line.contains("WARN") && line.contains("between two runs"))
            .map(str::to_owned)
            .collect()
    };
    let is_of = |warning: &str, names: &str| warning.contains(&format!("\"authorities\":\"{names}\""));
    assert!(matches!(&warnings()[..], [one] if is_of(one, "tests/strict")), "{}", responder.log());
    // Nor is it said again, but of those that begin to promise it.
    responder.reload(|text| text.replace("tsa_name = \"none\"", in_order));
    until("it is read again", PATIENCE, || responder.log().contains("was read again").then_some(()));
    assert!(matches!(&warnings()[..], [_, two] if is_of(two, "tests/loose")), "{}", responder.log());
    // Whoever knows UTC notices.
    let checked = responder.into_site();
    checked.edit_config(|text| text.replace("clock = \"unchecked\"\n", ""));
    assert_eq!(checked.start().log().matches("between two runs").count(), 2, "the log goes on");
}
