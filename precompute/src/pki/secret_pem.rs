//! PEM (RFC 7468) as files really hold it: with a byte order mark, in UTF-16, with any line ends, or with the line ends
//! lost, as environment variables and templates leave them (`\n` written out, or nothing but blanks).
//!
//! Invariant: nothing of a file gets into a message. What is wrong is told by its kind and its line, labels by the list
//! of those that are known here: any other file may be a damaged key. What is read leaves no copy in memory.

use std::{fmt, ops::Deref};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

/// One `-----BEGIN …-----` with its end.
#[derive(Debug)]
pub struct Section {
    /// What it says that it is; empty for what is not known here.
    pub label: &'static str,
    /// Whether it is encrypted by the headers of RFC 1421, which keys of old have. Then there is no content.
    pub encrypted: bool,
    /// The bytes within.
    pub content: Content,
}

/// Bytes that may be a key: wiped, and never shown.
pub struct Content(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content")
    }
}

/// Why a file cannot be read as PEM. The text completes "the file …".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PemDamage {
    /// Where the section begins.
    line: usize,
    label: &'static str,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    NoEnd,
    OtherEnd,
    NotBase64,
}

impl fmt::Display for PemDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, label, .. } = self;
        let begin =
            if label.is_empty() { "`-----BEGIN …-----`".into() } else { format!("`-----BEGIN {label}-----`") };
        write!(f, "is damaged PEM: {begin} in line {line} ")?;
        match self.what {
            What::NoEnd => {
                f.write_str("has no `-----END …-----` behind it, so that the file is cut off; copy it again")
            }
            What::OtherEnd => f.write_str("ends with the `-----END …-----` of something else; copy the file again"),
            What::NotBase64 => f.write_str("is followed by what is no whole base64; copy the file again"),
        }
    }
}

impl std::error::Error for PemDamage {}

/// Labels that can be told: those of RFC 7468, and of files that people take for a key or a certificate.
const LABELS: [&str; 21] = [
    "PRIVATE KEY",
    "EC PRIVATE KEY",
    "RSA PRIVATE KEY",
    "DSA PRIVATE KEY",
    "ANY PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "EC PARAMETERS",
    "DH PARAMETERS",
    "DSA PARAMETERS",
    "CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "X509 CERTIFICATE",
    "CERTIFICATE REQUEST",
    "NEW CERTIFICATE REQUEST",
    "X509 CRL",
    "PKCS7",
    "CMS",
    "PGP PRIVATE KEY BLOCK",
];

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// Longer than all labels.
const LABEL_BYTES_MAX: usize = 64;

/// Every section of a file in order; none where it is no PEM at all.
pub fn sections(file: &[u8]) -> Result<Vec<Section>, PemDamage> {
    let text = plain(file);
    let mut sections = Vec::new();
    let mut place = 0;
    while let Some(begin) = find(&text, place, BEGIN) {
        let Some((label, body)) = label(&text, begin + BEGIN.len()) else {
            place = begin + BEGIN.len();
            continue;
        };
        let line = 1 + text[..begin].iter().filter(|byte| **byte == b'\n').count();
        let damage = |what| PemDamage { line, label: known(label), what };
        let end = find(&text, body, DASHES).filter(|end| text[*end..].starts_with(END)).ok_or(damage(What::NoEnd))?;
        let (end_label, behind) = self::label(&text, end + END.len()).ok_or(damage(What::NoEnd))?;
        if end_label != label {
            return Err(damage(What::OtherEnd));
        }
        let (encrypted, content) = decode(&text[body..end]).ok_or(damage(What::NotBase64))?;
        sections.push(Section { label: known(label), encrypted, content });
        place = behind;
    }
    Ok(sections)
}

/// Whether a file holds, or seems to hold, a private key in PEM, whole or damaged.
pub fn seems_private(file: &[u8]) -> bool {
    let text = plain(file);
    find(&text, 0, b"PRIVATE KEY").is_some()
}

/// A file's text: its own bytes, or others that are wiped.
enum Plain<'a> {
    Own(&'a [u8]),
    Read(Zeroizing<Vec<u8>>),
}

impl Deref for Plain<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(text) => text,
            Self::Read(text) => text,
        }
    }
}

/// The text in ASCII: without a byte order mark, and not in UTF-16. What is no ASCII in UTF-16 becomes `?`.
fn plain(file: &[u8]) -> Plain<'_> {
    let wide = |units: &[u8], read: fn([u8; 2]) -> u16| {
        let mut text = Zeroizing::new(Vec::with_capacity(units.len() / 2));
        let units = units.as_chunks::<2>().0.iter().map(|unit| read(*unit));
        text.extend(units.map(|unit| u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(b'?')));
        Plain::Read(text)
    };
    match file {
        [0xef, 0xbb, 0xbf, rest @ ..] => Plain::Own(rest),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [b'-', 0, b'-', 0, ..] => wide(file, u16::from_le_bytes),
        [0, b'-', 0, b'-', ..] => wide(file, u16::from_be_bytes),
        _ => Plain::Own(file),
    }
}

fn find(text: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    text.get(from..)?.windows(wanted.len()).position(|window| window == wanted).map(|place| from + place)
}

/// The label that begins here, and what is behind the dashes that end it.
fn label(text: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = &text[from..text.len().min(from + LABEL_BYTES_MAX)];
    let length = find(rest, 0, DASHES)?;
    let is_label = rest[..length].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ');
    is_label.then_some((&rest[..length], from + length + DASHES.len()))
}

