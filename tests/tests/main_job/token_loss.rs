//! Tokens that fail, hang, go away and come back while certificates are asked for: no wrong answer ever, and none
//! missing while one token lives.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{
    Answer, Ask, Ca, Delegate, KeyKind, Responder, Site, SoftHsm, Status, Tenant, http::post, programs, until,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Certificates that are only lines of the index; each asked for the first time has to be signed for.
const LINES: u32 = 60_000;
/// From this one on, the load asks for none.
pub(super) const UNASKED: u32 = LINES - 1_000;

/// A CA whose delegate's key lies on tokens `a` and `b`, and a responder that signs with both when it is asked.
pub(super) struct House {
    ca: Ca,
    pub(super) hsm: SoftHsm,
    responder: Option<Responder>,
    /// A request for the first line.
    asked: Vec<u8>,
}

fn serial(number: u32) -> [u8; 16] {
    let mut serial = [0x5a; 16];
    serial[12..].copy_from_slice(&number.to_be_bytes());
    serial
}

/// What the load asks for.
fn asked_index(hsm: &SoftHsm) -> PathBuf {
    hsm.dir().join("asked.txt")
}

impl House {
    pub(super) fn new(key: impl Fn(&SoftHsm) -> String, set: impl FnOnce(Site, &SoftHsm) -> Site) -> Self {
        let ca = Ca::new("CA");
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let hsm = SoftHsm::new(&["a", "b"]);
        ["a", "b"].iter().for_each(|token| hsm.import(token, &signer.key, "ocsp", "01"));
        fs::remove_file(&signer.key).unwrap();
        let mut index = fs::read_to_string(ca.index()).unwrap();
        for number in 0..LINES {
            if number == UNASKED {
                fs::write(asked_index(&hsm), &index).unwrap();
            }
            let hex: String = serial(number).iter().map(|octet| format!("{octet:02X}")).collect();
            let revoked = number % 10 == 9;
            let (flag, when) = if revoked { ('R', "250101000000Z,keyCompromise") } else { ('V', "") };
            writeln!(index, "{flag}\t351231235959Z\t{when}\t{hex}\tunknown\t/CN=line").unwrap();
        }
        ca.replace_index(&index);
        let asked = Ask::serial(&ca, &("5A".repeat(12) + "00000000")).request();
        let lines = format!("certificate = {:?}\nkey = {}\nthreads = 2", signer.certificate, key(&hsm));
        let sources = format!("index = {:?}", ca.index());
        let site = Site::new(&[Tenant::new("tests").issuer("ca", &ca, &sources, &lines)]);
        let site = hsm.shim_environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value));
        let responder = Some(set(site, &hsm).start());
        Self { ca, hsm, responder, asked }
    }

    /// Both tokens by the shim.
    fn shimmed() -> Self {
        let keys = |hsm: &SoftHsm| format!("{:?}", ["a", "b"].map(|token| hsm.shim_uri(token, "ocsp")));
        Self::new(keys, |site, _| site)
    }

    pub(super) fn responder(&self) -> &Responder {
        self.responder.as_ref().unwrap()
    }

    /// What is answered about a line; quick, so it is read here and not by openssl: the status tag of the response,
    /// [0] good or [1] revoked, stands behind the serial number.
    pub(super) fn ask(&self, number: u32) -> Result<Status, u8> {
        let mut request = self.asked.clone();
        let place = request.windows(16).position(|octets| octets == serial(0)).unwrap();
        request[place..place + 16].copy_from_slice(&serial(number));
        let reply = post(self.responder().http(), "/", &request);
        assert_eq!(reply.status, 200);
        if reply.body.len() == 5 {
            return Err(reply.body[4]);
        }
        let behind = reply.body.windows(16).position(|octets| octets == serial(number)).unwrap() + 16;
        Ok(match reply.body[behind] {
            0x80 => Status::Good,
            0xa1 => Status::Revoked,
            other => panic!("a status of tag {other:02x}"),
        })
    }

    /// Asks for the lines and gets the right answer for each.
    #[track_caller]
    pub(super) fn expect_right(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let right = if number % 10 == 9 { Status::Revoked } else { Status::Good };
            assert_eq!(self.ask(number), Ok(right), "number {number}; {}", self.responder().log());
        }
    }

    /// That openssl verifies it.
    pub(super) fn verified(&self, number: u32) -> Answer {
        let hex: String = serial(number).iter().map(|octet| format!("{octet:02X}")).collect();
        Ask::serial(&self.ca, &hex).at(self.responder().http(), "/")
    }

    pub(super) fn up(&self, token: &str) -> bool {
        self.responder().metric("ostia_token_up", &format!("token=\"{token}\"")) == 1.0
    }

    #[track_caller]
    pub(super) fn until_up(&self, token: &str, up: bool) {
        until(&format!("token {token} up: {up}"), PATIENCE, || (self.up(token) == up).then_some(()));
    }

    /// Starts asking for everything, new certificates all the time, each answer verified; so often a second, or as
    /// often as eight clients can that wait for their answers.
    pub(super) fn load(&self, seconds: u32, rate: Option<u32>) -> Child {
        let mut load = Command::new(&programs().loadtest);
        load.arg("ocsp").arg("--url").arg(format!("http://{}/", self.responder().http()));
        load.arg("--issuer").arg(self.ca.certificate()).arg("--index").arg(asked_index(&self.hsm));
        load.args(["--verify", "all", "--connections", "8", "--threads", "1", "--timeout", "10s"]);
        load.args(["--duration", &format!("{seconds}s"), "--expect", "errors=0"]);
        if let Some(rate) = rate {
            load.args(["--rate", &rate.to_string()]);
        }
        let output = fs::File::create(self.hsm.dir().join("load")).unwrap();
        load.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output).spawn().unwrap()
    }

    #[track_caller]
    pub(super) fn expect_no_errors(&self, mut load: Child) {
        let status = load.wait().unwrap();
        let said = fs::read_to_string(self.hsm.dir().join("load")).unwrap();
        assert!(status.success(), "{status}\n{said}\n{}", self.responder().log());
    }
}

