//! Tokens are left as they were found: every session is closed and every library finalised at every end.
//!
//! The bug of which this keeps: `check` left one session open, `serve` all of them, and no library was finalised, so that a
//! TPM without a resource manager was locked after three runs.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Signer, Site, SoftHsm, Status, Tenant, programs, run_for, until};

const LIMIT: Duration = Duration::from_secs(60);

struct World {
    ca: Ca,
    leaf: Leaf,
    signer: Signer,
    hsm: SoftHsm,
}

impl World {
    /// A delegate with its key `ocsp` on the tokens `a` and `b`.
    fn new() -> Self {
        let ca = Ca::new("CA");
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let hsm = SoftHsm::new(&["a", "b"]);
        ["a", "b"].iter().for_each(|label| hsm.import(label, &signer.key, "ocsp", "01"));
        let leaf = ca.issue();
        Self { ca, leaf, signer, hsm }
    }

    fn lines(&self, key: &str) -> String {
        format!("certificate = {:?}\nkey = {key:?}\nthreads = 3", self.signer.certificate)
    }

    fn site(&self, signer: &str) -> Site {
        let sources = format!("index = {:?}", self.ca.index());
        let site = Site::new(&[Tenant::new("tests").presigned().issuer("ca", &self.ca, &sources, signer)]);
        self.hsm.shim_environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value))
    }

    fn proper(&self) -> Site {
        self.site(&self.lines(&self.hsm.shim_uri("a", "ocsp")))
    }

    /// A program with words of its command line, on the site's configuration.
    fn command(&self, site: &Site, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).arg("--config").arg(site.config()).envs(self.hsm.shim_environment());
        command
    }

    /// How many sessions were opened and not closed, and libraries initialised and not finalised.
    #[track_caller]
    fn left(&self) -> (usize, usize) {
        let calls = |name: &str| {
            ["a", "b"].map(|token| self.hsm.calls(&format!("{name} token={token} CKR_OK"))).iter().sum::<usize>()
        };
        let (opened, initialised) = (calls("C_OpenSession"), self.hsm.calls("C_Initialize CKR_OK"));
        assert!(opened > 0 && initialised > 0, "nothing was done with a token");
        (opened - calls("C_CloseSession"), initialised - self.hsm.calls("C_Finalize CKR_OK"))
    }

    fn forget(&self) {
        let _ = fs::remove_file(self.hsm.dir().join("calls"));
    }

    /// Waits until this many calls have ended.
    fn until_called(&self, call: &str) {
        until(call, LIMIT, || (self.hsm.calls(call) > 0).then_some(()));
    }
}

