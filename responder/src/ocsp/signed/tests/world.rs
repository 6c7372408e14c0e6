//! CAs and clients, made with `openssl`, and the requests they sign.

use std::{fs, path::PathBuf, process::Command};

use precompute::pki::{Certificate, UnixTime, certificates};
use tempfile::TempDir;

use super::verdict;

/// A root, an intermediate, a stranger's root, and clients of theirs.
pub(super) struct World {
    dir: TempDir,
}

const EXTENSIONS: &str = "
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[narrow]
basicConstraints = critical,CA:TRUE,pathlen:0
[no_cert_sign]
basicConstraints = CA:TRUE
keyUsage = cRLSign
[constrained]
basicConstraints = CA:TRUE
nameConstraints = critical,permitted;DNS:example.com
[client]
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
[bare]
[encipherment]
keyUsage = keyEncipherment
[odd]
1.2.3.4 = critical,DER:0500
";

pub(super) const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(super) const RSA: &[&str] = &["-newkey", "rsa:2048"];

impl World {
    pub(super) fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(world.path("extensions"), EXTENSIONS).unwrap();
        world.root("root");
        world.root("stranger");
        world.issue("intermediate", "root", "ca", P256, 3000);
        world.issue("client", "root", "client", P256, 30);
        world.issue("leaf", "root", "client", P256, 3000);
        world
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(super) fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(&self.dir).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A self-signed CA certificate.
    pub(super) fn root(&self, name: &str) {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let new = ["req", "-x509", "-nodes", "-subj", &subject, "-days", "3650", "-keyout", &key, "-out", &pem];
        self.openssl(&[&new[..], P256].concat());
    }

    /// A certificate for `name` by `issuer` with a section of [`EXTENSIONS`].
    pub(super) fn issue(&self, name: &str, issuer: &str, section: &str, key: &[&str], days: u32) {
        self.issue_as(name, name, issuer, section, key, days);
    }

    pub(super) fn issue_as(&self, file: &str, name: &str, issuer: &str, section: &str, key: &[&str], days: u32) {
        let [key_file, csr, pem] = ["key", "csr", "pem"].map(|suffix| format!("{file}.{suffix}"));
        let [ca, ca_key] = ["pem", "key"].map(|suffix| format!("{issuer}.{suffix}"));
        let subject = format!("/O=Clients/CN={name}");
        let new = ["req", "-new", "-nodes", "-subj", &subject, "-keyout", &key_file, "-out", &csr];
        self.openssl(&[&new[..], key].concat());
        let days = days.to_string();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            &days,
            "-extfile",
            "extensions",
            "-extensions",
            section,
            "-out",
            &pem,
        ]);
    }

    /// A request signed by `signer`, which carries `others` as well.
    pub(super) fn request(&self, signer: &str, others: &[&str], more: &[&str]) -> Vec<u8> {
        let [pem, key] = ["pem", "key"].map(|suffix| format!("{signer}.{suffix}"));
        let request = ["ocsp", "-issuer", "root.pem", "-cert", "leaf.pem", "-reqout", "request.der"];
        let sign = ["-signer", &pem, "-signkey", &key, "-sign_other", "others.pem"];
        let others: String = others.iter().map(|other| self.pem(other)).collect();
        let sign = if others.is_empty() { &sign[..4] } else { &sign[..] };
        fs::write(self.path("others.pem"), others).unwrap();
        self.openssl(&[&request[..], sign, more].concat());
        fs::read(self.path("request.der")).unwrap()
    }

    /// A signature with SHA-256 by `signer`.
    pub(super) fn sign(&self, octets: &[u8], signer: &str, more: &[&str]) -> Vec<u8> {
        fs::write(self.path("octets"), octets).unwrap();
        let key = format!("{signer}.key");
        let sign = ["dgst", "-sha256", "-sign", &key, "-out", "bits"];
        self.openssl(&[&sign[..], more, &["octets"]].concat());
        fs::read(self.path("bits")).unwrap()
    }

    fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pem"))).unwrap()
    }

    pub(super) fn certificate(&self, name: &str) -> Certificate {
        certificates(&self.path(&format!("{name}.pem"))).unwrap().remove(0)
    }

    pub(super) fn anchors(&self, names: &[&str]) -> Vec<Certificate> {
        names.iter().map(|name| self.certificate(name)).collect()
    }

    /// The result for `der` if the root is the anchor.
    pub(super) fn verdict(&self, der: &[u8]) -> Result<(), String> {
        verdict(der, &self.anchors(&["root"]), UnixTime::now())
    }
}
