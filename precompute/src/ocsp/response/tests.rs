//! Compared with the `x509-ocsp` types, which encode the same values in their own way.

use std::{sync::LazyLock, time::Duration};

use der::{
    Decode as _, Encode as _, Sequence,
    asn1::{BitString, GeneralizedTime, Ia5String, Int, Null, OctetString, OctetStringRef, Uint},
};
use proptest::{collection::vec, prelude::*, sample::select};
use x509_cert::{
    ext::{Extension, pkix::CrlReason},
    name::Name,
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, ObjectIdentifier},
};
use x509_ocsp::{
    BasicOcspResponse, OcspGeneralizedTime, OcspResponse, OcspResponseStatus, ResponseBytes, ResponseData, RevokedInfo,
    SingleResponse, Version,
};

use super::*;
use crate::{
    ocsp::{Carried, HashAlgorithm},
    pki::Algorithm,
    records::CrlReference,
    source::openssl::{Ca, KEYS},
};

/// A certificate of each kind of key.
static CERTIFICATES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| KEYS.iter().map(|key| Ca::new("Template CA", key).certificate().der().to_vec()).collect());

/// A signature of one of the three lengths.
fn ml_dsa_signature() -> impl Strategy<Value = Vec<u8>> {
    (select(vec![2420, 3309, 4627]), any::<u8>()).prop_map(|(length, octet)| vec![octet; length])
}

fn status() -> impl Strategy<Value = CertStatus> {
    let revoked = (0u64..4_294_967_296, select(&Reason::ALL[..]))
        .prop_map(|(time, reason)| CertStatus::Revoked { time: UnixTime(time), reason });
    prop_oneof![Just(CertStatus::Good), Just(CertStatus::Unknown), revoked]
}

/// What the values of a response are made of; a plain encoder writes it from scratch.
#[derive(Clone, Debug)]
struct Values {
    statuses: Vec<CertStatus>,
    hash: HashAlgorithm,
    serial: Vec<u8>,
    name: Option<String>,
    algorithm: Algorithm,
    extended_revoke: bool,
    nonce: Option<Vec<u8>>,
    archive_cutoff: Option<UnixTime>,
    carried: Option<Carried>,
    urls: [Box<str>; 1],
    certificates: usize,
    times: [UnixTime; 3],
    signature: Vec<u8>,
}

/// CrlID, RFC 6960 section 4.4.2.
#[derive(Sequence)]
struct CrlId {
    #[asn1(context_specific = "0", optional = "true")]
    crl_url: Option<Ia5String>,
    #[asn1(context_specific = "1", optional = "true")]
    crl_num: Option<Int>,
    #[asn1(context_specific = "2", optional = "true")]
    crl_time: Option<OcspGeneralizedTime>,
}

/// Common PKI 2.0 part 4.
#[derive(Sequence)]
struct CertHash {
    hash_algorithm: AlgorithmIdentifierOwned,
    certificate_hash: OctetString,
}

fn carried() -> impl Strategy<Value = Carried> {
    let time = || (0..=UnixTime::MAX.0).prop_map(UnixTime);
    let crl = (0u8..3, proptest::option::of(any::<u64>()), time()).prop_map(|(url, number, time)| CrlReference {
        url,
        number,
        time,
    });
    let option = proptest::option::of::<BoxedStrategy<CrlReference>>;
    (proptest::option::of(any::<[u8; 32]>()), option(crl.boxed()), proptest::option::of(time()))
        .prop_map(|(cert_hash, crl, invalidity_date)| Carried { cert_hash, crl, invalidity_date })
}

const HASH: [u8; 64] = [0xab; 64];
const KEY_HASH: [u8; 20] = [7; 20];

prop_compose! {
    fn values()(
        statuses in vec(status(), 1..4),
        hash in select(&HashAlgorithm::ALL[..]),
        mut serial in vec(any::<u8>(), 1..21),
        name in proptest::option::of("CN=[a-z]{1,200}"),
        algorithm in select(&Algorithm::ALL[..]),
        extended_revoke in any::<bool>(),
        nonce in proptest::option::of(vec(any::<u8>(), 1..129)),
        archive_cutoff in proptest::option::of(0..=UnixTime::MAX.0),
        carried in proptest::option::of(carried()),
        url in "http://[a-z/]{1,300}",
        certificates in 0..=KEYS.len(),
        times in [0..=UnixTime::MAX.0, 0..=UnixTime::MAX.0, 0..=UnixTime::MAX.0],
        signature in prop_oneof![vec(any::<u8>(), 64..600), ml_dsa_signature()],
    ) -> Values {
        serial[0] = serial[0] & 0x7f | 1;
        Values {
            statuses, hash, serial, name, algorithm, extended_revoke, nonce,
            archive_cutoff: archive_cutoff.map(UnixTime),
            carried,
            urls: [url.into()],
            certificates,
            times: times.map(UnixTime),
            signature,
        }
    }
}