fn started(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn interrupt(child: &mut Child, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
    until("the end of the program", LIMIT, || child.try_wait().unwrap());
}

#[test]
fn every_program_closes_its_sessions_and_finalises_the_library_at_its_end() {
    let world = World::new();
    let (responder, precompute) = (&*programs().responder, &*programs().precompute);
    let site = world.proper();
    for (program, words) in [
        (responder, &["check"][..]),
        (precompute, &["sync"]),
        (precompute, &["presign"]),
        (precompute, &["keys", "check"]),
    ] {
        world.forget();
        let ended = run_for(LIMIT, &mut world.command(&site, program, words));
        assert!(ended.status.success(), "{words:?}: {}", ended.text);
        assert_eq!(world.left(), (0, 0), "{words:?}");
    }
    for (key, kind) in [("ocsp", &["--csr-only"][..]), ("new", &["--algorithm", "p256"])] {
        world.forget();
        let csr = world.hsm.dir().join(format!("{key}.csr"));
        let mut generate = Command::new(precompute);
        generate.args(["keys", "generate", "--purpose", "ocsp", "--subject", "CN=x", "--key"]);
        generate.arg(world.hsm.shim_uri("b", key)).args(kind).arg("--csr").arg(csr).envs(world.hsm.shim_environment());
        let ended = run_for(LIMIT, &mut generate);
        assert!(ended.status.success(), "{}", ended.text);
        assert_eq!(world.left(), (0, 0), "keys generate {kind:?}");
    }
    // Refused: by its own key, and by something else while its key is well.
    for (key, more) in [("absent", ""), ("ocsp", "\nunknown = 1")] {
        let site = world.site(&(world.lines(&world.hsm.shim_uri("a", key)) + more));
        for (program, words) in [(responder, &["check"][..]), (responder, &["serve"]), (precompute, &["keys", "check"])]
        {
            world.forget();
            let ended = run_for(LIMIT, &mut world.command(&site, program, words));
            assert!(!ended.status.success(), "{}", ended.text);
            assert_eq!(world.left(), (0, 0), "{words:?} with {key}{more}");
        }
    }
}

#[test]
fn a_service_that_is_told_to_end_leaves_its_tokens() {
    let world = World::new();
    for signal in ["TERM", "INT"] {
        world.forget();
        let mut responder = world.proper().start();
        Ask::about(&world.ca, &world.leaf).at(responder.http(), "/").expect(Status::Good);
        responder.end_by(signal);
        assert_eq!(world.left(), (0, 0), "SIG{signal}: {}", responder.log());
    }
}

#[test]
fn a_program_that_is_interrupted_in_the_midst_finalises_the_library() {
    let world = World::new();
    let site = world.proper();
    let (responder, precompute) = (&*programs().responder, &*programs().precompute);
    for (program, words, signal) in [
        (responder, &["check"][..], "INT"),
        (responder, &["serve"], "TERM"),
        (precompute, &["keys", "check"], "INT"),
        (precompute, &["sync"], "TERM"),
    ] {
        world.forget();
        world.hsm.order("C_FindObjectsInit delay=700ms");
        let mut child = started(&mut world.command(&site, program, words));
        world.until_called("C_OpenSession token=a CKR_OK");
        interrupt(&mut child, signal);
        // A session that was just being opened goes with C_Finalize (PKCS#11 section 5.4).
        assert_eq!(world.left().1, 0, "{words:?} by SIG{signal}");
    }
}

#[test]
fn a_reload_leaves_the_tokens_that_are_used_no_more() {
    let world = World::new();
    let responder = world.site(&world.lines(&world.hsm.shim_uri("a", "ocsp"))).start();
    let (a, b) = (world.hsm.shim_uri("a", "ocsp"), world.hsm.shim_uri("b", "ocsp"));
    let open = |token: &str| {
        let calls = |name: &str| world.hsm.calls(&format!("{name} token={token} CKR_OK"));
        calls("C_OpenSession").saturating_sub(calls("C_CloseSession"))
    };
    let until_left = |token: &str| until("the token is left", LIMIT, || (open(token) == 0).then_some(()));
    assert_eq!((open("a"), open("b")), (4, 0));
    // Refused: the other token was asked, and is left.
    responder.reload(|text| text.replace(&a, &b) + "\nunknown = 1\n");
    until("the reload is refused", LIMIT, || responder.log().contains("stays as it was").then_some(()));
    until_left("b");
    assert_eq!(open("a"), 4);
    assert!(world.hsm.calls("C_OpenSession token=b CKR_OK") > 0);
    // Taken: the former token is left, the login included, though the library goes on.
    responder.reload(|text| text.replace(&a, &b).replace("\nunknown = 1\n", ""));
    until_left("a");
    until("the other token signs", LIMIT, || (open("b") == 4).then_some(()));
    assert_eq!(world.hsm.calls("C_Finalize"), 0);
    Ask::about(&world.ca, &world.leaf).at(responder.http(), "/").expect(Status::Good);
    // No token any more: the library is finalised.
    let file = world.signer.key.to_str().unwrap().to_owned();
    responder.reload(|text| text.replace(&b, &file));
    until_left("b");
    until("the library is finalised", LIMIT, || (world.hsm.calls("C_Finalize CKR_OK") == 1).then_some(()));
    Ask::about(&world.ca, &world.leaf).at(responder.http(), "/").expect(Status::Good);
    // And back.
    responder.reload(|text| text.replace(&file, &a));
    until("the first token signs again", LIMIT, || (open("a") == 4).then_some(()));
    Ask::about(&world.ca, &world.leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn a_library_that_hangs_at_the_end_holds_nobody_up() {
    let world = World::new();
    let site = world.proper();
    for order in ["C_CloseSession hang", "C_Finalize hang", "C_CloseSession delay=300ms"] {
        world.hsm.order(order);
        for (program, words) in [(&programs().responder, &["check"][..]), (&programs().precompute, &["keys", "check"])]
        {
            let begin = Instant::now();
            let ended = run_for(LIMIT, &mut world.command(&site, program, words));
            assert!(ended.status.success(), "{order}: {}", ended.text);
            // `limits`: POOL_END_MAX, TOKENS_END_MAX and SESSION_CLOSE_WAIT, and what the work takes; or for ever.
            assert!(begin.elapsed() < Duration::from_secs(40), "{order}: {:?}", begin.elapsed());
        }
        let mut responder = world.proper().start();
        assert!(responder.end_by("TERM").success(), "{order}: {}", responder.log());
    }
}
