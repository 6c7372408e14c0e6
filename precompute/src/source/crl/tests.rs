use der::Decode as _;
use proptest::{collection::vec, prelude::*};
use x509_cert::crl::CertificateList;

use self::draft::*;
use super::*;
use crate::pki::{Reason, Serial};

pub(crate) mod draft;
mod signers;

#[test]
fn reads_header_and_entries() {
    let crl = Draft {
        entries: sequence(&[entry(1, &[]), entry(2, &[reason(1)]), entry(3, &[reason(6)])]),
        ..Draft::extensions(&[number(9)])
    };
    let crl = crl.read().unwrap();
    assert_eq!(
        *crl.header(),
        CrlHeader {
            number: Some(crl_number(9)),
            base: None,
            this_update: today(),
            next_update: UnixTime::from_asn1_text(b"250103030405Z"),
            coverage: Coverage::default(),
        }
    );
    assert!(!crl.is_delta());
    let revoked = |value, reason| Entry { serial: serial(value), change: Change::Revoked { time: today(), reason } };
    let expected =
        [revoked(1, Reason::Unspecified), revoked(2, Reason::KeyCompromise), revoked(3, Reason::CertificateHold)];
    assert_eq!(crl.entries().len(), 3);
    assert_eq!(crl.entries().collect::<Vec<_>>(), expected);
    assert_eq!(crl.entries().collect::<Vec<_>>(), expected, "a second walk");
}

#[test]
fn no_list_and_an_empty_list_are_the_same() {
    for draft in [Draft::new(), Draft::entries(&[])] {
        assert_eq!(draft.read().unwrap().entries().count(), 0);
    }
}

#[test]
fn version_1_has_no_extensions() {
    let version_1 = || Draft { version: Vec::new(), ..Draft::new() };
    let crl = Draft { entries: sequence(&[entry(1, &[])]), ..version_1() }.read().unwrap();
    assert_eq!((crl.entries().count(), crl.header().number), (1, None));
    // GnuTLS and others have written both. What they say counts.
    let crl = Draft { extensions: vec![number(1)], ..version_1() }.read().unwrap();
    assert_eq!(crl.header().number, Some(crl_number(1)));
    assert_eq!(crl.oddities().unwrap().to_string(), "version is v1, which has no extensions: taken as v2");
    let crl = Draft { entries: sequence(&[entry(1, &[reason(1)])]), ..version_1() }.read().unwrap();
    let change = Change::Revoked { time: today(), reason: Reason::KeyCompromise };
    assert_eq!(crl.entries().next(), Some(Entry { serial: serial(1), change }));
    assert!(crl.oddities().unwrap().to_string().starts_with("entry 1 has extensions"));
    let crl = Draft { version: vec![2, 1, 0], ..Draft::new() }.read().unwrap();
    assert!(crl.oddities().unwrap().to_string().starts_with("version is written as v1"));
    for version in [vec![2, 1, 2], vec![2, 2, 0, 1]] {
        refused(&Draft { version, ..Draft::new() }, "version: expected none, or v2 (1)");
    }
}

#[test]
fn times_come_in_two_forms() {
    let times = |times: &[u8]| Draft { times: times.to_vec(), ..Draft::new() };
    let crl = times(b"\x18\x0f20500102030405Z\x18\x0f20510102030405Z").read().unwrap();
    assert_eq!(crl.header().this_update, UnixTime::from_asn1_text(b"20500102030405Z").unwrap());
    assert_eq!(times(TODAY).read().unwrap().header().next_update, None);
    let backwards = times(&[TOMORROW, TODAY].concat()).read().unwrap();
    assert_eq!(backwards.header().next_update, Some(backwards.header().this_update), "over from the beginning");
    assert!(backwards.oddities().unwrap().to_string().starts_with("nextUpdate is before thisUpdate"));
    refused(&times(b"\x16\x0d250102030405Z"), "thisUpdate: ");
    refused(&Draft::entries(&[sequence(&[&[2, 1, 1], &b"\x16\x0d250102030405Z"[..]])]), "entry 1: revocationDate: ");
    let late = |time: &[u8]| Draft::entries(&[sequence(&[&[2, 1, 1], time])]);
    assert!(late(b"\x18\x0f21060207062815Z").read().unwrap().oddities().is_none());
}

