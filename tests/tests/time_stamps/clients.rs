//! The programs that people stamp with, as they are shipped: each asks the built responder and verifies what it got.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use ostia_tests::{
    Ca, KeyKind, Responder, Signer, Site, Tenant, Tsa, TsaCertificate, bash, openssl, python, run, tsa::POLICY,
};
use tempfile::TempDir;

/// The kinds of keys, and a line of the signer.
const KINDS: [(&str, KeyKind, &str); 5] = [
    ("p256", KeyKind::P256, ""),
    ("p384", KeyKind::P384, ""),
    ("rsa", KeyKind::Rsa2048, ""),
    ("pss", KeyKind::Rsa2048, "algorithm = \"rsa-pss\""),
    ("ed25519", KeyKind::Ed25519, ""),
];

/// One responder with an authority for each kind of key, at a path of its name.
fn every_kind() -> (Ca, Responder, TempDir) {
    let ca = Ca::new("Time-stamping CA");
    let tenant = KINDS.into_iter().fold(Tenant::new("tests"), |tenant, (name, kind, line)| {
        let tsa = Tsa::of(name, &ca.tsa(TsaCertificate::Proper, kind)).set(&format!("path = \"/{name}\""));
        tenant.tsa(&tsa.set_signer(line))
    });
    let responder = Site::new(&[tenant]).start();
    (ca, responder, tempfile::tempdir().unwrap())
}

fn url(http: SocketAddr, kind: &str) -> String {
    format!("http://{http}/{kind}")
}

/// Runs it in `dir`; it must succeed. Gives what it said.
#[track_caller]
fn succeed(dir: &Path, program: &str, arguments: &[&str]) -> String {
    let ended = run(Command::new(program).args(arguments).current_dir(dir));
    assert!(ended.status.success(), "{program} {arguments:?}: {}", ended.text);
    ended.text
}

#[test]
fn openssl_ts_and_curl_stamp_a_file_and_understand_a_rejection() {
    let (ca, responder, work) = every_kind();
    let (dir, root) = (work.path(), ca.certificate());
    fs::write(dir.join("file"), "what is stamped").unwrap();
    let ask = |kind: &str, more: &str| {
        let url = url(responder.http(), kind);
        bash(
            dir,
            &format!(
                "openssl ts -query -data file -cert {more} -out query && curl -sS --fail -H \
                 'Content-Type: application/timestamp-query' --data-binary @query {url} -o response"
            ),
        );
    };
    for (kind, more) in [("p256", "-sha256"), ("p384", "-sha512 -no_nonce"), ("rsa", "-sha384"), ("p256", "-sha3-256")]
    {
        ask(kind, &format!("{more} -tspolicy {POLICY}"));
        let root = root.to_str().unwrap();
        let verified = openssl(dir, ["ts", "-verify", "-queryfile", "query", "-in", "response", "-CAfile", root]);
        assert!(verified.contains("Verification: OK"), "{kind} {more}: {verified}");
        let verified = openssl(dir, ["ts", "-verify", "-data", "file", "-in", "response", "-CAfile", root]);
        assert!(verified.contains("Verification: OK"), "{kind} {more}: {verified}");
        // The token alone, as it is kept in documents.
        openssl(dir, ["ts", "-reply", "-in", "response", "-token_out", "-out", "token"]);
        let arguments = ["ts", "-verify", "-data", "file", "-in", "token", "-token_in", "-CAfile", root];
        assert!(openssl(dir, arguments).contains("Verification: OK"));
    }
    for (more, said) in [
        ("-tspolicy 1.2.3", ["the requested TSA policy is not supported", "the policy asked for is not served here"]),
        ("-md5", ["unrecognized or unsupported algorithm identifier", "the hash algorithm of the message imprint"]),
    ] {
        ask("p256", more);
        let text = openssl(dir, ["ts", "-reply", "-in", "response", "-text"]);
        assert!(text.contains("Status: Rejected.") && said.iter().all(|said| text.contains(said)), "{text}");
    }
}

/// A program for Windows that does nothing: headers of PE32+, and a section with a return in it.
fn program() -> Vec<u8> {
    const HEADER: usize = 0x40;
    const OPTIONAL: usize = HEADER + 24;
    const SECTION: usize = OPTIONAL + 0xf0;
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, octets: &[u8]| file[at..at + octets.len()].copy_from_slice(octets);
    put(0, b"MZ");
    put(0x3c, &(HEADER as u32).to_le_bytes());
    put(HEADER, b"PE\0\0");
    put(HEADER + 4, &[0x64, 0x86, 1, 0]); // x86-64, one section
    put(HEADER + 20, &[0xf0, 0, 0x22, 0]); // bytes of the optional header; an executable for large addresses
    put(OPTIONAL, &[0x0b, 0x02]);
    put(OPTIONAL + 24, &0x1_4000_0000u64.to_le_bytes()); // base
    for (at, value) in [(32, 0x1000u32), (36, 0x200), (48, 6), (56, 0x2000), (60, 0x200), (108, 16)] {
        put(OPTIONAL + at, &value.to_le_bytes()); // alignments, version, sizes, directories
    }
    put(OPTIONAL + 68, &[3, 0]); // for a console
    put(SECTION, b".text");
    for (at, value) in [(8, 1u32), (12, 0x1000), (16, 0x200), (20, 0x200), (36, 0x6000_0020)] {
        put(SECTION + at, &value.to_le_bytes());
    }
    put(0x200, &[0xc3]);
    file
}

