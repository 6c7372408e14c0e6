//! What the service refuses to start with, each with its remedy: better no token than one that clients refuse.

use std::{fs, time::Duration};

use ostia_tests::{
    Ca, KeyKind, Query, Responder, Signer, Site, Tenant, Tsa, TsaCertificate, bash, openssl, tsa::POLICY, until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A site with this authority alone.
fn site(tsa: &Tsa) -> Site {
    Site::new(&[Tenant::new("tests").tsa(tsa)])
}

#[test]
fn a_certificate_that_clients_refuse_tokens_of_is_refused() {
    let ca = Ca::new("Time-stamping CA");
    let usage = "extendedKeyUsage = critical, timeStamping";
    for (certificate, said) in [
        (TsaCertificate::NotCritical, &["not critical", "(RFC 3161 section 2.3)", usage][..]),
        (TsaCertificate::TwoUsages, &["extendedKeyUsage of 1.3.6.1.5.5.7.3.8, 1.3.6.1.5.5.7.3.9", usage]),
        (TsaCertificate::NoUsage, &["no extendedKeyUsage", usage]),
        (TsaCertificate::NoSignature, &["keyUsage without digitalSignature", "keyUsage = critical, digitalSignature"]),
        (TsaCertificate::Expired, &["valid", "2024-02-01"]),
        (TsaCertificate::NotYet, &["valid", "2035-01-01"]),
        (TsaCertificate::EndsIn(90), &["expires at", "in less than the 1d that `validity_left` asks for; renew it"]),
    ] {
        let signer = ca.tsa(certificate, KeyKind::P256);
        let said = [&["tenant.tsa.signer", "certificate"], said].concat();
        site(&Tsa::of("stamps", &signer)).is_refused(&said);
        // What the right time mends is tried again by the unit.
        let code = if certificate == TsaCertificate::NotYet { 1 } else { 78 };
        assert_eq!(site(&Tsa::of("stamps", &signer)).check().status.code(), Some(code));
    }
    // How much has to be left is the operator's choice.
    let soon = Tsa::of("stamps", &ca.tsa(TsaCertificate::EndsIn(90), KeyKind::P256));
    let left = |left: &str| site(&soon.clone().set_signer(&format!("validity_left = \"{left}\"")));
    left("12h").is_refused(&["in less than the 12h that"]);
    let responder = left("1h").start();
    Query::new(1).at(responder.http(), "/tsa").granted();
    assert!(responder.log().contains("expires soon"), "{}", responder.log());
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let ca = Ca::new("Time-stamping CA");
    let [one, other] = [KeyKind::P256, KeyKind::P256].map(|kind| ca.tsa(TsaCertificate::Proper, kind));
    let rsa = ca.tsa(TsaCertificate::Proper, KeyKind::Rsa2048);
    for key in [other.key, rsa.key] {
        let mixed = Signer { certificate: one.certificate.clone(), key };
        site(&Tsa::of("stamps", &mixed)).is_refused(&["tenant.tsa.signer", "key", "certificate"]);
    }
    // Nor one that others may read.
    let open = Signer { certificate: one.certificate.clone(), key: one.key.clone() };
    ostia_tests::bash(ca.dir(), &format!("chmod 644 {}", open.key.display()));
    site(&Tsa::of("stamps", &open)).is_refused(&["tenant.tsa.signer.key", "chmod 600"]);
}

#[test]
fn tenants_with_one_key_are_refused_unless_both_mean_it() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let tenant = |name: &str, lines: &str| {
        Tenant::new(name).set(&format!("path = \"/{name}\"")).tsa(&Tsa::of("stamps", &signer).set(lines))
    };
    let shared = "shared_key = true";
    for (a, b) in [("", ""), (shared, ""), ("", shared)] {
        let said =
            ["`a/stamps` and `b/stamps` sign with the same key", "give each its own", "`shared_key = true` in both"];
        Site::new(&[tenant("a", a), tenant("b", b)]).is_refused(&said);
    }
    let responder = Site::new(&[tenant("a", shared), tenant("b", shared)]).start();
    for path in ["/a/tsa", "/b/tsa"] {
        let query = Query::new(1);
        query.at(responder.http(), path).expect_verified(&query.der(), &ca.certificate(), None);
    }
}