#[test]
fn a_date_of_another_form_is_read_as_it_is_meant_and_what_is_no_date_refuses_no_entry() {
    let times = |times: &[&[u8]]| Draft { times: times.concat(), ..Draft::new() };
    let dated = |time: &[u8]| Draft::entries(&[entry(1, &[]), sequence(&[&[2, 1, 2], time]), entry(3, &[])]);
    for (time, seconds) in [
        (&b"\x17\x0f20250102030405Z"[..], today().0),
        (b"\x17\x0b2501020304Z", today().0 - 5),
        (b"\x17\x11250102040405+0100", today().0),
        (b"\x18\x1120250102030405.5Z", today().0),
        (b"\x18\x1320250102020405-0100", today().0),
        // By X.680 that is the year 2501.
        (b"\x18\x0d250102030405Z", u64::from(u32::MAX)),
        (b"\x17\x0d250102030405+", 0),
        (b"\x17\x0d251302030405Z", 0),
        (b"\x17\x00", 0),
    ] {
        let crl = dated(time).read().unwrap();
        let change = Change::Revoked { time: UnixTime(seconds), reason: Reason::Unspecified };
        assert_eq!((crl.entries().nth(1), crl.entries().len()), (Some(Entry { serial: serial(2), change }), 3));
        assert!(crl.oddities().unwrap().to_string().starts_with("entry 2 has a revocationDate"), "{time:02x?}");
        let crl = times(&[TODAY, time]).read().unwrap();
        let next = crl.header().next_update.unwrap();
        assert_eq!(next.min(UnixTime(u32::MAX.into())), UnixTime(seconds).max(today()));
        assert!(crl.oddities().unwrap().to_string().starts_with("nextUpdate is "), "{time:02x?}");
        match seconds {
            // Nobody knows which of two CRLs is older.
            0 => refused(&times(&[time]), "thisUpdate: expected UTCTime"),
            _ => assert!(times(&[time]).read().unwrap().header().this_update >= UnixTime(seconds)),
        }
    }
}

#[test]
fn a_date_that_cannot_be_held_is_the_nearest_that_can_and_keeps_nobody_from_being_revoked() {
    let dated = |time: &[u8]| Draft::entries(&[entry(1, &[]), sequence(&[&[2, 1, 2], time]), entry(3, &[])]);
    for (time, seconds, told) in [
        (&b"\x17\x0d550102030405Z"[..], 0, "entry 2 has a revocationDate before 1970"),
        (b"\x18\x0f19000102030405Z", 0, "entry 2 has a revocationDate before 1970"),
        (b"\x18\x0f21060207062816Z", u64::from(u32::MAX), "entry 2 has a revocationDate later than 2106"),
    ] {
        let crl = dated(time).read().unwrap();
        let taken = crl.entries().nth(1).unwrap();
        let change = Change::Revoked { time: UnixTime(seconds), reason: Reason::Unspecified };
        assert_eq!((taken, crl.entries().len()), (Entry { serial: serial(2), change }, 3));
        let odd = crl.oddities().unwrap().to_string();
        assert!(odd.starts_with(told), "{odd}");
    }
    let times = |times: &[&[u8]]| Draft { times: times.concat(), ..Draft::new() }.read();
    let crl = times(&[TODAY, b"\x17\x0d550102030405Z"]).unwrap();
    assert_eq!(crl.header().next_update, Some(today()), "over from the beginning");
    assert!(crl.oddities().unwrap().to_string().starts_with("nextUpdate is before 1970"));
    let crl = times(&[b"\x17\x0d550102030405Z", TOMORROW]).unwrap();
    assert_eq!(crl.header().this_update, UnixTime(0));
    assert!(crl.oddities().unwrap().to_string().starts_with("thisUpdate is before 1970"));
}

