//! The real `openssl` as the oracle of both readers. It runs a CA. Its database, its CRL and its own `openssl crl
//! -text` must all read the same.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use der::DateTime;
use tempfile::TempDir;

use super::*;
use crate::pki::{Certificate, Reason, Serial, Status, certificates};

/// Key algorithms of the CAs, as arguments of `openssl req`.
pub(crate) const KEYS: [&[&str]; 4] = [
    &["-newkey", "rsa:2048"],
    &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    &["-newkey", "ed25519"],
];

/// Arguments of `openssl ca -revoke`, and the reason they mean.
const REVOCATIONS: [(&[&str], Reason); 11] = [
    (&[], Reason::Unspecified),
    (&["-crl_reason", "unspecified"], Reason::Unspecified),
    (&["-crl_reason", "keyCompromise"], Reason::KeyCompromise),
    (&["-crl_reason", "CACompromise"], Reason::CaCompromise),
    (&["-crl_reason", "affiliationChanged"], Reason::AffiliationChanged),
    (&["-crl_reason", "superseded"], Reason::Superseded),
    (&["-crl_reason", "cessationOfOperation"], Reason::CessationOfOperation),
    (&["-crl_reason", "certificateHold"], Reason::CertificateHold),
    (&["-crl_hold", "holdInstructionReject"], Reason::CertificateHold),
    (&["-crl_compromise", "20240101000000Z"], Reason::KeyCompromise),
    (&["-crl_CA_compromise", "20240102000000Z"], Reason::CaCompromise),
];

const CONFIG: &str = r"
[ca]
default_ca = the_ca
[the_ca]
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
database = index.txt
crlnumber = crlnumber
rand_serial = yes
unique_subject = no
default_md = default
default_days = 30
default_crl_days = 7
policy = anything
[anything]
commonName = supplied
organizationName = optional
[req]
distinguished_name = nothing
[nothing]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
[complete]
authorityKeyIdentifier = keyid
[delta]
2.5.29.27 = critical, ASN1:INTEGER:1
[users]
issuingDistributionPoint = critical, @users_point
[users_point]
fullname = URI:http://ca.example/users.crl
onlyuser = TRUE
[indirect]
issuingDistributionPoint = critical, @indirect_point
[indirect_point]
indirectCRL = TRUE
[reasons]
issuingDistributionPoint = critical, @reasons_point
[reasons_point]
onlysomereasons = keyCompromise
[unknown]
1.2.3.4 = critical, ASN1:NULL
";

pub(crate) struct Ca {
    directory: TempDir,
    issued: usize,
}

