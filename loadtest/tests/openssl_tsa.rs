//! The program against tokens made by `openssl ts -reply`, one process for each, served by a few lines of HTTP.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use support::{Authority, loadtest};

/// `digest`: of the signature and attributes; `ess`: of the certificate's hash (sha1 makes openssl write
/// SigningCertificate v1).
fn configuration(digest: &str, ess: &str) -> String {
    format!(
        "[tsa]\ndefault_tsa = t\n[t]\ndir = .\nserial = $dir/serial\nsigner_digest = {digest}\ndefault_policy = 1.2.3.4\n\
         other_policies = 1.2.3.5\ndigests = sha1, sha256, sha384, sha512\naccuracy = secs:1, millisecs:500, microsecs:100\n\
         ordering = yes\ntsa_name = yes\ness_cert_id_chain = no\ness_cert_id_alg = {ess}\n"
    )
}

fn authority(key: &[&str], digest: &str, ess: &str) -> Authority {
    let a = Authority::new();
    a.key("tsa", key);
    a.certify("tsa", "500", "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n");
    a.write("ts.cnf", &configuration(digest, ess));
    a.write("serial", "01\n");
    a
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

/// One connection after another; every answer closes it, as simple servers do.
struct Server {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
}

impl Server {
    fn start(a: &Authority, repeat_serials: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let (stop, directory) = (Arc::clone(&ending), a.directory.path().to_owned());
        let number = AtomicU32::new(0);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let Some(request) = body(&mut stream) else { continue };
                std::fs::write(directory.join("req.tsq"), request).unwrap();
                if repeat_serials && number.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                    // As a server does that forgot its counter in a crash.
                    std::fs::write(directory.join("serial"), "01\n").unwrap();
                }
                let arguments = [
                    "ts",
                    "-reply",
                    "-config",
                    "ts.cnf",
                    "-queryfile",
                    "req.tsq",
                    "-signer",
                    "tsa.pem",
                    "-inkey",
                    "tsa.key",
                    "-out",
                    "rep.tsr",
                ];
                let output = Command::new("openssl").args(arguments).current_dir(&directory).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let reply = std::fs::read(directory.join("rep.tsr")).unwrap();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    reply.len()
                );
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply)).unwrap();
            }
        });
        Self { address, ending }
    }

    fn url(&self) -> String {
        format!("http://{}/tsa", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut received = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        received.extend_from_slice(&buffer[..n]);
        let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n").map(|p| p + 4) else { continue };
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        assert!(
            head.starts_with("POST /tsa HTTP/1.1\r\n")
                && head.contains("Content-Type: application/timestamp-query\r\n")
        );
        let length: usize = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
        if received.len() >= end + length {
            return Some(received[end..end + length].to_vec());
        }
    }
}

fn run(a: &Authority, url: &str, ca: &str, more: &[&str]) -> (i32, String, serde_json::Value) {
    let ca = a.file(ca);
    let arguments = ["tsa", "--url", url, "--ca", &ca, "-n", "12", "-c", "2", "--verify", "all"];
    loadtest(a.directory.path(), &[&arguments[..], more].concat())
}

#[test]
fn verifies_tokens_of_openssl_for_every_key_digest_and_binding() {
    for (key, digest, ess) in [(P256, "sha256", "sha256"), (RSA, "sha512", "sha1"), (RSA, "sha256", "sha384")] {
        let a = authority(key, digest, ess);
        let server = Server::start(&a, false);
        for hash in ["sha256", "sha512"] {
            let (code, text, report) =
                run(&a, &server.url(), "ca.pem", &["--hash", hash, "--expect", "errors=0,wrong=0"]);
            assert_eq!((code, report["right"].as_u64()), (0, Some(12)), "{digest} {ess} {hash}: {text}");
            assert_eq!(
                (report["verification"]["checked"].as_u64(), report["serials"]["repeated"].as_u64()),
                (Some(12), Some(0))
            );
        }
    }
}

#[test]
fn verifies_tokens_without_a_certificate_and_under_a_policy() {
    let a = authority(P256, "sha256", "sha256");
    let both = [std::fs::read(a.path("ca.pem")).unwrap(), std::fs::read(a.path("tsa.pem")).unwrap()].concat();
    std::fs::write(a.path("chain.pem"), both).unwrap();
    let server = Server::start(&a, false);
    let (code, text, _) = run(&a, &server.url(), "chain.pem", &["--no-cert-req", "--policy", "1.2.3.5"]);
    assert_eq!(code, 0, "{text}");
    let (code, text, report) = run(&a, &server.url(), "ca.pem", &["--policy", "1.2.3.6"]);
    assert_eq!((code, report["kinds"]["tsp_unaccepted_policy"].as_u64()), (0, Some(12)), "{text}");
    let (code, text, report) = run(&a, &server.url(), "ca.pem", &["--no-cert-req"]);
    assert_eq!((code, report["kinds"]["untrusted_signer"].as_u64()), (3, Some(12)), "{text}");
}

#[test]
fn distrusts_tokens_of_another_authority_and_catches_repeated_serials() {
    let a = authority(P256, "sha256", "sha256");
    let server = Server::start(&a, true);
    let (code, text, report) = run(&a, &server.url(), "ca.pem", &[]);
    assert_eq!(code, 3, "{text}");
    assert!(report["kinds"]["repeated_serial"].as_u64().unwrap() >= 5, "{text}");
    let stranger = Authority::new();
    std::fs::copy(stranger.path("ca.pem"), a.path("stranger.pem")).unwrap();
    let (code, text, report) = run(&a, &server.url(), "stranger.pem", &[]);
    assert_eq!((code, report["kinds"]["untrusted_signer"].as_u64()), (3, Some(12)), "{text}");
}