#[test]
fn osslsigncode_signs_a_program_with_a_time_stamp() {
    let (ca, responder, work) = every_kind();
    let (dir, root) = (work.path(), ca.certificate());
    let root = root.to_str().unwrap();
    let Signer { certificate, key } = ca.code_signer(KeyKind::Rsa2048);
    fs::write(dir.join("program.exe"), program()).unwrap();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    for (kind, hash) in [("p256", "sha256"), ("p384", "sha384"), ("rsa", "sha512")] {
        let (signed, url) = (format!("{kind}.exe"), url(responder.http(), kind));
        let sign = ["sign", "-certs", certificate, "-key", key, "-h", hash, "-ts", &url, "-in", "program.exe", "-out"];
        succeed(dir, "osslsigncode", &[&sign[..], &[&signed]].concat());
        let said = succeed(dir, "osslsigncode", &["verify", "-CAfile", root, "-TSA-CAfile", root, "-in", &signed]);
        for wanted in ["Timestamp Server Signature verification: ok", "Signature verification: ok", "Timestamp time: "]
        {
            assert!(said.contains(wanted), "{kind}: no `{wanted}` in {said}");
        }
        // It does look at who has stamped.
        let said = run(Command::new("osslsigncode")
            .args(["verify", "-CAfile", root, "-TSA-CAfile", certificate, "-in", &signed])
            .current_dir(dir));
        assert!(!said.text.contains("Timestamp Server Signature verification: ok"), "{}", said.text);
    }
}

#[test]
fn jarsigner_signs_an_archive_with_a_time_stamp() {
    let (ca, responder, work) = every_kind();
    let (dir, root) = (work.path(), ca.certificate());
    fs::write(dir.join("hello.txt"), "hello").unwrap();
    let Signer { certificate, key } = ca.code_signer(KeyKind::P256);
    // Both programs of one signer: its pair, and whom it trusts.
    bash(
        dir,
        &format!(
            "openssl pkcs12 -export -in {} -inkey {} -certfile {} -name code -passout pass:changeit -out store.p12 && \
             keytool -importcert -noprompt -keystore store.p12 -storepass changeit -alias root -file {} && \
             jar --create --file archive.jar hello.txt",
            certificate.display(),
            key.display(),
            root.display(),
            root.display()
        ),
    );
    let store = ["-keystore", "store.p12", "-storepass", "changeit"];
    let stamped = |kind: &str, digest: &str| {
        let (signed, url) = (format!("{kind}.jar"), url(responder.http(), kind));
        let with = [
            "-tsa",
            &url,
            "-tsadigestalg",
            digest,
            "-tsapolicyid",
            POLICY,
            "-signedjar",
            &signed,
            "archive.jar",
            "code",
        ];
        succeed(dir, "jarsigner", &[&store[..], &with].concat());
        succeed(
            dir,
            "jarsigner",
            &[&["-verify", "-verbose", "-certs", "-strict"][..], &store, &[&signed, "code"]].concat(),
        )
    };
    for (kind, digest) in [("p256", "SHA-256"), ("rsa", "SHA-512")] {
        let said = stamped(kind, digest);
        for wanted in ["jar verified.", "Timestamped by \"CN=tsa-", &format!("Timestamp digest algorithm: {digest}")] {
            assert!(said.contains(wanted), "{kind}: no `{wanted}` in {said}");
        }
    }
}

#[test]
fn rfc3161_client_verifies_the_time_stamp_of_a_message() {
    let (ca, responder, _work) = every_kind();
    let root = ca.certificate();
    for (kind, hash) in [("p256", "SHA256"), ("p384", "SHA512"), ("rsa", "SHA256")] {
        let said =
            python("time_stamps/clients/message.py", &[&url(responder.http(), kind), root.to_str().unwrap(), hash]);
        assert!(said.status.success() && said.text.contains("verified 20"), "{kind}: {}", said.text);
    }
}

/// Has pyHanko stamp a document by each of these kinds and validate that.
#[track_caller]
fn pyhanko(ca: &Ca, responder: &Responder, kinds: &[&str]) {
    let root = ca.certificate();
    let urls: Vec<_> = kinds.iter().map(|kind| format!("{kind}={}", url(responder.http(), kind))).collect();
    let arguments: Vec<_> = [root.to_str().unwrap()].into_iter().chain(urls.iter().map(String::as_str)).collect();
    let said = python("time_stamps/clients/pdf.py", &arguments);
    assert!(said.status.success(), "{}", said.text);
    for kind in kinds {
        assert!(said.text.contains(&format!("valid {kind} 20")), "{kind}: {}", said.text);
    }
}

#[test]
fn pyhanko_stamps_a_document_and_validates_it_by_every_kind_of_key() {
    let (ca, responder, _work) = every_kind();
    pyhanko(&ca, &responder, &KINDS.map(|(kind, ..)| kind));
}

#[test]
fn pyhanko_validates_time_stamps_by_ml_dsa() {
    const SIZES: [&str; 3] = ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"];
    let (ca, work) = (Ca::new("Time-stamping CA"), tempfile::tempdir().unwrap());
    let file = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [file(&ca.certificate()), file(&ca.key()), file(work.path())];
    let made = python("time_stamps/clients/ml_dsa.py", &arguments.each_ref().map(String::as_str));
    assert!(made.status.success(), "{}", made.text);
    let tenant = SIZES.into_iter().fold(Tenant::new("tests"), |tenant, size| {
        let [certificate, key] = ["pem", "key"].map(|ending| work.path().join(format!("{size}.{ending}")));
        tenant.tsa(&Tsa::of(size, &Signer { certificate, key }).set(&format!("path = \"/{size}\"")))
    });
    pyhanko(&ca, &Site::new(&[tenant]).start(), &SIZES);
}
