use std::io::{BufReader, Cursor};

use proptest::{collection::vec, option, prelude::*};

use super::{
    super::{Form, Listing, SourceError},
    *,
};
use crate::limits;
use std::{
    io::{self, Read as _},
    path::Path,
};

fn read(content: &[u8]) -> Vec<Result<Listed, SourceError>> {
    Listing::new(Cursor::new(content), Path::new("index.txt"), Form::Database).collect()
}

/// The one line `line`, without its end.
fn read_line(line: &[u8]) -> Result<Listed, SourceError> {
    let mut lines = read(&[line, b"\n"].concat());
    assert_eq!(lines.len(), 1, "{}", Excerpt(line));
    lines.remove(0)
}

fn time(text: &str) -> UnixTime {
    UnixTime::from_asn1_text(text.as_bytes()).unwrap()
}

fn revoked_at(text: &str, reason: Reason) -> Status {
    Status::Revoked { time: time(text), reason }
}

#[test]
fn reads_what_openssl_ca_writes() {
    let content = b"V\t270131120000Z\t\t1000\tunknown\t/C=DE/CN=good\n\
        R\t270131120000Z\t250102030405Z,keyCompromise\t1001\tunknown\t/CN=revoked\n\
        E\t240131120000Z\t\t01A4F3\tunknown\t/CN=expired\n\
        V\t99991231235959Z\t\tFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\tunknown\t/CN=for ever\n";
    let listed = |serial, not_after, status| {
        let serial = Serial::from_hex(serial).unwrap();
        Ok(Listed { serial, record: Record { status, not_after: Some(time(not_after)) } })
    };
    assert_eq!(
        read(content),
        [
            listed("1000", "270131120000Z", Status::Good),
            listed("1001", "270131120000Z", revoked_at("250102030405Z", Reason::KeyCompromise)),
            listed("01A4F3", "240131120000Z", Status::Good),
            listed(&"F".repeat(40), "99991231235959Z", Status::Good),
        ]
    );
}

#[test]
fn an_empty_file_lists_nothing() {
    assert_eq!(read(b""), []);
    assert_eq!(read(b"# a comment alone\n"), []);
}

#[test]
fn reads_every_reason_in_any_case() {
    let named = |name: &str| {
        let line = format!("R\t270131120000Z\t250102030405Z{name}\t1001\tunknown\t/CN=revoked");
        match read_line(line.as_bytes()).unwrap().record.status {
            Status::Revoked { time, reason } => {
                assert_eq!(time, super::tests::time("250102030405Z"));
                reason
            }
            Status::Good => panic!("{name}"),
        }
    };
    for (name, reason) in [
        ("", Reason::Unspecified),
        (",unspecified", Reason::Unspecified),
        (",keyCompromise", Reason::KeyCompromise),
        (",CACompromise", Reason::CaCompromise),
        (",affiliationChanged", Reason::AffiliationChanged),
        (",superseded", Reason::Superseded),
        (",cessationOfOperation", Reason::CessationOfOperation),
        (",certificateHold", Reason::CertificateHold),
        (",privilegeWithdrawn", Reason::PrivilegeWithdrawn),
        (",AACompromise", Reason::AaCompromise),
        (",holdInstruction,holdInstructionReject", Reason::CertificateHold),
        (",holdInstruction,1.2.840.10040.2.3", Reason::CertificateHold),
        (",keyTime,20240101000000Z", Reason::KeyCompromise),
        (",CAkeyTime,20240101000000Z", Reason::CaCompromise),
        (",superseded,passed over", Reason::Superseded),
        (",keyTime,20240101000000Z,more", Reason::KeyCompromise),
    ] {
        assert_eq!(named(name), reason, "{name}");
        assert_eq!(named(&name.to_uppercase()), reason, "{name}");
        assert_eq!(named(&name.to_lowercase()), reason, "{name}");
    }
}

