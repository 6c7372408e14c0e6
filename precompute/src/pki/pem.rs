//! PEM (RFC 7468) as it occurs in practice: with a byte order mark, in UTF-16, with any line ends, or without them, as
//! environment variables and templates leave it (`\n` written out, or only blanks).
//!
//! Invariant: no content of a file gets into a message. Problems are described by kind and line, labels by a list of
//! known ones: any other file may be a damaged key. Reading leaves no copy in memory. It does not know what is in a
//! section.

use std::{fmt, ops::Deref};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::{elements::Elements, tag::SEQUENCE};

/// One `-----BEGIN …-----` section with its end.
#[derive(Debug)]
pub struct Section {
    /// Its label; empty for an unknown one.
    pub label: &'static str,
    /// Whether it is encrypted with the headers of RFC 1421, as old keys are. Then there is no content.
    pub encrypted: bool,
    content: Result<Content, PemDamage>,
}

impl Section {
    /// The decoded bytes; an error if they are not complete base64.
    pub fn content(&self) -> Result<&[u8], PemDamage> {
        self.content.as_ref().map(|content| &content.0[..]).map_err(|damage| *damage)
    }
}

/// Bytes that may be a key: wiped, and never shown.
struct Content(Zeroizing<Vec<u8>>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content")
    }
}

/// Why a file cannot be read as PEM. The text completes "the file …".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PemDamage {
    /// The line of the section's beginning.
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

/// Labels that messages may show: those of RFC 7468, and those of files that people take for a key or a certificate.
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

/// Every section of a file in order; empty if it is not PEM at all.
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
        // RFC 1421 section 4.6. Without line ends, the end of these headers is unknown; nothing is decrypted here.
        let encrypted = find(&text[body..end], 0, b"ENCRYPTED").is_some();
        let content = if encrypted { Some(Content(Zeroizing::default())) } else { decode(&text[body..end]) };
        let content = content.ok_or(damage(What::NotBase64));
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

/// Whether a file is one DER SEQUENCE, or begins like one and holds no PEM. A text may begin with `0`, which is the tag
/// of a SEQUENCE, but its next bytes hardly match its length.
pub fn is_der(file: &[u8]) -> bool {
    Elements::only(file, SEQUENCE).is_ok() || file.first() == Some(&SEQUENCE) && find(&plain(file), 0, BEGIN).is_none()
}

/// What a file holds instead of the expected content, in words.
pub fn told(file: &[u8], sections: &[Section]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for Section { label, .. } in sections {
        if !label.is_empty() && !labels.contains(label) {
            labels.push(label);
        }
    }
    let text = plain(file);
    let start = text.trim_ascii_start();
    match &labels[..] {
        [] if start.is_empty() => "it is empty".to_owned(),
        [] if start.starts_with(b"<") => "it is an HTML or XML page".to_owned(),
        [] if !sections.is_empty() => "it has sections of an unknown kind".to_owned(),
        [] => "it has no PEM section".to_owned(),
        labels => format!("it has the sections {}", labels.join(", ")),
    }
}

/// A file's text: its own bytes, or a converted copy that is wiped.
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

/// The text in ASCII, converted from UTF-16, which PowerShell writes. Other characters can only be in surrounding text,
/// and become `?`.
fn plain(file: &[u8]) -> Plain<'_> {
    let begins_wide = |dash: [u8; 2]| {
        let begin: Vec<u8> = BEGIN.iter().flat_map(|byte| dash.map(|side| if side == 0 { 0 } else { *byte })).collect();
        find(file, 0, &begin).is_some_and(|place| place % 2 == 0)
    };
    let read: fn([u8; 2]) -> u16 = match file {
        _ if find(file, 0, BEGIN).is_some() => return Plain::Own(file),
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ if begins_wide([1, 0]) => u16::from_le_bytes,
        _ if begins_wide([0, 1]) => u16::from_be_bytes,
        _ => return Plain::Own(file),
    };
    let mut text = Zeroizing::new(Vec::with_capacity(file.len() / 2));
    let units = file.as_chunks::<2>().0.iter().map(|unit| read(*unit));
    text.extend(units.map(|unit| u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(b'?')));
    Plain::Read(text)
}

fn find(text: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text.get(from..)?, wanted).map(|place| from + place)
}