/// SIGNING.md, "What an error means", each met in the middle of signing.
#[test]
fn whatever_a_token_says_once_the_answer_is_right() {
    let house = House::shimmed();
    house.expect_right(0..20);
    let mut next = 20;
    for (code, stays_up) in [
        ("CKR_SESSION_HANDLE_INVALID", true),
        ("CKR_SESSION_CLOSED", true),
        ("CKR_OPERATION_ACTIVE", true),
        ("CKR_USER_NOT_LOGGED_IN", true),
        ("CKR_KEY_HANDLE_INVALID", true),
        ("CKR_OBJECT_HANDLE_INVALID", true),
        ("CKR_FUNCTION_FAILED", true),
        ("CKR_SESSION_COUNT", true),
        ("CKR_HOST_MEMORY", true),
        ("CKR_DEVICE_ERROR", false),
        ("CKR_DEVICE_REMOVED", false),
        ("CKR_TOKEN_NOT_PRESENT", false),
        ("CKR_TOKEN_NOT_RECOGNIZED", false),
        ("CKR_GENERAL_ERROR", false),
        ("CKR_CRYPTOKI_NOT_INITIALIZED", false),
        ("CKR_DEVICE_MEMORY", false),
    ] {
        let met = house.hsm.calls(&format!("C_SignInit token=a {code}"));
        house.hsm.order(&format!("C_SignInit token=a times=1 return={code}"));
        until(code, PATIENCE, || {
            house.expect_right(next..next + 4);
            next += 4;
            (house.hsm.calls(&format!("C_SignInit token=a {code}")) > met).then_some(())
        });
        if !stays_up {
            // It comes back by itself, after a test signature.
            house.until_up("a", true);
            assert!(house.responder().log().contains(code), "{code} is told");
        }
        assert!(house.up("a") && house.up("b"), "{code}");
        house.hsm.order("");
    }
    assert_eq!(house.verified(next).status, Status::Good);
    assert_eq!((house.hsm.calls("C_Login token=a"), house.hsm.calls("C_Login token=b")), (1, 1));
}