#[test]
fn takes_what_makes_no_difference() {
    let expected = read_line(b"V\t270131120000Z\t\t0A\tunknown\t/CN=x");
    assert!(expected.is_ok());
    for line in [
        &b"V\t270131120000Z\t\t0a\tunknown\t/CN=x"[..],
        b"V\t270131120000Z\t\tA\tunknown\t/CN=x",
        b"V\t270131120000Z\t\t000000000000000000000000000000000000000000000A\tunknown\t/CN=x",
        b"V\t20270131120000Z\t\t0A\tunknown\t/CN=x",
        b"V\t270131120000Z\t\t0A\tunknown\t/CN=x\r",
        b"V\t270131120000Z\t\t0A\t\t",
        b"V\t270131120000Z\t\t0A\tnewcerts/0A.pem\t/CN=x",
        "V\t270131120000Z\t\t0A\tgrün.pem\t/CN=x".as_bytes(),
        b"V\t270131120000Z\t\t0A\tunknown\t/CN=a\\\tb",
        b"V\t270131120000Z\t\t0A\tunknown\t/CN=a\\\\\tb",
        b"V\t270131120000Z\t\t0A\tun\\\tknown\t\\\t",
        b"V\t270131120000Z\t\t0A\tunknown\t/CN=\0\xff\xfe\r,\\",
    ] {
        assert_eq!(read_line(line), expected, "{}", Excerpt(line));
    }
}

#[test]
fn refuses_what_does_not_say_of_whom_it_speaks_or_what() {
    for (line, problem) in [
        (&b" "[..], "has 1 of the six fields"),
        (b"V 270131120000Z  0A unknown /CN=x", "has spaces instead of tabs"),
        (b"\xff\xfeV\0\t\0X\0", "is UTF-16 text"),
        (b"V\t270131120000Z\t\t0A\tunknown", "has 5 of the six fields"),
        (b"V\t270131120000Z\t\t0A\tunknown\\\t/CN=x", "has 5 of the six fields"),
        (b" #\t270131120000Z\t\t0A\tunknown\t/CN=x", "is of type ` #`"),
        (b"v\t270131120000Z\t\t0A\tunknown\t/CN=x", "is of type `v`"),
        (b"VV\t270131120000Z\t\t0A\tunknown\t/CN=x", "is of type `VV`"),
        (b"\t270131120000Z\t\t0A\tunknown\t/CN=x", "is of type ``"),
        (b"V\0\t270131120000Z\t\t0A\tunknown\t/CN=x", r"is of type `V\x00`"),
        (b"V\t\t\t0A\tunknown\t/CN=x", "expires ``"),
        (b"V\t27013112000\xc3\xbc\t\t0A\tunknown\t/CN=x", "expires"),
        (b"V\t270131120000Z\t\t\tunknown\t/CN=x", "has the serial number ``"),
        (b"V\t270131120000Z\t\t0A\0\tunknown\t/CN=x", r"has the serial number `0A\x00`"),
        (b"V\t270131120000Z\t\t0A\xff\tunknown\t/CN=x", "has the serial number"),
        (b"V\t270131120000Z\t\t0A\tunk\0own\t/CN=x", "as the file name"),
        (
            b"V\t270131120000Z\t\t0A\tunknown\t/CN=x\rR\t270131120000Z\t250102030405Z\t0B\tunknown\t/CN=y",
            "carriage return",
        ),
    ] {
        let error = read_line(line).expect_err(&Excerpt(line).to_string());
        assert_eq!(error.line, Some(1));
        assert!(error.problem.contains(problem), "{}: {error}", Excerpt(line));
    }
}

/// The one line, and whether it is reported as odd.
fn read_odd(line: &[u8]) -> (Result<Option<Listed>, SourceError>, Option<String>) {
    let mut index = Listing::new(Cursor::new([line, b"\n"].concat()), Path::new("index.txt"), Form::Database);
    let listed = index.next().transpose();
    (listed, index.oddities().map(ToString::to_string))
}