#[test]
fn a_scope_is_the_whole_or_just_that_part() {
    let scope = |extensions: &[Vec<u8>]| Draft::extensions(extensions).read().unwrap().scope();
    let users = scope(&[distribution_point(&[0x81, 1, 0xff])]);
    let shard = |name: &[u8]| scope(&[distribution_point(&element(0xa0, element(0xa0, element(0x86, name))))]);
    assert_eq!(scope(&[]), CrlScope::WHOLE);
    assert_eq!(scope(&[distribution_point(&[])]), CrlScope::WHOLE, "it excludes nobody");
    assert_eq!(shard(b"http://ca/1"), shard(b"http://ca/1"));
    let all = [
        CrlScope::WHOLE,
        users,
        scope(&[distribution_point(&[0x82, 1, 0xff])]),
        shard(b"http://ca/1"),
        shard(b"http://ca/2"),
    ];
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "{place}");
    }
}

#[test]
fn the_issuers_name_may_be_written_in_another_way() {
    let named = |tag, text: &str| sequence(&[element(0x31, sequence(&[vec![6, 3, 0x55, 4, 3], element(tag, text)]))]);
    for issuer in [named(0x13, "CA"), named(0x0c, " ca "), named(0x1e, "\0C\0A")] {
        assert!(Draft { issuer, ..Draft::entries(&[entry(1, &[])]) }.read().is_ok());
    }
    refused(&Draft { issuer: named(0x13, "CB"), ..Draft::new() }, "was issued by `CN=CB`, not by `CN=CA`");
}

#[test]
fn every_reason_of_rfc_5280_is_taken_and_any_other_revokes_as_well() {
    for code in 0..=255 {
        let draft = Draft::entries(&[entry(1, &[reason(code)])]);
        match Reason::from_code(code) {
            Some(reason) => {
                let change = Change::Revoked { time: today(), reason };
                assert_eq!(draft.read().unwrap().entries().next(), Some(Entry { serial: serial(1), change }));
            }
            None => {
                let crl = draft.read().unwrap();
                let reason = if code == 8 { Reason::CertificateHold } else { Reason::Unspecified };
                let change = Change::Revoked { time: today(), reason };
                assert_eq!(crl.entries().next(), Some(Entry { serial: serial(1), change }), "{code}: never good");
                assert!(crl.oddities().unwrap().to_string().starts_with("entry 1 has "), "{code}");
            }
        }
    }
}

#[test]
fn entries_that_cannot_be_trusted_are_refused_by_number() {
    let with_serial = |content: &[u8]| sequence(&[&element(2, content), TODAY]);
    let largest = [&[0][..], &[0xff; 20]].concat();
    assert!(Draft::entries(&[with_serial(&largest)]).read().is_ok());
    for (bad, problem) in [
        (vec![0x31, 0], "expected the tag 0x30, found 0x31"),
        (vec![0x30, 0], "userCertificate: ends too early"),
        (sequence(&[vec![2, 1, 1]]), "revocationDate: ends too early"),
        (sequence(&[&[2, 1, 1], TODAY, &[5, 0]]), "2 bytes are left over"),
        (vec![0x30, 0x7f], "ends too early"),
        (entry(1, &[extension(29, true, [0x30, 0])]), "certificateIssuer: expected a directoryName"),
        (entry(1, &[extension(29, false, [0x30, 0])]), "certificateIssuer: expected a directoryName"),
        (entry(1, &[extension(29, true, [5, 0])]), "certificateIssuer: expected the tag 0x30"),
        (entry(1, &[extension(99, true, [5, 0])]), "critical extension 2.5.29.99, which is not understood"),
        (entry(1, &[sequence(&[&[6, 0], TRUE, &[4, 0]])]), "critical extension with a malformed identifier"),
        (entry(1, &[sequence(&[&[6, 3, 0x55, 0x1d, 21][..], &[1, 1, 7], &[4, 0]])]), "critical: expected a BOOLEAN"),
        (entry(1, &[sequence(&[&[6, 3, 0x55, 0x1d, 21], &[5, 0][..]])]), "extnValue: expected the tag 0x04"),
    ] {
        let error = Draft::entries(&[entry(1, &[]), bad]).read().expect_err(problem);
        assert!(error.starts_with("entry 2: ") && error.contains(problem), "expected `{problem}`, found `{error}`");
    }
}

