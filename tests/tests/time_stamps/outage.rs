//! While nobody signs, or knows what time it is: each query has its word at once, balancers are told, OCSP goes on, and all comes back by itself.

use std::{
    fs,
    net::UdpSocket,
    time::{Duration, Instant},
};

use ostia_tests::{
    Answer, Ask, Ca, Delegate, FakeClock, KeyKind, Leaf, Query, Responder, Site, SoftHsm, Stamped, Status, Tenant, Tsa,
    TsaCertificate,
    http::{Connection, get},
    until,
};

use crate::PATIENCE;

/// Of an authority: who waits for its signature does so for 5 s, so that what is told at once stands out.
const WAITING: &str = "accuracy = \"5s\"";

/// A responder that stamps with a key on a token, and answers OCSP with one in a file.
struct House {
    ca: Ca,
    leaf: Leaf,
    hsm: SoftHsm,
    responder: Responder,
}

impl House {
    fn new(lines: &str) -> Self {
        Self::with_signer(lines, "")
    }

    /// Lines of the authority, and of its signer.
    fn with_signer(lines: &str, signer_lines: &str) -> Self {
        Self::after(|_| (), lines, signer_lines)
    }

    /// The same, started after something has been done to the token.
    fn after(done: impl FnOnce(&SoftHsm), lines: &str, signer_lines: &str) -> Self {
        let ca = Ca::new("CA");
        let leaf = ca.issue();
        let (delegate, signer) =
            (ca.delegate(Delegate::Proper, KeyKind::P256), ca.tsa(TsaCertificate::Proper, KeyKind::P256));
        let hsm = SoftHsm::new(&["stamps"]);
        hsm.import("stamps", &signer.key, "tsa", "01");
        fs::remove_file(&signer.key).unwrap();
        let key = hsm.shim_uri("stamps", "tsa");
        let tsa = Tsa::by("stamps", &format!("certificate = {:?}\nkey = {key:?}\nthreads = 1", signer.certificate));
        let site = Site::new(&[Tenant::of(&ca, &delegate).tsa(&tsa.set(lines).set_signer(signer_lines))]);
        let site = hsm.shim_environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value));
        done(&hsm);
        Self { ca, leaf, hsm, responder: site.start() }
    }

    /// A token, or a rejection; for either nobody has waited.
    #[track_caller]
    fn ask_at_once(&self, number: u32) -> Stamped {
        let begin = Instant::now();
        let stamped = Query::new(number).at(self.responder.http(), "/tsa");
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?} for {stamped:?}", begin.elapsed());
        stamped
    }

    fn ocsp(&self) -> Answer {
        Ask::about(&self.ca, &self.leaf).at(self.responder.http(), "/").expect(Status::Good)
    }

    #[track_caller]
    fn until_granted(&self) {
        until("it signs again", PATIENCE, || {
            let query = Query::new(1).der();
            let stamped = self.ask_at_once(1);
            (stamped.status == 0).then(|| stamped.expect_verified(&query, &self.ca.certificate(), None))
        });
        let (status, said) = self.responder.readiness_of("tsa");
        assert_eq!((status, said.lines().next()), (200, Some("ready")), "{said}");
    }
}