#[test]
fn what_is_odd_about_one_line_takes_no_other_down_and_makes_nobody_good() {
    // One date of 2055 in two digits, as XCA writes it, kept every revocation of the file from being told.
    const HELD: Reason = Reason::CertificateHold;
    const EPOCH: UnixTime = UnixTime(0);
    const LAST: UnixTime = UnixTime(0xffff_ffff);
    let at = time("250102030405Z");
    let revoked = |time, reason| Status::Revoked { time, reason };
    for (line, status, told) in [
        (&b"V\t550131120000Z\t\t0A\tunknown\t/CN=x"[..], Status::Good, "expires `550131120000Z`"),
        (b"E\t19550131120000Z\t\t0A\tunknown\t/CN=x", Status::Good, "expires `19550131120000Z`"),
        (b"V\t270229120000Z\t\t0A\tunknown\t/CN=x", Status::Good, "no date"),
        (b"V\t2701311200Z\t\t0A\tunknown\t/CN=x", Status::Good, "without an end"),
        (b"V\t270131120000+0100\t\t0A\tunknown\t/CN=x", Status::Good, "without an end"),
        (b"R\t550131120000Z\t250102030405Z\t0A\tunknown\t/CN=x", revoked(at, Reason::Unspecified), "expires"),
        (b"R\tgarbage\t250102030405Z\t0A\tunknown\t/CN=x", revoked(at, Reason::Unspecified), "expires `garbage`"),
        (b"R\t\t250102030405Z\t0A\tunknown\t/CN=x", revoked(at, Reason::Unspecified), "expires ``"),
        (b"V\t270131120000Z\t\t0A\tunknown\t/CN=x\ty", Status::Good, "more than six fields"),
        (b"V\t270131120000Z\t250102030405Z\t0A\tunknown\t/CN=x", revoked(at, HELD), "taken as on hold"),
        (b"E\t270131120000Z\t250102030405Z,keyCompromise\t0A\tunknown\t/CN=x", revoked(at, HELD), "taken as on hold"),
        (b"V\t270131120000Z\t?\t0A\tunknown\t/CN=x", revoked(EPOCH, HELD), "taken as on hold"),
        (b"S\t270131120000Z\t\t0A\tunknown\t/CN=x", revoked(EPOCH, HELD), "is of type S"),
        (b"R\t270131120000Z\t\t0A\tunknown\t/CN=x", revoked(EPOCH, Reason::Unspecified), "was revoked at ``"),
        (b"R\t270131120000Z\t,superseded\t0A\tunknown\t/CN=x", revoked(EPOCH, Reason::Superseded), "was revoked at"),
        (b"R\t270131120000Z\t550102030405Z\t0A\tunknown\t/CN=x", revoked(EPOCH, Reason::Unspecified), "1970"),
        (b"R\t270131120000Z\t21060207062816Z\t0A\tunknown\t/CN=x", revoked(LAST, Reason::Unspecified), "2106-02-07"),
        (
            b"R\t270131120000Z\t99991231235959Z,superseded\t0A\tunknown\t/CN=x",
            revoked(LAST, Reason::Superseded),
            "2106",
        ),
        (b"R\t270131120000Z\t250102030405Z,\t0A\tunknown\t/CN=x", revoked(at, Reason::Unspecified), "the reason ``"),
        (b"R\t270131120000Z\t250102030405Z,boredom\t0A\tunknown\t/CN=x", revoked(at, Reason::Unspecified), "`boredom`"),
        (b"R\t270131120000Z\t250102030405Z,removeFromCRL\t0A\tunknown\t/CN=x", revoked(at, HELD), "removeFromCRL"),
        (
            b"R\t270131120000Z\t250102030405Z,keyTime\t0A\tunknown\t/CN=x",
            revoked(at, Reason::KeyCompromise),
            "argument",
        ),
        (b"R\t270131120000Z\t250102030405Z,holdInstruction\t0A\tunknown\t/CN=x", revoked(at, HELD), "argument"),
        (b"V\t270131120000Z\t\t0x0a\tunknown\t/CN=x", Status::Good, "serial number `0x0a`"),
        (b"V\t270131120000Z\t\t 00:0A \tunknown\t/CN=x", Status::Good, "serial number ` 00:0A `"),
    ] {
        let (listed, odd) = read_odd(line);
        let listed = listed.unwrap_or_else(|error| panic!("{}: {error}", Excerpt(line))).unwrap();
        assert_eq!((listed.serial.to_string().as_str(), listed.record.status), ("0A", status), "{}", Excerpt(line));
        assert_eq!(
            listed.record.not_after.is_none(),
            told.starts_with("expires") || told.contains("end") || told.contains("no date"),
            "{}",
            Excerpt(line)
        );
        let odd = odd.unwrap_or_else(|| panic!("{}", Excerpt(line)));
        assert!(odd.starts_with("line 1 ") && odd.contains(told) && odd.len() < 400, "{odd}");
    }
}