#[test]
fn a_reason_that_is_none_or_two_revokes_for_good() {
    for extensions in [
        vec![reason(1), reason(6)],
        vec![reason(6), reason(8)],
        vec![extension(21, false, [0x0a, 2, 0, 1])],
        vec![extension(21, true, [2, 1, 6])],
        vec![extension(21, false, [0x0a, 1, 6, 0])],
        vec![extension(21, false, [])],
    ] {
        for delta_or_not in [vec![number(5)], vec![number(5), delta(3)]] {
            let entries = sequence(&[entry(1, &extensions), entry(2, &[reason(4)])]);
            let crl = Draft { entries, ..Draft::extensions(&delta_or_not) }.read().unwrap();
            let revoked =
                |value, reason| Entry { serial: serial(value), change: Change::Revoked { time: today(), reason } };
            let expected = [revoked(1, Reason::Unspecified), revoked(2, Reason::Superseded)];
            assert_eq!(crl.entries().collect::<Vec<_>>(), expected, "{extensions:02x?}");
            assert!(crl.oddities().unwrap().to_string().starts_with("entry 1 has a reasonCode"));
        }
    }
    let twice_the_same = Draft::entries(&[entry(1, &[reason(1), reason(1)])]).read().unwrap();
    assert!(twice_the_same.oddities().is_none());
}

#[test]
fn entries_that_nobody_can_ask_for_are_passed_over_and_counted() {
    let with_serial = |content: &[u8]| sequence(&[&element(2, content), TODAY]);
    let odd: [&[u8]; 5] = [&[0], &[0x80], &[1; 21], &[1; 2000], &[]];
    let mut entries: Vec<_> = odd.map(with_serial).into();
    entries.insert(2, entry(1, &[]));
    entries.push(entry(2, &[]));
    let crl = Draft::entries(&entries).read().unwrap();
    assert_eq!(crl.passed_over(), 5);
    assert_eq!(crl.entries().len(), 2);
    assert_eq!(crl.entries().map(|entry| entry.serial).collect::<Vec<_>>(), [serial(1), serial(2)]);
    // They are still checked for what else they hold.
    refused(&Draft::entries(&[sequence(&[&element(2, [0]), TODAY, &[5, 0]])]), "2 bytes are left over");
}

#[test]
fn entry_extensions_without_bearing_are_passed_over() {
    for extensions in [
        vec![extension(24, false, TODAY)],
        vec![extension(24, true, TODAY)],
        vec![extension(23, false, [6, 1, 1])],
        vec![extension(99, false, [])],
        vec![sequence(&[&[6, 3, 0x55, 0x1d, 99], FALSE, &[4, 0][..]])],
    ] {
        let crl = Draft::entries(&[entry(1, &[extensions, vec![reason(4)]].concat())]).read().unwrap();
        let change = Change::Revoked { time: today(), reason: Reason::Superseded };
        assert_eq!(crl.entries().next(), Some(Entry { serial: serial(1), change }));
    }
}