#[test]
fn with_the_token_gone_each_query_is_refused_at_once_and_ocsp_stays_ready() {
    let house = House::new(WAITING);
    house.until_granted();
    let gone = "return=CKR_TOKEN_NOT_PRESENT";
    // For so long that the library is initialised anew.
    house.hsm.order(&format!("C_SignInit {gone}\nC_OpenSession {gone}\nC_FindObjectsInit {gone}"));
    house.ask_at_once(2).expect_rejection("systemFailure");
    until("the authority is not ready", PATIENCE, || (house.responder.readiness_of("tsa").0 == 503).then_some(()));
    // All of it together is not ready for one part of it.
    let all = get(house.responder.site.admin, "/readyz");
    assert!(all.status == 503 && all.text().contains("no holder of its key works"), "{all:?}");
    for number in 3..20 {
        house.ask_at_once(number).expect_rejection("systemFailure");
    }
    let (status, said) = house.responder.readiness_of("tsa");
    assert!(
        status == 503 && said.starts_with("not ready\n") && said.contains("tests/stamps: no holder of its key works"),
        "{said}"
    );
    assert!(
        said.contains("tests/stamps: stamps has not signed for") && said.contains("CKR_TOKEN_NOT_PRESENT"),
        "{said}"
    );
    until("it is looked for by all means", PATIENCE, || (house.hsm.calls("C_Initialize") > 1).then_some(()));
    let log = house.responder.log();
    let told = "does not sign; until it is back time-stamps are refused with systemFailure";
    assert!(log.contains(told) && log.contains(r#""signer":"tests/stamps""#), "{log}");
    for untrue in ["other", "restart the service", "kept", "tryLater"] {
        assert!(!log.contains(untrue) && !house.responder.readiness_of("tsa").1.contains(untrue), "{untrue}: {log}");
    }
    let (status, said) = house.responder.readiness();
    assert_eq!(status, 200, "{said}");
    house.ocsp();
    assert!(house.responder.metric("ostia_tsa_requests_total", "result=\"systemFailure\"") >= 18.0);
    assert_eq!(house.responder.metric("ostia_token_up", "tsa=\"stamps\""), 0.0);
    // What is wrong with a query is still told.
    Query::new(1).hash("md5").at(house.responder.http(), "/tsa").expect_rejection("badAlg");
    house.hsm.order("");
    house.until_granted();
}

#[test]
fn with_a_token_that_hangs_no_query_waits_for_ever() {
    let house = House::new(WAITING);
    house.until_granted();
    house.hsm.order("C_Sign hang");
    let begin = Instant::now();
    Query::new(2).at(house.responder.http(), "/tsa").expect_rejection("systemFailure");
    assert!(begin.elapsed() < Duration::from_secs(14), "{:?}", begin.elapsed());
    until("the authority is not ready", PATIENCE, || (house.responder.readiness_of("tsa").0 == 503).then_some(()));
    house.ask_at_once(3).expect_rejection("systemFailure");
    assert_eq!(house.responder.readiness().0, 200);
    house.ocsp();
    house.hsm.order("");
    house.until_granted();
}

#[test]
fn a_flood_that_no_token_can_sign_is_refused_at_once_and_those_who_wait_have_their_word() {
    let house = House::new("");
    house.until_granted();
    house.hsm.order("C_Sign delay=400ms");
    let send = |number: u32| {
        let mut connection = Connection::open(house.responder.http()).unwrap();
        connection.send(&Query::new(number).request("/tsa", "")).unwrap();
        connection
    };
    let refused = || house.responder.metric("ostia_tsa_requests_total", "result=\"systemFailure\"") > 0.0;
    let (begin, mut flood) = (Instant::now(), Vec::new());
    while !refused() {
        assert!(flood.len() < 20_000, "{} queries fill no queue", flood.len());
        flood.extend((0..256).map(send));
    }
    let asked = Instant::now();
    let mut last = send(1);
    Stamped::read(&last.receive(false).unwrap().unwrap()).expect_rejection("systemFailure");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    house.ocsp();
    let mut granted = 0;
    for mut connection in flood {
        let stamped = Stamped::read(&connection.receive(false).unwrap().expect("a word to each"));
        if stamped.status == 0 {
            granted += 1;
        } else {
            stamped.expect_rejection("systemFailure");
        }
    }
    assert!(granted > 0 && begin.elapsed() < Duration::from_secs(40), "{granted} in {:?}", begin.elapsed());
    house.hsm.order("");
    house.until_granted();
}

#[test]
fn a_token_that_is_signed_wrongly_never_leaves() {
    let house = House::with_signer(&format!("{WAITING}\nverify_one_in = 1"), "verify = \"sample\"");
    // Of a young session the pool itself verifies all; here it is the authority that looks.
    (0..12).for_each(|number| _ = house.ask_at_once(number).granted());
    house.hsm.order("C_Sign corrupt");
    for number in 0..5 {
        house.ask_at_once(number).expect_rejection("systemFailure");
    }
    let log = house.responder.log();
    assert!(log.contains("ERROR") && log.contains("a token was discarded: its signature does not verify"), "{log}");
    house.hsm.order("");
    house.until_granted();
}

#[test]
fn a_token_that_refused_its_pin_is_asked_again_at_a_reload_after_it_was_mended() {
    // Out of reach at first: a wrong PIN would refuse the start.
    let away = |hsm: &SoftHsm| {
        hsm.order("C_OpenSession return=CKR_TOKEN_NOT_PRESENT");
        hsm.write_pin("1234-wrong");
    };
    let house = House::after(away, WAITING, "");
    house.ask_at_once(0).expect_rejection("systemFailure");
    let log = house.responder.log();
    let told = "can be reached; until one is back time-stamps are refused with systemFailure";
    assert!(log.contains(told) && !log.contains("kept"), "{log}");
    house.hsm.order("");
    until("it is locked", PATIENCE, || (house.responder.metric("ostia_token_locked", "tsa=") > 0.0).then_some(()));
    house.hsm.write_pin(ostia_tests::softhsm::PIN);
    house.responder.reload(|text| text);
    house.until_granted();
    assert_eq!(house.responder.metric("ostia_token_locked", "tsa="), 0.0);
}

/// The thread of the admin plane waited with the clock's for an answer.
#[test]
fn a_clock_that_is_begun_or_ended_while_its_source_is_silent_holds_up_no_admin_request() {
    const LEASE: Duration = Duration::from_secs(24);
    let ca = Ca::new("CA");
    let (delegate, signer) =
        (ca.delegate(Delegate::Proper, KeyKind::P256), ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    let site = Site::new(&[Tenant::of(&ca, &delegate).tsa(&Tsa::of("stamps", &signer))]);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let clock = format!("clock = \"chrony:{}\"\nlease = \"{}s\"", silent.local_addr().unwrap(), LEASE.as_secs());
    site.edit_config(|text| text.replace("clock = \"unchecked\"", &clock));
    let responder = site.start();
    let is_read = |times| responder.log().matches("the configuration was read again").count() == times;
    let reload = |times, edit: &dyn Fn(String) -> String| {
        // It is asked for the time at this moment, and waits for a quarter of the lease.
        silent.set_nonblocking(true).unwrap();
        while silent.recv(&mut [0; 1024]).is_ok() {}
        silent.set_nonblocking(false).unwrap();
        silent.recv(&mut [0; 1024]).unwrap();
        responder.reload(edit);
        let mut longest = Duration::ZERO;
        until("the configuration is read", PATIENCE, || {
            let begin = Instant::now();
            assert_eq!(responder.readiness().0, 200);
            longest = longest.max(begin.elapsed());
            is_read(times).then_some(())
        });
        assert!(longest < LEASE / 8, "{longest:?}");
    };
    reload(1, &|text| text.replace("name = \"stamps\"\n", "name = \"stamps\"\naccuracy = \"2s\"\n"));
    // The authority is the last in the file.
    reload(2, &|text| text.split_once("\n[[tenant.tsa]]").unwrap().0.to_owned());
    assert_eq!(responder.readiness().0, 200);
}

#[test]
fn without_a_clock_that_is_known_to_be_right_there_is_no_token_and_ocsp_stays_ready() {
    let ca = Ca::new("CA");
    let (delegate, leaf) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.issue());
    let tsa = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256)).set(WAITING);
    let site = Site::new(&[Tenant::of(&ca, &delegate).tsa(&tsa)]);
    // Nobody answers there.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let clock = format!("clock = \"chrony:{}\"", nobody.local_addr().unwrap());
    site.edit_config(|text| text.replace("clock = \"unchecked\"", &clock));
    let responder = site.start();
    for number in 0..10 {
        let begin = Instant::now();
        Query::new(number).at(responder.http(), "/tsa").expect_rejection("timeNotAvailable");
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }
    let (status, said) = responder.readiness_of("tsa");
    assert!(status == 503 && said.contains("tests/stamps: the clock is not trusted: "), "{said}");
    assert_eq!(responder.metric("ostia_tsa_clock_trusted", "tsa=\"stamps\""), 0.0);
    assert_eq!(responder.readiness().0, 200);
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn an_authority_whose_certificate_has_ended_says_so_and_sends_nobody_to_ask_again() {
    let ca = Ca::new("CA");
    let tsa = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    let site = Site::new(&[Tenant::new("tests").tsa(&tsa)]);
    let clock = FakeClock::new(site.dir());
    let responder =
        clock.environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value)).start();
    let ask = || Query::new(1).at(responder.http(), "/tsa");
    ask().granted();
    // Longer than any certificate of the test's CA.
    clock.set("+5000d");
    let stamped = until("it has ended", PATIENCE, || Some(ask()).filter(|stamped| stamped.status != 0));
    stamped.expect_rejection("systemFailure");
    let text = stamped.text.unwrap();
    assert!(text.contains("certificate") && text.contains("not valid now") && !text.contains("ask again"), "{text}");
    let (status, said) = responder.readiness_of("tsa");
    assert!(status == 503 && said.contains("renew it"), "{said}");
}

