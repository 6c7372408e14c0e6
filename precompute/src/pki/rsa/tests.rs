use std::{fs, process::Command};

use der::Decode as _;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::pki::{VerifyError, certificates, verify_signed};

/// What openssl signs with these options verifies, with exactly these parameters only.
#[test]
fn what_openssl_signs_with_any_parameters_verifies_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = |file: &str| directory.path().join(file);
    // 2056 and 2049 bits: the encoded message begins with a byte of its own, or has one bit less.
    for bits in ["2048", "2049", "2056", "3072"] {
        let new_key =
            ["genpkey", "-algorithm", "RSA", "-out", "key.pem", "-pkeyopt", &format!("rsa_keygen_bits:{bits}")];
        assert!(Command::new("openssl").args(new_key).current_dir(&directory).output().unwrap().status.success());
        for (hash, mask, salt) in [
            ("sha256", "sha256", "max"),
            ("sha256", "sha256", "20"),
            ("sha256", "sha256", "0"),
            ("sha256", "sha1", "digest"),
            ("sha384", "sha256", "20"),
            ("sha512", "sha512", "max"),
            ("sha512", "sha512", "digest"),
        ] {
            let (mask, salt) = (format!("rsa_mgf1_md:{mask}"), format!("rsa_pss_saltlen:{salt}"));
            let request = ["req", "-x509", "-key", "key.pem", "-out", "ca.pem", "-subj", "/CN=PSS", "-days", "9"];
            let hash = format!("-{hash}");
            let options = [&hash, "-sigopt", "rsa_padding_mode:pss", "-sigopt", &mask, "-sigopt", &salt];
            let made = Command::new("openssl").args(request).args(options).current_dir(&directory).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let certificate = certificates(&path("ca.pem")).unwrap().remove(0);
            let what = format!("{bits} {options:?}");
            if let Err(error) = certificate.verify_issued_by(&certificate) {
                panic!("{what}: {error}");
            }

            let parsed = x509_cert::Certificate::from_der(certificate.der()).unwrap();
            let signature = parsed.signature.raw_bytes();
            let tbs = der::Encode::to_der(&parsed.tbs_certificate).unwrap();
            let verify = |algorithm: &AlgorithmIdentifierOwned, message: &[u8], signature: &[u8]| {
                verify_signed(certificate.spki_der(), algorithm, message, signature)
            };
            let algorithm = &parsed.signature_algorithm;
            assert!(verify(algorithm, &tbs, signature).is_ok(), "{what}");
            assert!(matches!(verify(algorithm, b"another", signature), Err(VerifyError::Signature)), "{what}");
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut changed = signature.to_vec();
                changed[at] ^= 1;
                assert!(matches!(verify(algorithm, &tbs, &changed), Err(VerifyError::Signature)), "{what}: {at}");
            }
            for odd in [
                &signature[1..],
                &[signature, &[0]].concat(),
                &vec![0xff; signature.len()],
                &vec![0; signature.len()],
                &[],
            ] {
                assert!(matches!(verify(algorithm, &tbs, odd), Err(VerifyError::Signature)), "{what}");
            }
            // Another salt than the one that is stated, also none and one that no key has room for.
            for salt in [&[2, 1, 1][..], &[2, 1, 33], &[2, 4, 0x7f, 0xff, 0xff, 0xff]] {
                let mut stated = der::Encode::to_der(algorithm.parameters.as_ref().unwrap()).unwrap();
                let Some(at) = stated.iter().rposition(|octet| *octet == 0xa2) else { continue };
                let added = salt.len() as isize - isize::from(stated[at + 1]);
                stated.truncate(at);
                stated.extend([0xa2, salt.len() as u8]);
                stated.extend(salt);
                stated[1] = u8::try_from(isize::from(stated[1]) + added).unwrap();
                let other = AlgorithmIdentifierOwned {
                    oid: algorithm.oid,
                    parameters: Some(der::Any::from_der(&stated).unwrap()),
                };
                assert!(matches!(verify(&other, &tbs, signature), Err(VerifyError::Signature)), "{what}: {salt:?}");
            }
        }
        fs::remove_file(path("key.pem")).unwrap();
    }
}
