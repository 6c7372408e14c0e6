//! Certificates and chain files for time-stamping, judged as openssl judges what they sign: what it refuses is refused or
//! warned of, and what it takes is not refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ostia_tests::{Ca, KeyKind, Query, Signer, Site, Tenant, Tsa, openssl, run};

/// What `check` makes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Refused with these words.
    Refused(&'static str),
    /// Warned of with these words.
    Doubted(&'static str),
    /// Neither.
    Taken,
}
use Verdict::{Doubted, Refused, Taken};

const USAGE: &str = "extendedKeyUsage = critical, timeStamping\n";
const LEAF: &str = "extendedKeyUsage = critical, timeStamping\nkeyUsage = critical, digitalSignature\nauthorityKeyIdentifier = keyid\n";
const BETWEEN: &str = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";

/// A key and a certificate by another's.
struct Issued {
    certificate: PathBuf,
    key: PathBuf,
}

/// A root, and what it takes to issue below it.
struct World {
    ca: Ca,
    number: usize,
}

impl World {
    fn new() -> Self {
        Self { ca: Ca::new("Root of time"), number: 0 }
    }

    fn root(&self) -> Issued {
        Issued { certificate: self.ca.certificate(), key: self.ca.key() }
    }

    /// With these extensions; `more` are arguments of `openssl ca`.
    fn issue(&mut self, by: &Issued, subject: &str, extensions: &str, more: &[&str]) -> Issued {
        self.number += 1;
        let dir = self.ca.dir();
        let [key, request, file, with] =
            ["key", "csr", "pem", "ext"].map(|ending| format!("issued-{}.{ending}", self.number));
        KeyKind::P256.generate(dir, &key);
        openssl(dir, ["req", "-config", "openssl.cnf", "-new", "-key", &key, "-subj", subject, "-out", &request]);
        fs::write(dir.join(&with), format!("{extensions}\n")).unwrap();
        let (certificate, by_key) = (by.certificate.to_str().unwrap(), by.key.to_str().unwrap());
        let arguments = ["ca", "-config", "openssl.cnf", "-batch", "-notext", "-cert", certificate, "-keyfile", by_key];
        let files = ["-extfile", &with, "-in", &request, "-out", &file];
        openssl(dir, [&arguments[..], &files, more].concat());
        Issued { certificate: dir.join(file), key: dir.join(key) }
    }

    /// The signer's file: these in this order.
    fn file(&mut self, key: &Issued, certificates: &[&Issued]) -> Signer {
        self.number += 1;
        let file = self.ca.dir().join(format!("file-{}.pem", self.number));
        let all: Vec<u8> = certificates.iter().flat_map(|issued| fs::read(&issued.certificate).unwrap()).collect();
        fs::write(&file, all).unwrap();
        Signer { certificate: file, key: key.key.clone() }
    }
}

/// Whether `openssl verify` takes the first certificate of a file for time-stamping with the others beside it, which is
/// what `openssl ts -verify` does with who signed a token.
fn openssl_takes(file: &Path, root: &Path) -> bool {
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-purpose", "timestampsign", "-CAfile"]).arg(root).arg("-untrusted").arg(file).arg(file);
    run(&mut verify).status.success()
}

/// That `check` judges so, and openssl in agreement with it.
#[track_caller]
fn expect(case: &str, signer: &Signer, root: &Path, verdict: Verdict) {
    let tsa = Tsa::of("stamps", signer).set("certificates = \"chain\"");
    let site = Site::new(&[Tenant::new("tests").tsa(&tsa)]);
    let checked = site.check();
    let takes = openssl_takes(&signer.certificate, root);
    let text = &checked.text;
    let warned = text.lines().any(|line| line.contains("WARN") && line.contains("the time-stamping certificate"));
    match verdict {
        Refused(words) => {
            assert!(!checked.status.success() && text.contains(words), "{case}: {text}");
            assert!(!takes, "{case}: openssl takes it");
        }
        Doubted(words) => assert!(checked.status.success() && warned && text.contains(words), "{case}: {text}"),
        Taken => {
            assert!(checked.status.success() && !warned, "{case}: {text}");
            assert!(takes, "{case}: openssl refuses it");
        }
    }
}

#[test]
fn a_certificate_is_refused_whose_usage_openssl_refuses() {
    let mut world = World::new();
    let root = world.root();
    for (usage, verdict) in [
        ("keyUsage = critical, digitalSignature", Taken),
        ("keyUsage = digitalSignature", Taken),
        ("keyUsage = critical, digitalSignature, nonRepudiation", Taken),
        ("", Taken),
        ("keyUsage = critical, nonRepudiation", Doubted("nonRepudiation alone")),
        ("keyUsage = critical, digitalSignature, keyEncipherment", Refused("has a keyUsage with keyEncipherment")),
        ("keyUsage = critical, digitalSignature, keyAgreement, decipherOnly", Refused("keyAgreement, decipherOnly")),
        ("keyUsage = critical, digitalSignature, keyCertSign, cRLSign", Refused("keyCertSign, cRLSign")),
        ("keyUsage = critical, dataEncipherment", Refused("without digitalSignature")),
        ("1.3.6.1.4.1.99999.7 = critical, ASN1:NULL", Refused("the critical extension 1.3.6.1.4.1.99999.7")),
        ("1.3.6.1.4.1.99999.7 = ASN1:NULL", Taken),
    ] {
        let leaf = world.issue(&root, "/CN=tsa", &format!("{USAGE}{usage}"), &[]);
        let signer = world.file(&leaf, &[&leaf]);
        expect(usage, &signer, &world.ca.certificate(), verdict);
    }
}

#[test]
fn a_chain_is_refused_that_openssl_refuses() {
    let mut world = World::new();
    let (root, anchor) = (world.root(), world.ca.certificate());
    let (past, future) = (
        ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"],
        ["-startdate", "20350101000000Z", "-enddate", "20360101000000Z"],
    );
    let ca = |lines: &str| format!("{BETWEEN}{lines}");
    let constrained = |what: &str| ca(&format!("nameConstraints = critical, {what}\n[ dir ]\nO = Allowed\n"));
    let subject = "/O=Allowed/CN=tsa";
    let named = format!(
        "{LEAF}subjectAltName = DNS:tsa.example.org, URI:https://tsa.example.org/a, email:tsa@example.org, IP:192.0.2.7\n"
    );
    let cases: Vec<(&str, String, &[&str], &str, Verdict)> = vec![
        ("proper", ca(""), &[], LEAF, Taken),
        ("without pathlen to spare", BETWEEN.replace("CA:TRUE", "CA:TRUE, pathlen:0"), &[], LEAF, Taken),
        ("expired", ca(""), &past, LEAF, Refused("and not now; renew it")),
        ("not yet valid", ca(""), &future, LEAF, Refused("and not now; renew it")),
        ("no CA", BETWEEN.replace("CA:TRUE", "CA:FALSE"), &[], LEAF, Refused("which is no CA")),
        (
            "without basicConstraints",
            BETWEEN.replace("basicConstraints = critical, CA:TRUE\n", "").replace("keyCertSign, ", ""),
            &[],
            LEAF,
            Refused("which is no CA"),
        ),
        (
            "with keyCertSign alone",
            BETWEEN.replace("basicConstraints = critical, CA:TRUE\n", ""),
            &[],
            LEAF,
            Doubted("has no basicConstraints"),
        ),
        ("that may not sign", BETWEEN.replace("keyCertSign, ", ""), &[], LEAF, Refused("has no keyCertSign")),
        (
            "with what nobody knows",
            ca("1.3.6.1.4.1.99999.7 = critical, ASN1:NULL\n"),
            &[],
            LEAF,
            Refused("critical extension 1.3.6.1.4.1.99999.7"),
        ),
        ("of other usages", ca("extendedKeyUsage = serverAuth\n"), &[], LEAF, Doubted("extendedKeyUsage has not that")),
        ("of its usage", ca("extendedKeyUsage = timeStamping\n"), &[], LEAF, Taken),
        ("that permits its name", constrained("permitted;dirName:dir"), &[], LEAF, Taken),
        ("that excludes its name", constrained("excluded;dirName:dir"), &[], LEAF, Refused("is excluded")),
        ("that permits its host", constrained("permitted;DNS:example.org"), &[], &named, Taken),
        (
            "that permits another host",
            constrained("permitted;DNS:example.com"),
            &[],
            &named,
            Refused("the DNS name `tsa.example.org` is not among"),
        ),
        (
            "that permits an end of its host",
            constrained("permitted;DNS:ample.org"),
            &[],
            &named,
            Refused("`tsa.example.org`"),
        ),
        ("that excludes its host", constrained("excluded;DNS:example.org"), &[], &named, Refused("is excluded")),
        ("that permits its URI", constrained("permitted;URI:.example.org"), &[], &named, Taken),
        ("that excludes its URI", constrained("excluded;URI:tsa.example.org"), &[], &named, Refused("is excluded")),
        ("that permits its mailbox", constrained("permitted;email:example.org"), &[], &named, Taken),
        (
            "that permits other mailboxes",
            constrained("permitted;email:.example.org"),
            &[],
            &named,
            Refused("the mailbox"),
        ),
        (
            "that permits what is not understood here",
            constrained("permitted;RID:1.2.3"),
            &[],
            "extendedKeyUsage = critical, timeStamping\nsubjectAltName = RID:1.2.3\n",
            Doubted("nameConstraints could not be read here"),
        ),
        ("that permits its address", constrained("permitted;IP:192.0.2.0/255.255.255.0"), &[], &named, Taken),
        (
            "that excludes its address",
            constrained("excluded;IP:192.0.2.0/255.255.255.0"),
            &[],
            &named,
            Refused("is excluded"),
        ),
    ];
    for (case, between, dates, leaf, verdict) in cases {
        let between = world.issue(&root, "/CN=between", &between, dates);
        let leaf = world.issue(&between, subject, leaf, &[]);
        for (order, certificates) in [
            ("", vec![&leaf, &between]),
            (" and the root", vec![&leaf, &between, &root]),
            (" behind the root", vec![&leaf, &root, &between]),
        ] {
            let signer = world.file(&leaf, &certificates);
            expect(&format!("{case}{order}"), &signer, &anchor, verdict);
        }
        // The rest of the way may be the clients'.
        let alone = world.file(&leaf, &[&leaf]);
        assert!(Site::new(&[Tenant::new("tests").tsa(&Tsa::of("stamps", &alone))]).check().status.success(), "{case}");
    }
}

#[test]
fn a_chain_of_others_is_refused_or_warned_of() {
    let mut world = World::new();
    let (root, anchor) = (world.root(), world.ca.certificate());
    let without_identifier = LEAF.replace("authorityKeyIdentifier = keyid", "authorityKeyIdentifier = none");
    let [between, same_name] = [(); 2].map(|()| world.issue(&root, "/CN=between", BETWEEN, &[]));
    let expired =
        world.issue(&root, "/CN=between", BETWEEN, &["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"]);
    let leaf = world.issue(&between, "/CN=tsa", LEAF, &[]);
    let plain = world.issue(&between, "/CN=tsa", &without_identifier, &[]);
    let by_root = world.issue(&root, "/CN=tsa", LEAF, &[]);
    let (other, another) = (World::new(), Ca::new("Another root"));
    let foreign = Issued { certificate: another.certificate(), key: another.key() };
    let mut cases = vec![
        // Of two of one name openssl takes the first that is valid now, whatever it signed; others look further.
        ("two of one name", &plain, vec![&same_name, &between], Doubted("did not sign")),
        ("two of one name, the expired one first", &plain, vec![&expired, &between], Taken),
        ("a foreign one", &leaf, vec![&between, &by_root], Doubted("not on the way from it to a root; remove that")),
        ("one that did not sign it", &plain, vec![&same_name], Refused("whose key did not sign `CN=tsa`")),
        ("one of another key identifier", &leaf, vec![&same_name], Doubted("not on the way")),
    ];
    // Of the same name as the root, with another key.
    let namesake = other.root();
    let by_root_plain = world.issue(&root, "/CN=tsa", &without_identifier, &[]);
    cases.push(("a root of the same name", &by_root_plain, vec![&namesake], Doubted("whose key did not sign")));
    cases.push(("a foreign root", &by_root_plain, vec![&root, &foreign], Doubted("not on the way")));
    for (case, leaf, behind, verdict) in cases {
        let signer = world.file(leaf, &[&[leaf][..], &behind].concat());
        expect(case, &signer, &anchor, verdict);
    }
}

#[test]
fn what_a_deep_chain_signs_is_verified_by_openssl_and_a_pathlen_that_is_too_short_is_refused() {
    let mut world = World::new();
    let root = world.root();
    for (length, verdict) in [(1, Taken), (0, Refused("allows 0 CAs below it (pathlen), and there are 1"))] {
        let upper =
            world.issue(&root, "/CN=upper", &BETWEEN.replace("CA:TRUE", &format!("CA:TRUE, pathlen:{length}")), &[]);
        let lower = world.issue(&upper, "/CN=lower", BETWEEN, &[]);
        let leaf = world.issue(&lower, "/CN=tsa", LEAF, &[]);
        let signer = world.file(&leaf, &[&leaf, &upper, &lower]);
        expect("deep", &signer, &world.ca.certificate(), verdict);
        if verdict == Taken {
            let tsa = Tsa::of("stamps", &signer).set("certificates = \"chain\"");
            let responder = Site::new(&[Tenant::new("tests").tsa(&tsa)]).start();
            let query = Query::new(1);
            query.at(responder.http(), "/tsa").expect_verified(&query.der(), &world.ca.certificate(), None);
        }
    }
}
