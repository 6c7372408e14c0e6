//! For how long what is said is valid, kept and given out: each issuer's own affair, with real clients and their clocks.

use std::{process::Command, time::Duration};

use ostia_tests::{
    Answer, Ask, Ca, Delegate, FakeClock, KeyKind, Leaf, Responder, Signer, Site, Status, Tenant, bash,
    http::{get, ocsp_target, post, request},
    run, until,
};

const PATIENCE: Duration = Duration::from_secs(40);
const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// What a time that openssl prints is in seconds since 1970.
fn seconds(ca: &Ca, printed: Option<&String>) -> i64 {
    bash(ca.dir(), &format!("date -ud '{}' +%s", printed.unwrap())).trim().parse().unwrap()
}

/// From thisUpdate to nextUpdate.
fn interval(ca: &Ca, answer: &Answer) -> i64 {
    seconds(ca, answer.next_update.as_ref()) - seconds(ca, answer.this_update.as_ref())
}

/// Two CAs of one tenant with one signer, and a certificate of each.
struct Two {
    cas: [Ca; 2],
    leaves: [Leaf; 2],
    signer: Signer,
}

impl Two {
    fn new() -> Self {
        let cas = [Ca::new("First"), Ca::new("Second")];
        let leaves = cas.each_ref().map(Ca::issue);
        let signer = cas[0].delegate(Delegate::Proper, KeyKind::P256);
        Self { cas, leaves, signer }
    }

    /// With these lines of the tenant and of its issuers.
    fn site(&self, of_tenant: &str, of_issuers: [&str; 2]) -> Site {
        let lines = |ca: &Ca, own: &str| format!("index = {:?}\n{own}", ca.index());
        let tenant = Tenant::new("tests").set(of_tenant);
        let tenant = tenant.issuer("first", &self.cas[0], &lines(&self.cas[0], of_issuers[0]), &self.signer.lines());
        let designated = self.signer.lines() + "\ndesignated = true";
        Site::new(&[tenant.issuer("second", &self.cas[1], &lines(&self.cas[1], of_issuers[1]), &designated)])
    }

    /// How long an answer about each is valid, and how long caches may keep it.
    fn said(&self, responder: &Responder) -> [(i64, u64); 2] {
        [0, 1].map(|which| {
            let ask = Ask::about(&self.cas[which], &self.leaves[which]);
            let reply = get(responder.http(), &ocsp_target("/", &ask.request()));
            let answer = ask.read(&reply.body);
            assert_eq!(answer.status, Status::Good, "{}", answer.text);
            (interval(&self.cas[which], &answer), reply.cache_control_seconds("max-age"))
        })
    }
}

#[test]
fn each_issuer_says_for_how_long_and_a_reload_changes_it() {
    let two = Two::new();
    let of_second = "profile = \"private\"\nvalidity = \"4h\"\nbackdate = \"1h\"\nmax_age = \"2m\"";
    let responder = two.site("validity = \"9h\"", ["", of_second]).start();
    let [(first, of_cache), second] = two.said(&responder);
    assert_eq!((first, second.0), (9 * HOUR, 5 * HOUR));
    // Half of it, up to an eighth earlier.
    assert!((14_000..=16_200).contains(&of_cache) && second.1 <= 120, "{of_cache} {second:?}");
    // One answer about both ends with the one that ends first, and each has its own thisUpdate.
    let mut both = Command::new("openssl");
    both.args(["ocsp", "-no_nonce", "-url", &format!("http://{}/", responder.http()), "-VAfile"]);
    both.arg(&two.signer.certificate);
    for (ca, leaf) in two.cas.iter().zip(&two.leaves) {
        both.arg("-issuer").arg(ca.certificate()).args(["-serial", &format!("0x{}", leaf.serial)]);
    }
    let text = run(&mut both).text;
    let times = |name: &str| -> Vec<i64> {
        let times = text.lines().filter_map(|line| line.trim_start().strip_prefix(name));
        times.map(|time| seconds(&two.cas[0], Some(&time.trim().to_owned()))).collect()
    };
    let (this, next) = (times("This Update:"), times("Next Update:"));
    assert!(this.len() == 2 && next.len() == 2, "{text}");
    let lasts = [next[0] - this[0], next[1] - this[1]];
    assert_eq!((next[0], lasts), (next[1], [4 * HOUR, 5 * HOUR]), "{text}");

    responder.reload(|text| text.replace("validity = \"4h\"", "validity = \"2h\"").replace("\"2m\"", "\"1m\""));
    until("the other validity", PATIENCE, || (two.said(&responder)[1].0 == 3 * HOUR).then_some(()));
    let [first, second] = two.said(&responder);
    assert!(first.0 == 9 * HOUR && second.1 <= 60, "{first:?} {second:?}");
}

