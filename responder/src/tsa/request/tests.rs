use der::{
    Decode as _, Encode as _,
    asn1::{Int, ObjectIdentifier, OctetString},
};
use precompute::{pki::encode::header, tsp::ImprintHash};
use proptest::prelude::*;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_tsp::{MessageImprint, TimeStampReq, TspVersion};

use super::*;
use crate::tsa::testing::policy;

/// The parts of a request, each a whole element.
#[derive(Clone)]
struct Draft {
    version: Vec<u8>,
    hash: Vec<u8>,
    parameters: Vec<u8>,
    digest: Vec<u8>,
    /// What follows the imprint.
    rest: Vec<u8>,
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    header(&mut out, tag, content.len());
    out.extend_from_slice(content);
    out
}

impl Draft {
    fn new() -> Self {
        Self {
            version: element(0x02, &[1]),
            hash: element(0x06, ImprintHash::Sha256.oid()),
            parameters: vec![0x05, 0x00],
            digest: element(0x04, &[7; 32]),
            rest: Vec::new(),
        }
    }

    fn der(&self) -> Vec<u8> {
        let algorithm = element(0x30, &[&self.hash[..], &self.parameters].concat());
        let imprint = element(0x30, &[&algorithm[..], &self.digest].concat());
        element(0x30, &[&self.version[..], &imprint, &self.rest].concat())
    }

    fn rest(rest: &[Vec<u8>]) -> Self {
        Self { rest: rest.concat(), ..Self::new() }
    }
}

fn outcome(der: &[u8]) -> std::result::Result<ImprintHash, Failure> {
    let request = Request::decode(der)?;
    request.check_version()?;
    request.check(&policy(), request.policy.is_none())
}

#[test]
fn a_request_says_what_others_put_into_it() {
    for (parameters, nonce, cert_req, asked) in [
        (true, None, false, None),
        (false, Some(&[0x7f][..]), true, Some("1.3.6.1.4.1.99999.1")),
        (true, Some(&[0x80, 0, 0, 1][..]), true, None),
    ] {
        let request = TimeStampReq {
            version: TspVersion::V1,
            message_imprint: MessageImprint {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"),
                    parameters: parameters.then(der::Any::null),
                },
                hashed_message: OctetString::new([3; 64]).unwrap(),
            },
            req_policy: asked.map(ObjectIdentifier::new_unwrap),
            nonce: nonce.map(|nonce| Int::new(nonce).unwrap()),
            cert_req,
            extensions: None,
        };
        let der = request.to_der().unwrap();
        let read = Request::decode(&der).unwrap();
        assert_eq!(read.imprint, request.message_imprint.to_der().unwrap());
        assert_eq!((read.digest, read.nonce, read.cert_req), (&[3; 64][..], nonce, cert_req));
        assert_eq!(read.policy, request.req_policy.as_ref().map(ObjectIdentifier::as_bytes));
        read.check_version().unwrap();
        assert_eq!(read.check(&policy(), true), Ok(ImprintHash::Sha512));
    }
}

