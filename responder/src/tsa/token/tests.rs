use std::{path::Path, process::Command, sync::Arc, time::Duration};

use cms::{
    cert::CertificateChoices,
    content_info::ContentInfo,
    signed_data::{SignedData, SignerIdentifier},
};
use der::{Decode as _, Encode as _, asn1::OctetString};
use precompute::{
    pki::{Certificate, certificates, verify_signed},
    sign::{KeyPurpose, Pool, PoolSettings, SoftwareKey, Verify},
    tsp::{Accuracy, ImprintHash, Oid, Precision},
};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_tsp::{TimeStampResp, TstInfo};

use precompute::tsp::TsaName;

use super::*;
use crate::tsa::testing::policy;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A root, and a TSA with this kind of key.
fn authority(dir: &Path, key: &[&str], algorithm: Option<Algorithm>) -> (SoftwareKey, TsaSigner) {
    openssl(dir, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ca.key"]);
    openssl(dir, &["req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=root", "-days", "9000", "-out", "ca.pem"]);
    openssl(dir, &[&["genpkey", "-out", "tsa.key"], key].concat());
    openssl(dir, &["req", "-new", "-key", "tsa.key", "-subj", "/O=Ostia/CN=tsa", "-out", "tsa.csr"]);
    let extensions = "extendedKeyUsage=critical,timeStamping\nsubjectAltName=DNS:tsa.example\n";
    std::fs::write(dir.join("tsa.ext"), extensions).unwrap();
    let issue = ["x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "9000"];
    openssl(dir, &[&issue[..], &["-set_serial", "0x99", "-extfile", "tsa.ext", "-out", "tsa.pem"]].concat());
    let chain: Vec<Certificate> =
        ["tsa.pem", "ca.pem"].iter().flat_map(|file| certificates(&dir.join(file)).unwrap()).collect();
    let key = SoftwareKey::from_file(&dir.join("tsa.key")).unwrap();
    let key = match algorithm {
        Some(algorithm) => key.with_algorithm(algorithm).unwrap(),
        None => key,
    };
    let settings = PoolSettings {
        name: "tsa".into(),
        purpose: KeyPurpose::TimeStamping,
        key: String::new(),
        threads: 1,
        queue_length_max: 8,
        primary_first: false,
        verify: Verify::All,
    };
    let pool = Arc::new(Pool::software(&key, chain[0].spki_der(), settings).unwrap());
    let octets = key.public_key_octets().to_vec();
    let signer = TsaSigner::new("tsa", (&chain[0], &chain[1..]), &octets, pool, NOW, Duration::ZERO, None).unwrap();
    (key, signer)
}

/// As much of everything as there can be.
fn rich() -> TsaPolicy {
    TsaPolicy {
        policies: vec![Oid::parse("0.4.0.2023.1.1").unwrap()],
        accuracy: Accuracy::new(Duration::from_micros(2_250_007)).unwrap(),
        ordering: true,
        certificates: TsaCertificates::Chain,
        tsa_name: TsaName::SubjectAltName,
        signing_time: true,
        algorithm_protection: true,
        ess_cert_id_v1: true,
        qc_statements: true,
        ..policy()
    }
}

fn imprint(hash: ImprintHash, null: bool) -> Vec<u8> {
    let oid = wrapped(0x06, &[hash.oid()]);
    let algorithm = wrapped(0x30, &[&oid, if null { &[0x05, 0x00] } else { &[] }]);
    wrapped(0x30, &[&algorithm, &wrapped(0x04, &[&vec![0xa5; hash.len()]])])
}

#[test]
fn a_token_is_what_others_encode_and_its_signature_is_over_the_attributes() {
    let kinds: [(&[&str], Option<Algorithm>); 5] = [
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], None),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], None),
        (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], None),
        (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], Some(Algorithm::RsaPssSha256)),
        (&["-algorithm", "ED25519"], None),
    ];
    for (kind, algorithm) in kinds {
        let dir = tempfile::tempdir().unwrap();
        let (key, signer) = authority(dir.path(), kind, algorithm);
        for policy in [policy(), rich()] {
            let template = Template::new(&signer, &policy);
            for (hash, null, nonce, cert_req) in [
                (ImprintHash::Sha256, true, None, true),
                (ImprintHash::Sha3_512, false, Some(&[0x00, 0xff, 0x01][..]), false),
                (ImprintHash::Sha384, true, Some(&[0x80; 20][..]), true),
            ] {
                let imprint = imprint(hash, null);
                // The types of others know no fractions of a second.
                let gen_time = GenTime::new(NOW.0 * 1_000_000_000 + 123_456_789, Precision::Seconds);
                let serial = [0x41; 20];
                let policy_oid = policy.policies[0].content();
                let info = Info { policy: policy_oid, imprint: &imprint, serial: &serial, gen_time: &gen_time, nonce };
                let (mut tst_info, mut attributes, mut out) = (Vec::new(), Vec::new(), Vec::new());
                template.tst_info(&mut tst_info, &info);
                template.attributes(&mut attributes, &tst_info, NOW);
                let signature = key.sign(&attributes).unwrap();
                let layout = template.lay_out(&tst_info, &attributes, &signature, cert_req);
                layout.write(&mut out);
                assert_eq!(layout.length(), out.len());
                check(&out, &signer, &policy, &info, cert_req, &tst_info);
            }
        }
    }
}