#[test]
fn what_a_policy_cannot_promise_is_refused() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let tsa = || Tsa::of("stamps", &signer);
    let sole = "ordering = true\nsole_instance = true\n";
    for (tsa, said) in [
        (
            tsa().set("ordering = true"),
            &["ordering", "`precision = \"microseconds\"`", "`sole_instance = true`, which says"][..],
        ),
        (tsa().set("ordering = true\nprecision = \"microseconds\""), &["ordering", "`sole_instance = true`"]),
        (tsa().set(sole), &["ordering", "`precision = \"microseconds\"`"]),
        (tsa().set("precision = \"seconds\"\naccuracy = \"500ms\""), &["accuracy", "choose a finer `precision`"]),
        (tsa().set("precision = \"seconds\""), &["time_stamping", "tests/stamps"]),
        (tsa().set("tsa_name = \"subject-alt-name\""), &["tsa_name", "no subjectAltName"]),
        (tsa().set("hashes = [\"md5\"]"), &["hashes", "names `md5`", "sha3-512"]),
        (
            tsa().set("hashes = [\"sha256\", \"sha512\", \"sha256\"]"),
            &["tsa.hashes", "names `sha256` twice; remove one"],
        ),
        (tsa().set("hashes = []"), &["hashes", "is an empty list"]),
        (tsa().set("path = \"tsa\""), &["path", "is `tsa`"]),
        (tsa().set("certificates = \"all\""), &["certificates", "chain"]),
        (tsa().set("colour = \"blue\""), &["colour"]),
        (tsa().policies(&[]), &["tenant.tsa.policy", "is missing", "policy = \""]),
        (tsa().policies(&["1.2.3", "1.2.3"]), &["policy", "names 1.2.3 twice; remove one"]),
        (tsa().policies(&["1.2.three"]), &["policy", "names `1.2.three`"]),
        (tsa().policies(&["3.1.2"]), &["policy", "names `3.1.2`"]),
        (tsa().policies(&["1.40.2"]), &["policy", "names `1.40.2`"]),
    ] {
        site(&tsa).is_refused(said);
    }
    // Of two authorities.
    let other = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let both = |second: &Tsa| Site::new(&[Tenant::new("tests").tsa(&tsa()).tsa(second)]);
    both(&Tsa::of("stamps", &other).policies(&["1.2.3"]))
        .is_refused(&["name", "the name of another TSA of this tenant"]);
    let same = Tsa::of("more", &other);
    both(&same).is_refused(&["policy", POLICY, "`stamps` already serves at /tsa"]);
    let ordered = Tsa::of("more", &signer).set("path = \"/more\"\nprecision = \"microseconds\"").set(sole);
    both(&ordered).is_refused(&["`tests/stamps` and `tests/more` sign in the same name", "`ordering`"]);
}

#[test]
fn an_authority_that_nobody_could_reach_is_refused() {
    let ca = Ca::new("Time-stamping CA");
    let one = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    for path in ["/tsa/chain.pem", "/chain.pem", "/a//b", "/a/../b", "//", "", "tsa"] {
        let tsa = Tsa::of("stamps", &one).set(&format!("path = {path:?}"));
        site(&tsa).is_refused(&["tenant.tsa.path", path]);
    }
    let other = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let tenants = [
        Tenant::new("a").tsa(&Tsa::of("stamps", &one)),
        Tenant::new("b").set("path = \"/tsa\"").tsa(&Tsa::of("stamps", &other)),
    ];
    Site::new(&tenants).is_refused(&["`b` has the URLs below /tsa", "`a/stamps`"]);
}

#[test]
fn two_authorities_of_one_alternative_name_are_not_both_in_order() {
    let ca = Ca::new("Time-stamping CA");
    let signers = [(); 2].map(|()| ca.tsa(TsaCertificate::Named, KeyKind::P256));
    let ordered =
        "ordering = true\nsole_instance = true\nprecision = \"microseconds\"\ntsa_name = \"subject-alt-name\"";
    let [one, two] = [("one", &signers[0]), ("two", &signers[1])]
        .map(|(name, signer)| Tsa::of(name, signer).set(&format!("{ordered}\npath = \"/{name}\"")));
    Site::new(&[Tenant::new("tests").tsa(&one).tsa(&two)]).is_refused(&["sign in the same name", "ordering"]);
}