#[test]
fn a_token_that_goes_away_under_load_costs_no_answer_and_comes_back_by_itself() {
    let house = House::shimmed();
    let load = house.load(20, Some(150));
    thread::sleep(Duration::from_secs(2));
    let gone = "return=CKR_DEVICE_REMOVED";
    house
        .hsm
        .order(&format!("C_SignInit token=a {gone}\nC_OpenSession token=a {gone}\nC_FindObjectsInit token=a {gone}"));
    house.until_up("a", false);
    let (_, said) = house.responder().readiness();
    assert!(said.starts_with("ready\n") && said.contains("CKR_DEVICE_REMOVED"), "{said}");
    house.hsm.order("");
    house.until_up("a", true);
    let signed = || house.responder().metric("ostia_token_signatures_total", "token=\"a\"");
    let before = signed();
    until("it signs again", PATIENCE, || (signed() > before + 10.0).then_some(()));
    house.expect_no_errors(load);
    let log = house.responder().log();
    assert!(log.contains("does not sign; others do") && log.contains("is at work again"), "{log}");
    assert_eq!((house.hsm.calls("C_Login token=a"), house.hsm.calls("C_Login token=b")), (1, 1));
}

/// Each half minute the library was initialised anew to find it, and the other token lost its sessions with it.
#[test]
fn a_token_that_stays_away_costs_the_other_of_its_module_nothing() {
    let house = House::shimmed();
    let opened = house.hsm.calls("C_OpenSession token=b");
    let load = house.load(36, Some(100));
    let gone = "return=CKR_TOKEN_NOT_PRESENT";
    house.hsm.order(&format!("C_SignInit token=a {gone}\nC_GetTokenInfo token=a {gone}\nC_OpenSession token=a {gone}"));
    house.until_up("a", false);
    house.expect_no_errors(load);
    assert!(house.up("b") && !house.up("a"));
    assert_eq!((house.hsm.calls("C_Initialize"), house.hsm.calls("C_OpenSession token=b")), (1, opened));
    // What helps, if it should not come back by itself, is told once, and as long as it is true.
    let remedy =
        "which is not done while its token `b` signs: restart the service, or give each token a library of its own";
    assert_eq!(house.responder().log().matches(remedy).count(), 1, "{}", house.responder().log());
    let (_, said) = house.responder().readiness();
    assert!(said.contains(remedy), "{said}");
    house.hsm.order("");
    house.until_up("a", true);
    assert_eq!(house.responder().readiness().1, "ready\n");
}

#[test]
fn an_opening_that_never_returns_costs_no_session_that_signs() {
    let house = House::new(|hsm| format!("{:?}", hsm.shim_uri("a", "ocsp")), |site, _| site);
    let sessions = || house.responder().metric("ostia_token_sessions", "token=\"a\"");
    house.expect_right(0..10);
    house.hsm.order("C_SignInit token=a times=1 return=CKR_SESSION_CLOSED\nC_OpenSession token=a times=1 hang");
    let mut next = 10;
    let mut asked = || {
        house.expect_right(next..next + 2);
        next += 2;
        thread::sleep(Duration::from_millis(100));
    };
    until("it hangs", PATIENCE, || {
        asked();
        (house.hsm.calls("C_OpenSession token=a hangs") > 0).then_some(())
    });
    until("another has taken its place", PATIENCE, || {
        asked();
        assert!(house.up("a"));
        (sessions() == 2.0).then_some(())
    });
    assert_eq!(house.responder().metric("ostia_token_threads_hanging", "token=\"a\""), 1.0);
    house.hsm.order("");
    asked();
    assert_eq!(house.hsm.calls("C_Login token=a"), 1);
}

