//! Which token and which key is taken, and which is refused.

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, ObjectClass},
    session::Session as Pkcs11Session,
};
use ostia_tests::{KeyKind, SoftHsm};
use precompute::sign::{Algorithm, Algorithm::*, FaultClass, Holder as _};

use crate::bench::{alone, alone_with, key, refuses, signs};

#[test]
fn every_algorithm_signs_and_verifies() {
    const KEYS: [(KeyKind, &str, &[Algorithm]); 4] = [
        (KeyKind::P256, "p256", &[EcdsaP256Sha256]),
        (KeyKind::P384, "p384", &[EcdsaP384Sha384]),
        (KeyKind::Rsa2048, "rsa", &[RsaPkcs1Sha256, RsaPssSha256]),
        (KeyKind::Ed25519, "ed", &[Ed25519]),
    ];
    let keys = |hsm: &SoftHsm| {
        for (number, (kind, label, _)) in KEYS.into_iter().enumerate() {
            key(hsm, kind, label, &format!("1{number}"), &["a"]);
        }
    };
    alone_with(keys, |bench| {
        for (_, label, algorithms) in KEYS {
            for &algorithm in algorithms {
                let holder = bench.holder_of(&format!("token=a;object={label}"), label, algorithm);
                let mut session = bench.opens(&holder);
                for length in [0, 1, 200, 70_000] {
                    signs(&mut *session, &bench.certificate(label), algorithm, &vec![7; length]);
                }
            }
        }
    });
}

#[test]
fn a_token_is_taken_by_what_its_uri_says_and_only_if_it_is_the_only_one() {
    let twin = |hsm: &SoftHsm| hsm.add_token("b");
    alone_with(twin, |bench| {
        let named = |path: &str| bench.holder_of(path, "key", EcdsaP256Sha256);
        // Used to the end, so that the login is not left in between.
        let kept = named("token=a;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;object=key;id=%01;type=private");
        bench.opens(&kept);
        let a = refuses(
            &named("token=absent;object=key"),
            FaultClass::Device,
            &["has no token with token=absent; it has `token=a;serial="],
        );
        let serial = a.message.split("token=a;serial=").nth(1).unwrap().split(';').next().unwrap();
        let slot = a.message.split(&format!("{serial};slot-id=")).nth(1).unwrap().split('`').next().unwrap();
        bench.opens(&named(&format!("serial={serial};object=key")));
        bench.opens(&named(&format!("slot-id={slot};object=key")));
        refuses(
            &named(&format!("token=b;serial={serial}")),
            FaultClass::Device,
            &["has no token with token=b;serial="],
        );
        refuses(&named("token=a;model=other"), FaultClass::Device, &["has no token with token=a;model=other"]);
        refuses(
            &named("token=b;object=key"),
            FaultClass::Defect,
            &["has more than one token with token=b: `token=b;serial=", "name the one by token=… and serial=…"],
        );
        refuses(&named("object=key"), FaultClass::Defect, &["more than one token"]);
        assert_eq!(bench.calls("C_Login"), 1);
        assert_eq!(
            (named("token=a").name(), named("token=a;serial=1").name(), named("slot-id=1").name()),
            ("a", "a (1)", "slot-id=1")
        );
    });
}

#[test]
fn a_key_is_taken_by_what_its_uri_says_and_only_if_it_is_the_only_one() {
    let more = |hsm: &SoftHsm| {
        hsm.import("a", &hsm.dir().join("key.key"), "key", "02");
        key(hsm, KeyKind::P256, "other", "03", &["a"]);
    };
    alone_with(more, |bench| {
        let named = |path: &str| bench.holder_of(&format!("token=a;{path}"), "key", EcdsaP256Sha256);
        bench.opens(&named("object=key;id=%01"));
        bench.opens(&named("id=%02"));
        refuses(
            &named("object=key"),
            FaultClass::Defect,
            &[
                "the token `a` holds more than one private key with object=key: `object=key;id=%0",
                "name the one by object=… and id=…",
            ],
        );
        refuses(
            &named("object=absent"),
            FaultClass::Defect,
            &["the token `a` holds no private key with object=absent; it holds `object=", "`object=other;id=%03`"],
        );
        refuses(&named("object=key;id=%03"), FaultClass::Defect, &["holds no private key with object=key;id=%03"]);
        refuses(&named("type=private"), FaultClass::Defect, &["holds more than one private key: "]);
        refuses(
            &named("object=other"),
            FaultClass::Defect,
            &[
                "the key `object=other` on the token `a` is not the key of the certificate",
                "name the pair that belongs together",
            ],
        );
    });
}

