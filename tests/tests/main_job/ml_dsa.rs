//! Signers with ML-DSA keys. The `openssl` of these tests has no ML-DSA, so that certificates are put together here and
//! signatures verified by the library's own verifier.

use std::{fs, path::Path, process::Command, time::Duration};

use aws_lc_rs::signature::{ML_DSA_44, ML_DSA_65, ML_DSA_87, PqdsaVerificationAlgorithm, UnparsedPublicKey};
use der::{
    Decode as _, Encode as _, EncodePem as _,
    asn1::{BitString, Null, ObjectIdentifier, OctetString},
    pem::LineEnding,
};
use ostia_tests::{
    Ask, Ca, Leaf, Responder, Site, SoftHsm, Tenant,
    http::{Reply, get, ocsp_target, post},
    programs, run, until,
};
use precompute::{pki::certificates, sign::SoftwareKey};
use x509_cert::{
    Certificate, TbsCertificate, Version,
    ext::{
        Extension,
        pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::Validity,
};
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse};

/// As the command line names it, its identifier, the length of its signatures, and what verifies them.
const SETS: [(&str, &str, usize, &PqdsaVerificationAlgorithm); 3] = [
    ("ml-dsa-44", "2.16.840.1.101.3.4.3.17", 2420, &ML_DSA_44),
    ("ml-dsa-65", "2.16.840.1.101.3.4.3.18", 3309, &ML_DSA_65),
    ("ml-dsa-87", "2.16.840.1.101.3.4.3.19", 4627, &ML_DSA_87),
];

fn extension(oid: &str, critical: bool, value: &impl der::Encode) -> Extension {
    let extn_value = OctetString::new(value.to_der().unwrap()).unwrap();
    Extension { extn_id: ObjectIdentifier::new_unwrap(oid), critical, extn_value }
}

fn for_ca() -> Vec<Extension> {
    vec![
        extension("2.5.29.19", true, &BasicConstraints { ca: true, path_len_constraint: None }),
        extension("2.5.29.15", true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::DigitalSignature)),
    ]
}

fn for_delegate() -> Vec<Extension> {
    vec![
        extension("2.5.29.15", true, &KeyUsage(KeyUsages::DigitalSignature.into())),
        extension("2.5.29.37", false, &ExtendedKeyUsage(vec![ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9")])),
        extension("1.3.6.1.5.5.7.48.1.5", false, &Null),
    ]
}

/// A key made by the program.
fn generate(dir: &Path, name: &str, algorithm: &str) -> SoftwareKey {
    let (file, csr) = (format!("{name}.key"), format!("{name}.csr"));
    let mut command = Command::new(&programs().precompute);
    command.args(["keys", "generate", "--key", &file, "--algorithm", algorithm, "--purpose", "ocsp"]);
    let ended = run(command.args(["--subject", "CN=x", "--csr", &csr]).current_dir(dir));
    assert!(ended.status.success(), "{}", ended.text);
    SoftwareKey::from_file(&dir.join(file)).unwrap()
}

/// Writes a certificate for `key`, issued by `issuer` with the key `by`.
fn certify(path: &Path, subject: &str, key: &SoftwareKey, issuer: &Name, by: &SoftwareKey, extensions: Vec<Extension>) {
    let signature_algorithm = AlgorithmIdentifierOwned::from_der(by.algorithm().identifier()).unwrap();
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&[7, 7]).unwrap(),
        signature: signature_algorithm.clone(),
        issuer: issuer.clone(),
        validity: Validity::from_now(Duration::from_secs(90 * 86_400)).unwrap(),
        subject: subject.parse().unwrap(),
        subject_public_key_info: SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned::from_der(key.algorithm().key_identifier()).unwrap(),
            subject_public_key: BitString::from_bytes(key.public_key_octets()).unwrap(),
        },
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions),
    };
    let signature = by.sign(&tbs_certificate.to_der().unwrap()).unwrap();
    let signature = BitString::from_bytes(&signature).unwrap();
    let certificate = Certificate { tbs_certificate, signature_algorithm, signature };
    fs::write(path, certificate.to_pem(LineEnding::LF).unwrap()).unwrap();
}

fn name_of(certificate: &Path) -> Name {
    Name::from_der(certificates(certificate).unwrap()[0].subject_der()).unwrap()
}

/// What the response says of its one certificate, after its signature was verified.
#[track_caller]
fn verified(reply: &Reply, set: usize, public_key: &[u8]) -> CertStatus {
    let (_, oid, length, verification) = SETS[set];
    let response = OcspResponse::from_der(&reply.body).unwrap();
    let basic = BasicOcspResponse::from_der(response.response_bytes.unwrap().response.as_bytes()).unwrap();
    assert_eq!(basic.signature_algorithm.oid.to_string(), oid);
    assert_eq!(basic.signature_algorithm.parameters, None, "RFC 9881 section 2");
    let signature = basic.signature.raw_bytes();
    assert_eq!(signature.len(), length);
    let data = basic.tbs_response_data.to_der().unwrap();
    UnparsedPublicKey::new(verification, public_key).verify(&data, signature).unwrap();
    for certificate in basic.certs.into_iter().flatten() {
        let info = certificate.tbs_certificate.subject_public_key_info;
        assert_eq!((info.algorithm.oid.to_string(), info.algorithm.parameters), (oid.to_owned(), None));
        assert_eq!(info.subject_public_key.raw_bytes(), public_key);
    }
    basic.tbs_response_data.responses[0].cert_status
}

