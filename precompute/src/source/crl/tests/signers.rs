//! CRLs that others than the CA under its present key have signed, and bundles of several CRLs.

use super::{draft::*, *};
use crate::pki::{Certificate, Reason, Serial, UnixTime};

const UNTIL_2049: &[u8] = b"\x17\x0d490103030405Z";

fn now() -> UnixTime {
    UnixTime(1_800_000_000)
}

fn ca() -> Certificate {
    issued("CA", 7, ("CA", 7), &[TODAY, UNTIL_2049], &[ca_constraints(), key_usage(CERT_AND_CRL_SIGN)])
}

/// The CA under another key.
fn other_key(extensions: &[Vec<u8>]) -> Certificate {
    issued("CA", 8, ("CA", 8), &[TODAY, UNTIL_2049], extensions)
}

fn delegate(by: (&str, u8), extensions: &[Vec<u8>]) -> Certificate {
    issued("Signs CRLs", 9, by, &[TODAY, UNTIL_2049], extensions)
}

fn proper_delegate() -> Certificate {
    delegate(("CA", 7), &[key_usage(CRL_SIGN)])
}

fn indirect() -> Vec<u8> {
    distribution_point(&[0x84, 1, 0xff])
}

/// By the delegate.
fn indirect_crl(entries: &[Vec<u8>]) -> Draft {
    Draft {
        issuer: name("Signs CRLs"),
        seed: 9,
        entries: sequence(entries),
        ..Draft::extensions(&[number(1), indirect()])
    }
}

fn read_at(draft: &Draft, others: &[Certificate], now: UnixTime) -> Result<Crl, String> {
    let ca = ca();
    let mut file = CrlFile::from_octets(draft.der(), &CrlIssuers::with(&ca, others, now))?;
    assert_eq!((file.crls.len(), file.foreign.len()), (1, 0));
    Ok(file.crls.remove(0))
}

fn read(draft: &Draft, others: &[Certificate]) -> Result<Crl, String> {
    read_at(draft, others, now())
}

fn serials(crl: &Crl) -> Vec<Serial> {
    crl.entries().map(|entry| entry.serial).collect()
}

#[test]
fn of_an_indirect_crl_only_the_entries_about_the_ca_say_anything() {
    // OpenSSL before 1.0, and many responders, took the serials of other CAs for their own.
    let others = [proper_delegate()];
    let about = |serial, issuer: &str| entry(serial, &[entry_of(issuer)]);
    for (entries, own) in [
        (vec![entry(1, &[]), entry(2, &[])], vec![]),
        (vec![about(1, "CA"), entry(2, &[]), entry(3, &[reason(1)])], vec![1, 2, 3]),
        (vec![entry(1, &[]), about(2, "CA"), entry(3, &[]), about(4, "Other"), entry(5, &[])], vec![2, 3]),
        (vec![about(1, "Other"), entry(2, &[]), about(3, " ca "), entry(4, &[])], vec![3, 4]),
        (vec![about(1, "Signs CRLs"), about(2, "CA"), about(3, "CA")], vec![2, 3]),
    ] {
        let crl = read(&indirect_crl(&entries), &others).unwrap();
        assert_eq!(serials(&crl), own.iter().map(|own| serial(*own)).collect::<Vec<_>>());
        assert_eq!(serials(&crl), own.iter().map(|own| serial(*own)).collect::<Vec<_>>(), "a second walk");
        assert_eq!((crl.entries().len(), crl.of_others()), (own.len(), entries.len() - own.len()));
        // Of the CA itself, entries are its own until one says otherwise.
        let direct = Draft { entries: sequence(&entries), ..Draft::extensions(&[number(1), indirect()]) };
        let direct = read(&direct, &[]).unwrap();
        let before = entries.iter().take_while(|entry| !entry.windows(3).any(|oid| oid == [0x55, 0x1d, 29])).count();
        assert_eq!(direct.entries().len(), before + own.len());
    }
}

#[test]
fn an_entry_about_another_ca_says_nothing_even_in_a_crl_that_is_not_indirect() {
    let entries = [entry(1, &[]), entry(2, &[entry_of("Other")]), entry(3, &[reason(1)])];
    let crl = read(&Draft::entries(&entries), &[]).unwrap();
    assert_eq!((serials(&crl), crl.of_others()), (vec![serial(1)], 2));
}

