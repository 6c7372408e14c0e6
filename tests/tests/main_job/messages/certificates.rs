//! Certificates and CRLs.

use std::fs;

use ostia_tests::{Ca, Site, bash};

use super::{Outcome, Row};

/// A CA certificate of the same name and another key in the place of the CA's.
fn with_key(ca: &Ca, key: &str) {
    let subject = "-subj '/O=Ostia tests/CN=Main job CA' -days 30";
    bash(
        ca.dir(),
        &format!(
            "openssl req -x509 -config openssl.cnf -extensions ca_cert {key} -nodes -keyout other.key -out ca.pem {subject}"
        ),
    );
}

/// A CRL of the CA beside the index, as `spoil` leaves it.
fn with_crl(ca: &Ca, site: &Site, spoil: &str) {
    let crl = ca.write_crl("ca.crl");
    bash(ca.dir(), spoil);
    site.edit_config(|text| text.replacen("\nindex = ", &format!("\ncrl = {crl:?}\nindex = "), 1));
}

const WRONG_CAUSE: &[&str] = &["does not verify", "1.2.840"];

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "an RSA key that is too short",
        spoil: |ca, _| with_key(ca, "-newkey rsa:1024"),
        outcome: Outcome::Refused,
        told: &["an RSA key of 1024 bits", "2048"],
        never: WRONG_CAUSE,
    },
    Row {
        what: "a curve that is not supported",
        spoil: |ca, _| with_key(ca, "-newkey ec -pkeyopt ec_paramgen_curve:brainpoolP256r1"),
        outcome: Outcome::Refused,
        told: &["a key on the curve brainpoolP256r1", "P-256"],
        never: WRONG_CAUSE,
    },
    Row {
        what: "Ed448",
        spoil: |ca, _| with_key(ca, "-newkey ed448"),
        outcome: Outcome::Refused,
        told: &["a key of the kind Ed448", "Ed25519"],
        never: &["1.3.101.113"],
    },
    Row {
        what: "a CA of version 1",
        spoil: |ca, _| {
            bash(
                ca.dir(),
                "openssl req -new -config openssl.cnf -key ca.key -subj '/O=Ostia tests/CN=Main job CA' -out v1.csr && \
                 openssl x509 -req -in v1.csr -signkey ca.key -days 30 -out ca.pem && \
                 openssl x509 -in ca.pem -noout -text | grep -q 'Version: 1'",
            );
        },
        outcome: Outcome::Passes,
        told: &["has version 1", "renew it as version 3"],
        never: &["does not say CA"],
    },
    Row {
        what: "a server's certificate as the CA's",
        spoil: |ca, _| with_key(ca, "-extensions server_cert -newkey ec -pkeyopt ec_paramgen_curve:P-256"),
        outcome: Outcome::Refused,
        told: &["its basicConstraints does not say CA"],
        never: &[],
    },
    Row {
        what: "text before a PEM section that begins as DER does",
        spoil: |ca, _| drop(bash(ca.dir(), "(echo '0 s:/CN=CA'; cat ca.pem) > new.pem && mv new.pem ca.pem")),
        outcome: Outcome::Passes,
        told: &[],
        never: &["DER"],
    },
    Row {
        what: "a certificate in UTF-16, as PowerShell writes it",
        spoil: |ca, _| drop(bash(ca.dir(), "iconv -f ASCII -t UTF-16 ca.pem > new.pem && mv new.pem ca.pem")),
        outcome: Outcome::Passes,
        told: &[],
        never: &[],
    },
    Row {
        what: "a certificate in one line",
        spoil: |ca, _| drop(bash(ca.dir(), "tr '\\n' ' ' < ca.pem > new.pem && mv new.pem ca.pem")),
        outcome: Outcome::Passes,
        told: &[],
        never: &[],
    },
    Row {
        what: "a certificate with OpenSSL's trust settings",
        spoil: |ca, _| {
            drop(bash(
                ca.dir(),
                "openssl x509 -in ca.pem -addtrust serverAuth -out new.pem && grep -q TRUSTED new.pem && mv new.pem ca.pem",
            ));
        },
        outcome: Outcome::Passes,
        told: &[],
        never: &[],
    },
    Row {
        what: "a certificate that is cut short",
        spoil: |ca, _| drop(bash(ca.dir(), "head -c 300 ca.pem > new.pem && mv new.pem ca.pem")),
        outcome: Outcome::Refused,
        told: &["/ca.pem: ", "in line 1 has no `-----END …-----` behind it", "cut off; copy it again"],
        never: &["MII"],
    },
    Row {
        what: "a key in the place of a certificate",
        spoil: |ca, _| assert!(fs::copy(ca.key(), ca.certificate()).is_ok()),
        outcome: Outcome::Refused,
        told: &["/ca.pem: ", "holds no certificate, but a private key", "each other's place"],
        never: &["MIGHAg"],
    },
    Row {
        what: "a certificate whose DER is damaged",
        spoil: |ca, _| {
            // The notBefore is no date any more.
            bash(
                ca.dir(),
                "openssl x509 -in ca.pem -outform DER | LC_ALL=C sed 's/\\x17\\x0d../\\x17\\x0dXX/' > new.pem && mv new.pem ca.pem",
            );
        },
        outcome: Outcome::Refused,
        told: &["/ca.pem: ", "in tbsCertificate.validity"],
        never: &["byte"],
    },
    Row {
        what: "an HTML page in the place of a CRL",
        spoil: |ca, site| with_crl(ca, site, "echo '<html>404</html>' > ca.crl"),
        outcome: Outcome::Refused,
        told: &["/ca.crl: ", "holds no CRL", "HTML"],
        never: &[],
    },
    Row {
        what: "a certificate in the place of a CRL",
        spoil: |ca, site| with_crl(ca, site, "cp ca.pem ca.crl"),
        outcome: Outcome::Refused,
        told: &["/ca.crl: ", "holds a certificate, not a CRL", "in each other's place"],
        never: &[],
    },
    Row {
        what: "a CRL with Windows line ends and a byte order mark",
        spoil: |ca, site| with_crl(ca, site, "sed -i 's/$/\\r/; 1s/^/\\xef\\xbb\\xbf/' ca.crl"),
        outcome: Outcome::Passes,
        told: &[],
        never: &[],
    },
];
