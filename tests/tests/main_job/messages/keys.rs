//! Keys, in files and on tokens.

use std::fs;

use ostia_tests::{Ca, Site, bash};

use super::{Outcome::Refused, Row};

/// What the file that is named as the key holds, made by a command that has the proper one as `$KEY` and its certificate
/// as `$CERTIFICATE`, and writes `other.key`.
fn with_key(ca: &Ca, site: &Site, command: &str) {
    let config = fs::read_to_string(site.config()).unwrap();
    // The signer's come last.
    let value = |name: &str| {
        let line = config.lines().rfind(|line| line.starts_with(&format!("{name} = "))).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let (key, certificate) = (value("key"), value("certificate"));
    bash(
        ca.dir(),
        &format!("set -e; KEY={key} CERTIFICATE={certificate}; rm -f other.key; {command}; chmod 600 other.key"),
    );
    let other = ca.file("other.key");
    site.edit_config(|text| text.replace(&format!("key = {key:?}"), &format!("key = {other:?}")));
}

macro_rules! key_row {
    ($what:literal, $command:literal, $told:expr) => {
        key_row!($what, $command, $told, never & [])
    };
    ($what:literal, $command:literal, $told:expr, never $never:expr) => {
        Row {
            what: $what,
            spoil: |ca, site| with_key(ca, site, $command),
            outcome: Refused,
            told: $told,
            never: $never,
        }
    };
}

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "key and certificate in each other's place",
        spoil: |ca, site| {
            let _ = ca;
            site.edit_config(|text| {
                let begin = text.rfind("certificate = ").unwrap();
                let (head, signer) = text.split_at(begin);
                let swapped = signer.replace("certificate = ", "k = ").replace("key = ", "certificate = ");
                head.to_owned() + &swapped.replace("k = ", "key = ")
            });
        },
        outcome: Refused,
        told: &[
            "signer.key: ",
            "holds a certificate, not a private key; the two may have been named in each other's place",
            "signer.certificate: ",
            "holds no certificate, but a private key; the two may have been named in each other's place",
        ],
        never: &["chmod", "items"],
    },
    key_row!(
        "a key in DER",
        "openssl pkey -in $KEY -outform DER -out other.key",
        &[
            "signer.key: ",
            "other.key: holds a private key in DER, not PEM; convert it: openssl pkey -inform DER -in ",
            "other.key.pem",
        ],
        never & ["items"]
    ),
    key_row!(
        "an encrypted key in DER",
        "openssl pkcs8 -topk8 -in $KEY -passout pass:x -outform DER -out other.key",
        &["holds an encrypted private key in DER, not PEM; convert it: openssl pkcs8 -inform DER -in "]
    ),
    key_row!(
        "a PKCS#12 store",
        "openssl pkcs12 -export -inkey $KEY -in $CERTIFICATE -passout pass:x -out other.key",
        &["holds a PKCS#12 store, not PEM; convert it: openssl pkcs12 -in ", "-nocerts -noenc -out "],
        never & ["items"]
    ),
    key_row!(
        "a key of OpenSSH",
        "ssh-keygen -q -t ecdsa -N '' -f other.key",
        &[
            "holds a private key in the format of OpenSSH, not PKCS#8; convert a copy of it: cp -p ",
            "&& ssh-keygen -p -N '' -m PKCS8 -f ",
        ],
        never & ["items"]
    ),
    key_row!(
        "an Ed25519 key of OpenSSH",
        "ssh-keygen -q -t ed25519 -N '' -f other.key",
        &["holds an Ed25519 key in the format of OpenSSH, which it converts to no other; make a key for the purpose",]
    ),
    key_row!(
        "a public key of OpenSSH",
        "ssh-keygen -q -t ecdsa -N '' -f ssh.key; cp ssh.key.pub other.key",
        &["holds a public key of OpenSSH, which signs nothing"]
    ),
    key_row!(
        "an encrypted key",
        "openssl pkcs8 -topk8 -in $KEY -passout pass:x -out other.key",
        &["holds an encrypted private key; decrypt it into a file that only the service may read: openssl pkey -in ",]
    ),
    key_row!(
        "an encrypted key of old",
        "openssl ec -aes128 -passout pass:x -in $KEY -out other.key",
        &["holds an encrypted private key; decrypt it into a file that only the service may read: openssl pkey -in "]
    ),
    key_row!(
        "a public key",
        "openssl pkey -in $KEY -pubout -out other.key",
        &["holds a public key, which signs nothing; name the file with its private key"]
    ),
    key_row!(
        "a public key in DER",
        "openssl pkey -in $KEY -pubout -outform DER -out other.key",
        &["holds a public key in DER, which signs nothing"]
    ),
    key_row!(
        "a request",
        "openssl req -new -key $KEY -subj /CN=x -out other.key",
        &[
            "holds a request for a certificate (PKCS#10), not a private key; name the file with the key that it was made for"
        ]
    ),
    key_row!(
        "a certificate in DER",
        "openssl x509 -in $CERTIFICATE -outform DER -out other.key",
        &["holds a certificate, a request or a CRL in DER, not a private key"]
    ),
    key_row!(
        "parameters of a curve",
        "openssl ecparam -name prime256v1 -out other.key",
        &["holds parameters alone and no key; make one with them: openssl genpkey -paramfile "]
    ),
    key_row!(
        "an empty file",
        ": > other.key",
        &["other.key: holds no private key in PEM, since it is empty; write the key into it"],
        never & ["items"]
    ),
    key_row!(
        "a file that is cut off",
        "head -c 100 $KEY > other.key",
        &[
            "is damaged PEM: `-----BEGIN PRIVATE KEY-----` in line 1 has no `-----END …-----` behind it, so that the file is cut off",
        ]
    ),
    key_row!(
        "a key with letters lost",
        "sed '2s/...//' $KEY > other.key",
        &["other.key: is damaged PEM: `-----BEGIN PRIVATE KEY-----` in line 1 is followed by what is no whole base64"]
    ),
    key_row!(
        "a key that is no DER",
        "(sed -n 1p $KEY; sed -n '2s/..../AAAA/p' $KEY; sed -n '3,$p' $KEY) > other.key",
        &["holds a private key that is damaged, or of a kind that is not known here"]
    ),
    key_row!(
        "an Ed448 key",
        "openssl genpkey -algorithm ED448 -out other.key",
        &["holds an Ed448 key; responses are signed by ECDSA P-256, "]
    ),
    key_row!(
        "an X25519 key",
        "openssl genpkey -algorithm X25519 -out other.key",
        &["holds an X25519 (key agreement) key; responses are signed by"]
    ),
    key_row!(
        "a DSA key",
        "openssl genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out dsa.pem; openssl genpkey -paramfile dsa.pem -out other.key",
        &["holds a DSA key; responses are signed by"]
    ),
    key_row!(
        "a key on P-521",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out other.key",
        &["holds an ECDSA key on the curve P-521 (secp521r1); responses are signed by"]
    ),
    key_row!(
        "a key on secp256k1 in SEC1",
        "openssl ecparam -name secp256k1 -genkey -out other.key",
        &["holds an ECDSA key on the curve secp256k1; "]
    ),
    key_row!(
        "a key on brainpool",
        "openssl ecparam -name brainpoolP256r1 -genkey -noout -out other.key",
        &["holds an ECDSA key on the curve brainpoolP256r1; "]
    ),
    key_row!(
        "a curve written out",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -pkeyopt ec_param_enc:explicit -out other.key",
        &["holds an ECDSA key on a curve that is written out instead of named; responses are signed by"]
    ),
    key_row!(
        "a short RSA key",
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out other.key",
        &["holds an RSA key of 1024 bits; responses are signed by"]
    ),
    key_row!(
        "a short RSA key in PKCS#1",
        "openssl genrsa -traditional -out other.key 1536",
        &["holds an RSA key of 1536 bits; "]
    ),
    key_row!(
        "a mode that lets others read",
        "cp $KEY other.key; chmod 644 other.key; trap 'chmod 644 other.key' EXIT",
        &["other.key: holds a private key and has mode 0644, which lets others use it; run: chmod 600 "]
    ),
    Row {
        what: "a key that stands in the configuration itself",
        spoil: |ca, site| {
            let _ = ca;
            site.edit_config(|text| {
                let line = text.lines().rfind(|line| line.starts_with("key = ")).unwrap().to_owned();
                let key = fs::read_to_string(line.split('"').nth(1).unwrap()).unwrap();
                text.replace(&line, &format!("key = \"\"\"{key}\"\"\""))
            });
        },
        outcome: Refused,
        told: &[
            "signer.key: seems to be a key, a certificate or a PIN itself, and is not shown; write it into a file that only the service may read, and name that file",
        ],
        never: &["PRIVATE KEY", "MIGH"],
    },
];