#[test]
fn what_is_no_der_is_of_the_wrong_format() {
    let good = Draft::new().der();
    assert_eq!(outcome(&good), Ok(ImprintHash::Sha256));
    for end in 0..good.len() {
        assert_eq!(outcome(&good[..end]), Err(Failure::BadDataFormat), "cut at {end}");
    }
    let long_form = [&[0x30, 0x81, good.len() as u8 - 2][..], &good[2..]].concat();
    let indefinite = [&[0x30, 0x80][..], &good[2..], &[0, 0]].concat();
    let constructed = element(0x24, &element(0x04, &[7; 32]));
    let with = |change: fn(&mut Draft)| {
        let mut draft = Draft::new();
        change(&mut draft);
        draft.der()
    };
    let extension = |content: &[Vec<u8>]| Draft::rest(&[element(0xa0, &content.concat())]).der();
    for (what, der) in [
        ("nothing", Vec::new()),
        ("trailing bytes", [&good[..], &[0]].concat()),
        ("a length that is not minimal", long_form),
        ("an indefinite length", indefinite),
        ("a constructed string", Draft { digest: constructed, ..Draft::new() }.der()),
        ("an empty INTEGER", with(|draft| draft.version = element(0x02, &[]))),
        ("an INTEGER with a zero too many", with(|draft| draft.version = element(0x02, &[0, 1]))),
        ("an OBJECT IDENTIFIER without end", with(|draft| draft.hash = element(0x06, &[0x2a, 0x86]))),
        ("an OBJECT IDENTIFIER with padding", with(|draft| draft.hash = element(0x06, &[0x2a, 0x80, 1]))),
        ("a nonce that is not minimal", Draft::rest(&[element(0x02, &[0, 1])]).der()),
        ("fields in another order", Draft::rest(&[element(0x02, &[1]), element(0x06, &[0x2a, 3])]).der()),
        ("a field twice", Draft::rest(&[element(0x02, &[1]), element(0x02, &[1])]).der()),
        ("a BOOLEAN that is neither", Draft::rest(&[element(0x01, &[1])]).der()),
        ("a long BOOLEAN", Draft::rest(&[element(0x01, &[0xff, 0xff])]).der()),
        ("an unknown field", Draft::rest(&[element(0x81, &[])]).der()),
        ("no extension in the list", extension(&[])),
        ("an extension without value", extension(&[element(0x30, &element(0x06, &[0x2a, 3]))])),
        ("two parameters", with(|draft| draft.parameters = vec![5, 0, 5, 0])),
        ("parameters that end early", with(|draft| draft.parameters = vec![4, 9, 1])),
    ] {
        assert_eq!(outcome(&der), Err(Failure::BadDataFormat), "{what}");
    }
}

#[test]
fn each_refusal_has_its_own_failure() {
    let with = |change: &dyn Fn(&mut Draft)| {
        let mut draft = Draft::new();
        change(&mut draft);
        draft.der()
    };
    let hash = |oid: &[u8], length: usize| {
        with(&|draft| {
            draft.hash = element(0x06, oid);
            draft.digest = element(0x04, &vec![7; length]);
        })
    };
    let extension = element(0xa0, &element(0x30, &[element(0x06, &[0x2a, 3]), element(0x04, &[])].concat()));
    // An arc of 128 bits, and 64 bytes of small ones.
    let uuid = [&[0x69][..], &[0xff; 18], &[0x7f]].concat();
    for (what, der, expected) in [
        ("version 2", with(&|draft| draft.version = element(0x02, &[2])), Err(Failure::BadRequest)),
        ("a huge version", with(&|draft| draft.version = element(0x02, &[1; 40])), Err(Failure::BadRequest)),
        ("MD5", hash(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05], 16), Err(Failure::BadAlg)),
        ("SHA-1", hash(ImprintHash::Sha1.oid(), 20), Err(Failure::BadAlg)),
        ("a hash that nobody knows", hash(&uuid, 32), Err(Failure::BadAlg)),
        ("parameters", with(&|draft| draft.parameters = element(0x04, &[1])), Err(Failure::BadAlg)),
        ("NULL with content", with(&|draft| draft.parameters = element(0x05, &[1])), Err(Failure::BadAlg)),
        ("no parameters", with(&|draft| draft.parameters.clear()), Ok(ImprintHash::Sha256)),
        ("a short digest", hash(ImprintHash::Sha256.oid(), 31), Err(Failure::BadDataFormat)),
        ("no digest", hash(ImprintHash::Sha256.oid(), 0), Err(Failure::BadDataFormat)),
        ("another's digest", hash(ImprintHash::Sha3_512.oid(), 32), Err(Failure::BadDataFormat)),
        ("SHA3-512", hash(ImprintHash::Sha3_512.oid(), 64), Ok(ImprintHash::Sha3_512)),
        ("an unknown policy", Draft::rest(&[element(0x06, &[0x2a, 3])]).der(), Err(Failure::UnacceptedPolicy)),
        ("a policy with a UUID", Draft::rest(&[element(0x06, &uuid)]).der(), Err(Failure::UnacceptedPolicy)),
        ("a policy of 64 bytes", Draft::rest(&[element(0x06, &[1; 64])]).der(), Err(Failure::UnacceptedPolicy)),
        ("an extension", Draft::rest(std::slice::from_ref(&extension)).der(), Err(Failure::UnacceptedExtension)),
        ("32 bytes of nonce", Draft::rest(&[element(0x02, &[0x7f; 32])]).der(), Ok(ImprintHash::Sha256)),
        ("128 bytes of nonce", Draft::rest(&[element(0x02, &[0x7f; 128])]).der(), Ok(ImprintHash::Sha256)),
        (
            "128 bytes and a sign",
            Draft::rest(&[element(0x02, &[&[0][..], &[0xff; 128]].concat())]).der(),
            Ok(ImprintHash::Sha256),
        ),
        (
            "128 bytes, negative",
            Draft::rest(&[element(0x02, &[&[0xff][..], &[0x01; 128]].concat())]).der(),
            Ok(ImprintHash::Sha256),
        ),
        ("1025 bits", Draft::rest(&[element(0x02, &[&[1][..], &[0; 128]].concat())]).der(), Err(Failure::BadRequest)),
        ("130 bytes", Draft::rest(&[element(0x02, &[0x7f; 130])]).der(), Err(Failure::BadRequest)),
        (
            "17 extensions",
            Draft::rest(&[element(0xa0, &extension[2..].repeat(17))]).der(),
            Err(Failure::UnacceptedExtension),
        ),
        (
            "500 extensions",
            Draft::rest(&[element(0xa0, &extension[2..].repeat(500))]).der(),
            Err(Failure::UnacceptedExtension),
        ),
        (
            "an extension with a UUID",
            Draft::rest(&[element(
                0xa0,
                &element(0x30, &[element(0x06, &uuid), element(0x01, &[0xff]), element(0x04, &[])].concat()),
            )])
            .der(),
            Err(Failure::UnacceptedExtension),
        ),
        ("certReq FALSE", Draft::rest(&[element(0x01, &[0])]).der(), Ok(ImprintHash::Sha256)),
    ] {
        assert_eq!(outcome(&der), expected, "{what}");
    }
}

