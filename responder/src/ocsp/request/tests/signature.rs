use super::*;

/// A signed request, with these elements in Signature.
fn signed(inside: &[&[u8]]) -> Vec<u8> {
    sequence(&[&tbs(&tlv(0xa1, &name())), &tlv(0xa0, &sequence(inside))])
}

fn tbs(requestor_name: &[u8]) -> Vec<u8> {
    let list = sequence(&[&sequence(&[&id(HashAlgorithm::Sha1, &[5])])]);
    let nonce = tlv(0xa2, &sequence(&[&extension(NONCE, None, &tlv(4, &[9; 16]))]));
    sequence(&[requestor_name, &list, &nonce])
}

/// directoryName with an empty Name.
fn name() -> Vec<u8> {
    tlv(0xa4, &sequence(&[]))
}

fn ed25519() -> Vec<u8> {
    sequence(&[&tlv(6, &[0x2b, 0x65, 0x70])])
}

#[test]
fn the_parts_of_a_signature_are_slices_of_the_request() {
    let bits = tlv(3, &[0, 1, 2]);
    let certs = [sequence(&[&[5, 0]]), sequence(&[])].concat();
    let der = signed(&[&ed25519(), &bits, &tlv(0xa0, &tlv(0x30, &certs))]);
    let signature = Request::decode(&der).unwrap().signature().unwrap().unwrap();
    let expected = RequestSignature {
        tbs: &tbs(&tlv(0xa1, &name())),
        algorithm: &ed25519(),
        bits: &[1, 2],
        certs: &certs,
        requestor_name: Some(&name()),
    };
    assert_eq!(signature, expected);

    let der = sequence(&[&tbs(&[]), &tlv(0xa0, &sequence(&[&ed25519(), &bits]))]);
    let signature = Request::decode(&der).unwrap().signature().unwrap().unwrap();
    assert_eq!(signature, RequestSignature { tbs: &tbs(&[]), certs: &[], requestor_name: None, ..expected });
}

#[test]
fn a_request_without_signature_has_none() {
    assert_eq!(Request::decode(&plain()).unwrap().signature(), Ok(None));
    assert_eq!(Request::decode(&sequence(&[&tbs(&tlv(0xa1, &name()))])).unwrap().signature(), Ok(None));
}

#[test]
fn a_signature_that_is_looked_at_must_conform() {
    let algorithm = ed25519();
    let bits = tlv(3, &[0, 1, 2]);
    let malformed = [
        signed(&[]),
        signed(&[&algorithm]),
        signed(&[&bits, &algorithm]),
        signed(&[&sequence(&[]), &bits]),
        signed(&[&algorithm, &tlv(3, &[])]),
        signed(&[&algorithm, &tlv(3, &[4, 1, 0x20])]),
        signed(&[&algorithm, &tlv(4, &[0, 1, 2])]),
        signed(&[&algorithm, &bits, &tlv(0xa0, &[])]),
        signed(&[&algorithm, &bits, &tlv(0xa0, &tlv(0x30, &[5, 0]))]),
        signed(&[&algorithm, &bits, &tlv(0xa0, &tlv(0x30, &[0x30, 1]))]),
        signed(&[&algorithm, &bits, &tlv(0xa1, &sequence(&[]))]),
        signed(&[&algorithm, &bits, &tlv(0xa0, &sequence(&[])), &bits]),
        sequence(&[&tbs(&tlv(0xa1, &[])), &tlv(0xa0, &sequence(&[&algorithm, &bits]))]),
        sequence(&[&tbs(&tlv(0xa1, &[name(), name()].concat())), &tlv(0xa0, &sequence(&[&algorithm, &bits]))]),
    ];
    for der in malformed {
        let request = Request::decode(&der).unwrap();
        assert_eq!(request.signature(), Err(DecodeError::Malformed), "{der:02x?}");
    }
    let right = signed(&[&algorithm, &bits, &tlv(0xa0, &sequence(&[]))]);
    assert!(Request::decode(&right).unwrap().signature().is_ok_and(|signature| signature.is_some()));
}