/// Eighty characters of a field were shown, which is a whole key of P-256 in base64.
#[test]
fn no_field_that_may_be_of_another_file_is_shown() {
    let key = "IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIi";
    for line in [
        format!("{key}\t270131120000Z\t\t0A\tunknown\t/CN=x"),
        format!("V\t{key}\t\t0A\tunknown\t/CN=x"),
        format!("R\t{key}\t250102030405Z\t0A\tunknown\t/CN=x"),
        format!("R\t270131120000Z\t{key}\t0A\tunknown\t/CN=x"),
        format!("R\t270131120000Z\t250102030405Z,{key}\t0A\tunknown\t/CN=x"),
        format!("V\t270131120000Z\t{key}\t0A\tunknown\t/CN=x"),
        format!("V\t270131120000Z\t\t{key}\tunknown\t/CN=x"),
        format!("V\t270131120000Z\t\t0A\t{key}\0\t/CN=x"),
    ] {
        let (listed, odd) = read_odd(line.as_bytes());
        let told = listed.err().map(|error| error.to_string()).or(odd).unwrap_or_default();
        assert!(!told.is_empty() && !told.contains("IiIiIi"), "{line}: {told}");
    }
}

#[test]
fn what_hides_nothing_is_passed_over_without_a_word() {
    let content = b"\xef\xbb\xbf# made by hand\n\n\r\n\xef\xbb\xbfV\t270131120000Z\t\t0A\tGr\xfcn.pem\t/CN=x\n\n";
    let mut index = Listing::new(Cursor::new(content), Path::new("index.txt"), Form::Database);
    assert!(index.next().unwrap().is_ok() && index.next().is_none());
    assert_eq!((index.oddities(), index.passed_over()), (None, 0));
}

#[test]
fn the_last_time_that_is_kept_is_taken() {
    let listed = read_line(b"R\t270131120000Z\t21060207062815Z\t0A\tunknown\t/CN=x").unwrap();
    assert_eq!(listed.record.status, Status::Revoked { time: UnixTime(0xffff_ffff), reason: Reason::Unspecified });
}

#[test]
fn an_error_counts_comments_and_ends_the_reading() {
    let content = b"# comment\nV\t270131120000Z\t\t0A\tunknown\t/CN=x\n# comment\nnonsense\nV\t270131120000Z\t\t0B\tunknown\t/CN=y\n";
    let lines = read(content);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].is_ok());
    let error = lines[1].as_ref().unwrap_err().to_string();
    assert!(error.starts_with("index.txt:4: has 1 of the six fields"), "{error}");
}

