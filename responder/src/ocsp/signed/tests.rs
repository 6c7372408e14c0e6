//! Requests signed by the real `openssl ocsp`.

mod webpki;
mod world;

use std::time::Duration;

use precompute::sign::Algorithm;

use self::world::{P256, RSA, World};
use super::*;
use crate::ocsp::request::Request;

fn verdict(der: &[u8], anchors: &[Certificate], now: UnixTime) -> Result<(), String> {
    let request = Request::decode(der).map_err(|error| format!("{error:?}"))?;
    let signature = request.signature().map_err(|error| format!("signature {error:?}"))?;
    let signature = signature.ok_or("is not signed")?;
    verify(&signature, anchors, now).map_err(|refusal| refusal.to_string())
}

/// The result for `signature` now.
fn told_of(signature: &RequestSignature<'_>, anchors: &[Certificate]) -> Result<(), String> {
    verify(signature, anchors, UnixTime::now()).map_err(|refusal| refusal.to_string())
}

fn refused<T>(why: &str) -> Result<T, String> {
    Err(why.to_owned())
}

/// Where the first byte of `part` lies in `whole`.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

#[test]
fn a_client_of_the_anchor_is_let_in_whatever_its_key() {
    let world = World::new();
    assert_eq!(world.verdict(&world.request("client", &[], &[])), Ok(()));
    let keys: [&[&str]; 3] = [RSA, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-newkey", "ed25519"]];
    for key in keys {
        world.issue("other", "root", "bare", key, 30);
        assert_eq!(world.verdict(&world.request("other", &[], &[])), Ok(()), "{key:?}");
    }
    world.issue("other", "root", "bare", RSA, 30);
    let der = world.request("other", &[], &[]);
    let signature = Request::decode(&der).unwrap().signature().unwrap().unwrap();
    let bits =
        world.sign(signature.tbs, "other", &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]);
    let pss = RequestSignature { algorithm: Algorithm::RsaPssSha256.identifier(), bits: &bits, ..signature };
    assert_eq!(told_of(&pss, &world.anchors(&["root"])), Ok(()));
}

#[test]
fn intermediates_that_the_request_carries_lead_to_the_anchor() {
    let world = World::new();
    world.issue("client", "intermediate", "client", P256, 30);
    assert_eq!(world.verdict(&world.request("client", &["intermediate"], &[])), Ok(()));
    // In any order, among others.
    assert_eq!(world.verdict(&world.request("client", &["stranger", "leaf", "root", "intermediate"], &[])), Ok(()));
    let missing = "`CN=client,O=Clients` names `CN=intermediate,O=Clients` as its issuer, and nothing leads from there \
                   to a trust anchor";
    assert_eq!(world.verdict(&world.request("client", &[], &[])), refused(missing));
    // It may itself be the anchor.
    let der = world.request("client", &[], &[]);
    assert_eq!(verdict(&der, &world.anchors(&["stranger", "intermediate"]), UnixTime::now()), Ok(()));
}

#[test]
fn three_intermediates_are_followed_and_a_fourth_is_not() {
    let world = World::new();
    let names = ["intermediate", "second", "third", "fourth"];
    for pair in names.windows(2) {
        world.issue(pair[1], pair[0], "ca", P256, 3000);
    }
    world.issue("client", "third", "client", P256, 30);
    assert_eq!(world.verdict(&world.request("client", &names[..3], &[])), Ok(()));
    world.issue("client", "fourth", "client", P256, 30);
    let deep = refused("more than 3 certificates lie between signer and trust anchor");
    assert_eq!(world.verdict(&world.request("client", &names, &[])), deep);
}

#[test]
fn only_a_ca_that_may_issue_leads_to_the_anchor() {
    let world = World::new();
    for (section, why) in [
        ("client", "is not that of a CA that may issue"),
        ("no_cert_sign", "is not that of a CA that may issue"),
        ("constrained", "has a critical extension that is not supported"),
    ] {
        world.issue("middle", "root", section, P256, 3000);
        world.issue("client", "middle", "client", P256, 30);
        let why = format!("the certificate of `CN=middle,O=Clients` {why}");
        assert_eq!(world.verdict(&world.request("client", &["middle"], &[])), refused(&why), "{section}");
        // Nor if it is the anchor: a client that is one vouches for itself alone.
        let der = world.request("client", &[], &[]);
        assert_eq!(verdict(&der, &world.anchors(&["middle"]), UnixTime::now()), refused(&why), "{section}");
    }
    world.issue("middle", "root", "narrow", P256, 3000);
    world.issue("client", "middle", "client", P256, 30);
    assert_eq!(world.verdict(&world.request("client", &["middle"], &[])), Ok(()));
    world.issue("low", "middle", "ca", P256, 3000);
    world.issue("client", "low", "client", P256, 30);
    let why = "the certificate of `CN=middle,O=Clients` has a pathLenConstraint for fewer intermediates";
    assert_eq!(world.verdict(&world.request("client", &["middle", "low"], &[])), refused(why));
}

