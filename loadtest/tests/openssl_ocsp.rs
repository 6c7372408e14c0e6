//! The program against `openssl ocsp`: an encoder and a signer that share no code with it.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Authority, loadtest};

/// A running `openssl ocsp`, ended when dropped.
struct Ocsp {
    child: Child,
    url: String,
}

impl Ocsp {
    /// `openssl ocsp -port`, which answers one request on each connection and ends after `requests` of them.
    fn start(authority: &Authority, requests: u32, more: &[&str]) -> Self {
        // openssl takes neither an address nor port 0; a port that was free a moment ago may be taken by another test,
        // so several are tried.
        for _ in 0..10 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = Command::new("openssl")
                .args(["ocsp", "-port", &port.to_string(), "-index", "index.txt", "-CA", "ca.pem"])
                .args(["-nmin", "60", "-ignore_err", "-nrequest", &requests.to_string()])
                .args(more)
                .current_dir(authority.directory.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut server = Self { child, url: format!("http://127.0.0.1:{port}/") };
            if server.listens(port) {
                return server;
            }
        }
        panic!("openssl ocsp did not listen on any of ten ports");
    }

    /// Waits until the port is listened on, without connecting: every connection counts as a request.
    fn listens(&mut self, port: u16) -> bool {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            // State 0A is LISTEN (proc(5)).
            let listening = |table: &str| {
                let end = format!(":{port:04X}");
                table.lines().any(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    fields.len() > 3 && fields[1].ends_with(&end) && fields[3] == "0A"
                })
            };
            let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|t| std::fs::read_to_string(t).unwrap_or_default());
            if tables.iter().any(|t| listening(t)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Ocsp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const INDEX: &str = "V\t350101000000Z\t\t01\tunknown\t/CN=a\n\
    V\t350101000000Z\t\t00FFEE\tunknown\t/CN=b\n\
    V\t350101000000Z\t\t7F0102030405060708090A0B0C0D0E0F10111213\tunknown\t/CN=c\n\
    R\t350101000000Z\t240102030405Z,keyCompromise\t04\tunknown\t/CN=d\n\
    R\t350101000000Z\t240102030405Z\t05\tunknown\t/CN=e\n\
    R\t350101000000Z\t240102030405Z,certificateHold\t06\tunknown\t/CN=f\n";

fn authority() -> Authority {
    let authority = Authority::new();
    authority.write("index.txt", INDEX);
    authority.key("ocsp", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    authority.certify("ocsp", "100", "extendedKeyUsage=OCSPSigning\n");
    authority
}

const DELEGATE: &[&str] = &["-rsigner", "ocsp.pem", "-rkey", "ocsp.key"];
const ISSUER: &[&str] = &["-rsigner", "ca.pem", "-rkey", "ca.key"];

#[test]
fn agrees_with_openssl_about_every_status_hash_and_method() {
    let a = authority();
    let server = Ocsp::start(&a, 2_000, DELEGATE);
    for (hash, share, connections) in
        [("sha1", "0.5", "3"), ("sha256", "0", "1"), ("sha384", "1", "2"), ("sha512", "0.5", "1")]
    {
        let (code, text, report) = loadtest(
            a.directory.path(),
            &[
                "ocsp",
                "--url",
                &server.url,
                "--issuer",
                &a.file("ca.pem"),
                "--index",
                &a.file("index.txt"),
                "-n",
                "120",
                "-c",
                connections,
                "--hash",
                hash,
                "--get-share",
                share,
                "--verify",
                "all",
                "--expect",
                "errors=0,wrong=0",
            ],
        );
        assert_eq!(code, 0, "{text}");
        assert_eq!(report["right"], 120, "{text}");
        // openssl closes after every answer.
        assert!(report["connections_opened"].as_u64().unwrap() >= 120, "{text}");
        assert!(report["said"]["good"].as_u64().unwrap() > 30 && report["said"]["revoked"].as_u64().unwrap() > 30);
        assert_eq!(
            report["verification"]["checked"].as_u64().unwrap()
                + report["verification"]["repeats_of_checked"].as_u64().unwrap(),
            120
        );
    }
}

#[test]
fn verifies_every_signature_algorithm_of_openssl() {
    let a = authority();
    let kinds: [(&str, &[&str], &[&str]); 6] = [
        ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], &[]),
        ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], &["-rmd", "sha512"]),
        ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], &[]),
        ("rsa384", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], &["-rmd", "sha384"]),
        (
            "pss",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            &["-rsigopt", "rsa_padding_mode:pss", "-rsigopt", "rsa_pss_saltlen:digest", "-rmd", "sha256"],
        ),
        ("ed25519", &["-algorithm", "ED25519"], &[]),
    ];
    for (number, (name, key, more)) in kinds.into_iter().enumerate() {
        a.key(name, key);
        a.certify(name, &(200 + number).to_string(), "extendedKeyUsage=OCSPSigning\n");
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        let server = Ocsp::start(&a, 100, &[&["-rsigner", &pem, "-rkey", &key], more].concat());
        let arguments = ["ocsp", "--url", &server.url, "--issuer", &a.file("ca.pem"), "--index", &a.file("index.txt")];
        let (code, text, report) =
            loadtest(a.directory.path(), &[&arguments[..], &["-n", "20", "-c", "1", "--verify", "all"]].concat());
        assert_eq!((code, report["right"].as_u64()), (0, Some(20)), "{name}: {text}");
    }
}

