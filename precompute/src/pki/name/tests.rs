use proptest::prelude::*;

use super::*;
use crate::source::draft::{element, sequence};

const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const TELETEX: u8 = 0x14;
const IA5: u8 = 0x16;
const UNIVERSAL: u8 = 0x1c;
const BMP: u8 = 0x1e;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
/// 0.9.2342.19200300.100.1.25
const DOMAIN_COMPONENT: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 0x19];

fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[element(6, kind), element(tag, value)])
}

fn rdn(attributes: &[Vec<u8>]) -> Vec<u8> {
    element(0x31, attributes.concat())
}

fn named(tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[rdn(&[attribute(COMMON_NAME, tag, value)])])
}

#[track_caller]
fn same(first: &[u8], second: &[u8], expected: bool) {
    assert_eq!(is_same_name(first, second), expected, "{first:02x?} {second:02x?}");
    assert_eq!(is_same_name(second, first), expected, "the other way round");
}

#[test]
fn a_name_is_one_in_every_string_type() {
    let utf_16: Vec<u8> = "Grün 1".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf_32: Vec<u8> = "Grün 1".chars().flat_map(|character| u32::from(character).to_be_bytes()).collect();
    let forms = [
        named(UTF8, "Grün 1".as_bytes()),
        named(TELETEX, b"Gr\xfcn 1"),
        named(BMP, &utf_16),
        named(UNIVERSAL, &utf_32),
        named(UTF8, "  GRÜN \u{a0}\t1 ".as_bytes()),
        named(UTF8, "gr\u{ad}ün\u{3000}1\u{200b}".as_bytes()),
    ];
    for first in &forms {
        for second in &forms {
            same(first, second, true);
        }
    }
    same(&named(UTF8, b"Issuing CA 1"), &named(PRINTABLE, b"issuing  ca 1"), true);
    same(&named(UTF8, "Straße ΟΔΟΣ".as_bytes()), &named(UTF8, "STRASSE οδος".as_bytes()), true);
    let domain = |tag, text| sequence(&[rdn(&[attribute(DOMAIN_COMPONENT, tag, text)])]);
    same(&domain(IA5, b"Example"), &domain(IA5, b"eXAMPLE"), true);
}

#[test]
fn a_name_is_shown_as_text_whatever_its_string_type() {
    let utf_16: Vec<u8> = "Grün 1".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (name, wanted) in [
        (named(UTF8, "Grün 1".as_bytes()), "CN=Grün 1"),
        (named(TELETEX, b"Gr\xfcn 1"), "CN=Grün 1"),
        (named(BMP, &utf_16), "CN=Grün 1"),
        (named(PRINTABLE, b"a,b"), "CN=a\\,b"),
        (named(BMP, &[0]), "2.5.4.3=#1e0100"),
        (named(BMP, &[0, 10, 0x20, 0x2e]), "CN=\\0a\u{202e}"),
        (
            sequence(&[
                rdn(&[attribute(ORGANIZATION, UTF8, b"O")]),
                rdn(&[attribute(COMMON_NAME, TELETEX, b"\xe9"), attribute(DOMAIN_COMPONENT, IA5, b"d")]),
            ]),
            "CN=é+DC=d,O=O",
        ),
    ] {
        assert_eq!(shown(&Name::from_der(&name).unwrap()), wanted);
    }
    let unlike = Unlike { names: &named(BMP, &utf_16), is: &named(UTF8, "Blau".as_bytes()) };
    assert_eq!(unlike.to_string(), "was issued by `CN=Grün 1`, not by `CN=Blau`");
}

