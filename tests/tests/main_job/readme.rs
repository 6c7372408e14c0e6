//! README.md's commands and configurations, copied from the page: they work as they stand there.
//!
//! Only addresses are replaced, since many tests run at once, and what runs the program: the built one instead of
//! `cargo run`.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Query, Responder, Site, SoftHsm, Status, Tenant, Tsa, TsaCertificate, bash, programs,
    run, until,
};

use crate::demo::{Demo, free_addresses};

pub(crate) fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code blocks of a section, with their languages, in their order.
pub(crate) fn blocks_of(page: &str, section: &str) -> Vec<(String, String)> {
    let section = page.split_once(&format!("\n{section}\n")).unwrap_or_else(|| panic!("no {section}")).1;
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n')).map(|(kind, text)| (kind.to_owned(), text.to_owned())).collect()
}

#[test]
fn readmes_two_commands_and_what_to_try_on_the_demo_work_as_they_stand() {
    let blocks = blocks_of(&page("README.md"), "## Two commands");
    let [demo, lines, tests] = blocks.iter().map(|(_, text)| text.trim_end()).collect::<Vec<_>>()[..] else {
        panic!("{blocks:?}");
    };
    let arguments = demo.strip_prefix("cargo run --release -- ").expect("the program is run by cargo");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(tests);
    assert!(run(Command::new("test").arg("-x").arg(&script)).status.success(), "{}", script.display());

    let scratch = tempfile::tempdir().unwrap();
    let [http, admin] = free_addresses();
    let arguments: Vec<_> = arguments.split(' ').collect();
    let demo = Demo::start_by(scratch.path(), &arguments, http, admin);
    let lines: Vec<_> = lines.lines().map(|line| line.replace("127.0.0.1:8080", &http.to_string())).collect();
    let [good, revoke, again, query, stamp, verify] = &lines[..] else { panic!("{lines:?}") };
    let ask = |line: &str| bash(scratch.path(), line);
    until("good", Duration::from_secs(60), || {
        let ended = run(Command::new("bash").args(["-c", good]).current_dir(scratch.path()));
        (ended.text.contains("Response verify OK") && ended.text.contains(": good")).then_some(())
    });
    ask(revoke);
    let begin = Instant::now();
    // An answer that waits for its signature does so for up to 5 s.
    assert!(ask(again).contains(": revoked") && begin.elapsed() < Duration::from_millis(4500), "{:?}", begin.elapsed());
    [query, stamp].into_iter().for_each(|line| drop(ask(line)));
    assert!(ask(verify).contains("Verification: OK"));

    // And what the responder says on its page.
    let page = ostia_tests::http::get(http, "/").text();
    let files = [("CERTIFICATE.pem", "good.pem"), ("ROOT.pem", "ca.pem"), ("CA.pem", "ca.pem"), ("FILE", "ca.pem")];
    let mut commands: Vec<String> =
        page.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect();
    assert_eq!(commands.len(), 5, "{page}");
    for (name, file) in files {
        commands.iter_mut().for_each(|command| *command = command.replace(name, &format!("ostia-demo/{file}")));
    }
    let answers = commands.iter().map(|command| ask(&command.replace("URL", &format!("http://{http}"))));
    let [ocsp, .., stamp] = &answers.collect::<Vec<_>>()[..] else { panic!("{commands:?}") };
    assert!(ocsp.contains("Response verify OK") && ocsp.contains(": revoked"), "{ocsp}");
    assert!(stamp.contains("Verification: OK"), "{stamp}");
    drop(demo);
}

/// A directory with tokens at hand, in which the page's commands are run and its configurations served.
pub(crate) struct Bench {
    site: Site,
    hsm: SoftHsm,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let hsm = SoftHsm::new(&[]);
        Self { site: Site::new(&[]).environment("SOFTHSM2_CONF", hsm.config()), hsm }
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.site.dir()
    }

    pub(crate) fn run(&self, commands: &str) -> String {
        let path = programs().precompute.parent().unwrap().display().to_string();
        let conf = self.hsm.config().display().to_string();
        bash(self.site.dir(), &format!("set -e; export PATH={path}:$PATH SOFTHSM2_CONF={conf}\n{commands}"))
    }

    /// Starts with a configuration of the page, which is in order, and with what tests need beside it. The tokens have to
    /// be kept as long.
    #[track_caller]
    pub(crate) fn serve(self, config: &str, beside: &str) -> (Responder, SoftHsm) {
        let (http, admin) = (self.site.http, self.site.admin);
        let own = format!("\n[http]\nlisten = [\"{http}\"]\n\n[admin]\nlisten = \"{admin}\"\n{beside}");
        self.site.edit_config(|_| config.to_owned() + &own);
        let checked = self.site.check();
        assert!(checked.status.success() && checked.text.contains("in order"), "{config}\n{}", checked.text);
        (self.site.start(), self.hsm)
    }
}