/// Asks by GET and POST, for what is signed and for what is kept; revokes; and asks again.
fn answers(ca: &Ca, leaf: &Leaf, revoke: impl FnOnce(), responder: &Responder, set: usize, public_key: &[u8]) {
    let request = Ask::about(ca, leaf).request();
    let by_post = post(responder.http(), "/", &request);
    assert!(matches!(verified(&by_post, set, public_key), CertStatus::Good(_)));
    // Hedged signatures differ each time: the same bytes are the ones that were kept, in the compact table.
    let by_get = get(responder.http(), &ocsp_target("/", &request));
    assert_eq!(by_get.body, by_post.body);
    assert_eq!(responder.metric("ostia_answers", ""), 1.0);
    assert_eq!(responder.metric("ostia_cache_entries", ""), 0.0);
    revoke();
    let revoked = until("the answer turns", Duration::from_secs(20), || {
        let reply = post(responder.http(), "/", &request);
        matches!(verified(&reply, set, public_key), CertStatus::Revoked(_)).then_some(reply)
    });
    assert_ne!(revoked.header("etag"), by_post.header("etag"));
}

fn site(ca: &Ca, signer: &str) -> Site {
    Site::new(&[Tenant::new("tests").issuer("ca", ca, &format!("index = {:?}", ca.index()), signer)])
}

#[test]
fn an_ml_dsa_key_made_here_signs_answers_that_verify() {
    for (set, (algorithm, ..)) in SETS.into_iter().enumerate() {
        let ca = Ca::new("CA");
        let leaf = ca.issue();
        let key = generate(ca.dir(), "ocsp", algorithm);
        let by = SoftwareKey::from_file(&ca.key()).unwrap();
        let delegate = ca.file("ocsp.pem");
        certify(&delegate, "CN=Delegate", &key, &name_of(&ca.certificate()), &by, for_delegate());
        let responder = site(&ca, &format!("certificate = {delegate:?}\nkey = {:?}", ca.file("ocsp.key"))).start();
        answers(&ca, &leaf, || ca.revoke(&leaf, &[]), &responder, set, key.public_key_octets());
    }
}

#[test]
fn an_ml_dsa_ca_signs_itself_or_by_a_delegate_that_it_issued() {
    const ML_DSA_65: usize = 1;
    for delegated in [None, Some(0), Some(2)] {
        // Its index and its leaf are those of another CA, whose place it takes.
        let ca = Ca::new("CA");
        let leaf = ca.issue();
        let own = generate(ca.dir(), "own", SETS[ML_DSA_65].0);
        let name = name_of(&ca.certificate());
        let revoke = |path: &Path| {
            let index = fs::read_to_string(path).unwrap();
            ca.replace_index(&index.replacen("V\t", "R\t", 1).replacen("\t\t", "\t251101000000Z\t", 1));
        };
        certify(&ca.certificate(), &name.to_string(), &own, &name, &own, for_ca());
        let (signer, set, key) = match delegated {
            None => (format!("key = {:?}", ca.file("own.key")), ML_DSA_65, own),
            Some(set) => {
                let key = generate(ca.dir(), "ocsp", SETS[set].0);
                let delegate = ca.file("ocsp.pem");
                certify(&delegate, "CN=Delegate", &key, &name, &own, for_delegate());
                (format!("certificate = {delegate:?}\nkey = {:?}", ca.file("ocsp.key")), set, key)
            }
        };
        let responder = site(&ca, &signer).start();
        answers(&ca, &leaf, || revoke(&ca.index()), &responder, set, key.public_key_octets());
    }
}

#[test]
fn an_ml_dsa_key_is_refused_on_a_token_without_the_mechanism() {
    let hsm = SoftHsm::new(&["keys"]);
    let ca = Ca::new("CA");
    let by = SoftwareKey::from_file(&ca.key()).unwrap();
    let delegate = ca.file("ocsp.pem");
    let key = generate(ca.dir(), "ocsp", "ml-dsa-65");
    certify(&delegate, "CN=Delegate", &key, &name_of(&ca.certificate()), &by, for_delegate());
    let lines = format!("certificate = {delegate:?}\nkey = \"{}\"", hsm.shim_uri("keys", "ocsp"));
    let site =
        hsm.shim_environment().into_iter().fold(site(&ca, &lines), |site, (name, value)| site.environment(name, value));
    site.is_refused(&[
        "signer.key: the token `keys` cannot sign with ML-DSA-65: its module has no CKM_ML_DSA (PKCS#11 3.2)",
        "use a module that has it, or a key in a file",
    ]);
    assert_eq!(hsm.calls("C_Login"), 0, "for that no PIN is tried");
}

#[test]
fn answers_by_ml_dsa_are_signed_ahead_and_found_again() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let key = generate(ca.dir(), "ocsp", "ml-dsa-87");
    let by = SoftwareKey::from_file(&ca.key()).unwrap();
    let delegate = ca.file("ocsp.pem");
    certify(&delegate, "CN=Delegate", &key, &name_of(&ca.certificate()), &by, for_delegate());
    let lines = format!("certificate = {delegate:?}\nkey = {:?}", ca.file("ocsp.key"));
    let sources = format!("index = {:?}", ca.index());
    let mut responder = Site::new(&[Tenant::new("tests").presigned().issuer("ca", &ca, &sources, &lines)]).start();
    until("the answer is signed", Duration::from_secs(20), || {
        (responder.metric("ostia_answers", "") > 0.0).then_some(())
    });
    let request = Ask::about(&ca, &leaf).request();
    let before = post(responder.http(), "/", &request);
    verified(&before, 2, key.public_key_octets());
    assert!(responder.end_by("TERM").success());
    let responder = responder.into_site().start();
    until("it is found again", Duration::from_secs(20), || (responder.metric("ostia_answers", "") > 0.0).then_some(()));
    assert_eq!(post(responder.http(), "/", &request).body, before.body);
}