#[test]
fn a_file_cut_at_any_byte_is_half_written() {
    let content = b"# made by hand\n\
        V\t270131120000Z\t\t1000\tunknown\t/C=DE/CN=good\r\n\
        R\t270131120000Z\t250102030405Z,keyTime,20240101000000Z\t1001\tunknown\t/CN=a\\\tb\n\
        E\t240131120000Z\t\t01A4F3\tunknown\t/CN=expired\n";
    for cut in 0..=content.len() {
        let lines = read(&content[..cut]);
        let whole = content[..cut].iter().filter(|&&octet| octet == b'\n').count();
        let listed = whole.saturating_sub(1);
        assert!(lines[..listed].iter().all(Result::is_ok), "{cut}: {lines:?}");
        if cut == 0 || content[cut - 1] == b'\n' {
            assert_eq!(lines.len(), listed, "{cut}");
        } else {
            assert_eq!(lines.len(), listed + 1, "{cut}");
            let error = lines[listed].as_ref().unwrap_err();
            assert!(error.problem.starts_with("ends in the middle of a line"), "{cut}: {error}");
            assert_eq!(error.line, Some(whole as u64 + 1));
        }
    }
}

#[test]
fn a_line_is_taken_up_to_the_bound() {
    let line = |length: usize| {
        let mut line = b"V\t270131120000Z\t\t0A\tunknown\t/CN=".to_vec();
        line.resize(length, b'x');
        line
    };
    assert!(read_line(&line(limits::INDEX_LINE_OCTETS_MAX)).is_ok());
    let error = read_line(&line(limits::INDEX_LINE_OCTETS_MAX + 1)).unwrap_err();
    assert!(error.problem.contains("longer than the 65536 bytes"), "{error}");
    // Neither does a file without any newline fill the memory.
    let endless = io::repeat(b'x').take(1 << 30);
    let mut index = Listing::new(BufReader::new(endless), Path::new("index.txt"), Form::Database);
    assert!(index.next().unwrap().unwrap_err().problem.contains("longer than"));
    assert!(index.line.capacity() < 4 * limits::INDEX_LINE_OCTETS_MAX);
    assert_eq!(index.next(), None);
}

#[test]
fn an_error_shows_little_of_a_long_field() {
    let long = "\u{1b}[31m".repeat(2000);
    for line in [
        format!("{long}\t270131120000Z\t\t0A\tunknown\t/CN=x"),
        format!("V\t{long}\t\t0A\tunknown\t/CN=x"),
        format!("V\t270131120000Z\t{long}\t0A\tunknown\t/CN=x"),
        format!("R\t270131120000Z\t{long}\t0A\tunknown\t/CN=x"),
        format!("R\t270131120000Z\t250102030405Z,{long}\t0A\tunknown\t/CN=x"),
        format!("V\t270131120000Z\t\t{long}\tunknown\t/CN=x"),
        format!("V\t270131120000Z\t\t0A\t{long}\0\t/CN=x"),
    ] {
        let (listed, odd) = read_odd(line.as_bytes());
        let problem = listed.map_or_else(|error| error.problem, |_| odd.unwrap());
        assert!(problem.len() < 350 && !problem.contains('\u{1b}'), "{problem}");
    }
}