impl Values {
    fn ours(&self) -> Vec<u8> {
        let cert_id = CertId {
            hash: self.hash,
            issuer_name_hash: &HASH[..self.hash.len()],
            issuer_key_hash: &HASH[..self.hash.len()],
            serial: &self.serial,
        };
        let single = |&status: &CertStatus| Single {
            cert_id,
            status,
            this_update: self.times[1],
            next_update: self.times[2],
            archive_cutoff: self.archive_cutoff,
            carrying: self.carried.as_ref().map(|carried| Carrying { carried, urls: &self.urls }),
        };
        let singles: Vec<_> = self.statuses.iter().map(single).collect();
        let content = Content {
            produced_at: self.times[0],
            singles: &singles,
            extended_revoke: self.extended_revoke,
            nonce: self.nonce.as_deref(),
        };
        let name = self.name().map(|name| name.to_der().unwrap());
        let id = name.as_deref().map_or(ResponderId::ByKey(&KEY_HASH), ResponderId::ByName);
        let certificates: Vec<_> = CERTIFICATES[..self.certificates].iter().map(Vec::as_slice).collect();
        let template = Template::new(id, self.algorithm.identifier(), &certificates);
        let response = template.response(&content, &self.signature);
        assert_eq!(template.lay_out(&content, self.signature.len()).length(), response.len());
        let data = template.response_data(&content);
        assert!(response.windows(data.len()).any(|window| window == data), "what is sent is what was signed");
        response
    }

    fn name(&self) -> Option<Name> {
        self.name.as_ref().map(|name| name.parse().unwrap())
    }