#[test]
fn a_key_of_another_type_than_the_certificates_is_refused() {
    let more = |hsm: &SoftHsm| {
        key(hsm, KeyKind::Rsa2048, "rsa", "02", &["a"]);
        key(hsm, KeyKind::P384, "p384", "03", &["a"]);
        key(hsm, KeyKind::Rsa2048, "rsa-2", "04", &["a"]);
    };
    alone_with(more, |bench| {
        for (object, certificate, algorithm, said) in [
            ("rsa", "key", EcdsaP256Sha256, "is of type CKK_RSA, and the certificate's key signs with ECDSA P-256"),
            ("key", "rsa", RsaPssSha256, "and the certificate's key signs with RSASSA-PSS"),
            ("key", "p384", EcdsaP384Sha384, "is not the key of the certificate"),
            ("rsa-2", "rsa", RsaPkcs1Sha256, "is not the key of the certificate"),
        ] {
            let holder = bench.holder_of(&format!("token=a;object={object}"), certificate, algorithm);
            refuses(&holder, FaultClass::Defect, &["on the token `a`", said]);
        }
    });
}

fn find(session: &Pkcs11Session, class: ObjectClass, label: &str) -> cryptoki::object::ObjectHandle {
    let found = session.find_objects(&[Attribute::Class(class), Attribute::Label(label.into())]).unwrap();
    assert_eq!(found.len(), 1);
    found[0]
}

#[test]
fn a_key_without_a_public_half_on_the_token_is_known_by_what_it_signs() {
    let more = |hsm: &SoftHsm| key(hsm, KeyKind::P256, "other", "02", &["a"]);
    alone_with(more, |bench| {
        let holder = bench.holder("a");
        let other = bench.holder_of("token=a;object=other", "key", EcdsaP256Sha256);
        let mut session = bench.opens(&holder);
        let beside = bench.beside("a");
        for label in ["key", "other"] {
            beside.destroy_object(find(&beside, ObjectClass::PUBLIC_KEY, label)).unwrap();
        }
        session.sign(b"message").unwrap();
        bench.opens(&holder);
        refuses(&other, FaultClass::Defect, &["is not the key of the certificate, or does not sign correctly"]);
    });
}

#[test]
fn a_key_that_may_not_sign_or_wants_a_pin_each_time_is_refused() {
    alone(|bench| {
        let holder = bench.holder("a");
        bench.opens(&holder);
        let beside = bench.beside("a");
        let key = find(&beside, ObjectClass::PRIVATE_KEY, "key");
        beside.update_attributes(key, &[Attribute::Sign(false)]).unwrap();
        refuses(&holder, FaultClass::Defect, &["may not sign (its CKA_SIGN is false)"]);
        beside.update_attributes(key, &[Attribute::Sign(true)]).unwrap();
        bench.opens(&holder);

        let p256 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let label = || Attribute::Label("asks".into());
        let public = [Attribute::Token(true), Attribute::EcParams(p256), label()];
        let private = [Attribute::Token(true), Attribute::Private(true), Attribute::AlwaysAuthenticate(true), label()];
        beside.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
        let asks = bench.holder_of("token=a;object=asks", "key", EcdsaP256Sha256);
        refuses(&asks, FaultClass::Defect, &["wants the PIN for each signature (its CKA_ALWAYS_AUTHENTICATE is true)"]);
    });
}

#[test]
fn a_key_that_was_replaced_is_found_out_when_a_session_is_opened() {
    let more = |hsm: &SoftHsm| key(hsm, KeyKind::P256, "other", "02", &["a"]);
    alone_with(more, |bench| {
        let holder = bench.holder("a");
        bench.opens(&holder);
        let beside = bench.beside("a");
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            beside.destroy_object(find(&beside, class, "key")).unwrap();
        }
        refuses(&holder, FaultClass::Defect, &["holds no private key with object=key; it holds `object=other;id=%02`"]);
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let other = find(&beside, class, "other");
            beside.update_attributes(other, &[Attribute::Label("key".into())]).unwrap();
        }
        refuses(&holder, FaultClass::Defect, &["is not the key of the certificate"]);
    });
}