#[test]
fn a_crl_issuer_is_one_that_the_ca_has_certified_for_that() {
    let ca = ca();
    let check = |certificate: &Certificate| check_crl_issuer(certificate, &ca, &[]);
    assert_eq!(check(&proper_delegate()), Ok(()));
    assert_eq!(check(&other_key(&[ca_constraints()])), Ok(()), "whoever names it vouches for it");
    let rolled = [other_key(&[ca_constraints()])];
    assert_eq!(check_crl_issuer(&delegate(("CA", 8), &[key_usage(CRL_SIGN)]), &ca, &rolled), Ok(()));
    for (certificate, problem) in [
        (
            delegate(("CA", 8), &[key_usage(CRL_SIGN)]),
            "this CA has not certified: it has a signature that does not verify",
        ),
        (delegate(("Other", 7), &[key_usage(CRL_SIGN)]), "this CA has not certified: it was issued by `CN=Other`"),
        (delegate(("CA", 7), &[]), "has no keyUsage"),
        (delegate(("CA", 7), &[key_usage(0b1000_0000)]), "has a keyUsage without cRLSign"),
        (other_key(&[]), "has the name of this CA, and is not a CA's"),
        (other_key(&[ca_constraints(), key_usage(0b0000_0100)]), "has a keyUsage without cRLSign"),
    ] {
        let error = check(&certificate).expect_err(problem);
        assert!(error.contains(problem), "expected `{problem}`, found `{error}`");
    }
}

#[test]
fn a_crl_counts_with_the_signature_of_a_named_issuer_in_force_alone() {
    let others = [proper_delegate(), other_key(&[ca_constraints()])];
    let refused = |draft: &Draft, others: &[Certificate], now, problem: &str| {
        let error = read_at(draft, others, now).expect_err(problem);
        assert!(error.contains(problem), "expected `{problem}`, found `{error}`");
    };
    let by_delegate = indirect_crl(&[entry(1, &[entry_of("CA")])]);
    assert_eq!(read(&by_delegate, &others).unwrap().entries().len(), 1);
    refused(&by_delegate, &[], now(), "was issued by `CN=Signs CRLs`, not by `CN=CA`");
    refused(&Draft { seed: 7, ..indirect_crl(&[]) }, &others, now(), "does not verify");
    let direct = Draft { issuer: name("Signs CRLs"), seed: 9, ..Draft::extensions(&[number(1)]) };
    refused(&direct, &others, now(), "and not an indirect CRL");
    let (before, after) = (UnixTime(today().0 - 1), UnixTime::from_asn1_text(b"490103030406Z").unwrap());
    refused(&by_delegate, &others, before, "is valid from 2025");
    refused(&by_delegate, &others, after, "name its renewed certificate");
    assert!(read_at(&Draft::entries(&[entry(1, &[])]), &others, after).is_ok(), "the CA's own end is told elsewhere");

    // Key rollover: either key.
    let by_other_key = Draft { seed: 8, ..Draft::entries(&[entry(1, &[reason(1)])]) };
    let change = Change::Revoked { time: today(), reason: Reason::KeyCompromise };
    let entries: Vec<_> = read(&by_other_key, &others).unwrap().entries().collect();
    assert_eq!(entries, [Entry { serial: serial(1), change }]);
    refused(&by_other_key, &others[..1], now(), "does not verify under the issuer's key");
    refused(&Draft { seed: 10, ..Draft::new() }, &others, now(), "does not verify under the issuer's key");
}

#[test]
fn each_signer_has_scopes_of_its_own() {
    let others = [proper_delegate(), other_key(&[ca_constraints()])];
    let shard = || distribution_point(&element(0xa0, element(0xa0, element(0x86, "http://ca/1"))));
    let scope = |draft: &Draft| read(draft, &others).unwrap().scope();
    let own = [Draft::extensions(&[number(1)]), Draft::extensions(&[number(1), shard()])];
    let by_other_key = own.each_ref().map(|own| Draft { seed: 8, extensions: own.extensions.clone(), ..Draft::new() });
    let all = [&own[0], &own[1], &by_other_key[0], &by_other_key[1], &indirect_crl(&[])].map(scope);
    assert_eq!(all.map(CrlScope::is_of_other_signer), [false, false, true, true, true]);
    assert_eq!(all[0], CrlScope::WHOLE);
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "{place}");
    }
    let delta = Draft { seed: 8, ..Draft::extensions(&[number(2), delta(1)]) };
    let [own, other] = [&own[0], &by_other_key[0]].map(|base| read(base, &others).unwrap());
    let delta = read(&delta, &others).unwrap();
    assert_eq!(delta.applies_to(&other, other.header().number), Ok(()));
    assert!(delta.applies_to(&own, own.header().number).unwrap_err().contains("with another key"));
}