#[test]
fn a_token_that_hangs_costs_its_threads_and_no_answer() {
    let house = House::shimmed();
    house.expect_right(0..10);
    house.hsm.order("C_Sign token=a hang");
    let begin = Instant::now();
    house.expect_right(10..40);
    // Not more than the limit of a call, 2 s, once for each of its threads and the test; of thirty half would meet it.
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    house.until_up("a", false);
    assert!(house.responder().metric("ostia_token_threads_hanging", "token=\"a\"") >= 1.0);
    house.hsm.order("");
    house.until_up("a", true);
    house.expect_right(40..60);
    until("the threads are back", PATIENCE, || {
        (house.responder().metric("ostia_token_threads_hanging", "token=\"a\"") == 0.0).then_some(())
    });
}

#[test]
fn a_token_that_signs_wrongly_is_found_out_before_anybody_sees_it() {
    let house = House::shimmed();
    // Young sessions are verified one by one; so the first wrong one is found.
    house.hsm.order("C_Sign token=a corrupt");
    house.expect_right(0..40);
    for number in 0..40 {
        let answer = house.verified(number);
        assert!(answer.verified, "{answer:?}");
    }
    house.until_up("a", false);
    let (_, said) = house.responder().readiness();
    assert!(said.contains("a has not signed") && said.contains("does not verify"), "{said}");
}

#[test]
fn a_pin_refused_while_it_runs_is_not_tried_again() {
    let house = House::shimmed();
    house.expect_right(0..10);
    // The token forgets who is logged in, and takes the PIN for wrong.
    house.hsm.order(
        "C_Login token=a return=CKR_PIN_INCORRECT\nC_SignInit token=a return=CKR_USER_NOT_LOGGED_IN\nC_FindObjectsInit token=a return=CKR_USER_NOT_LOGGED_IN",
    );
    house.expect_right(10..80);
    thread::sleep(Duration::from_secs(3));
    house.expect_right(80..120);
    assert!(house.hsm.calls("C_Login token=a CKR_PIN_INCORRECT") <= 1);
    assert_eq!(house.hsm.calls("C_Login token=b"), 1);
}

#[test]
fn with_every_token_gone_hits_go_on_and_the_rest_is_told_to_try_later_at_once() {
    let house = House::shimmed();
    house.expect_right(0..10);
    let gone = "return=CKR_TOKEN_NOT_PRESENT";
    house.hsm.order(&format!("C_SignInit {gone}\nC_OpenSession {gone}"));
    // The first finds it out.
    assert_eq!(house.ask(100), Err(3), "tryLater");
    house.until_up("a", false);
    house.until_up("b", false);
    let begin = Instant::now();
    for number in 101..121 {
        assert_eq!(house.ask(number), Err(3), "tryLater");
    }
    house.expect_right(0..10);
    // One that waited would do so for 5 s.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let (status, said) = house.responder().readiness();
    assert_eq!(status, 200);
    assert!(said.contains("no key works"), "{said}");
    let told = "and neither does any other; until one is back kept answers are served until nextUpdate, others are refused with tryLater";
    until("it is told", PATIENCE, || house.responder().log().contains(told).then_some(()));
    let log = house.responder().log();
    assert!(log.contains(r#""signer":"tests/ca""#) && !log.contains("restart the service"), "{log}");
    house.hsm.order("");
    house.until_up("a", true);
    house.expect_right(100..121);
}

#[test]
fn a_service_can_be_made_unready_while_nobody_signs() {
    let keys = |hsm: &SoftHsm| format!("{:?}", hsm.shim_uri("a", "ocsp"));
    let house = House::new(keys, |site, _| {
        site.edit_config(|text| text.replace("[admin]\n", "[admin]\nready_without_signers = false\n"));
        site
    });
    let gone = "return=CKR_TOKEN_NOT_PRESENT";
    house.hsm.order(&format!("C_SignInit {gone}\nC_OpenSession {gone}"));
    assert_eq!(house.ask(1), Err(3), "tryLater");
    let (status, said) = house.responder().readiness();
    assert_eq!(status, 503, "{said}");
    assert!(said.starts_with("not ready: no key of a signer works"), "{said}");
    house.hsm.order("");
    until("ready again", PATIENCE, || (house.responder().readiness().0 == 200).then_some(()));
    house.expect_right(1..5);
}