fn known(label: &[u8]) -> &'static str {
    LABELS.into_iter().find(|known| known.as_bytes() == label).unwrap_or_default()
}

/// What stands between the two marks, and whether it is encrypted.
fn decode(body: &[u8]) -> Option<(bool, Content)> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    // RFC 1421 section 4.6; whoever has lost the line ends has lost where they end, and nobody can decrypt them here.
    if find(body, 0, b"ENCRYPTED").is_some() {
        return Some((true, Content(Zeroizing::default())));
    }
    let mut letters = Zeroizing::new(Vec::with_capacity(body.len()));
    // A header, such as `Comment: …`, goes to the end of its line.
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.contains(&b':')) {
        let mut rest = line.iter();
        while let Some(byte) = rest.next() {
            match byte {
                byte if byte.is_ascii_whitespace() => {}
                // Written out: `\n`, `\r`, `\t`.
                b'\\' if rest.as_slice().first().is_some_and(|next| b"nrt".contains(next)) => drop(rest.next()),
                byte => letters.push(*byte),
            }
        }
    }
    let mut content = Zeroizing::new(vec![0; letters.len() / 4 * 3 + 3]);
    let length = ENGINE.decode_slice(&letters[..], &mut content).ok()?;
    content.truncate(length);
    Some((false, Content(content)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKiss\nLS4vMA==\n-----END PRIVATE KEY-----\n";

    fn wide(text: &str, write: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(write).collect()
    }

    #[test]
    fn a_file_is_read_whatever_became_of_its_lines() {
        let expected: Vec<u8> = (0..0x31).collect();
        let lines = |end: &str| KEY.replace('\n', end).into_bytes();
        for (what, file) in [
            ("as it is written", KEY.into()),
            ("CRLF", lines("\r\n")),
            ("CR", lines("\r")),
            ("one line", lines("")),
            ("blanks", lines(" ")),
            ("written out", lines("\\n")),
            ("written out, CRLF", lines("\\r\\n")),
            ("indented", lines("\n    ")),
            ("quoted", format!("KEY=\"{}\"", KEY.replace('\n', "\\n")).into()),
            ("text before", format!("0 leading text\n{KEY}").into()),
            ("text behind", format!("{KEY}and more: text").into()),
            ("UTF-8 with a mark", [b"\xef\xbb\xbf", KEY.as_bytes()].concat()),
            ("UTF-16 LE", wide(&format!("\u{feff}{KEY}"), u16::to_le_bytes)),
            ("UTF-16 BE", wide(&format!("\u{feff}{KEY}"), u16::to_be_bytes)),
            ("UTF-16 LE without a mark", wide(KEY, u16::to_le_bytes)),
            ("UTF-16 BE without a mark", wide(KEY, u16::to_be_bytes)),
            ("without padding", KEY.replace("==", "").into()),
            ("a header", KEY.replace("-----\nA", "-----\nComment: me\n\nA").into()),
        ] {
            let sections = sections(&file).unwrap_or_else(|damage| panic!("{what}: {damage}"));
            let [section] = &sections[..] else { panic!("{what}: {sections:?}") };
            assert_eq!(
                (section.label, section.encrypted, &section.content.0[..]),
                ("PRIVATE KEY", false, &expected[..]),
                "{what}"
            );
        }
        assert_eq!(sections(&lines("\n").repeat(2)).unwrap().len(), 2);
        assert!(sections(b"").unwrap().is_empty() && sections(b"no PEM").unwrap().is_empty());
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(sections(old.as_bytes()).unwrap()[0].encrypted);
    }

    #[test]
    fn damage_is_told_by_its_line_and_kind() {
        let behind = |text: &str| format!("# mine\n\n{text}");
        for (text, told) in [
            (behind(&KEY[..60]), "`-----BEGIN PRIVATE KEY-----` in line 3 has no `-----END …-----` behind it"),
            (KEY[..60].repeat(2), "in line 1 has no `-----END"),
            (KEY.replace("END PRIVATE", "END"), "in line 1 ends with the `-----END …-----` of something else"),
            (KEY.replace("AwQ", "A%Q"), "is no whole base64; copy the file again"),
            (KEY.replace("AwQ", ""), "is no whole base64"),
            (KEY.replace("PRIVATE KEY", "SECRET"), ""),
            (KEY.replace("PRIVATE KEY", "SECRET").replace("AwQ", ""), "is damaged PEM: `-----BEGIN …-----` in line 1"),
        ] {
            let told_now = sections(text.as_bytes()).err().map(|damage| damage.to_string()).unwrap_or_default();
            assert!(told_now.contains(told) && told_now.is_empty() == told.is_empty(), "{text}: {told_now}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_damaged_file_is_told(
            cut in 0..KEY.len(), at in 0..KEY.len(), put in "[A-Za-z0-9+/=\\\\\n -]{0,8}",
        ) {
            let mut text = KEY[..cut].to_owned();
            text.insert_str(at.min(cut), &put);
            if let Err(damage) = sections(text.as_bytes()) {
                let told = damage.to_string();
                for secret in ["AAECAw", "Hh8gIS", "LS4vMA"] {
                    prop_assert!(!told.contains(secret), "{}", told);
                }
                prop_assert!(told.len() < 200, "{}", told);
            }
        }
    }
}