#[test]
fn remove_from_crl_belongs_in_a_delta() {
    let entries = sequence(&[entry(1, &[reason(8)])]);
    let crl = Draft { entries, ..Draft::extensions(&[number(5), delta(3)]) }.read().unwrap();
    assert!(crl.is_delta());
    assert_eq!(crl.header().base, Some(crl_number(3)));
    assert_eq!(crl.entries().next(), Some(Entry { serial: serial(1), change: Change::Remove }));
}

#[test]
fn crl_extensions_are_understood_or_refused() {
    for extensions in [
        vec![number(0)],
        vec![extension(20, true, [2, 1, 1])],
        vec![extension(20, false, [&[2, 21, 0][..], &[0xff; 20]].concat())],
        vec![extension(35, false, [0x30, 0]), number(1)],
        vec![extension(35, true, [0x30, 0])],
        vec![extension(46, false, [0x30, 0])],
        vec![extension(46, true, [5, 0])],
        vec![extension(99, false, [])],
        vec![number(3), delta(3)],
    ] {
        Draft::extensions(&extensions).read().unwrap();
    }
    for (extensions, problem) in [
        (vec![extension(20, false, [2, 1, 0x80])], "cRLNumber: expected 0 to 2^160-1"),
        (vec![extension(20, false, [2, 0])], "cRLNumber: expected 0 to 2^160-1"),
        (vec![extension(20, false, [&[2, 21][..], &[1; 21]].concat())], "cRLNumber: expected 0 to 2^160-1"),
        (vec![extension(20, false, [4, 1, 1])], "cRLNumber: expected the tag 0x02"),
        (vec![extension(20, false, [2, 1, 1, 0])], "cRLNumber: 1 bytes are left over"),
        (vec![number(1), number(1)], "cRLNumber: occurs twice"),
        (vec![number(1), delta(1), delta(1)], "deltaCRLIndicator: occurs twice"),
        (vec![number(1), extension(27, false, [2, 1, 1])], "deltaCRLIndicator: expected it to be critical"),
        (vec![delta(1)], "is a delta CRL without a cRLNumber"),
        (vec![number(1), delta(2)], "is delta CRL 0x01 and holds changes since a later CRL 0x02"),
        (vec![extension(99, true, [])], "critical extension 2.5.29.99, which is not understood"),
        (vec![extension(47, true, [0x30, 0])], "critical extension 2.5.29.47, which is not understood"),
        (vec![extension(46, true, [0x30, 0]), extension(46, false, [0x30, 0])], "freshestCRL: occurs twice"),
        (vec![vec![0x31, 0]], "Extension: expected the tag 0x30"),
    ] {
        refused(&Draft::extensions(&extensions), problem);
    }
}

