use std::{io::Cursor, path::Path};

use proptest::prelude::*;

use super::{
    super::{Form, Listing, SourceError},
    *,
};

const DECIMAL: Form = Form::Issued(Radix::Decimal);
const HEXADECIMAL: Form = Form::Issued(Radix::Hexadecimal);

fn read(form: Form, content: &[u8]) -> (Vec<Result<Listed, SourceError>>, Option<String>) {
    let mut listing = Listing::new(Cursor::new(content), Path::new("issued.txt"), form);
    let read = listing.by_ref().collect();
    (read, listing.oddities().map(ToString::to_string))
}

fn listed(form: Form, content: &str) -> Vec<Listed> {
    let (read, odd) = read(form, content.as_bytes());
    assert_eq!(odd, None, "{content}");
    read.into_iter().map(|listed| listed.unwrap_or_else(|error| panic!("{content}: {error}"))).collect()
}

fn certificate(serial: &str, not_after: Option<u64>, status: Status) -> Listed {
    let serial = Serial::from_hex(serial).unwrap();
    Listed { serial, record: Record { status, not_after: not_after.map(UnixTime) } }
}

fn good(serial: &str) -> Listed {
    certificate(serial, None, Status::Good)
}

fn revoked(time: u64, reason: Reason) -> Status {
    Status::Revoked { time: UnixTime(time), reason }
}

const TIME: u64 = 1_795_941_000;

#[test]
fn a_list_of_serial_numbers_is_read_in_every_usual_form() {
    for text in [
        "0A1B\n0C\n",
        "# issued\n\n0x0a1b\r\n0c\r\n",
        "\u{feff}0a:1b\n0C\n",
        "serial=0A1B\nserial=0C\n",
        "\"0A1B\"\n\"0C\"\n",
        "[\n  \"0a:1b\",\n  \"0c\"\n]\n",
        "Keys\n----\n0a:1b\n0c\n",
    ] {
        assert_eq!(listed(HEXADECIMAL, text), [good("0A1B"), good("0C")], "{text}");
    }
    assert_eq!(listed(DECIMAL, "2587\n12\n"), [good("0A1B"), good("0C")]);
    for text in
        ["0A1B,2026-11-29T08:30:00Z\n", "0A1B;1795941000\n", "0A1B\t261129083000Z\n", "0A1B 2026-11-29T08:30:00Z\n"]
    {
        assert_eq!(listed(HEXADECIMAL, text), [certificate("0A1B", Some(TIME), Status::Good)], "{text}");
    }
    let hash = "ab".repeat(32);
    assert_eq!(
        listed(HEXADECIMAL, &format!("0A1B,1795941000,{hash}\n")),
        [certificate("0A1B", Some(TIME), Status::Good)]
    );
    assert_eq!(listed(HEXADECIMAL, ""), []);
}

#[test]
fn a_heading_names_the_columns_in_any_order_and_among_others() {
    let text = "subject,Serial Number,status,Not After,revoked_at,reason\n\
        \"CN=a, O=\"\"b\"\"\",0A1B,good,2026-11-29T08:30:00Z,,\n\
        CN=b,0C,revoked,,2026-11-29T08:30:00Z,keyCompromise\n\
        CN=c,0D,suspended,,2026-11-29T08:30:00Z,\n\
        CN=d,0E,pending,,,\n";
    let expected = [
        certificate("0A1B", Some(TIME), Status::Good),
        certificate("0C", None, revoked(TIME, Reason::KeyCompromise)),
        certificate("0D", None, revoked(TIME, Reason::CertificateHold)),
    ];
    assert_eq!(listed(HEXADECIMAL, text), expected);
    assert_eq!(listed(HEXADECIMAL, "serial_decimal\n2587\n"), [good("0A1B")], "the heading says it");
    assert_eq!(listed(DECIMAL, "serial_hex\n0A1B\n"), [good("0A1B")]);
}

/// As `certutil -view -out "RequestID,SerialNumber,NotAfter,Request.Disposition,Request.RevokedWhen,Request.RevokedReason" csv`.
#[test]
fn the_list_of_a_microsoft_ca_is_read_in_utf_16_too() {
    let text = "\"Issued Request ID\",\"Serial Number\",\"Certificate Expiration Date\",\"Request Disposition\",\"Revocation Date\",\"Revocation Reason\"\r\n\
        \"2\",\"6100000002b1\",\"\",\"20 -- Issued\",\"EMPTY\",\"EMPTY\"\r\n\
        \"3\",\"6100000003b1\",\"\",\"21 -- Revoked\",\"2026-11-29 08:30:00Z\",\"1 -- Reason: Key Compromise\"\r\n\
        \"4\",\"EMPTY\",\"EMPTY\",\"31 -- Denied\",\"EMPTY\",\"EMPTY\"\r\n";
    let expected = [good("6100000002B1"), certificate("6100000003B1", None, revoked(TIME, Reason::KeyCompromise))];
    assert_eq!(listed(HEXADECIMAL, text), expected);
    for big in [false, true] {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        let encoded: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect();
        let (read, odd) = read(HEXADECIMAL, &encoded);
        assert_eq!((read, odd), (expected.map(Ok).into(), None), "{big}");
    }
}