/// The commands and the configurations of "Which CA do you have?": openssl, a CRL, a token, time-stamping.
fn configurations() -> [(String, String); 4] {
    let blocks = blocks_of(&page("README.md"), "## Which CA do you have?");
    let kinds: Vec<_> = blocks.iter().map(|(kind, _)| &**kind).collect();
    assert_eq!(kinds, ["sh", "toml"].repeat(4));
    let pairs = blocks.chunks(2).map(|pair| (pair[0].1.clone(), pair[1].1.clone()));
    pairs.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn readmes_configurations_work_as_they_stand_after_the_commands_before_them() {
    let ca = Ca::new("CA");
    let (leaf, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &[]);
    let configurations = configurations();
    for wanted in 0..configurations.len() {
        let bench = Bench::new();
        bash(bench.site.dir(), &format!("cp -a {}/. .", ca.dir().display()));
        // The CRL's uses the signer of the first.
        configurations[..=wanted].iter().for_each(|(commands, _)| drop(bench.run(commands)));
        let config = &configurations[wanted].1;
        if config.contains("[[tsa]]") {
            // The clocks of machines that run tests may be anybody's.
            let (responder, _) = bench.serve(config, "\n[time_stamping]\nclock = \"unchecked\"\n");
            let query = Query::new(1);
            query.at(responder.http(), "/tsa").expect_verified(&query.der(), &ca.certificate(), None);
        } else {
            let (responder, hsm) = bench.serve(config, "");
            Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
            Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
            keys_check_works(responder.site.dir(), &hsm.config(), config.contains("pkcs11:"));
        }
    }
}

/// The command by which precompute/README.md tries keys works beside the responder.
#[track_caller]
fn keys_check_works(dir: &Path, hsm: &Path, on_token: bool) {
    let blocks = blocks_of(&page("precompute/README.md"), "## Keys on tokens");
    let [(_, check)] = &blocks[..] else { panic!("{blocks:?}") };
    let path = programs().precompute.parent().unwrap().display();
    let listed = bash(dir, &format!("export PATH={path}:$PATH SOFTHSM2_CONF={}\n{check}", hsm.display()));
    assert!(listed.contains("ECDSA P-256 with SHA-256"), "{listed}");
    assert_eq!(listed.contains("object=ocsp"), on_token, "{listed}");
}

#[test]
fn readmes_first_configuration_works_for_easy_rsa_with_the_paths_it_names() {
    let [(commands, config), ..] = configurations();
    let bench = Bench::new();
    bench.run(
        "make-cadir made && cp -a made/. . && export EASYRSA_BATCH=1 && ./easyrsa init-pki && ./easyrsa build-ca nopass \
         && ./easyrsa build-server-full good nopass && ./easyrsa build-server-full bad nopass && ./easyrsa revoke bad \
         && cp pki/issued/good.crt . && cp pki/revoked/certs_by_serial/*.crt bad.crt",
    );
    let page = page("README.md");
    let named = page.split("(easy-rsa: `-config ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    bench.run(&commands.replace("openssl.cnf", named));
    // What a line says of easy-rsa takes the place of its value.
    let of_easy_rsa = |line: &str| match line.split_once("# easy-rsa: ") {
        Some((setting, value)) => format!("{} = {value}\n", setting.split(" = ").next().unwrap()),
        None => format!("{line}\n"),
    };
    let config: String = config.lines().map(of_easy_rsa).collect();
    assert_eq!(config.matches("\"pki/").count(), 2, "{config}");
    let (responder, _) = bench.serve(&config, "");
    for (certificate, status) in [("good.crt", ": good"), ("bad.crt", ": revoked")] {
        let url = format!("http://{}/", responder.http());
        let ask =
            format!("openssl ocsp -issuer pki/ca.crt -cert {certificate} -no_nonce -url {url} -CAfile pki/ca.crt");
        let said = bash(responder.site.dir(), &ask);
        assert!(said.contains("Response verify OK") && said.contains(status), "{said}");
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_given() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tsa = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let elsewhere = [([127, 0, 0, 1], 9).into()];
    let other = Ca::new("other");
    let tenant = Tenant::of(&ca, &signer).forwarded("other", &other, &elsewhere);
    let site = Site::new(&[tenant.tsa(&Tsa::of("tsa", &tsa))]);
    site.edit_config(|config| {
        let recorded = config.replacen("[time_stamping]\n", "[time_stamping]\nrecord = \"tokens\"\n", 1);
        let renewed = recorded.replacen("[tenant.issuer.signer]\n", "[tenant.issuer.signer]\nrenew = {}\n", 1);
        // Nothing is there to be told.
        let purged = "\n[[purge]]\ndriver = \"varnish-ban\"\nurl = \"http://127.0.0.1:9/\"\n";
        renewed + "\n[journal]\npath = \"events\"\nocsp = true\n" + purged
    });
    let metrics = site.start().metrics() + &crate::replica::metrics();
    let given: BTreeSet<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect();
    let page = page("responder/README.md");
    let table = page.split("\n### Metrics\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let documented: Vec<_> = cells.flat_map(|cell| cell.split("`, `")).map(|name| name.trim_end_matches('`')).collect();
    let once: BTreeSet<_> = documented.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(once.len(), documented.len(), "one is documented twice");
    assert_eq!(once, given, "documented, given");
}
