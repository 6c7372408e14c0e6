//! The database of `openssl ca`.
//!
//! - The first line that is refused is the last that is read; its error names it, shortly and printably.
//! - A line means what it means alone, and how the file was cut into reads never shows.
//! - What is taken stands so in the fields of the line; times are those of the `der` crate. Where something is odd, and is
//!   told so, it is never good against what the line says of a revocation.

use std::{
    io::{BufReader, Cursor},
    path::Path,
};

use der::{
    Decode as _,
    asn1::{GeneralizedTime, UtcTime},
};
use precompute::{
    limits,
    pki::{Reason, Status, UnixTime},
    source::{Form, Listed, Listing, SourceError},
};

/// Reads the input as a whole file.
pub fn index(content: &[u8]) -> bool {
    let whole = read(content);
    let small = BufReader::with_capacity(7, Cursor::new(content));
    assert!(Listing::new(small, Path::new(NAME), Form::Database).eq(whole.iter().cloned()), "read in pieces of 7");

    let taken = whole.last().is_none_or(Result::is_ok);
    if content.split(|&octet| octet == b'\n').any(|line| line.len() > limits::INDEX_LINE_OCTETS_MAX) {
        assert!(!taken, "a line over the bound is taken");
        return false;
    }

    // `split` gives one more than there are line ends: what stands behind the last, which is no line if it is empty.
    let mut lines: Vec<_> = content.split(|&octet| octet == b'\n').collect();
    let half_written = lines.pop_if(|last| last.is_empty()).is_none();
    let records = lines.iter().enumerate().filter(|(_, line)| line.first() != Some(&b'#'));
    let mut read = whole.iter();
    for (number, line) in records {
        // A serial number that no certificate can have is passed over, behind an error as everything else.
        let alone = self::read(&[line, &b"\n"[..]].concat());
        if alone.is_empty() && (read.len() > 0 || !whole.last().is_some_and(Result::is_err)) {
            if half_written && number + 1 == lines.len() {
                // Its end is missing, which is what is told.
                let result = read.next().expect("a line without its end is passed over");
                told(result.as_ref().expect_err("a line without its end is taken"), number);
            }
            continue;
        }
        let Some(result) = read.next() else {
            assert!(whole.last().is_some_and(Result::is_err), "line {} is passed over", number + 1);
            return false;
        };
        match result {
            Ok(listed) => {
                assert!(!half_written || number + 1 < lines.len(), "a line without its end is taken");
                assert_eq!(alone, [Ok(*listed)], "line {} alone", number + 1);
                stands_in(listed, line);
            }
            Err(error) => {
                let last = number + 1 == lines.len() && half_written;
                let [Err(other)] = &alone[..] else {
                    assert!(last, "line {} is only refused among others: {error}", number + 1);
                    assert!(error.problem.starts_with("ends in the middle of a line"), "{error}");
                    told(error, number);
                    break;
                };
                assert!(last || other.problem == error.problem, "{error}; alone: {other}");
                told(error, number);
            }
        }
    }
    // A comment that is cut short.
    if let Some(result) = read.next() {
        let error = result.as_ref().expect_err("every line is accounted for");
        assert!(half_written, "{error}");
    }
    assert_eq!(read.next(), None);
    taken
}

const NAME: &str = "index.txt";

fn read(content: &[u8]) -> Vec<Result<Listed, SourceError>> {
    let mut index = Listing::new(Cursor::new(content), Path::new(NAME), Form::Database);
    let read: Vec<_> = index.by_ref().collect();
    assert!(index.next().is_none(), "the end stays the end");
    let refused = read.iter().position(Result::is_err);
    assert!(refused.is_none_or(|at| at + 1 == read.len()), "nothing is read behind an error");
    read
}

/// What is told as odd of the one line.
fn odd(line: &[u8]) -> Option<String> {
    let mut index = Listing::new(Cursor::new([line, b"\n"].concat()), Path::new(NAME), Form::Database);
    index.by_ref().for_each(drop);
    let odd = index.oddities().map(ToString::to_string);
    assert!(odd.as_ref().is_none_or(|odd| odd.len() < 500 && !odd.contains(char::is_control)), "{odd:?}");
    odd
}

fn told(error: &SourceError, number: usize) {
    assert_eq!(error.line, Some(number as u64 + 1), "{error}");
    assert!(error.to_string().starts_with(&format!("{NAME}:{}: ", number + 1)));
    assert!(error.problem.len() < 300 && !error.problem.contains(char::is_control), "{:?}", error.problem);
}

/// `line` says `listed`, by a plainer reading.
fn stands_in(listed: &Listed, line: &[u8]) {
    let odd = odd(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let mut fields: Vec<Vec<u8>> = vec![Vec::new()];
    for (at, &octet) in line.iter().enumerate() {
        if octet == b'\t' && (at == 0 || line[at - 1] != b'\\') {
            fields.push(Vec::new());
        } else if let Some(field) = fields.last_mut() {
            field.push(octet);
        }
    }
    let [kind, expiry, revocation, serial, _file, _subject, more @ ..] = &fields[..] else {
        panic!("{} fields: {}", fields.len(), line.escape_ascii());
    };
    assert!(listed.serial.magnitude().len() <= 20 && listed.serial.magnitude()[0] != 0);
    assert_eq!(
        listed.record.status == Status::Good,
        matches!(&kind[..], b"V" | b"E") && revocation.is_empty(),
        "good is who is said so and of whom nothing speaks of a revocation"
    );
    if odd.is_some() {
        return;
    }
    assert!(more.is_empty());
    assert_eq!(listed.record.not_after, Some(time(expiry)));
    let digits = String::from_utf8(serial.clone()).expect("hexadecimal").to_ascii_uppercase();
    assert_eq!(listed.serial.to_string().trim_start_matches('0'), digits.trim_start_matches('0'));
    match listed.record.status {
        Status::Good => {
            assert!(matches!(&kind[..], b"V" | b"E") && revocation.is_empty());
        }
        Status::Revoked { time: at, reason } => {
            assert_eq!(kind, b"R");
            let mut parts = revocation.split(|&octet| octet == b',');
            assert_eq!(at, time(parts.next().expect("split gives one at least")));
            let named = parts.next().map_or(String::new(), |name| String::from_utf8(name.to_vec()).expect("a name"));
            let expected = match named.to_ascii_lowercase().trim_ascii() {
                "" => Reason::Unspecified,
                "holdinstruction" => Reason::CertificateHold,
                "keytime" => Reason::KeyCompromise,
                "cakeytime" => Reason::CaCompromise,
                name => *Reason::ALL.iter().find(|reason| reason.name().eq_ignore_ascii_case(name)).expect("a reason"),
            };
            assert_eq!(reason, expected);
        }
    }
}

/// `text` as the `der` crate reads it.
fn time(text: &[u8]) -> UnixTime {
    let element = |tag: u8| [&[tag, text.len() as u8], text].concat();
    let since_1970 = match text.len() {
        13 => UtcTime::from_der(&element(0x17)).expect("a time").to_unix_duration(),
        _ => GeneralizedTime::from_der(&element(0x18)).expect("a time").to_unix_duration(),
    };
    UnixTime(since_1970.as_secs())
}