#[test]
fn a_serial_number_that_nobody_can_have_is_passed_over_and_counted() {
    let line = |serial: &str, more: &str| format!("V\t270131120000Z\t\t{serial}\tunknown\t/CN=x{more}\n");
    let long = format!("01{}", "0".repeat(40));
    let content = ["00", "0A", "-0A", &long, "0B"].map(|serial| line(serial, "")).concat();
    let mut index = Listing::new(Cursor::new(content), Path::new("index.txt"), Form::Database);
    let serials: Vec<_> = index.by_ref().map(|listed| listed.unwrap().serial.to_string()).collect();
    assert_eq!((serials, index.passed_over()), (vec!["0A".to_owned(), "0B".to_owned()], 3));
    // The rest of such a line is checked all the same, and lines go on being counted.
    let bad = [line("00", ""), line("00", "").replace("unknown", "\0")].concat();
    assert_eq!(read(bad.as_bytes())[0].as_ref().unwrap_err().line, Some(2));
    for serial in ["-", "--1", "-0x1", "0x", ":"] {
        assert!(read(line(serial, "").as_bytes())[0].is_err(), "{serial}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_without_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Listing::open(&directory.path().join("index.txt"), Form::Database).unwrap_err();
    assert!(missing.line.is_none() && missing.problem.starts_with("cannot be read: "), "{missing}");
    let directory = Listing::open(directory.path(), Form::Database).unwrap_err();
    assert!(directory.line.is_none() && directory.problem.starts_with("cannot be read: "), "{directory}");
}

fn any_serial() -> impl Strategy<Value = Serial> {
    vec(any::<u8>(), 1..=20).prop_filter_map("zero", |octets| Serial::from_magnitude(&octets))
}

fn any_listed() -> impl Strategy<Value = Listed> {
    let revocation = option::of((0..=u64::from(u32::MAX), prop::sample::select(&Reason::ALL[..])));
    (any_serial(), 0..=UnixTime::MAX.0, revocation).prop_map(|(serial, not_after, revocation)| Listed {
        serial,
        record: Record {
            status: revocation.map_or(Status::Good, |(time, reason)| Status::Revoked { time: UnixTime(time), reason }),
            not_after: Some(UnixTime(not_after)),
        },
    })
}

/// UTCTime to 2049 and GeneralizedTime from then on, as OpenSSL chooses.
fn written_time(time: UnixTime) -> String {
    let text = String::from_utf8(time.generalized().to_vec()).unwrap();
    if text.as_str() < "2050" { text[2..].to_owned() } else { text }
}

/// The line that `openssl ca` writes; TXT_DB_write escapes tabs and nothing else.
fn written(listed: &Listed, file: &str, subject: &[u8], end: &[u8]) -> Vec<u8> {
    let (kind, revocation) = match listed.record.status {
        Status::Good => ("V", String::new()),
        Status::Revoked { time, reason: Reason::Unspecified } => ("R", written_time(time)),
        Status::Revoked { time, reason } => ("R", format!("{},{}", written_time(time), reason.name())),
    };
    let not_after = written_time(listed.record.not_after.unwrap());
    let mut line = format!("{kind}\t{not_after}\t{revocation}\t{}\t{file}\t", listed.serial).into_bytes();
    for &octet in subject {
        line.extend((octet == b'\t').then_some(b'\\'));
        line.push(octet);
    }
    line.extend(end);
    line
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        database in vec((any_listed(), "[ -~ä]{0,20}", vec(any::<u8>(), 0..60), any::<bool>()), 0..20),
    ) {
        let mut content = Vec::new();
        for (listed, file, subject, crlf) in &database {
            let subject: Vec<u8> = subject.iter().copied().filter(|&octet| octet != b'\n').collect();
            // A field that ends in a backslash is ambiguous in TXT_DB itself.
            let file = file.trim_end_matches('\\');
            content.extend(written(listed, file, &subject, if *crlf { b"\r\n" } else { b"\n" }));
        }
        let expected: Vec<_> = database.into_iter().map(|(listed, ..)| Ok(listed)).collect();
        prop_assert_eq!(read(&content), expected);
    }

    #[test]
    fn arbitrary_octets_never_panic(content in vec(any::<u8>(), 0..2000)) {
        for line in read(&content) {
            if let Err(error) = line {
                prop_assert!(error.problem.len() < 300);
            }
        }
    }

    #[test]
    fn a_damaged_line_never_panics(
        listed in any_listed(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut line = written(&listed, "unknown", b"/CN=x", b"\n");
        for (place, octet) in damage {
            *place.get_mut(&mut line) = octet;
        }
        prop_assert!(read(&line).len() <= 4);
    }
}