#[test]
fn a_key_that_must_not_sign_is_refused() {
    let world = World::new();
    for (section, why) in [
        ("encipherment", "has a keyUsage without digitalSignature"),
        ("ca", "has a keyUsage without digitalSignature"),
        ("odd", "has a critical extension that is not supported"),
    ] {
        world.issue("client", "root", section, P256, 30);
        let why = format!("the certificate of `CN=client,O=Clients` {why}");
        assert_eq!(world.verdict(&world.request("client", &[], &[])), refused(&why));
    }
}

#[test]
fn nobody_else_is_let_in() {
    let world = World::new();
    let der = world.request("client", &[], &[]);
    let untraced =
        "`CN=client,O=Clients` names `CN=root` as its issuer, and nothing leads from there to a trust anchor";
    assert_eq!(verdict(&der, &world.anchors(&["stranger"]), UnixTime::now()), refused(untraced));
    assert_eq!(verdict(&der, &[], UnixTime::now()), refused(untraced));
    // Another CA of the same name.
    let (anchor, elsewhere) = (world.anchors(&["root"]), World::new());
    let der = elsewhere.request("client", &[], &[]);
    assert_eq!(verdict(&der, &anchor, UnixTime::now()), refused(untraced));
    let carried = elsewhere.request("client", &["root"], &[]);
    let untraced = "`CN=root` names `CN=root` as its issuer, and nothing leads from there to a trust anchor";
    assert_eq!(verdict(&carried, &anchor, UnixTime::now()), refused(untraced));
    // Both: the right one is found behind the wrong one.
    let both = [anchor, elsewhere.anchors(&["root"])].concat();
    assert_eq!(verdict(&der, &both, UnixTime::now()), Ok(()));
}

