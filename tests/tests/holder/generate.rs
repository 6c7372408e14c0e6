//! Keys that are made on a token.

use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use precompute::{
    pki::verify_signed,
    sign::{FaultClass, Holder as _, KeyKind, Pkcs11Token, pkcs11::Uri},
};

use crate::bench::{Bench, alone};

fn uri(path: &str) -> Uri {
    Uri::parse(&format!("pkcs11:{path}?module-path={}&pin-source=pin", Bench::shim().display())).unwrap()
}

#[test]
fn a_key_made_on_a_token_never_leaves_it_and_signs() {
    alone(|bench| {
        // Used to the end, so that the login is not left in between.
        let kept = bench.holder("a");
        bench.opens(&kept);
        for (number, kind) in
            [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Ed25519].into_iter().enumerate()
        {
            // With a CKA_ID of its own every other time.
            let id = if number % 2 == 0 { String::new() } else { format!(";id=%4{number}") };
            let uri = uri(&format!("token=a;object={kind:?}{id}"));
            let token = Pkcs11Token::generate(&uri, bench.dir(), kind).unwrap();
            let algorithm = kind.algorithm();
            let signature = token.open().unwrap().sign(b"message").unwrap();
            let octets = token.public_key_octets();
            let content = [algorithm.key_identifier(), &bit_string(octets)].concat();
            let identifier = der::Decode::from_der(algorithm.identifier()).unwrap();
            verify_signed(&tlv(0x30, &content), &identifier, b"message", &signature).unwrap();

            let beside = bench.beside("a");
            let mut ids = Vec::new();
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                let label = Attribute::Label(format!("{kind:?}").into());
                let objects = beside.find_objects(&[Attribute::Class(class), label]).unwrap();
                let [object] = objects[..] else { panic!("{kind:?}: {objects:?}") };
                let has = |wanted: Attribute| {
                    let read = beside.get_attributes(object, &[wanted.attribute_type()]).unwrap();
                    assert_eq!(read, std::slice::from_ref(&wanted), "{kind:?}");
                };
                has(Attribute::Token(true));
                if class == ObjectClass::PRIVATE_KEY {
                    for attribute in [
                        Attribute::Private(true),
                        Attribute::Sensitive(true),
                        Attribute::AlwaysSensitive(true),
                        Attribute::Extractable(false),
                        Attribute::NeverExtractable(true),
                        Attribute::Sign(true),
                    ] {
                        has(attribute);
                    }
                }
                ids.extend(beside.get_attributes(object, &[AttributeType::Id]).unwrap());
            }
            assert_eq!(ids[0], ids[1], "{kind:?}");
            match &ids[0] {
                Attribute::Id(id) if number % 2 == 0 => assert_eq!(id.len(), 20, "SHA-1 of the public key"),
                id => assert_eq!(*id, Attribute::Id(vec![0x40 + number as u8])),
            }

            let found = Pkcs11Token::existing(&uri, bench.dir()).unwrap();
            assert_eq!((found.algorithm(), found.public_key_octets()), (algorithm, octets));
            found.open().unwrap();
        }
        assert_eq!(bench.calls("C_Login token=a CKR_OK"), 1);
    });
}

#[test]
fn nothing_on_a_token_is_written_over() {
    alone(|bench| {
        // Used to the end, so that the library is not finalised while somebody else in this process uses it.
        let kept = bench.holder("a");
        bench.opens(&kept);
        let path = |object: &str| uri(&format!("token=a;{object}"));
        for (object, said) in [
            ("object=key", "key with object=key, and nothing is overwritten"),
            ("object=other;id=%01", "already holds a private key with object=other;id=%01"),
            ("type=private", "has no label; add one to its URI: object=…"),
        ] {
            let fault = Pkcs11Token::generate(&path(object), bench.dir(), KeyKind::P256).unwrap_err();
            assert!(fault.class == FaultClass::Defect && fault.message.contains(said), "{object}: {fault}");
        }
        let absent = Pkcs11Token::existing(&path("object=absent"), bench.dir()).unwrap_err();
        assert!(absent.message.contains("holds no private key with object=absent"), "{absent}");
        assert_eq!(bench.beside("a").find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap().len(), 1);
    });
}

fn bit_string(octets: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], octets].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head: &[u8] = match content.len() {
        0..0x80 => &[tag, low],
        0x80..0x100 => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, content].concat()
}
