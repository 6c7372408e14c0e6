//! By which certificates a signer may sign: as the real openssl judges what was signed.
//!
//! What openssl refuses, the check refuses or warns of; what it accepts is not refused.

use std::{fs, process::Command};

use ostia_tests::{Ask, Ca, Ended, KeyKind, Leaf, Signer, Site, Tenant, http::post, openssl, run};

const EXTENSIONS: &str = "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
    authorityKeyIdentifier = keyid\nsubjectKeyIdentifier = hash\n";
const USAGE: &str = "extendedKeyUsage = OCSPSigning\nnoCheck = ignored\n";
const OF_CA: &str = "basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n";

/// Issues a delegate with these extensions and this subject.
fn delegate(ca: &Ca, extensions: &str, subject: &str) -> Signer {
    KeyKind::P256.generate(ca.dir(), "odd.key");
    fs::write(ca.file("odd.ext"), extensions).unwrap();
    openssl(
        ca.dir(),
        ["req", "-config", "openssl.cnf", "-new", "-key", "odd.key", "-subj", subject, "-out", "odd.csr"],
    );
    let issue = ["ca", "-config", "openssl.cnf", "-batch", "-notext", "-extfile", "odd.ext", "-in", "odd.csr"];
    openssl(ca.dir(), [&issue[..], &["-out", "odd.pem"]].concat());
    Signer { certificate: ca.file("odd.pem"), key: ca.file("odd.key") }
}

/// The CA's certificate once more, with these extensions.
fn certify_ca_anew(ca: &Ca, extensions: &str, dates: &[&str]) {
    fs::write(ca.file("ca.ext"), extensions).unwrap();
    openssl(ca.dir(), ["x509", "-x509toreq", "-in", "ca.pem", "-signkey", "ca.key", "-out", "ca.csr"]);
    let issue =
        ["ca", "-config", "openssl.cnf", "-batch", "-notext", "-selfsign", "-extfile", "ca.ext", "-days", "400"];
    openssl(ca.dir(), [&issue[..], dates, &["-in", "ca.csr", "-out", "ca.new"]].concat());
    fs::rename(ca.file("ca.new"), ca.certificate()).unwrap();
}

/// What openssl says of an answer by this signer: of one that the responder has signed, if it starts, else of openssl's own.
fn judged(ca: &Ca, signer: &Signer, leaf: &Leaf, site: Site, starts: bool) -> Ended {
    let ask = Ask::about(ca, leaf);
    if starts {
        let responder = site.start();
        fs::write(ca.file("response"), post(responder.http(), "/", &ask.request()).body).unwrap();
    } else {
        fs::write(ca.file("request"), ask.request()).unwrap();
        let (certificate, key) = (signer.certificate.to_str().unwrap(), signer.key.to_str().unwrap());
        let sign = ["ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", certificate, "-rkey", key];
        openssl(
            ca.dir(),
            [&sign[..], &["-reqin", "request", "-respout", "response", "-ndays", "1", "-noverify"]].concat(),
        );
    }
    let mut verify = Command::new("openssl");
    verify.args(["ocsp", "-respin", "response", "-CAfile", "ca.pem"]);
    if signer.key == ca.key() {
        // Its certificate does not go along: every client has it.
        verify.args(["-verify_other", "ca.pem"]);
    }
    run(verify.current_dir(ca.dir()))
}

/// One kind of path.
struct Case {
    what: &'static str,
    extensions: String,
    subject: &'static str,
    /// Whether the CA's own key signs.
    by_ca: bool,
    /// Of the CA's certificate, where it is made anew.
    of_ca: Option<(String, &'static [&'static str])>,
    settings: &'static str,
    accepted: bool,
    /// Whether it is warned of, or refused, although openssl accepts it.
    doubtful: bool,
}

impl Case {
    fn new(what: &'static str, extensions: String, accepted: bool) -> Self {
        let doubtful = !accepted;
        Self { what, extensions, subject: "/CN=odd", by_ca: false, of_ca: None, settings: "", accepted, doubtful }
    }
}