#[test]
fn the_distribution_point_tells_what_is_covered() {
    let nothing = Coverage::default();
    let users = Coverage { only_contains_user_certs: true, ..nothing };
    let cas = Coverage { only_contains_ca_certs: true, ..nothing };
    let shard = Coverage { distribution_point: true, ..nothing };
    for (fields, expected) in [
        (&[][..], nothing),
        (&[0x81, 1, 0xff], users),
        (&[0x82, 1, 0xff], cas),
        (&[0xa0, 0], shard),
        (&[0xa0, 2, 0xa0, 0, 0x81, 1, 0xff], Coverage { only_contains_user_certs: true, ..shard }),
        (&[0x81, 1, 0, 0x82, 1, 0, 0x84, 1, 0, 0x85, 1, 0], nothing),
        (&[0x83, 2, 1, 6], Coverage { only_some_reasons: true, ..nothing }),
        (&[0x85, 1, 0xff], Coverage { only_contains_attribute_certs: true, ..nothing }),
    ] {
        let crl = Draft::extensions(&[distribution_point(fields)]).read().unwrap();
        assert_eq!(crl.header().coverage, expected, "{fields:02x?}");
        assert_eq!(crl.header().coverage.is_complete(), expected == nothing);
    }
    for (fields, problem) in [
        (&[0x81, 1, 0xff, 0x82, 1, 0xff][..], "exclude each other"),
        (&[0x81, 1, 0xff, 0x85, 1, 0xff], "exclude each other"),
        (&[0x82, 1, 0, 0x81, 1, 0xff], "out of order"),
        (&[0x84, 1, 0, 0x84, 1, 0xff], "out of order"),
        (&[0x86, 1, 0xff], "unknown field 0x86"),
        (&[0x01, 1, 0xff], "unknown field 0x01"),
        (&[0x81, 1, 1], "expected a BOOLEAN"),
        (&[0x81, 2, 0xff], "ends too early"),
    ] {
        refused(&Draft::extensions(&[distribution_point(fields)]), problem);
    }
    let indirect = Draft::extensions(&[distribution_point(&[0x84, 1, 0xff])]).read().unwrap();
    assert_eq!(indirect.header().coverage, Coverage { indirect_crl: true, ..nothing });
    assert!(indirect.header().coverage.is_complete() && indirect.scope() == CrlScope::WHOLE, "of the CA itself");
    let attributes =
        Draft { entries: sequence(&[entry(1, &[])]), ..Draft::extensions(&[distribution_point(&[0x85, 1, 0xff])]) };
    let attributes = attributes.read().unwrap();
    assert_eq!((attributes.entries().count(), attributes.passed_over()), (0, 0), "1 is no certificate");
    assert!(attributes.oddities().unwrap().to_string().contains("says nothing of certificates"));
    let twice = [distribution_point(&[]), distribution_point(&[])];
    refused(&Draft::extensions(&twice), "issuingDistributionPoint: occurs twice");
}

#[test]
fn only_the_issuers_own_signature_is_taken() {
    refused(&Draft { seed: 8, ..Draft::new() }, "does not verify under the issuer's key");
    refused(&Draft { issuer: name("Other"), ..Draft::new() }, "was issued by `CN=Other`, not by `CN=CA`");
    let long = Draft { issuer: name(&"\u{1b}".repeat(500)), ..Draft::new() }.read().unwrap_err();
    assert!(long.len() < 200 && !long.contains('\u{1b}'), "{long}");
    let other = vec![0x30, 5, 6, 3, 0x2b, 0x65, 0x71];
    refused(&Draft { outer: other.clone(), ..Draft::new() }, "one signature algorithm inside and another outside");
    refused(&Draft { inner: other.clone(), outer: other, ..Draft::new() }, "a signature that is not accepted");

    let usage = |bits: u8| certificate("CA", 7, &[extension(15, true, [3, 2, 1, bits])]);
    assert!(Crl::from_octets(Draft::new().der(), &usage(0b0000_0010)).is_ok());
    let error = Crl::from_octets(Draft::new().der(), &usage(0b0000_0100)).unwrap_err();
    assert!(error.contains("lacks cRLSign"), "{error}");
}