#[test]
fn an_unchecked_clock_that_is_set_back_is_logged_counted_and_recorded() {
    let ca = Ca::new("CA");
    let tsa = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    let site = Site::new(&[Tenant::new("tests").tsa(&tsa)]);
    site.edit_config(|text| text.replace("[time_stamping]\n", "[time_stamping]\nrecord = \"tokens.jsonl\"\n"));
    let clock = FakeClock::new(site.dir());
    let responder =
        clock.environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value)).start();
    let ask = || Query::new(1).at(responder.http(), "/tsa");
    let recorded = |to: &str| {
        let text = fs::read_to_string(responder.site.dir().join("tokens.jsonl")).unwrap();
        let is_it = |line: &str| line.contains("\"type\":\"clock\"") && line.contains(&format!("\"to\":\"{to}\""));
        text.lines().any(is_it).then_some(())
    };
    let count = |to: &str| responder.metric("ostia_tsa_clock_transitions_total", &format!("to=\"{to}\""));
    ask().granted();
    clock.set("-100s");
    until("it is recorded", PATIENCE, || recorded("behind"));
    let told = || responder.log().contains("no time-stamps: the clock was set back").then_some(());
    until("it is logged", PATIENCE, told);
    until("it is counted", PATIENCE, || ((count("behind"), count("trusted")) == (1.0, 0.0)).then_some(()));
    ask().expect_rejection("timeNotAvailable");
    clock.set("+0");
    until("it is recorded", PATIENCE, || recorded("trusted"));
    ask().granted();
    until("it is counted", PATIENCE, || ((count("behind"), count("trusted")) == (1.0, 1.0)).then_some(()));
}