impl Ca {
    pub(crate) fn new(common_name: &str, key: &[&str]) -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap(), issued: 0 };
        for (file, content) in [("ca.cnf", CONFIG), ("index.txt", ""), ("crlnumber", "01\n")] {
            fs::write(this.path(file), content).unwrap();
        }
        let subject = format!("/CN={common_name}");
        let root = ["req", "-config", "ca.cnf", "-x509", "-extensions", "root", "-nodes", "-subj", &subject];
        this.openssl(&[&root[..], key, &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
        let leaf =
            ["req", "-config", "ca.cnf", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        this.openssl(
            &[&leaf[..], &["-subj", "/O=Ä\t#/CN=leaf", "-utf8"], &["-keyout", "leaf.key", "-out", "leaf.csr"]].concat(),
        );
        this
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Standard output of an `openssl` command that must succeed.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("openssl");
        let output = command.args(arguments).current_dir(&self.directory).output().expect("openssl is installed");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn ca(&self, arguments: &[&str]) {
        self.openssl(&[&["ca", "-batch", "-config", "ca.cnf"], arguments].concat());
    }

    /// A new certificate's file name.
    fn issue(&mut self, arguments: &[&str]) -> String {
        self.issued += 1;
        let file = format!("leaf{}.pem", self.issued);
        self.ca(&[&["-in", "leaf.csr", "-notext", "-out", &file], arguments].concat());
        file
    }

    fn serial(&self, file: &str) -> Serial {
        certificates(&self.path(file)).unwrap()[0].serial().unwrap()
    }

    pub(crate) fn certificate(&self) -> Certificate {
        certificates(&self.path("ca.pem")).unwrap().remove(0)
    }

    fn index(&self) -> Result<Vec<Listed>, SourceError> {
        Listing::open(&self.path("index.txt"), Form::Database)?.collect()
    }

    /// Writes a CRL with the extensions of a section, PEM and with openssl's text before it.
    pub(crate) fn write_crl(&self, file: &str, arguments: &[&str]) -> PathBuf {
        self.ca(&[&["-gencrl", "-out", "bare.crl"], arguments].concat());
        self.openssl(&["crl", "-in", "bare.crl", "-text", "-out", file]);
        self.path(file)
    }

    fn crl(&self, file: &str, arguments: &[&str]) -> Result<Crl, SourceError> {
        Crl::read(&self.write_crl(file, arguments), &self.certificate())
    }

    #[track_caller]
    fn refuses_crl(&self, arguments: &[&str], problem: &str) {
        let error = self.crl("refused.crl", arguments).expect_err(problem);
        assert!(error.problem.contains(problem), "expected `{problem}`, found `{error}`");
    }
}

/// What `openssl crl -text` says about each serial: date and reason.
fn entries_as_text(text: &str) -> BTreeMap<Serial, (String, Option<String>)> {
    let mut entries = BTreeMap::new();
    for entry in text.split("    Serial Number: ").skip(1) {
        let mut lines = entry.lines().map(str::trim);
        let serial = Serial::from_hex(lines.next().unwrap()).unwrap();
        let date = lines.next().unwrap().strip_prefix("Revocation Date: ").unwrap().to_owned();
        let reason = lines.skip_while(|line| !line.starts_with("X509v3 CRL Reason Code:")).nth(1);
        entries.insert(serial, (date, reason.map(str::to_owned)));
    }
    entries
}

/// An entry in the words of `openssl crl -text`.
fn in_words(change: Change) -> (String, Option<String>) {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let Change::Revoked { time, reason } = change else { panic!("nothing is removed here") };
    let date = DateTime::from_unix_duration(Duration::from_secs(time.0)).unwrap();
    let month = &MONTHS[3 * usize::from(date.month()) - 3..][..3];
    let date = format!(
        "{month} {:>2} {:02}:{:02}:{:02} {} GMT",
        date.day(),
        date.hour(),
        date.minutes(),
        date.seconds(),
        date.year()
    );
    let reason = match reason {
        Reason::Unspecified => "Unspecified",
        Reason::KeyCompromise => "Key Compromise",
        Reason::CaCompromise => "CA Compromise",
        Reason::AffiliationChanged => "Affiliation Changed",
        Reason::Superseded => "Superseded",
        Reason::CessationOfOperation => "Cessation Of Operation",
        Reason::CertificateHold => "Certificate Hold",
        Reason::PrivilegeWithdrawn => "Privilege Withdrawn",
        Reason::AaCompromise => "AA Compromise",
    };
    (date, Some(reason.to_owned()))
}

/// The revoked certificates of an index, as a complete CRL lists them.
fn revoked(index: &[Listed]) -> BTreeMap<Serial, Change> {
    let entry = |listed: &Listed| match listed.record.status {
        Status::Good => None,
        Status::Revoked { time, reason } => Some((listed.serial, Change::Revoked { time, reason })),
    };
    index.iter().filter_map(entry).collect()
}

fn read_as_openssl_meant(key: &[&str]) {
    let mut ca = Ca::new("CA", key);
    let mut reasons = BTreeMap::new();
    for (arguments, reason) in REVOCATIONS {
        let file = ca.issue(&[]);
        ca.ca(&[&["-revoke", &file], arguments].concat());
        reasons.insert(ca.serial(&file), reason);
    }
    let good = [ca.issue(&[]), ca.issue(&["-enddate", "20551231235959Z"]), ca.issue(&["-enddate", "99991231235959Z"])];
    let expired = ca.issue(&["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]);
    ca.ca(&["-updatedb"]);

    let index = ca.index().unwrap();
    assert_eq!(index.len(), REVOCATIONS.len() + good.len() + 1);
    let database = fs::read(ca.path("index.txt")).unwrap();
    assert!(database.contains(&b'E'), "updatedb marked the expired one");
    let by_serial: BTreeMap<_, _> = index.iter().map(|listed| (listed.serial, listed.record)).collect();
    for file in good.iter().chain([&expired]) {
        let certificate = &certificates(&ca.path(file)).unwrap()[0];
        let record = by_serial[&certificate.serial().unwrap()];
        assert_eq!((record.status, record.not_after), (Status::Good, Some(certificate.not_after())), "{file}");
    }
    let from_index = revoked(&index);
    for (serial, change) in &from_index {
        assert!(matches!(change, Change::Revoked { reason, .. } if *reason == reasons[serial]), "{serial} {change:?}");
    }

    let crl = ca.crl("ca.crl", &["-crlexts", "complete"]).unwrap();
    let from_crl: BTreeMap<_, _> = crl.entries().map(|entry| (entry.serial, entry.change)).collect();
    assert_eq!(from_crl, from_index);
    assert_eq!(crl.entries().len(), from_index.len());
    assert_eq!(crl.header().number, CrlNumber::from_der_content(&[1]));
    assert!(crl.header().coverage.is_complete() && !crl.is_delta());
    let lifetime = crl.header().next_update.unwrap().since(crl.header().this_update);
    assert_eq!(lifetime, Duration::from_secs(7 * 24 * 3600));

    let text = entries_as_text(&ca.openssl(&["crl", "-in", "ca.crl", "-noout", "-text"]));
    assert_eq!(text.len(), from_crl.len());
    for (serial, change) in from_crl {
        let (date, reason) = &text[&serial];
        // Without a reasonCode there is no reason in words, and none is what "unspecified" means.
        let reason = Some(reason.clone().unwrap_or_else(|| "Unspecified".to_owned()));
        assert_eq!((date.clone(), reason), in_words(change), "{serial}");
    }

    ca.openssl(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.der"]);
    let der = Crl::read(&ca.path("ca.der"), &ca.certificate()).unwrap();
    assert!(der.entries().eq(crl.entries()) && der.header() == crl.header());
    refuses_what_was_tampered_with(&ca, fs::read(ca.path("ca.der")).unwrap());
}

fn refuses_what_was_tampered_with(ca: &Ca, der: Vec<u8>) {
    let issuer = ca.certificate();
    for at in [der.len() / 4, der.len() / 2, der.len() - 1] {
        let mut tampered = der.clone();
        tampered[at] ^= 1;
        assert!(Crl::from_octets(tampered, &issuer).is_err(), "byte {at}");
    }
    // A date in an entry: the CRL is well-formed, but its signature is wrong.
    let mut tampered = der;
    let at = tampered.windows(2).rposition(|window| window == [0x17, 13]).unwrap();
    tampered[at + 13] ^= 1;
    let error = Crl::from_octets(tampered, &issuer).unwrap_err();
    assert!(error.contains("does not verify under the issuer's key"), "{error}");
}

#[test]
fn reads_an_rsa_2048_ca_as_openssl_meant() {
    read_as_openssl_meant(KEYS[0]);
}

#[test]
fn reads_a_p256_ca_as_openssl_meant() {
    read_as_openssl_meant(KEYS[1]);
}

#[test]
fn reads_a_p384_ca_as_openssl_meant() {
    read_as_openssl_meant(KEYS[2]);
}

#[test]
fn reads_an_ed25519_ca_as_openssl_meant() {
    read_as_openssl_meant(KEYS[3]);
}

#[test]
fn reads_a_new_ca_and_its_version_1_crl() {
    let mut ca = Ca::new("CA", KEYS[1]);
    assert_eq!(ca.index().unwrap(), []);
    // Without crl_extensions and reasons openssl writes version 1, and no revokedCertificates.
    fs::remove_file(ca.path("crlnumber")).unwrap();
    let config = CONFIG.replace("crlnumber = crlnumber\n", "");
    fs::write(ca.path("ca.cnf"), config).unwrap();
    let crl = ca.crl("ca.crl", &[]).unwrap();
    assert_eq!((crl.entries().len(), crl.header().number), (0, None));
    let file = ca.issue(&[]);
    ca.ca(&["-revoke", &file]);
    let crl = ca.crl("ca.crl", &[]).unwrap();
    assert!(ca.openssl(&["crl", "-in", "ca.crl", "-noout", "-text"]).contains("Version 1 (0x0)"));
    assert_eq!(crl.entries().map(|entry| entry.serial).collect::<Vec<_>>(), [ca.serial(&file)]);
}

#[test]
fn a_delta_crl_removes_and_applies_to_its_base() {
    let mut ca = Ca::new("CA", KEYS[1]);
    let (held, lost) = (ca.issue(&[]), ca.issue(&[]));
    ca.ca(&["-revoke", &held, "-crl_reason", "certificateHold"]);
    let base = ca.crl("base.crl", &["-crlexts", "complete"]).unwrap();
    // openssl has no release of a hold; it writes one as a reason if told to.
    let index = fs::read_to_string(ca.path("index.txt")).unwrap();
    fs::write(ca.path("index.txt"), index.replace("certificateHold", "removeFromCRL")).unwrap();
    ca.ca(&["-revoke", &lost, "-crl_reason", "keyCompromise"]);
    // The whole index must not be refused for it: a line of type R is revoked, and only a hold can be meant.
    let listed = ca.index().unwrap();
    assert!(matches!(listed[0].record.status, Status::Revoked { reason: Reason::CertificateHold, .. }), "{listed:?}");
    let complete = ca.crl("odd.crl", &["-crlexts", "complete"]).unwrap();
    let entry = complete.entries().find(|entry| entry.serial == ca.serial(&held)).unwrap();
    assert!(matches!(entry.change, Change::Revoked { reason: Reason::CertificateHold, .. }), "never good: {entry:?}");
    assert!(complete.oddities().unwrap().to_string().contains("removeFromCRL"));

    let delta = ca.crl("delta.crl", &["-crlexts", "delta"]).unwrap();
    assert_eq!(delta.header().base, base.header().number);
    let entries: BTreeMap<_, _> = delta.entries().map(|entry| (entry.serial, entry.change)).collect();
    assert_eq!(entries[&ca.serial(&held)], Change::Remove);
    assert!(matches!(entries[&ca.serial(&lost)], Change::Revoked { reason: Reason::KeyCompromise, .. }));
    let number = base.header().number;
    assert_eq!(delta.applies_to(&base, number), Ok(()));
    assert!(base.applies_to(&delta, number).is_err() && delta.applies_to(&delta, number).is_err());
}

#[test]
fn the_scope_of_a_crl_is_told_or_refused() {
    let ca = Ca::new("CA", KEYS[1]);
    let users = ca.crl("users.crl", &["-crlexts", "users"]).unwrap();
    let expected = Coverage { only_contains_user_certs: true, distribution_point: true, ..Coverage::default() };
    assert_eq!(users.header().coverage, expected);
    let delta = ca.crl("delta.crl", &["-crlexts", "delta"]).unwrap();
    assert!(delta.applies_to(&users, users.header().number).unwrap_err().contains("issuingDistributionPoint"));
    let indirect = ca.crl("indirect.crl", &["-crlexts", "indirect"]).unwrap().header().coverage;
    assert_eq!(indirect, Coverage { indirect_crl: true, ..Coverage::default() });
    let reasons = ca.crl("reasons.crl", &["-crlexts", "reasons"]).unwrap().header().coverage;
    assert_eq!(reasons, Coverage { only_some_reasons: true, ..Coverage::default() });
    ca.refuses_crl(&["-crlexts", "unknown"], "critical extension 1.2.3.4, which is not understood");
}

#[test]
fn a_crl_of_another_ca_or_with_sha_1_is_refused() {
    let ca = Ca::new("CA", KEYS[0]);
    ca.refuses_crl(&["-md", "sha1"], "sha1WithRSAEncryption (renew it with SHA-256)");
    let p256 = Ca::new("CA", KEYS[1]);
    p256.refuses_crl(&["-md", "sha1"], "ecdsa-with-SHA1 (renew it with SHA-256)");
    let path = p256.write_crl("ca.crl", &[]);
    let refused = |by: &Ca, path: &Path, problem: &str| {
        let error = Crl::read(path, &by.certificate()).expect_err(problem);
        assert!(error.path == path && error.problem.contains(problem), "{error}");
    };
    refused(&Ca::new("CA", KEYS[1]), &path, "does not verify under the issuer's key");
    refused(&ca, &path, "a signature that is not accepted");
    refused(&Ca::new("Other", KEYS[1]), &path, "was issued by `CN=CA`, not by `CN=Other`");
}
