//! A CA as people run one with `openssl ca`, in a directory that vanishes with it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

use crate::openssl;

/// The algorithms of keys that sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum KeyKind {
    P256,
    P384,
    Rsa2048,
    Ed25519,
    /// Slow to sign: where a queue is wanted.
    Rsa4096,
}

impl KeyKind {
    /// Every kind; lengths of RSA keys are one kind.
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::Rsa2048, Self::Ed25519];

    fn genpkey(self) -> &'static [&'static str] {
        match self {
            Self::P256 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Self::Rsa2048 => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            Self::Ed25519 => &["-algorithm", "ED25519"],
            Self::Rsa4096 => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
        }
    }

    /// Makes a key in PKCS#8 PEM, readable by its owner only.
    pub fn generate(self, dir: &Path, file: &str) {
        openssl(dir, [&["genpkey"], self.genpkey(), &["-out", file]].concat());
    }
}

/// Delegated OCSP signers, proper and otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delegate {
    /// As it should be.
    Proper,
    /// Its time is over.
    Expired,
    /// Its time begins in 2035.
    NotYet,
    /// Without the extended key usage OCSPSigning.
    NoEku,
    /// Without id-pkix-ocsp-nocheck.
    NoNocheck,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Signer {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A certificate that the CA issued.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its file.
    pub path: PathBuf,
    /// Hexadecimal, as in the index.
    pub serial: String,
}

/// A CA with its database.
#[derive(Debug)]
pub struct Ca {
    dir: TempDir,
    made: AtomicU32,
}

impl Ca {
    /// A CA with a P-256 key and this common name. Serials begin with 1000 in every CA, so that those of two collide.
    pub fn new(name: &str) -> Self {
        Self::with_key(name, KeyKind::P256)
    }

    /// A CA with a key of this kind.
    pub fn with_key(name: &str, kind: KeyKind) -> Self {
        let ca = Self { dir: tempfile::tempdir().unwrap(), made: AtomicU32::default() };
        for (file, content) in [("index.txt", ""), ("serial", "1000\n"), ("crlnumber", "01\n")] {
            fs::write(ca.file(file), content).unwrap();
        }
        fs::write(ca.file("openssl.cnf"), config()).unwrap();
        fs::create_dir(ca.file("newcerts")).unwrap();
        kind.generate(ca.dir(), "ca.key");
        let subject = format!("/O=Ostia tests/CN={name}");
        let request = ["req", "-config", "openssl.cnf", "-new", "-x509", "-key", "ca.key", "-subj", &subject];
        openssl(ca.dir(), [&request[..], &["-extensions", "ca_cert", "-days", "3650", "-out", "ca.pem"]].concat());
        // One key for all certificates: nobody serves with them.
        KeyKind::P256.generate(ca.dir(), "leaf.key");
        ca
    }