/// The label that begins here, and the position after its closing dashes.
fn label(text: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = &text[from..text.len().min(from + LABEL_BYTES_MAX)];
    let length = find(rest, 0, DASHES)?;
    let is_label = rest[..length].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ');
    is_label.then_some((&rest[..length], from + length + DASHES.len()))
}

fn known(label: &[u8]) -> &'static str {
    LABELS.into_iter().find(|known| known.as_bytes() == label).unwrap_or_default()
}

/// Decodes the text between the two marks.
fn decode(body: &[u8]) -> Option<Content> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let mut letters = Zeroizing::new(Vec::with_capacity(body.len()));
    // A header, such as `Comment: …`, goes to the end of its line.
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.contains(&b':')) {
        let mut rest = line.iter();
        while let Some(byte) = rest.next() {
            match byte {
                byte if byte.is_ascii_whitespace() => {}
                // Escapes that are written out: `\n`, `\r`, `\t`.
                b'\\' if rest.as_slice().first().is_some_and(|next| b"nrt".contains(next)) => drop(rest.next()),
                byte => letters.push(*byte),
            }
        }
    }
    let mut content = Zeroizing::new(vec![0; letters.len() / 4 * 3 + 3]);
    let length = ENGINE.decode_slice(&letters[..], &mut content).ok()?;
    content.truncate(length);
    Some(Content(content))
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
            ("doubled", lines("\n\n")),
            ("`0` before", format!("0{KEY}").into()),
            ("UTF-16 LE behind text", wide(&format!("\u{feff}Grün\n{KEY}"), u16::to_le_bytes)),
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
                (section.label, section.encrypted, section.content()),
                ("PRIVATE KEY", false, Ok(&expected[..])),
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
            let whole = sections(text.as_bytes())
                .and_then(|sections| sections.iter().try_for_each(|section| section.content().map(drop)));
            let told_now = whole.err().map(|damage| damage.to_string()).unwrap_or_default();
            assert!(told_now.contains(told) && told_now.is_empty() == told.is_empty(), "{text}: {told_now}");
        }
    }

    #[test]
    fn a_damaged_section_does_not_matter_to_those_who_want_another() {
        let text = format!("-----BEGIN X-----\n*\n-----END X-----\n{KEY}");
        let sections = sections(text.as_bytes()).unwrap();
        assert!(sections[0].content().is_err() && sections[1].content().is_ok());
    }

    #[test]
    fn a_key_that_is_cut_anywhere_is_never_taken_for_a_whole_one() {
        for cut in 1..KEY.trim_end().len() {
            let found = sections(&KEY.as_bytes()[..cut]);
            assert!(found.is_err() || found.is_ok_and(|found| found.is_empty()), "{cut}");
        }
    }

    #[test]
    fn der_is_told_from_text_and_what_is_there_instead_in_words() {
        const DER: &[u8] = &[0x30, 3, 2, 1, 1];
        assert!(is_der(DER) && is_der(&DER[..4]), "one that is cut short is told as DER");
        assert!(!is_der(format!("0{KEY}").as_bytes()) && !is_der(KEY.as_bytes()) && !is_der(b""));
        for (content, wanted) in [
            ("", "it is empty"),
            ("<html>", "it is an HTML or XML page"),
            ("hush", "it has no PEM section"),
            ("-----BEGIN HUSH-----\nAAAA\n-----END HUSH-----", "it has sections of an unknown kind"),
            ("-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----", "it has the sections PRIVATE KEY"),
        ] {
            assert_eq!(told(content.as_bytes(), &sections(content.as_bytes()).unwrap()), wanted);
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_damaged_file_is_told(
            cut in 0..KEY.len(), at in 0..KEY.len(), put in "[A-Za-z0-9+/=\\\\\n -]{0,8}",
        ) {
            let mut text = KEY[..cut].to_owned();
            text.insert_str(at.min(cut), &put);
            let whole = sections(text.as_bytes()).and_then(|sections| sections.iter().try_for_each(|section| section.content().map(drop)));
            if let Err(damage) = whole {
                let told = damage.to_string();
                for secret in ["AAECAw", "Hh8gIS", "LS4vMA"] {
                    prop_assert!(!told.contains(secret), "{}", told);
                }
                prop_assert!(told.len() < 200, "{}", told);
            }
        }
    }
}