#[test]
fn caches_may_keep_an_answer_for_as_long_as_max_age_says_in_each_form_of_a_reply() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let of = |lines: &str| Site::new(&[Tenant::of(&ca, &signer).set(lines)]).start();
    let der = Ask::about(&ca, &leaf).request();
    for (max_age, expected) in [("90s", 90), ("0s", 0)] {
        let responder = of(&format!("max_age = {max_age:?}"));
        let target = ocsp_target("/", &der);
        let first = get(responder.http(), &target);
        let tag = first.expect("etag").to_owned();
        let again = ostia_tests::http::exchange(
            responder.http(),
            &request("GET", &target, &format!("If-None-Match: {tag}\r\n")),
        );
        for reply in [first, post(responder.http(), "/", &der), again.unwrap()] {
            assert_eq!(reply.cache_control_seconds("max-age"), expected, "{reply:?}");
            assert_eq!(reply.date("expires"), reply.date("date") + Duration::from_secs(expected), "{reply:?}");
        }
    }
}

/// `openssl ocsp -validity_period` allows five minutes by default; devices allow none.
#[test]
fn a_client_whose_clock_is_slow_takes_an_answer_that_is_set_back() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let clock = FakeClock::new(ca.dir());
    clock.set("-9m");
    for (lines, taken) in [("backdate = \"10m\"", true), ("", false)] {
        let responder = Site::new(&[Tenant::of(&ca, &signer).set(lines)]).start();
        let answer = Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        assert_eq!(interval(&ca, &answer), 96 * HOUR + if taken { 10 * MINUTE } else { 0 });
        for period in ["0", "300"] {
            let mut slow = Command::new("openssl");
            slow.envs(clock.environment()).args(["ocsp", "-no_nonce", "-validity_period", period, "-issuer"]);
            slow.arg(ca.certificate()).arg("-CAfile").arg(ca.certificate());
            slow.args(["-serial", &format!("0x{}", leaf.serial), "-url", &format!("http://{}/", responder.http())]);
            // The CA was made a moment ago, by the right clock.
            let text = run(slow.arg("-noverify")).text;
            assert!(text.contains("good"), "{text}");
            assert_eq!(text.contains("status not yet valid"), !taken, "{lines:?} {period}: {text}");
        }
    }
}

#[test]
fn the_rules_of_a_profile_are_doubts_of_the_check_and_never_refused() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    for (lines, told) in [
        ("validity = \"2m\"", "tenant.validity: is 2m; the Baseline Requirements (4.9.10) allow 8h to 10d"),
        ("validity = \"30d\"", "tenant.validity: is 30d; "),
        ("refresh = 0.9\nvalidity = \"8d\"", "tenant.refresh: is 0.9, so that answers are replaced"),
        ("profile = \"microsoft\"\nvalidity = \"8d\"", "the Microsoft Trusted Root Program allows 8h to 7d"),
        ("profile = \"private\"\nvalidity = \"2m\"\nbackdate = \"30s\"", ""),
        ("profile = \"x-road\"", ""),
        ("profile = \"microsoft\"", ""),
    ] {
        let site = Site::new(&[Tenant::of(&ca, &signer).set(lines)]);
        let (checked, strict) = (site.check(), site.check_with(&["--strict"]));
        assert!(checked.status.success() && checked.text.contains(told), "{lines}: {checked:?}");
        assert_eq!(strict.status.success(), told.is_empty(), "{lines}: {strict:?}");
    }
}

/// The answers are replaced, and the disk stays as it is.
#[test]
fn answers_of_minutes_are_signed_ahead_again_and_again_and_not_stored() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    // Replaced after six seconds, and given out for a minute.
    let lines = "validity = \"2m\"\nserve_for = \"1m\"\nrefresh = 0.1";
    let responder = Site::new(&[Tenant::of(&ca, &signer).presigned().set(lines)]).start();
    let signed = || responder.metric("ostia_presign_signed_total", "");
    until("it is signed ahead", PATIENCE, || (signed() >= 1.0).then_some(()));
    let first = Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    until("it is signed again before anybody asks", PATIENCE, || (signed() >= 2.0 * listed(&ca)).then_some(()));
    let second = Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    assert_eq!(interval(&ca, &first), 2 * MINUTE);
    let (before, after) = (seconds(&ca, first.this_update.as_ref()), seconds(&ca, second.this_update.as_ref()));
    assert!(after >= before + 5, "{before} {after}");
    assert_eq!(responder.metric("ostia_presign_stored_total", ""), 0.0);
}

/// Lines of its index.
fn listed(ca: &Ca) -> f64 {
    std::fs::read_to_string(ca.index()).unwrap().lines().count() as f64
}