#[test]
fn what_differs_otherwise_is_another_name() {
    let plain = named(UTF8, b"CA 1");
    for other in [
        named(UTF8, b"CA 2"),
        named(UTF8, b"CA1"),
        named(UTF8, b"C A 1"),
        named(UTF8, b"CA 1."),
        sequence(&[rdn(&[attribute(ORGANIZATION, UTF8, b"CA 1")])]),
        sequence(&[rdn(&[attribute(COMMON_NAME, UTF8, b"CA 1"), attribute(COMMON_NAME, UTF8, b"CA 1")])]),
        sequence(&[rdn(&[attribute(COMMON_NAME, UTF8, b"CA 1")]), rdn(&[attribute(COMMON_NAME, UTF8, b"CA 1")])]),
        sequence::<Vec<u8>>(&[]),
        Vec::new(),
    ] {
        same(&plain, &other, false);
    }
    // Bytes that the type cannot have, and types that hold no text, equal themselves alone.
    for (first, second) in [
        (named(UTF8, b"CA\xff"), named(UTF8, b"ca\xff")),
        (named(BMP, b"\0C\0A\0"), named(BMP, b"\0c\0a\0")),
        (named(PRINTABLE, b"Gr\xfcn"), named(TELETEX, b"Gr\xfcn")),
        (named(4, b"CA"), named(4, b"ca")),
        (named(4, b"CA"), named(UTF8, b"CA")),
    ] {
        same(&first, &second, false);
        same(&first, &first, true);
    }
}

#[test]
fn a_general_name_is_compared_by_the_name_in_it() {
    let directory = |tag, text: &[u8]| element(0xa4, named(tag, text));
    assert!(is_same_general_name(&directory(UTF8, b"TSA"), &directory(PRINTABLE, b"tsa")));
    assert!(!is_same_general_name(&directory(UTF8, b"TSA"), &directory(UTF8, b"TSB")));
    let mail = |text: &str| element(0x81, text);
    assert!(is_same_general_name(&mail("a@example"), &mail("a@example")));
    assert!(!is_same_general_name(&mail("a@example"), &mail("A@example")));
}

#[test]
fn rdns_have_an_order_and_the_attributes_of_one_have_none() {
    let (name, organization) = (attribute(COMMON_NAME, UTF8, b"CA"), attribute(ORGANIZATION, PRINTABLE, b"Example"));
    let (shouted, other) = (attribute(COMMON_NAME, PRINTABLE, b"CA"), attribute(ORGANIZATION, UTF8, b"EXAMPLE"));
    let one = |first: &Vec<u8>, second: &Vec<u8>| sequence(&[rdn(&[first.clone(), second.clone()])]);
    let two = |first: &Vec<u8>, second: &Vec<u8>| {
        sequence(&[rdn(std::slice::from_ref(first)), rdn(std::slice::from_ref(second))])
    };
    same(&one(&name, &organization), &one(&other, &shouted), true);
    same(&two(&name, &organization), &two(&shouted, &other), true);
    same(&two(&name, &organization), &two(&other, &shouted), false);
    same(&one(&name, &organization), &two(&name, &organization), false);
}

#[test]
fn names_that_read_alike_are_shown_in_der_too() {
    let (composed, apart) = (named(UTF8, "é".as_bytes()), named(UTF8, "e\u{301}".as_bytes()));
    same(&composed, &apart, false);
    let shown = Unlike { names: &named(UTF8, b"A"), is: &named(UTF8, b"B") }.to_string();
    assert_eq!(shown, "was issued by `CN=A`, not by `CN=B`");
    // x509-cert shows both with the accent on the letter.
    let (first, second) = (named(0x1b, b"A"), named(0x1b, b"A"));
    let shown = Unlike { names: &first, is: &second }.to_string();
    assert!(shown.contains("read alike") && shown.ends_with("from byte 14 on,  and "), "{shown}");
    assert!(Unlike { names: &composed, is: &apart }.to_string().len() < 500);
}

proptest! {
    #[test]
    fn any_bytes_equal_themselves_and_never_panic(first in prop::collection::vec(any::<u8>(), 0..80), second in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(is_same_name(&first, &first));
        prop_assert_eq!(is_same_name(&first, &second), is_same_name(&second, &first));
    }

    #[test]
    fn letters_in_any_case_and_any_spaces_are_one_name(words in prop::collection::vec("[A-Za-z0-9]{1,8}", 1..5), spaces in 1_usize..4) {
        let (plain, wide) = (words.join(" "), format!(" {} ", words.join(&" ".repeat(spaces)).to_uppercase()));
        prop_assert!(is_same_name(&named(PRINTABLE, plain.as_bytes()), &named(UTF8, wide.as_bytes())));
    }
}