/// Reads a response with the types of others, and holds it against what was wanted.
fn check(out: &[u8], signer: &TsaSigner, policy: &TsaPolicy, info: &Info<'_>, cert_req: bool, tst_info: &[u8]) {
    let response = TimeStampResp::from_der(out).unwrap();
    assert_eq!(response.to_der().unwrap(), out, "DER, byte for byte");
    let token: ContentInfo = response.time_stamp_token.unwrap();
    assert_eq!(token.content_type.to_string(), "1.2.840.113549.1.7.2");
    let data: SignedData = token.content.decode_as().unwrap();
    assert_eq!(data.to_der().unwrap(), token.content.to_der().unwrap());
    assert_eq!(data.version, cms::content_info::CmsVersion::V3);
    assert_eq!(data.encap_content_info.econtent_type.to_string(), "1.2.840.113549.1.9.16.1.4");
    let content = data.encap_content_info.econtent.unwrap();
    let content = content.decode_as::<OctetString>().unwrap();
    assert_eq!(content.as_bytes(), tst_info);

    let read = TstInfo::from_der(tst_info).unwrap();
    assert_eq!(read.policy.as_bytes(), info.policy);
    assert_eq!(read.message_imprint.to_der().unwrap(), info.imprint);
    assert_eq!(read.serial_number.as_bytes(), info.serial);
    assert_eq!(read.nonce.map(|nonce| nonce.as_bytes().to_vec()), info.nonce.map(<[u8]>::to_vec));
    assert_eq!(read.ordering, policy.ordering);
    let tsa = read.tsa.unwrap().to_der().unwrap();
    let subject = signer.certificate().subject_der();
    match policy.tsa_name {
        TsaName::Subject => assert!(tsa.ends_with(subject) && tsa[0] == 0xa4),
        _ => assert_eq!(&tsa[2..], b"tsa.example"),
    }
    assert_eq!(read.extensions.is_some(), policy.qc_statements);

    let certs: Vec<_> = data.certificates.map(|set| set.0.into_vec()).unwrap_or_default();
    let carried: Vec<_> = certs
        .iter()
        .map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => certificate.to_der().unwrap(),
            CertificateChoices::Other(_) => panic!("no certificate"),
        })
        .collect();
    let count = if policy.certificates == TsaCertificates::Chain { 2 } else { 1 };
    assert_eq!(carried.len(), if cert_req { count } else { 0 });
    assert!(!cert_req || carried.iter().any(|certificate| certificate == signer.certificate().der()));
    assert!(carried.is_sorted(), "DER SET OF");

    let signers = data.signer_infos.0.into_vec();
    let [by] = &signers[..] else { panic!("one SignerInfo") };
    let SignerIdentifier::IssuerAndSerialNumber(sid) = &by.sid else { panic!("issuerAndSerialNumber") };
    assert_eq!(sid.issuer.to_der().unwrap(), signer.certificate().issuer_der());
    assert_eq!(sid.serial_number.as_bytes(), [0x00, 0x99]);
    assert!(by.digest_alg.parameters.is_none(), "RFC 5754");
    assert_eq!(by.signature_algorithm.to_der().unwrap(), signer.algorithm().identifier());
    let attributes = by.signed_attrs.as_ref().unwrap();
    let oids: Vec<_> = attributes.iter().map(|attribute| attribute.oid.to_string()).collect();
    let wanted = [
        (true, "1.2.840.113549.1.9.3"),
        (true, "1.2.840.113549.1.9.4"),
        (policy.signing_time, "1.2.840.113549.1.9.5"),
        (policy.algorithm_protection, "1.2.840.113549.1.9.52"),
        (policy.ess_cert_id_v1, "1.2.840.113549.1.9.16.2.12"),
        (!policy.ess_cert_id_v1, "1.2.840.113549.1.9.16.2.47"),
    ];
    for (is_there, oid) in wanted {
        assert_eq!(oids.iter().any(|other| other == oid), is_there, "{oid} in {oids:?}");
    }
    assert_eq!(oids.len(), wanted.iter().filter(|(is_there, _)| *is_there).count());
    let value = |oid: &str| {
        let attribute = attributes.iter().find(|attribute| attribute.oid.to_string() == oid).unwrap();
        attribute.values.get(0).unwrap().to_der().unwrap()
    };
    let (digest, _) = digest_of(signer.algorithm());
    assert_eq!(&value("1.2.840.113549.1.9.4")[2..], digest::digest(digest, tst_info).as_ref());
    if policy.signing_time {
        assert_eq!(&value("1.2.840.113549.1.9.5")[2..], b"270115080000Z");
    }
    let identifier = AlgorithmIdentifierOwned::from_der(signer.algorithm().identifier()).unwrap();
    let signed = attributes.to_der().unwrap();
    assert_eq!(signed[0], 0x31);
    verify_signed(signer.certificate().spki_der(), &identifier, &signed, by.signature.as_bytes()).unwrap();
}