/// Certificates of TSAs often last ten years, and their keys are used for one.
#[test]
fn no_token_is_made_once_the_use_of_a_key_has_ended() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let with = |end: &str| Tsa::of("stamps", &signer).set_signer(&format!("validity_left = \"0s\"\n{end}"));
    let instant = |seconds: u32| {
        bash(ca.dir(), &format!("date -u -d '+{seconds} seconds' +%Y-%m-%dT%H:%M:%SZ")).trim().to_owned()
    };
    let end_of = |seconds: u32| format!("key_usage_end = {}", instant(seconds));
    site(&with("key_usage_end = \"2024-02-01T00:00:00Z\"")).is_refused(&[
        "tenant.tsa.signer.key_usage_end: is of a key that may make tokens from",
        "to 2024-02-01T00:00:00Z by `key_usage_end`, not now",
    ]);
    site(&with("key_usage_end = \"soon\"")).is_refused(&["key_usage_end: is `soon`, which is no time"]);
    site(&with("key_usage_end = 2026-02-30")).is_refused(&["is not TOML: invalid date", "key_usage_end"]);
    site(&with("key_usage_end = 2034-02-01T00:00:00"))
        .is_refused(&["key_usage_end: is `2034-02-01T00:00:00`, which is no time"]);
    let in_an_hour = Tsa::of("stamps", &signer).set_signer(&end_of(3600));
    site(&in_an_hour).is_refused(&["validity_left", "is of a key whose use ends at", "in less than the 1d that"]);

    let site = site(&with(&end_of(86_400)));
    let checked = site.check_with(&["--strict"]);
    assert!(checked.status.code() == Some(3) && checked.text.contains("whose use ends soon, at "), "{checked:?}");
    assert!(checked.text.contains("(by `key_usage_end`)"), "where the end of the certificate stands else: {checked:?}");
    let responder = site.start();
    Query::new(1).at(responder.http(), "/tsa").granted();
    let (status, text) = responder.readiness_of("tsa");
    assert!(
        status == 200 && text.contains("degraded: tests/stamps: the use of its key ends soon, at "),
        "{status} {text}"
    );
    let whole = responder.metric("ostia_tsa_not_after_seconds", "stamps");
    assert!(responder.metric("ostia_tsa_key_usage_end_seconds", "stamps") < whole);

    // A busy machine may need longer for a reload than the key has: then it is refused, and another end is set.
    let count = |responder: &Responder| responder.log().matches("the configuration was read again").count();
    until("its end is set", PATIENCE, || {
        let (before, end) = (count(&responder), end_of(8));
        let lines = |text: String| {
            let other = text.lines().map(|line| if line.starts_with("key_usage_end") { &end } else { line });
            other.collect::<Vec<_>>().join("\n") + "\n"
        };
        responder.reload(lines);
        until("it is reloaded", PATIENCE, || {
            let is_refused = responder.metric("ostia_config_faulty", "") == 1.0;
            (is_refused || count(&responder) > before).then_some(())
        });
        (count(&responder) > before).then_some(())
    });
    until("it has ended", PATIENCE, || (responder.readiness_of("tsa").0 == 503).then_some(()));
    let rejected = Query::new(2).at(responder.http(), "/tsa");
    rejected.expect_rejection("systemFailure");
    let text = responder.readiness_of("tsa").1;
    assert!(
        text.contains("tests/stamps: the use of its key ended at ") && text.contains("by `key_usage_end`"),
        "{text}"
    );
    let told = "no time-stamps: the use of its key ended at ";
    until("the log tells it", PATIENCE, || responder.log().contains(told).then_some(()));
}

#[test]
fn the_period_in_a_certificate_is_obeyed_and_a_malformed_one_is_refused() {
    let ca = Ca::new("Time-stamping CA");
    let with = |fields: &str| {
        let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
        let section = format!(
            "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = critical, timeStamping\n2.5.29.16 = {fields}\n"
        );
        fs::write(ca.file("period.cnf"), section).unwrap();
        let name = signer.certificate.file_stem().unwrap().to_str().unwrap();
        let issue = ["ca", "-config", "openssl.cnf", "-batch", "-notext", "-extfile", "period.cnf"];
        let files = [format!("{name}.csr"), format!("{name}.pem")];
        openssl(ca.dir(), [&issue[..], &["-in", &files[0], "-out", &files[1]]].concat());
        site(&Tsa::of("stamps", &signer))
    };
    let of = |end: &str| format!("ASN1:SEQUENCE:period\n[period]\nend = IMPLICIT:1,GENERALIZEDTIME:{end}");
    with(&of("20240201000000Z")).is_refused(&[
        "tenant.tsa.signer.certificate: is of a key that may make tokens from",
        "to 2024-02-01T00:00:00Z by the PrivateKeyUsagePeriod of its certificate",
    ]);
    with("DER:3000").is_refused(&["has a PrivateKeyUsagePeriod that says neither"]);
    let responder = with(&of("20990101000000Z")).start();
    Query::new(1).at(responder.http(), "/tsa").granted();
}