#[test]
fn what_openssl_refuses_the_check_refuses_or_warns_of() {
    let proper = || format!("{EXTENSIONS}{USAGE}");
    let with = |more: &str| format!("{EXTENSIONS}{USAGE}{more}\n");
    let of_ca = |what, extensions: &str, dates: &'static [&'static str], accepted| Case {
        of_ca: Some((format!("{OF_CA}{extensions}\n"), dates)),
        ..Case::new(what, proper(), accepted)
    };
    let cases = [
        Case::new("proper", proper(), true),
        Case::new("critical extended key usage", with("").replace("= OCSP", "= critical, OCSP"), true),
        Case::new("another usage beside", with("").replace("OCSPSigning", "OCSPSigning, serverAuth"), true),
        Case::new("no extended key usage", EXTENSIONS.to_owned(), false),
        Case::new("any usage", with("").replace("OCSPSigning", "anyExtendedKeyUsage"), false),
        Case::new(
            "an extended key usage that is none",
            with("").replace("extendedKeyUsage = OCSPSigning", "2.5.29.37 = DER:0500"),
            false,
        ),
        Case::new("a critical extension that nobody knows", with("1.2.3.4 = critical, ASN1:NULL"), false),
        Case::new("an extension that nobody knows", with("1.2.3.4 = ASN1:NULL"), true),
        Case::new(
            "another key identifier than the CA's",
            with("").replace(
                "authorityKeyIdentifier = keyid",
                "2.5.29.35 = DER:3016801400112233445566778899aabbccddeeff00112233",
            ),
            false,
        ),
        Case { doubtful: true, ..Case::new("no nocheck", with("").replace("noCheck = ignored\n", ""), true) },
        Case {
            doubtful: true,
            ..Case::new("a usage without signatures", with("").replace("digitalSignature", "keyEncipherment"), true)
        },
        Case { subject: "/O=Ostia tests/CN=Path CA", ..Case::new("the CA's own name", proper(), true) },
        Case {
            subject: "/O=Ostia tests/CN=Path CA",
            ..Case::new("the CA's own name without a key identifier", with("").replace("keyid", "none"), false)
        },
        Case { settings: "certificates = \"none\"", ..Case::new("no certificate in the answer", proper(), false) },
        Case { settings: "responder_id = \"by-name\"", ..Case::new("by name", proper(), true) },
        of_ca("a CA that may sign all", "keyUsage = critical, keyCertSign, cRLSign", &[], true),
        of_ca("a CA without keyUsage", "", &[], true),
        of_ca("a CA that may not issue", "keyUsage = critical, cRLSign, digitalSignature", &[], false),
        of_ca("a CA with a path of no CAs below", "keyUsage = critical, keyCertSign", &[], true),
        of_ca("a CA with a critical extension that nobody knows", "1.2.3.4 = critical, ASN1:NULL", &[], false),
        of_ca(
            "a CA that is not valid yet",
            "",
            &["-startdate", "20350101000000Z", "-enddate", "20360101000000Z"],
            false,
        ),
        Case { by_ca: true, ..of_ca("a CA by itself", "", &[], true) },
        Case {
            by_ca: true,
            ..of_ca("a CA by itself with a critical extension", "1.2.3.4 = critical, ASN1:NULL", &[], false)
        },
        of_ca(
            "a CA for other names",
            "nameConstraints = critical, permitted;dirName:elsewhere\n[elsewhere]\nO = Elsewhere",
            &[],
            false,
        ),
        of_ca(
            "a CA that excludes the name",
            "nameConstraints = critical, excluded;dirName:here\n[here]\nCN = odd",
            &[],
            false,
        ),
    ];
    let mut failures = Vec::new();
    for Case { what, extensions, subject, by_ca, of_ca, settings, accepted, doubtful } in cases {
        let ca = Ca::new("Path CA");
        if let Some((extensions, dates)) = of_ca {
            certify_ca_anew(&ca, &extensions, dates);
        }
        let by_itself = || Signer { certificate: ca.certificate(), key: ca.key() };
        let (leaf, signer) = (ca.issue(), if by_ca { by_itself() } else { delegate(&ca, &extensions, subject) });
        let site = Site::new(&[Tenant::of(&ca, &signer).set(settings)]);
        let checked = site.check();
        let (refused, warned) = (!checked.status.success(), checked.text.contains("\nWARNING: "));
        let judged = judged(&ca, &signer, &leaf, site, !refused).text;
        if judged.contains("Response verify OK") != accepted || (refused || warned) != doubtful {
            failures.push(format!("{what}: refused {refused}, warned {warned}\n{}\n{judged}", checked.text));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