#[test]
fn counts_signatures_with_parameters_that_nobody_else_uses() {
    let a = authority();
    a.key("pss", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    a.certify("pss", "300", "extendedKeyUsage=OCSPSigning\n");
    let short_salt = ["-rsigopt", "rsa_padding_mode:pss", "-rsigopt", "rsa_pss_saltlen:20", "-rmd", "sha256"];
    let server = Ocsp::start(&a, 100, &[&["-rsigner", "pss.pem", "-rkey", "pss.key"], &short_salt[..]].concat());
    let arguments = ["ocsp", "--url", &server.url, "--issuer", &a.file("ca.pem"), "--index", &a.file("index.txt")];
    let (code, text, report) =
        loadtest(a.directory.path(), &[&arguments[..], &["-n", "10", "-c", "1", "--verify", "all"]].concat());
    assert_eq!((code, report["kinds"]["unsupported_algorithm"].as_u64()), (3, Some(10)), "{text}");
}

#[test]
fn agrees_about_nonces_and_serials_that_were_never_issued() {
    let a = authority();
    let server = Ocsp::start(&a, 200, ISSUER);
    let arguments =
        ["ocsp", "--url", &server.url, "--issuer", &a.file("ca.pem"), "--random", "10", "-n", "50", "-c", "1"];
    let more = ["--nonce", "16", "--verify", "all", "--unlisted", "unknown"];
    let (code, text, report) = loadtest(a.directory.path(), &[&arguments[..], &more].concat());
    assert_eq!((code, report["said"]["unknown"].as_u64()), (0, Some(50)), "{text}");
    assert_eq!(report["verification"]["checked"], 50, "with nonces no answer comes twice: {text}");
}

#[test]
fn exits_with_3_and_names_the_certificate_when_the_responder_knows_another_index() {
    let a = authority();
    let server = Ocsp::start(&a, 200, DELEGATE);
    // The responder has read its index; now the truth changes.
    a.write("later.txt", &INDEX.replace("V\t350101000000Z\t\t01", "R\t350101000000Z\t250102030405Z,superseded\t01"));
    let (code, text, report) = loadtest(
        a.directory.path(),
        &[
            "ocsp",
            "--url",
            &server.url,
            "--issuer",
            &a.file("ca.pem"),
            "--index",
            &a.file("later.txt"),
            "-n",
            "60",
            "-c",
            "1",
        ],
    );
    assert_eq!(code, 3, "{text}");
    assert!(report["kinds"]["wrong_status"].as_u64().unwrap() > 0, "{text}");
    assert_eq!(report["examples"][0]["subject"], "01");
    assert!(text.contains("wrong_status"), "{text}");
}

#[test]
fn distrusts_a_responder_of_another_authority() {
    let a = authority();
    let other = Authority::new();
    other.key("stranger", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    other.certify("stranger", "300", "extendedKeyUsage=OCSPSigning\n");
    for name in ["stranger.pem", "stranger.key"] {
        std::fs::copy(other.path(name), a.path(name)).unwrap();
    }
    let server = Ocsp::start(&a, 100, &["-rsigner", "stranger.pem", "-rkey", "stranger.key"]);
    let (code, text, report) = loadtest(
        a.directory.path(),
        &[
            "ocsp",
            "--url",
            &server.url,
            "--issuer",
            &a.file("ca.pem"),
            "--index",
            &a.file("index.txt"),
            "-n",
            "20",
            "-c",
            "1",
            "--verify",
            "all",
        ],
    );
    assert_eq!((code, report["kinds"]["untrusted_signer"].as_u64()), (3, Some(20)), "{text}");
}

#[test]
fn exits_with_4_and_the_figure_when_an_expectation_is_missed() {
    let a = authority();
    let server = Ocsp::start(&a, 100, DELEGATE);
    let html = a.file("report.html");
    let (code, text, report) = loadtest(
        a.directory.path(),
        &[
            "ocsp",
            "--url",
            &server.url,
            "--issuer",
            &a.file("ca.pem"),
            "--cert",
            &a.file("ocsp.pem"),
            "-n",
            "20",
            "-c",
            "1",
            "--expect",
            "rps>1000000,errors=0",
            "--html",
            &html,
        ],
    );
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("MISSED rps>1000000 (was ") && text.contains("met    errors=0 (was 0)"), "{text}");
    assert_eq!(report["expectations"][0]["met"], false);
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<svg") && page.contains("missed: rps&gt;1000000"), "{page}");
}

#[test]
fn exits_with_2_and_a_remedy_when_it_is_asked_for_the_impossible() {
    let a = authority();
    let (ca, index) = (a.file("ca.pem"), a.file("index.txt"));
    let base = ["ocsp", "--url", "http://127.0.0.1:9/", "--issuer", &ca];
    let cases: [(&[&str], &str); 8] = [
        (&[], "--random N"),
        (&["--index", "/nonexistent/index.txt"], "/nonexistent/index.txt"),
        (&["--index", &ca], "line 1"),
        (&["--index", &index, "--get-share", "2"], "--get-share 2"),
        (&["--index", &index, "--connections", "0"], "--connections 0"),
        (&["--index", &index, "--url", "https://a/"], "https is not supported"),
        (&["--index", &index, "--expect", "p99<5"], "us, ms or s"),
        (&["--index", &index, "--pipeline", "4", "--one-request-per-connection"], "--pipeline 4"),
    ];
    for (more, said) in cases {
        let (code, text, _) = loadtest(a.directory.path(), &[&base[..], more].concat());
        assert_eq!(code, 2, "{more:?}: {text}");
        assert!(text.contains(said), "{more:?}: {text}");
    }
}

#[test]
fn exits_with_5_when_nobody_answers() {
    let a = authority();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let (code, text, report) = loadtest(
        a.directory.path(),
        &["ocsp", "--url", &url, "--issuer", &a.file("ca.pem"), "--random", "1", "-d", "200ms"],
    );
    assert_eq!(code, 5, "{text}");
    assert!(report["kinds"]["connect"].as_u64().unwrap() > 0, "{text}");
}

#[test]
fn measures_the_time_until_a_revocation_is_answered() {
    let a = authority();
    // openssl reads its index anew for each request once the file has changed.
    let server = Ocsp::start(&a, 20_000, DELEGATE);
    a.write("victims", "01\n00FFEE\n");
    a.write(
        "revoke.sh",
        &format!(
            "set -e; cd {}; sed \"s/^V\\t350101000000Z\\t\\t$1\\t/R\\t350101000000Z\\t250102030405Z,superseded\\t$1\\t/\" index.txt > new; \
             mv new index.txt; sleep 0.05",
            a.directory.path().display()
        ),
    );
    let command = format!("sh {} $(grep -io '0*{{serial}}' {} | head -1)", a.file("revoke.sh"), a.file("victims"));
    let base = [
        "lag",
        "--urls",
        &server.url,
        "--issuer",
        &a.file("ca.pem"),
        "--serials",
        &a.file("victims"),
        "--poll-interval",
        "2ms",
    ];
    let (code, text, report) = loadtest(
        a.directory.path(),
        &[&base[..], &["--revoke-with", &command, "--expect", "errors=0,wrong=0,max<5s"]].concat(),
    );
    assert_eq!(code, 0, "{text}");
    let replica = &report["replicas"][0];
    assert_eq!((replica["revocations"].as_u64(), replica["missed"].as_u64()), (Some(2), Some(0)), "{text}");
    assert!(replica["since_start_us"]["min"].as_f64().unwrap() > 0.0, "{text}");

    let (code, text, _) = loadtest(a.directory.path(), &[&base[..], &["--revoke-with", "true {serial}"]].concat());
    assert!(code == 1 && text.contains("already answers revoked for 01"), "{code} {text}");
    a.write("victims", "7F0102030405060708090A0B0C0D0E0F10111213\n");
    let quick = ["--revoke-with", "true {serial}", "--timeout", "300ms"];
    let (code, text, report) = loadtest(a.directory.path(), &[&base[..], &quick].concat());
    assert_eq!((code, report["replicas"][0]["missed"].as_u64()), (3, Some(1)), "{text}");
    let (code, text, _) = loadtest(a.directory.path(), &[&base[..], &["--revoke-with", "exit 9 # {serial}"]].concat());
    assert!(code == 1 && text.contains("exit status: 9"), "{code} {text}");
}