#[test]
fn checks_come_in_one_order() {
    // Everything is wrong; what is found first is mended, and so on.
    let extension = element(0xa0, &element(0x30, &[element(0x06, &[0x2a, 3]), element(0x04, &[])].concat()));
    let (asked, nonce) = (element(0x06, &[0x2a, 3]), element(0x02, &[0x7f; 130]));
    let mut draft = Draft::rest(&[asked, nonce.clone(), extension.clone()]);
    draft.version = element(0x02, &[2]);
    draft.hash = element(0x06, ImprintHash::Sha1.oid());
    assert_eq!(outcome(&draft.der()), Err(Failure::BadRequest), "version");
    draft.version = element(0x02, &[1]);
    assert_eq!(outcome(&draft.der()), Err(Failure::BadAlg), "imprint");
    draft.hash = element(0x06, ImprintHash::Sha256.oid());
    assert_eq!(outcome(&draft.der()), Err(Failure::UnacceptedPolicy), "policy");
    draft.rest = [nonce.clone(), extension].concat();
    assert_eq!(outcome(&draft.der()), Err(Failure::UnacceptedExtension), "extensions");
    draft.rest = nonce;
    assert_eq!(outcome(&draft.der()), Err(Failure::BadRequest), "nonce");
}

proptest! {
    #[test]
    fn nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::decode(&octets);
    }

    #[test]
    fn a_changed_octet_is_refused_or_read_as_others_read_it(at in 0..200usize, to in any::<u8>()) {
        let extension = element(0xa0, &element(0x30, &[element(0x06, &[0x2a, 3]), element(0x04, &[1])].concat()));
        let draft = Draft::rest(&[element(0x06, &[0x2a, 3]), element(0x02, &[5, 6]), element(0x01, &[0xff]), extension]);
        let mut der = draft.der();
        let length = der.len();
        der[at % length] = to;
        if let (Ok(read), Ok(theirs)) = (Request::decode(&der), TimeStampReq::from_der(&der)) {
            prop_assert_eq!(read.imprint, theirs.message_imprint.to_der().unwrap());
            prop_assert_eq!(read.nonce, theirs.nonce.as_ref().map(Int::as_bytes));
            prop_assert_eq!(read.cert_req, theirs.cert_req);
        }
    }
}