#[test]
fn of_a_bundle_the_crls_of_other_cas_are_passed_over_and_everything_else_counts_or_refuses_it() {
    let ca = ca();
    let text = |drafts: &[&Draft]| drafts.iter().map(|draft| pem(&draft.der())).collect::<String>();
    let read = |text: String| CrlFile::from_octets(text.into_bytes(), &CrlIssuers::ca(&ca));
    let own = Draft::entries(&[entry(1, &[])]);
    let other_own = Draft::extensions(&[number(1), distribution_point(&[0x81, 1, 0xff])]);
    let foreign = Draft { issuer: name("Other"), seed: 8, ..Draft::new() };
    let forged = Draft { seed: 8, ..Draft::new() };

    let file = read("text\n".to_owned() + &text(&[&foreign, &own, &other_own])).unwrap();
    assert_eq!(file.crls.len(), 2);
    assert_eq!(serials(&file.crls[0]), [serial(1)]);
    assert_eq!(file.foreign, ["CRL 1 of 3: was issued by `CN=Other`, not by `CN=CA`"]);
    for (bundle, problem) in [
        (vec![&foreign], "was issued by `CN=Other`"),
        (vec![&foreign, &foreign], "CRL 1 of 2: was issued by `CN=Other`"),
        (vec![&own, &forged], "CRL 2 of 2: has a signature that does not verify"),
    ] {
        let error = read(text(&bundle)).expect_err(problem);
        assert!(error.starts_with(problem), "{error}");
    }
    let whole = text(&[&own, &other_own]);
    for cut in 1..whole.trim_end().len() {
        let Ok(file) = read(whole[..cut].to_owned()) else { continue };
        // Only a cut before the first line of the second one is whole leaves a file of one.
        assert_eq!(
            (file.crls.len(), cut > pem(&own.der()).len() + "-----BEGIN X509 CRL----".len()),
            (1, false),
            "{cut}"
        );
    }
    let many = pem(&own.der()).repeat(crate::limits::CRLS_IN_FILE_MAX + 1);
    assert!(read(many).unwrap_err().contains("more than the 1024 allowed"));
}

#[test]
fn the_urls_of_deltas_are_told() {
    let point = |url: &str| sequence(&[element(0xa0, element(0xa0, element(0x86, url)))]);
    let points = sequence(&[point("http://ca/delta.crl"), point("ldap:///CN=CA")]);
    let crl = Draft::extensions(&[number(1), extension(46, false, points)]).read().unwrap();
    assert_eq!(crl.freshest().collect::<Vec<_>>(), ["http://ca/delta.crl", "ldap:///CN=CA"]);
    assert_eq!(Draft::new().read().unwrap().freshest().count(), 0);
}

/// Written by the Python package `cryptography` 48: an indirect CRL of a CRL issuer about certificates of three CAs.
#[test]
fn an_indirect_crl_of_another_library_is_read_as_openssl_shows_it() {
    let ca = Certificate::from_der(include_bytes!("made/ca.der")).unwrap();
    let others = [Certificate::from_der(include_bytes!("made/crl-issuer.der")).unwrap()];
    assert_eq!(check_crl_issuer(&others[0], &ca, &[]), Ok(()));
    let content = include_bytes!("made/indirect.crl").to_vec();
    let file = CrlFile::from_octets(content.clone(), &CrlIssuers::with(&ca, &others, now())).unwrap();
    let crl = &file.crls[0];
    let revoked = |value, reason| Entry { serial: serial(value), change: Change::Revoked { time: today(), reason } };
    let expected = [
        revoked(0x11, Reason::KeyCompromise),
        revoked(0x12, Reason::Unspecified),
        revoked(0x13, Reason::CertificateHold),
    ];
    assert_eq!(crl.entries().collect::<Vec<_>>(), expected);
    assert_eq!((crl.of_others(), crl.oddities()), (3, None));
    assert_eq!(crl.header().coverage, Coverage { indirect_crl: true, ..Coverage::default() });
    assert_eq!(crl.freshest().collect::<Vec<_>>(), ["http://ca.example/delta.crl"]);
    for end in 0..content.len() {
        assert!(
            CrlFile::from_octets(content[..end].to_vec(), &CrlIssuers::with(&ca, &others, now())).is_err(),
            "{end}"
        );
    }
}