    fn oracles(&self) -> Vec<u8> {
        let octets = |octets: &[u8]| OctetString::new(octets).unwrap();
        let time = |time: UnixTime| {
            OcspGeneralizedTime(GeneralizedTime::from_unix_duration(Duration::from_secs(time.0)).unwrap())
        };
        let extension = |oid: &str, value: Vec<u8>| Extension {
            extn_id: ObjectIdentifier::new_unwrap(oid),
            critical: false,
            extn_value: octets(&value),
        };
        let mut extensions = Vec::new();
        if let Some(nonce) = &self.nonce {
            let inner = OctetStringRef::new(nonce).unwrap().to_der().unwrap();
            extensions.push(extension("1.3.6.1.5.5.7.48.1.2", inner));
        }
        if self.extended_revoke {
            extensions.push(extension("1.3.6.1.5.5.7.48.1.9", Null.to_der().unwrap()));
        }
        let mut of_single = Vec::new();
        if let Some(cutoff) = self.archive_cutoff {
            of_single.push(extension("1.3.6.1.5.5.7.48.1.6", time(cutoff).to_der().unwrap()));
        }
        let Carried { cert_hash, crl, invalidity_date } = self.carried.unwrap_or_default();
        if let Some(CrlReference { url, number, time: at }) = crl {
            let crl_id = CrlId {
                crl_url: (url == 1).then(|| Ia5String::new(&*self.urls[0]).unwrap()),
                crl_num: number
                    .map(|number| Int::new(&Uint::new(&number.to_be_bytes()).unwrap().to_der().unwrap()[2..]).unwrap()),
                crl_time: Some(time(at)),
            };
            of_single.push(extension("1.3.6.1.5.5.7.48.1.3", crl_id.to_der().unwrap()));
        }
        if let Some(date) = invalidity_date {
            of_single.push(extension("2.5.29.24", time(date).to_der().unwrap()));
        }
        if let Some(hash) = &cert_hash {
            let algorithm = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
            let hash = CertHash {
                hash_algorithm: AlgorithmIdentifierOwned { oid: algorithm, parameters: None },
                certificate_hash: octets(hash),
            };
            of_single.push(extension("1.3.36.8.3.13", hash.to_der().unwrap()));
        }
        let of_single = Some(of_single).filter(|list| !list.is_empty());
        let oid = match self.hash {
            HashAlgorithm::Sha1 => "1.3.14.3.2.26",
            HashAlgorithm::Sha256 => "2.16.840.1.101.3.4.2.1",
            HashAlgorithm::Sha384 => "2.16.840.1.101.3.4.2.2",
            HashAlgorithm::Sha512 => "2.16.840.1.101.3.4.2.3",
        };
        let single = |status: &CertStatus| SingleResponse {
            cert_id: x509_ocsp::CertId {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid: ObjectIdentifier::new_unwrap(oid),
                    parameters: Some(Null.into()),
                },
                issuer_name_hash: octets(&HASH[..self.hash.len()]),
                issuer_key_hash: octets(&HASH[..self.hash.len()]),
                serial_number: SerialNumber::new(&self.serial).unwrap(),
            },
            cert_status: match *status {
                CertStatus::Good => x509_ocsp::CertStatus::Good(Null),
                CertStatus::Unknown => x509_ocsp::CertStatus::Unknown(Null),
                CertStatus::Revoked { time: at, reason } => x509_ocsp::CertStatus::Revoked(RevokedInfo {
                    revocation_time: time(at),
                    revocation_reason: (reason != Reason::Unspecified)
                        .then(|| CrlReason::try_from(u32::from(reason.code())).unwrap()),
                }),
            },
            this_update: time(self.times[1]),
            next_update: Some(time(self.times[2])),
            single_extensions: of_single.clone(),
        };
        let certificates: Vec<_> = CERTIFICATES[..self.certificates]
            .iter()
            .map(|der| x509_cert::Certificate::from_der(der).unwrap())
            .collect();
        let basic = BasicOcspResponse {
            tbs_response_data: ResponseData {
                version: Version::V1,
                responder_id: match self.name() {
                    Some(name) => x509_ocsp::ResponderId::ByName(name),
                    None => x509_ocsp::ResponderId::ByKey(octets(&KEY_HASH)),
                },
                produced_at: time(self.times[0]),
                responses: self.statuses.iter().map(single).collect(),
                response_extensions: Some(extensions).filter(|list| !list.is_empty()),
            },
            signature_algorithm: AlgorithmIdentifierOwned::from_der(self.algorithm.identifier()).unwrap(),
            signature: BitString::from_bytes(&self.signature).unwrap(),
            certs: Some(certificates).filter(|list| !list.is_empty()),
        };
        let response = OcspResponse {
            response_status: OcspResponseStatus::Successful,
            response_bytes: Some(ResponseBytes {
                response_type: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1"),
                response: octets(&basic.to_der().unwrap()),
            }),
        };
        response.to_der().unwrap()
    }
}

proptest! {
    #[test]
    fn a_response_equals_what_a_plain_encoder_writes(values in values()) {
        prop_assert_eq!(values.ours(), values.oracles());
    }
}

#[test]
fn lengths_of_every_size_are_written_as_der() {
    for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0x2_0000] {
        let content = vec![7; length];
        let mut out = Vec::new();
        header(&mut out, 0x04, length);
        out.extend_from_slice(&content);
        assert_eq!(out, OctetStringRef::new(&content).unwrap().to_der().unwrap(), "{length}");
        assert_eq!(out.len(), element(length));
    }
}

#[test]
fn templates_that_differ_have_other_fingerprints() {
    let algorithm = Algorithm::Ed25519.identifier();
    let by_key = ResponderId::ByKey(&KEY_HASH);
    let plain = Template::new(by_key, algorithm, &[]);
    assert_eq!(plain.fingerprint(), Template::new(by_key, algorithm, &[]).fingerprint());
    for other in [
        Template::new(ResponderId::ByKey(&[8; 20]), algorithm, &[]),
        Template::new(by_key, Algorithm::EcdsaP256Sha256.identifier(), &[]),
        Template::new(by_key, algorithm, &[&CERTIFICATES[0]]),
    ] {
        assert_ne!(plain.fingerprint(), other.fingerprint());
    }
}

#[test]
fn errors_have_no_response_bytes() {
    for (error, code) in [
        (OcspError::MalformedRequest, OcspResponseStatus::MalformedRequest),
        (OcspError::InternalError, OcspResponseStatus::InternalError),
        (OcspError::TryLater, OcspResponseStatus::TryLater),
        (OcspError::SigRequired, OcspResponseStatus::SigRequired),
        (OcspError::Unauthorized, OcspResponseStatus::Unauthorized),
    ] {
        let parsed = OcspResponse::from_der(&error_response(error)).unwrap();
        assert_eq!((parsed.response_status, parsed.response_bytes), (code, None));
    }
}