#[test]
fn every_octet_is_under_the_signature_or_checked() {
    let draft = Draft {
        entries: sequence(&[entry(1, &[]), entry(2, &[reason(1)])]),
        ..Draft::extensions(&[number(9), distribution_point(&[0x81, 1, 0xff])])
    };
    let der = draft.der();
    let issuer = issuer();
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut der = der.clone();
            der[at] ^= 1 << bit;
            assert!(Crl::from_octets(der, &issuer).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_crl_cut_at_any_byte_is_refused() {
    let der = Draft::entries(&[entry(1, &[]), entry(2, &[reason(1)])]).der();
    let issuer = issuer();
    for cut in 0..der.len() {
        assert!(Crl::from_octets(der[..cut].to_vec(), &issuer).is_err(), "DER, {cut}");
    }
    let error = Crl::from_octets([&der[..], &[0]].concat(), &issuer).unwrap_err();
    assert!(error.contains("CertificateList: 1 bytes are left over"), "{error}");
    let text = pem(&der);
    let end = text.trim_end().len();
    for cut in 0..end {
        assert!(Crl::from_octets(text.as_bytes()[..cut].to_vec(), &issuer).is_err(), "PEM, {cut}");
    }
    assert!(Crl::from_octets(text.as_bytes()[..end].to_vec(), &issuer).is_ok(), "only the last newline is missing");
}

#[test]
fn every_field_cut_short_under_a_good_signature_is_refused() {
    let entries = [entry(1, &[]), entry(2, &[extension(24, false, TODAY), reason(1)])].concat();
    for cut in 1..entries.len() {
        let short = Draft { entries: element(0x30, &entries[..cut]), ..Draft::new() };
        // Between the two entries a cut leaves a whole, shorter list.
        assert_eq!(short.read().is_ok(), cut == entry(1, &[]).len(), "{cut}");
    }
}

#[test]
fn a_file_holds_one_crl_with_text_around_it() {
    let (der, issuer) = (Draft::entries(&[entry(1, &[])]).der(), issuer());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.crl");
    let read = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        Crl::read(&path, &issuer)
    };
    let text = pem(&der);
    let other = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let with_text = format!("Certificate Revocation List (CRL):\n  grün\n{text}trailing\n");
    for content in [&der[..], text.as_bytes(), with_text.as_bytes(), (other.to_owned() + &text).as_bytes()] {
        assert_eq!(read(content).unwrap().entries().count(), 1);
    }
    assert_eq!(read(text.replace('\n', "\r\n").as_bytes()).unwrap().entries().count(), 1);
    for (content, problem) in [
        (&b""[..], "holds no CRL"),
        (other.as_bytes(), "holds a certificate, not a CRL"),
        (text.repeat(2).as_bytes(), "holds 2 CRLs: expected one"),
        (
            b"-----BEGIN X509 CRL-----\n*\n-----END X509 CRL-----\n",
            "is damaged PEM: `-----BEGIN X509 CRL-----` in line 1 is followed by what is no whole base64",
        ),
        (
            b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
            "is not a CRL in DER: tbsCertList: ends too early",
        ),
    ] {
        let error = read(content).expect_err(problem);
        assert_eq!((&error.path, error.line), (&path, None));
        assert!(error.problem.contains(problem), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(Crl::read(&path, &issuer).unwrap_err().problem.starts_with("cannot be read: "));
}

#[test]
fn a_delta_applies_to_a_complete_crl_of_the_same_scope_and_numbers() {
    let crl = |extensions: &[Vec<u8>]| Draft::extensions(extensions).read().unwrap();
    let users = || distribution_point(&[0x81, 1, 0xff]);
    let complete = |value| crl(&[number(value)]);
    let change = crl(&[number(12), delta(10)]);
    for value in [10, 11, 12] {
        assert_eq!(change.applies_to(&complete(value), Some(crl_number(value))), Ok(()), "{value}");
    }
    let of_users = crl(&[number(10), users()]);
    assert_eq!(crl(&[number(12), delta(10), users()]).applies_to(&of_users, of_users.header().number), Ok(()));

    let other_key = Draft { seed: 8, ..Draft::extensions(&[number(10)]) };
    let other_key = Crl::from_octets(other_key.der(), &certificate("CA", 8, &[])).unwrap();
    for (delta, base, problem) in [
        (&complete(12), &complete(10), "is a complete CRL"),
        (&change, &change, "was given another delta CRL"),
        (&change, &complete(9), "holds changes since CRL 0x0A, and the complete CRL is the older 0x09"),
        (&change, &complete(13), "is CRL 0x0C, older than the complete CRL 0x0D"),
        (&change, &crl(&[]), "needs a complete CRL with a cRLNumber"),
        (&change, &crl(&[number(10), users()]), "another issuingDistributionPoint"),
        (&change, &other_key, "another issuer"),
    ] {
        let error = delta.applies_to(base, base.header().number).expect_err(problem);
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn crl_numbers_order_by_value() {
    let number = |content: &[u8]| CrlNumber::from_der_content(content).unwrap();
    assert!(number(&[0]) < number(&[1]) && number(&[0x7f]) < number(&[1, 0]));
    assert_eq!(number(&[0, 0x80]), number(&[0, 0, 0x80]));
    assert_eq!(format!("{} {} {:?}", number(&[0]), number(&[0x10, 0]), number(&[7])), "0x00 0x1000 CrlNumber(0x07)");
    assert_eq!(number(&[9]).padded()[19], 9);
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let serial = vec(any::<u8>(), 1..=20).prop_filter_map("zero", |octets| Serial::from_magnitude(&octets));
    let time = (0..=u64::from(u32::MAX)).prop_map(UnixTime);
    (serial, time, prop::sample::select(&Reason::ALL[..]))
        .prop_map(|(serial, time, reason)| Entry { serial, change: Change::Revoked { time, reason } })
}

fn written(entry: &Entry) -> Vec<u8> {
    let mut magnitude = entry.serial.magnitude().to_vec();
    if magnitude[0] >= 0x80 {
        magnitude.insert(0, 0);
    }
    let Change::Revoked { time, reason: code } = entry.change else { panic!("not drawn") };
    let generalized = time.generalized();
    let time =
        if generalized[..4] < b"2050"[..] { element(0x17, &generalized[2..]) } else { element(0x18, generalized) };
    let mut fields = vec![element(2, magnitude), time];
    if code != Reason::Unspecified {
        fields.push(sequence(&[reason(code.code())]));
    }
    sequence(&fields)
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_x509_cert_agrees(entries in vec(any_entry(), 0..30)) {
        // UTCTime begins in 1970 here; x509-cert has the same start.
        let der = Draft::entries(&entries.iter().map(written).collect::<Vec<_>>()).der();
        let oracle = CertificateList::from_der(&der).unwrap().tbs_cert_list.revoked_certificates.unwrap_or_default();
        let crl = Crl::from_octets(der, &issuer()).unwrap();
        prop_assert_eq!(crl.entries().len(), entries.len());
        prop_assert_eq!(oracle.len(), entries.len());
        for ((entry, expected), oracle) in crl.entries().zip(&entries).zip(oracle) {
            prop_assert_eq!(entry, *expected);
            prop_assert_eq!(Serial::from_der_content(oracle.serial_number.as_bytes()), Some(entry.serial));
            let Change::Revoked { time, .. } = entry.change else { panic!("nothing is removed") };
            prop_assert_eq!(UnixTime::from(oracle.revocation_date), time);
        }
    }

    #[test]
    fn arbitrary_octets_never_panic(content in vec(any::<u8>(), 0..500)) {
        let _ = Crl::from_octets(content.clone(), &issuer());
        let _ = Crl::from_octets(element(0x30, content), &issuer());
    }

    #[test]
    fn arbitrary_octets_under_a_good_signature_never_panic(
        entries in vec(any::<u8>(), 0..100),
        extensions in vec(any::<u8>(), 0..100),
        value in vec(any::<u8>(), 0..20),
        last in 18_u8..36,
    ) {
        let _ = Draft { entries: element(0x30, &entries), ..Draft::new() }.read();
        let _ = Draft { entries, ..Draft::new() }.read();
        let _ = Draft::extensions(&[extensions]).read();
        let _ = Draft::extensions(&[extension(last, true, &value)]).read();
        let _ = Draft::entries(&[entry(1, &[extension(last, true, &value)])]).read();
    }

    #[test]
    fn a_damaged_list_under_a_good_signature_is_counted_right(
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let mut entries = [entry(1, &[]), entry(2, &[reason(1)]), entry(3, &[reason(4)])].concat();
        *at.get_mut(&mut entries) = octet;
        if let Ok(crl) = (Draft { entries: element(0x30, entries), ..Draft::new() }).read() {
            prop_assert_eq!(crl.entries().len(), crl.entries().count());
        }
    }
}