    /// Where all of it lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file of the CA.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Its database.
    pub fn index(&self) -> PathBuf {
        self.file("index.txt")
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Its own key, as a signer without a delegate's certificate.
    pub fn key(&self) -> PathBuf {
        self.file("ca.key")
    }

    pub(crate) fn ca(&self, arguments: &[&str]) -> String {
        openssl(self.dir(), [&["ca", "-config", "openssl.cnf", "-batch", "-notext"], arguments].concat())
    }

    pub(crate) fn fresh_name(&self, stem: &str) -> String {
        format!("{stem}-{}", self.made.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn certify(&self, stem: &str, key: &str, arguments: &[&str]) -> Leaf {
        let (request, file) = (format!("{stem}.csr"), format!("{stem}.pem"));
        let subject = format!("/O=Ostia tests/CN={stem}");
        openssl(
            self.dir(),
            ["req", "-config", "openssl.cnf", "-new", "-key", key, "-subj", &subject, "-out", &request],
        );
        self.ca(&[arguments, &["-in", &request, "-out", &file]].concat());
        let serial = openssl(self.dir(), ["x509", "-in", &file, "-noout", "-serial"]);
        Leaf { path: self.file(&file), serial: serial.trim().trim_start_matches("serial=").to_owned() }
    }

    /// Issues a certificate.
    pub fn issue(&self) -> Leaf {
        self.certify(&self.fresh_name("leaf"), "leaf.key", &[])
    }

    /// Puts so many certificates into the index that nobody has made; gives their serial numbers, all of one length.
    pub fn list(&self, count: usize) -> Vec<String> {
        let serials: Vec<String> = (0..count).map(|number| format!("5A{number:014X}")).collect();
        let line = |serial: &String| format!("V\t351231235959Z\t\t{serial}\tunknown\t/O=Ostia tests/CN={serial}\n");
        let index = fs::read_to_string(self.index()).unwrap();
        self.replace_index(&(index + &serials.iter().map(line).collect::<String>()));
        serials
    }

    /// Certifies another CA, which has this certificate from then on.
    pub fn certify_ca(&self, other: &Self) -> Leaf {
        let stem = self.fresh_name("sub");
        let leaf = self.certify(&stem, other.key().to_str().unwrap(), &["-extensions", "intermediate"]);
        fs::copy(&leaf.path, other.certificate()).unwrap();
        leaf
    }

    /// Issues a certificate whose time is over.
    pub fn issue_expired(&self) -> Leaf {
        let past = ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"];
        let leaf = self.certify(&self.fresh_name("leaf"), "leaf.key", &past);
        self.ca(&["-updatedb"]);
        leaf
    }

    /// Revokes a certificate; `arguments` such as `-crl_reason superseded`.
    pub fn revoke(&self, leaf: &Leaf, arguments: &[&str]) {
        self.ca(&[&["-revoke", leaf.path.to_str().unwrap()], arguments].concat());
    }

    /// The line of a certificate in the index, split into its fields.
    pub fn index_fields(&self, leaf: &Leaf) -> Vec<String> {
        let index = fs::read_to_string(self.index()).unwrap();
        let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        index.lines().map(fields).find(|fields| fields[3] == leaf.serial).expect("the certificate is in the index")
    }

    /// Releases a certificate from hold. `openssl ca` has no command for it, so people edit the line.
    pub fn release(&self, leaf: &Leaf) {
        let index = fs::read_to_string(self.index()).unwrap();
        let released = index.lines().map(|line| {
            let mut fields: Vec<_> = line.split('\t').collect();
            if fields[3] == leaf.serial {
                assert!(fields[2].ends_with(",certificateHold"), "{line}");
                (fields[0], fields[2]) = ("V", "");
            }
            fields.join("\t") + "\n"
        });
        self.replace_index(&released.collect::<String>());
    }

    /// Puts another index into place as editors do: written beside it, then renamed.
    pub fn replace_index(&self, content: &str) {
        let beside = self.file("index.txt.edited");
        fs::write(&beside, content).unwrap();
        fs::rename(beside, self.index()).unwrap();
    }

    /// A key with a certificate by these arguments of `openssl ca`.
    pub(crate) fn certified(&self, stem: &str, kind: KeyKind, arguments: &[&str]) -> Signer {
        let stem = self.fresh_name(stem);
        let key = format!("{stem}.key");
        kind.generate(self.dir(), &key);
        let leaf = self.certify(&stem, &key, arguments);
        Signer { certificate: leaf.path, key: self.file(&key) }
    }

    /// A key with a certificate for a server at this address.
    pub fn server_at(&self, ip: std::net::IpAddr) -> Signer {
        let stem = self.fresh_name("server");
        let [key, request, file, extensions] = ["key", "csr", "pem", "cnf"].map(|ending| format!("{stem}.{ending}"));
        KeyKind::P256.generate(self.dir(), &key);
        fs::write(self.file(&extensions), format!("basicConstraints = CA:FALSE\nsubjectAltName = IP:{ip}\n")).unwrap();
        let subject = format!("/CN={stem}");
        openssl(
            self.dir(),
            ["req", "-config", "openssl.cnf", "-new", "-key", &key, "-subj", &subject, "-out", &request],
        );
        let sign =
            ["x509", "-req", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        openssl(self.dir(), [&sign[..], &["-extfile", &extensions, "-out", &file]].concat());
        Signer { certificate: self.file(&file), key: self.file(&key) }
    }

    /// A delegated OCSP signer issued by this CA.
    pub fn delegate(&self, delegate: Delegate, kind: KeyKind) -> Signer {
        let arguments: &[&str] = match delegate {
            Delegate::Proper => &["-extensions", "ocsp_signer"],
            Delegate::Expired => {
                &["-extensions", "ocsp_signer", "-startdate", "20240101000000Z", "-enddate", "20240201000000Z"]
            }
            Delegate::NotYet => {
                &["-extensions", "ocsp_signer", "-startdate", "20350101000000Z", "-enddate", "20360101000000Z"]
            }
            Delegate::NoEku => &["-extensions", "server_cert"],
            Delegate::NoNocheck => &["-extensions", "ocsp_signer_without_nocheck"],
        };
        self.certified("ocsp", kind, arguments)
    }

    /// A proper delegate whose certificate ends so soon.
    pub fn delegate_for(&self, left: std::time::Duration) -> Signer {
        let end = crate::bash(self.dir(), &format!("date -u -d '+{} seconds' +%Y%m%d%H%M%SZ", left.as_secs()));
        self.certified("ocsp", KeyKind::P256, &["-extensions", "ocsp_signer", "-enddate", end.trim()])
    }

    /// A CRL of all that is revoked, in PEM, put into place at once.
    pub fn write_crl(&self, file: &str) -> PathBuf {
        self.ca(&["-gencrl", "-out", "crl.new"]);
        fs::rename(self.file("crl.new"), self.file(file)).unwrap();
        self.file(file)
    }

    /// The same as of an hour ago.
    pub fn write_older_crl(&self, file: &str) -> PathBuf {
        let issued = crate::bash(self.dir(), "date -u -d '-1 hour' +%Y%m%d%H%M%SZ");
        self.ca(&["-gencrl", "-crl_lastupdate", issued.trim(), "-out", "crl.new"]);
        fs::rename(self.file("crl.new"), self.file(file)).unwrap();
        self.file(file)
    }

    /// A CRL with more extensions, as openssl's configuration has them.
    pub fn write_crl_with(&self, extensions: &str, file: &str) -> PathBuf {
        let more = format!("[ more_crl ]\nauthorityKeyIdentifier = keyid\n{extensions}\n");
        fs::write(self.file("more.cnf"), config() + &more).unwrap();
        openssl(self.dir(), ["ca", "-config", "more.cnf", "-gencrl", "-crlexts", "more_crl", "-out", "crl.new"]);
        fs::rename(self.file("crl.new"), self.file(file)).unwrap();
        self.file(file)
    }

    /// A delta CRL to the complete CRL numbered `base`, of these lines of an index alone.
    pub fn write_delta_crl(&self, base: u32, index_lines: &str, file: &str) -> PathBuf {
        fs::write(self.file("delta-index.txt"), index_lines).unwrap();
        let config = config().replace("/index.txt", "/delta-index.txt").replace("@BASE@", &base.to_string());
        fs::write(self.file("delta.cnf"), config).unwrap();
        openssl(self.dir(), ["ca", "-config", "delta.cnf", "-gencrl", "-crlexts", "delta_crl", "-out", "crl.new"]);
        fs::rename(self.file("crl.new"), self.file(file)).unwrap();
        self.file(file)
    }

    /// A CRL of a part of the certificates, of these lines of an index alone. `point`: its issuingDistributionPoint as
    /// openssl's configuration has it.
    pub fn write_part_crl(&self, point: &str, index_lines: &str, file: &str) -> PathBuf {
        fs::write(self.file("part-index.txt"), index_lines).unwrap();
        let part = format!(
            "[ part_crl ]\nauthorityKeyIdentifier = keyid\nissuingDistributionPoint = critical, @point\n[ point ]\n{point}\n"
        );
        fs::write(self.file("part.cnf"), config().replace("/index.txt", "/part-index.txt") + &part).unwrap();
        openssl(self.dir(), ["ca", "-config", "part.cnf", "-gencrl", "-crlexts", "part_crl", "-out", "crl.new"]);
        fs::rename(self.file("crl.new"), self.file(file)).unwrap();
        self.file(file)
    }
}

/// Sections of certificates that are no CA's: name, keyUsage, what it has beside.
const OF_LEAVES: [(&str, &str, &str); 10] = [
    ("server_cert", "digitalSignature", "extendedKeyUsage = serverAuth"),
    ("ocsp_signer", "digitalSignature", "extendedKeyUsage = OCSPSigning\nnoCheck = ignored"),
    ("ocsp_signer_without_nocheck", "digitalSignature", "extendedKeyUsage = OCSPSigning"),
    ("tsa_signer", "digitalSignature", "extendedKeyUsage = critical, timeStamping"),
    (
        "tsa_signer_named",
        "digitalSignature",
        "extendedKeyUsage = critical, timeStamping\nsubjectAltName = URI:https://tsa.ostia.test/",
    ),
    ("tsa_signer_not_critical", "digitalSignature", "extendedKeyUsage = timeStamping"),
    ("tsa_signer_of_two_usages", "digitalSignature", "extendedKeyUsage = critical, timeStamping, OCSPSigning"),
    ("tsa_signer_without_usage", "digitalSignature", ""),
    ("tsa_signer_that_enciphers", "keyEncipherment", "extendedKeyUsage = critical, timeStamping"),
    ("code_signer", "digitalSignature", "extendedKeyUsage = critical, codeSigning"),
];

/// What `openssl` reads.
fn config() -> String {
    let of_leaf = |(name, usage, beside): (&str, &str, &str)| {
        format!(
            "\n[ {name} ]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, {usage}\n\
             authorityKeyIdentifier = keyid\n{beside}\n"
        )
    };
    [CONFIG.to_owned()].into_iter().chain(OF_LEAVES.map(of_leaf)).collect()
}

/// Commands run in the CA's directory.
const CONFIG: &str = "\
[ ca ]
default_ca = this

[ this ]
dir              = .
database         = $dir/index.txt
new_certs_dir    = $dir/newcerts
certificate      = $dir/ca.pem
private_key      = $dir/ca.key
serial           = $dir/serial
crlnumber        = $dir/crlnumber
default_md       = sha256
default_days     = 365
default_crl_days = 7
unique_subject   = no
policy           = any_name
x509_extensions  = server_cert
crl_extensions   = crl

[ any_name ]
organizationName = optional
commonName       = supplied

[ req ]
distinguished_name = asked_for

[ asked_for ]

[ ca_cert ]
basicConstraints     = critical, CA:TRUE
keyUsage             = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash

[ intermediate ]
basicConstraints       = critical, CA:TRUE
keyUsage               = critical, keyCertSign, cRLSign
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid

[ crl ]
authorityKeyIdentifier = keyid

[ delta_crl ]
authorityKeyIdentifier = keyid
2.5.29.27              = critical, ASN1:INTEGER:@BASE@
";