/// The certificate is unlisted, or its status the stricter one; the others count.
#[test]
fn one_odd_line_makes_nobody_good_and_spoils_no_other() {
    for (odd, expected, told) in [
        ("xyz,good,", None, "has as serial number `xyz`"),
        ("0,good,", None, "from 1 to 20 bytes"),
        ("-0A,good,", None, "is negative"),
        (&format!("{},good,", "F".repeat(41)), None, "from 1 to 20 bytes"),
        ("0E,good,,more", None, "more fields"),
        ("0E", None, "fewer fields"),
        ("0E,perhaps,", Some(revoked(0, Reason::CertificateHold)), "has the status `perhaps`"),
        ("0E,revoked,", Some(revoked(0, Reason::Unspecified)), "does not say when"),
        ("0E,revoked,yesterday", Some(revoked(0, Reason::Unspecified)), "`yesterday`"),
        ("0E,good,2026-11-29T08:30:00Z", Some(revoked(TIME, Reason::CertificateHold)), "is good, and says when"),
    ] {
        let text = format!("serial,status,revoked_at\n0C,good,\n{odd}\n0D,good,\n");
        let (read, oddities) = read(HEXADECIMAL, text.as_bytes());
        let mut all = vec![good("0C"), good("0D")];
        all.splice(1..1, expected.map(|status| certificate("0E", None, status)));
        assert_eq!(read, all.into_iter().map(Ok).collect::<Vec<_>>(), "{odd}");
        let oddities = oddities.unwrap();
        assert!(oddities.contains(told) && oddities.contains("line 3"), "{odd}: {oddities}");
    }
}

#[test]
fn what_is_no_list_is_refused_at_its_first_line() {
    for (text, told) in [
        (&b"-----BEGIN CERTIFICATE-----\n"[..], "is PEM"),
        (b"<!DOCTYPE html>\n", "like HTML"),
        (b"0\x82\x00\x01\n", "is no text"),
        (b"V\t270131120000Z\t\t0A\tunknown\t/CN=x\n", "name the file as `index`"),
        (b"subject,reason\n", "begins with `subject,reason`"),
        // The serial number of a certificate as Windows shows it: 61 would be another's.
        (b"61 00 00 02\n", "nothing says what it means"),
        (b"0A1B,perhaps\n", "nothing says what it means"),
    ] {
        let (read, _) = read(HEXADECIMAL, text);
        let [Err(error)] = &read[..] else { panic!("{}: {read:?}", text.escape_ascii()) };
        assert!(error.problem.contains(told) && error.line == Some(1), "{error}");
    }
}

#[test]
fn decimal_serial_numbers_that_are_read_as_hexadecimal_are_noticed() {
    let doubt = |form, text: &str| {
        let mut listing = Listing::new(Cursor::new(text), Path::new("issued.txt"), form);
        listing.by_ref().for_each(drop);
        listing.doubt().is_some()
    };
    let decimal: String = (0..5).map(|number| format!("48151623420000000{number}\n")).collect();
    assert!(doubt(HEXADECIMAL, &decimal));
    assert!(!doubt(DECIMAL, &decimal), "it is said");
    assert!(!doubt(HEXADECIMAL, &format!("{decimal}0A\n")), "one has a letter");
    assert!(!doubt(HEXADECIMAL, "01\n02\n03\n04\n05\n"), "a small CA counts");
}

#[test]
fn a_last_line_without_its_end_is_there_for_whoever_has_seen_that_nobody_writes() {
    let mut listing = Listing::new(Cursor::new("0A1B\n0C"), Path::new("issued.txt"), HEXADECIMAL);
    assert_eq!(listing.next(), Some(Ok(good("0A1B"))));
    assert!(listing.next().unwrap().is_err() && listing.ends_in_half_a_line());
    assert_eq!(listing.half_line(), Some(good("0C")));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(lines in prop::collection::vec(any::<Vec<u8>>(), 0..5), text in "[-\"',;\t 0-9a-fxs:\n]{0,60}") {
        for content in [lines.join(&b'\n'), text.clone().into_bytes(), format!("serial,status\n{text}\n").into_bytes()] {
            for form in [DECIMAL, HEXADECIMAL] {
                let (read, _) = read(form, &content);
                prop_assert!(read.iter().filter(|listed| listed.is_err()).count() <= 1);
            }
        }
    }
}