#[test]
fn an_unchecked_clock_is_warned_of_at_the_start_and_told_by_readiness_and_metrics() {
    let ca = Ca::new("CA");
    let tsa =
        |name: &str| Tsa::of(name, &ca.tsa(TsaCertificate::Proper, KeyKind::P256)).set(&format!("path = \"/{name}\""));
    // Both promise the same, and so have one clock.
    let responder = Site::new(&[Tenant::new("tests").tsa(&tsa("one")).tsa(&tsa("two"))]).start();
    let log = responder.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains("unchecked")).collect();
    assert!(matches!(warnings[..], [one] if one.contains("clock")), "{log}");
    let (status, said) = responder.readiness_of("tsa");
    assert_eq!(status, 200, "{said}");
    for name in ["one", "two"] {
        let line = format!("tests/{name}: clock by unchecked; no source checks it");
        assert!(said.lines().any(|told| told == line), "no `{line}` in: {said}");
        Query::new(1).at(responder.http(), &format!("/{name}")).granted();
        assert_eq!(responder.metric("ostia_tsa_clock_trusted", &format!("tsa=\"{name}\"")), 1.0);
        for unknown in ["lease", "offset", "uncertainty"] {
            let series = responder.metric_series(&format!("ostia_tsa_clock_{unknown}_seconds"));
            assert!(series.is_empty(), "nobody knows the {unknown}: {series:?}");
        }
    }
    // A clock that is checked is not told of like that.
    let checked = Site::new(&[Tenant::new("tests").tsa(&tsa("one"))]);
    checked.edit_config(|text| text.replace("clock = \"unchecked\"\n", ""));
    let checked = checked.start();
    assert!(!checked.log().contains("unchecked") && !checked.readiness_of("tsa").1.contains("unchecked"));
}
