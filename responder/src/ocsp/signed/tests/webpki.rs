//! Where the rules of rustls-webpki are others than ours: why it does not validate these paths.

use ::webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};
use rustls::pki_types::{self, CertificateDer};

use super::*;

/// What rustls-webpki says of the path from `signer` through `others` to `anchor`.
fn by_webpki(world: &World, signer: &str, others: &[&str], anchor: &str, now: UnixTime) -> Result<(), Error> {
    let der = |name: &str| CertificateDer::from(world.certificate(name).der().to_vec());
    let (signer, anchor) = (der(signer), der(anchor));
    let others: Vec<_> = others.iter().map(|name| der(name)).collect();
    let anchors = [anchor_from_trusted_cert(&anchor)?];
    let now = pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.0));
    let usage = KeyUsage::client_auth();
    let signer = EndEntityCert::try_from(&signer)?;
    signer.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &others, now, usage, None, None).map(drop)
}

#[test]
fn webpki_takes_an_anchor_for_a_ca_whatever_its_certificate_says() {
    let world = World::new();
    let now = UnixTime::now().after(Duration::from_secs(3600));
    world.issue("middle", "root", "client", P256, 3000);
    world.issue("client", "middle", "client", P256, 30);
    assert_eq!(by_webpki(&world, "client", &[], "middle", now), Ok(()), "a client's certificate as the anchor");
    let der = world.request("client", &[], &[]);
    let why = verdict(&der, &world.anchors(&["middle"]), now).unwrap_err();
    assert!(why.contains("is not that of a CA that may issue"), "{why}");

    world.issue("middle", "root", "narrow", P256, 3000);
    world.issue("low", "middle", "ca", P256, 3000);
    world.issue("client", "low", "client", P256, 30);
    assert_eq!(by_webpki(&world, "client", &["low"], "middle", now), Ok(()), "pathLenConstraint of the anchor");
    let der = world.request("client", &["low"], &[]);
    let why = verdict(&der, &world.anchors(&["middle"]), now).unwrap_err();
    assert!(why.contains("has a pathLenConstraint for fewer intermediates"), "{why}");

    world.issue("client", "root", "client", P256, 5000);
    let late = now.after(Duration::from_secs(3700 * 86_400));
    assert_eq!(by_webpki(&world, "client", &[], "root", late), Ok(()), "an anchor that has expired");
    let der = world.request("client", &[], &[]);
    let why = verdict(&der, &world.anchors(&["root"]), late).unwrap_err();
    assert!(why.contains("`CN=root` has expired"), "{why}");
}

#[test]
fn webpki_ignores_the_key_usage() {
    let world = World::new();
    let now = UnixTime::now().after(Duration::from_secs(3600));
    world.issue("middle", "root", "no_cert_sign", P256, 3000);
    world.issue("client", "middle", "client", P256, 30);
    assert_eq!(by_webpki(&world, "client", &["middle"], "root", now), Ok(()), "a CA without keyCertSign");
    let why = world.verdict(&world.request("client", &["middle"], &[])).unwrap_err();
    assert!(why.contains("is not that of a CA that may issue"), "{why}");

    world.issue("client", "root", "encipherment", P256, 30);
    assert_eq!(by_webpki(&world, "client", &[], "root", now), Ok(()), "a signer without digitalSignature");
    let why = world.verdict(&world.request("client", &[], &[])).unwrap_err();
    assert!(why.contains("has a keyUsage without digitalSignature"), "{why}");
}

#[test]
fn webpki_refuses_a_ca_that_signs_itself_and_a_client_that_is_the_anchor() {
    let world = World::new();
    let now = UnixTime::now().after(Duration::from_secs(3600));
    assert!(by_webpki(&world, "root", &[], "root", now).is_err());
    assert_eq!(world.verdict(&world.request("root", &[], &[])), Ok(()));
    assert!(by_webpki(&world, "client", &[], "client", now).is_err());
    let der = world.request("client", &[], &[]);
    assert_eq!(verdict(&der, &world.anchors(&["client"]), now), Ok(()));
}