#[test]
fn what_has_been_changed_is_refused() {
    let world = World::new();
    let der = world.request("client", &[], &[]);
    let signature = Request::decode(&der).unwrap().signature().unwrap().unwrap();
    let last_of_tbs = offset(&der, signature.tbs) + signature.tbs.len() - 1; // of the nonce
    let last_of_bits = offset(&der, signature.bits) + signature.bits.len() - 1;
    let why = "its signature verifies under no key at hand";
    for at in [last_of_tbs, last_of_bits] {
        let mut changed = der.clone();
        changed[at] ^= 1;
        assert_eq!(world.verdict(&changed), refused(why), "byte {at}");
    }
    for end in 0..signature.bits.len() {
        let cut = RequestSignature { bits: &signature.bits[..end], ..signature };
        let verdict = verify(&cut, &world.anchors(&["root"]), UnixTime::now());
        assert!(matches!(verdict, Err(Refusal::Signature(VerifyError::Signature))), "cut at {end}: {verdict:?}");
    }
    for end in 0..signature.certs.len() {
        let cut = RequestSignature { certs: &signature.certs[..end], ..signature };
        assert!(verify(&cut, &world.anchors(&["root"]), UnixTime::now()).is_err(), "certs cut at {end}");
    }
    for end in 0..der.len() {
        assert!(world.verdict(&der[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn what_is_malformed_or_too_weak_is_refused_by_name() {
    let world = World::new();
    let der = world.request("client", &[], &[]);
    let signature = Request::decode(&der).unwrap().signature().unwrap().unwrap();
    let anchors = world.anchors(&["root"]);
    let ecdsa_with_sha1 = [0x30, 9, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    let weak = RequestSignature { algorithm: &ecdsa_with_sha1, ..signature };
    let why = "it has a signature that is not accepted: ecdsa-with-SHA1 (renew it with SHA-256)";
    assert_eq!(told_of(&weak, &anchors), refused(why));
    let no_algorithm = RequestSignature { algorithm: &[0x30, 0], ..signature };
    assert_eq!(told_of(&no_algorithm, &anchors), refused("its signature is malformed"));
    let no_certificate = RequestSignature { certs: &[0x30, 0], ..signature };
    let why = told_of(&no_certificate, &anchors).unwrap_err();
    assert!(why.starts_with("what it carries is not an X.509 certificate in DER: "), "{why}");
}

#[test]
fn every_certificate_on_the_way_must_be_valid_now() {
    let world = World::new();
    let now = UnixTime::now();
    let day = |days: u64| Duration::from_secs(days * 86_400);
    world.issue("client", "intermediate", "client", P256, 30);
    let der = world.request("client", &["intermediate"], &[]);
    let at = |now| verdict(&der, &world.anchors(&["root"]), now);
    let client = world.certificate("client");
    assert_eq!(at(client.not_after()), Ok(()));
    let expired = |name: &str| refused(&format!("the certificate of `{name}` has expired"));
    assert_eq!(at(client.not_after().after(Duration::from_secs(1))), expired("CN=client,O=Clients"));
    let early = refused("the certificate of `CN=client,O=Clients` is not valid yet");
    assert_eq!(at(client.not_before().before(Duration::from_secs(1))), early);

    world.issue("client", "intermediate", "client", P256, 5000);
    let der = world.request("client", &["intermediate"], &[]);
    assert_eq!(verdict(&der, &world.anchors(&["root"]), now.after(day(2990))), Ok(()));
    assert_eq!(verdict(&der, &world.anchors(&["root"]), now.after(day(3100))), expired("CN=intermediate,O=Clients"));
    world.issue("client", "root", "client", P256, 5000);
    let der = world.request("client", &[], &[]);
    assert_eq!(verdict(&der, &world.anchors(&["root"]), now.after(day(3640))), Ok(()));
    assert_eq!(verdict(&der, &world.anchors(&["root"]), now.after(day(3700))), expired("CN=root"));
}

#[test]
fn the_requestor_name_must_be_the_signers() {
    let world = World::new();
    let der = world.request("client", &[], &[]);
    let signature = Request::decode(&der).unwrap().signature().unwrap().unwrap();
    let name = signature.requestor_name.expect("openssl writes it");
    let anchors = world.anchors(&["root"]);
    let with_name = |name| told_of(&RequestSignature { requestor_name: name, ..signature }, &anchors);
    assert_eq!(with_name(Some(name)), Ok(()));
    assert_eq!(with_name(None), Ok(()), "the certificate says it");
    assert_eq!(with_name(Some(b"\x81\x03a@b")), Ok(()), "an rfc822Name says nothing of a subject");
    let mut other = name.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let why = "its requestorName is not that of its signer `CN=client,O=Clients`";
    assert_eq!(with_name(Some(&other)), refused(why));
    assert_eq!(with_name(Some(&[0xa4, 2, 0x30, 0])), refused(why));
    assert_eq!(with_name(Some(&name[..name.len() - 1])), refused("its signature is malformed"));

    // A signed wrong name is not accepted either.
    let at = offset(&der, name) - offset(&der, signature.tbs);
    let mut tbs = signature.tbs.to_vec();
    tbs[at..at + other.len()].copy_from_slice(&other);
    let bits = world.sign(&tbs, "client", &[]);
    let signed = RequestSignature { tbs: &tbs, bits: &bits, requestor_name: Some(&other), ..signature };
    assert_eq!(told_of(&signed, &anchors), refused(why));
}

#[test]
fn without_certificates_an_anchor_must_have_signed() {
    let world = World::new();
    let no_certs = ["-no_certs"];
    let der = world.request("client", &[], &no_certs);
    let now = UnixTime::now();
    assert_eq!(Request::decode(&der).unwrap().signature().unwrap().unwrap().certs, b"");
    let why = "it carries no certificate, and its requestorName is that of no trust anchor";
    assert_eq!(verdict(&der, &world.anchors(&["root"]), now), refused(why));
    assert_eq!(verdict(&der, &world.anchors(&["root", "client"]), now), Ok(()));
    let late = world.certificate("client").not_after().after(Duration::from_secs(1));
    let expired = "the certificate of `CN=client,O=Clients` has expired";
    assert_eq!(verdict(&der, &world.anchors(&["client"]), late), refused(expired));
    // A CA may ask as well, with its certificate or without; this one has no keyUsage.
    assert_eq!(verdict(&world.request("root", &[], &no_certs), &world.anchors(&["root"]), now), Ok(()));
    assert_eq!(verdict(&world.request("root", &[], &[]), &world.anchors(&["root"]), now), Ok(()));
    assert_eq!(verdict(&world.request("client", &[], &[]), &world.anchors(&["client"]), now), Ok(()));
}

#[test]
fn the_work_for_one_request_is_bounded() {
    let world = World::new();
    // Certificates of one name and one key, each of which can have issued every other: 7 × 6 × 5 ways.
    world.root("twin");
    let twins: Vec<_> = (1..CERTIFICATES_MAX).map(|number| format!("twin{number}")).collect();
    for twin in &twins {
        let pem = format!("{twin}.pem");
        world.openssl(&["req", "-x509", "-key", "twin.key", "-subj", "/CN=twin", "-days", "3000", "-out", &pem]);
    }
    world.issue("client", "twin", "client", P256, 30);
    let twins: Vec<_> = twins.iter().map(String::as_str).collect();
    let why = "it takes more than 16 verifications to trace its signer";
    assert_eq!(world.verdict(&world.request("client", &twins, &[])), refused(why));

    // The signer's certificate is the first that openssl writes; certificates beyond the bound are not found.
    world.issue("client", "intermediate", "client", P256, 30);
    let others = |leaves| [&vec!["leaf"; leaves][..], &["intermediate"]].concat();
    let eighth = world.request("client", &others(CERTIFICATES_MAX - 2), &[]);
    assert_eq!(world.verdict(&eighth), Ok(()));
    let ninth = world.request("client", &others(CERTIFICATES_MAX - 1), &[]);
    let why = world.verdict(&ninth).unwrap_err();
    assert!(why.contains("nothing leads from there to a trust anchor"), "{why}");
}

#[test]
fn names_that_strangers_chose_stay_on_one_line_of_the_log() {
    assert_eq!(told("CN=a\nb\u{1b}[2J".to_owned()), "CN=a\\nb\\u{1b}[2J");
    assert_eq!(told("é".repeat(500)), "é".repeat(100));
}
