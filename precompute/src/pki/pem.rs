//! PEM as it is found: with text around, several sections, in UTF-16, with its line breaks gone or doubled.
//!
//! Invariant: a section is the base64 between its two lines, or the file is refused; nothing of what stands in a file is in
//! an error, since it may be a key. It does not know what a section means.

use std::{borrow::Cow, fmt, ops::Range};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::tlv::{SEQUENCE, Tlvs};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// Characters of a label: the longest in use, `X509 CRL`'s kin, have some 25.
const LABEL_OCTETS_MAX: usize = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a file is, by its beginning and its length.
pub(crate) enum Form<'a> {
    /// One DER SEQUENCE, or what begins like one and holds no PEM.
    Der,
    /// Text.
    Pem(Pem<'a>),
}

impl<'a> Form<'a> {
    pub(crate) fn of(content: &'a [u8]) -> Self {
        // A text may begin with `0`, which is DER's tag of a SEQUENCE, but hardly tells its own length then.
        if Tlvs::inside(content, SEQUENCE, "").is_ok() {
            return Self::Der;
        }
        let text = from_utf16(content);
        let is_text = find(&text, BEGIN, 0).is_some();
        if content.first() == Some(&SEQUENCE) && !is_text { Self::Der } else { Self::Pem(Pem(text)) }
    }
}

/// A text that may hold PEM sections.
pub(crate) struct Pem<'a>(Cow<'a, [u8]>);

/// One section.
struct Section<'t> {
    label: &'t str,
    body: Range<usize>,
}

impl Pem<'_> {
    /// What the sections with one of these labels hold, in their order, each with its label.
    pub(crate) fn sections(&self, wanted: &[&str]) -> Result<Vec<(&str, Vec<u8>)>, Damage> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(section) = self.next(at)? {
            at = section.body.end;
            if wanted.contains(&section.label) {
                found.push((section.label, self.decoded(&section)?));
            }
        }
        Ok(found)
    }

    /// What it holds instead of what was looked for, in words.
    pub(crate) fn told(&self) -> String {
        let mut labels: Vec<&str> = Vec::new();
        let mut at = 0;
        while let Ok(Some(section)) = self.next(at) {
            at = section.body.end;
            if !labels.contains(&section.label) && labels.len() < 4 {
                labels.push(section.label);
            }
        }
        let start = self.0.trim_ascii_start();
        match &labels[..] {
            [] if start.is_empty() => "it is empty".to_owned(),
            [] if start.starts_with(b"<") => "it is an HTML or XML page".to_owned(),
            [] => "it has no PEM section".to_owned(),
            labels => format!("it has the sections {}", labels.join(", ")),
        }
    }

    fn next(&self, from: usize) -> Result<Option<Section<'_>>, Damage> {
        let text = &*self.0;
        let Some(begin) = find(text, BEGIN, from) else { return Ok(None) };
        let damage = |what| Damage { line: self.line(begin), what };
        let label = begin + BEGIN.len();
        let label_end = find(&text[..text.len().min(label + LABEL_OCTETS_MAX)], DASHES, label);
        let label_end = label_end.ok_or_else(|| damage("begins a section without a label"))?;
        let label = str::from_utf8(&text[label..label_end]).ok().filter(|label| {
            label.bytes().all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit() || b" #.+-".contains(&octet))
        });
        let label = label.ok_or_else(|| damage("begins a section with an odd label"))?;
        let body = label_end + DASHES.len();
        let end = find(text, END, body).filter(|end| find(&text[..*end], BEGIN, body).is_none());
        let end = end.ok_or_else(|| damage("begins a section that has no end: the file is cut short"))?;
        let ends = text[end + END.len()..].strip_prefix(label.as_bytes()).is_some_and(|rest| rest.starts_with(DASHES));
        if !ends {
            return Err(damage("begins a section whose end is cut short or another one's"));
        }
        Ok(Some(Section { label, body: body..end }))
    }

    fn decoded(&self, section: &Section<'_>) -> Result<Vec<u8>, Damage> {
        let body = &self.0[section.body.clone()];
        let mut base64 = Vec::with_capacity(body.len());
        let mut rest = body;
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            match octet {
                _ if octet.is_ascii_whitespace() => {}
                // Line breaks as JSON, YAML and environment files write them.
                b'\\' if matches!(after.first(), Some(b'n' | b'r')) => rest = &after[1..],
                _ => base64.push(octet),
            }
        }
        let damage = || Damage { line: self.line(section.body.start), what: "begins a section that is no base64" };
        BASE64.decode(&base64).map_err(|_| damage())
    }

    /// The line of a place, counted from 1.
    fn line(&self, at: usize) -> usize {
        1 + self.0[..at].iter().filter(|octet| **octet == b'\n').count()
    }
}

/// What is wrong with a text, without anything of it.
#[derive(Debug)]
pub(crate) struct Damage {
    line: usize,
    what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is no readable PEM file: line {} {}", self.line, self.what)
    }
}

/// UTF-16, as PowerShell writes it, in the octets that it stands for; anything else as it is.
fn from_utf16(content: &[u8]) -> Cow<'_, [u8]> {
    let wide = |dash: [u8; 2]| {
        let begin: Vec<u8> =
            BEGIN.iter().flat_map(|octet| dash.map(|side| if side == 0 { 0 } else { *octet })).collect();
        find(content, &begin, 0).is_some_and(|place| place % 2 == 0)
    };
    let read: fn([u8; 2]) -> u16 = match content {
        _ if find(content, BEGIN, 0).is_some() => return Cow::Borrowed(content),
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ if wide([1, 0]) => u16::from_le_bytes,
        _ if wide([0, 1]) => u16::from_be_bytes,
        _ => return Cow::Borrowed(content),
    };
    // What is no ASCII can only be text around.
    let (units, _) = content.as_chunks::<2>();
    Cow::Owned(units.iter().map(|unit| u8::try_from(read(*unit)).unwrap_or(b'?')).collect())
}

fn find(text: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let place = memchr::memmem::find(text.get(from..)?, wanted)?;
    Some(from + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(content: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        match Form::of(content) {
            Form::Der => Err("DER".to_owned()),
            Form::Pem(pem) => pem
                .sections(&["CERTIFICATE"])
                .map(|found| found.into_iter().map(|(_, der)| der).collect())
                .map_err(|damage| damage.to_string()),
        }
    }

    const PLAIN: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    const DER: &[u8] = &[0x30, 3, 2, 1, 1];

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn a_section_is_found_whatever_became_of_its_lines() {
        let joined = PLAIN.replace('\n', " ");
        let wide = format!("\u{feff}Grün\n{PLAIN}");
        for content in [
            PLAIN.as_bytes(),
            PLAIN.trim_end().as_bytes(),
            PLAIN.replace('\n', "\r\n").as_bytes(),
            PLAIN.replace('\n', "\r").as_bytes(),
            PLAIN.replace('\n', "\n\n").as_bytes(),
            PLAIN.replace('\n', "").as_bytes(),
            PLAIN.replace('\n', "\\n").as_bytes(),
            PLAIN.replace('=', "").as_bytes(),
            joined.as_bytes(),
            format!("\u{feff}{PLAIN}").as_bytes(),
            format!("0 s:/CN=CA\n{PLAIN}").as_bytes(),
            format!("0{PLAIN}").as_bytes(),
            format!("  {}", PLAIN.replace('\n', "\n  ")).as_bytes(),
            format!("-----BEGIN X-----\n*\n-----END X-----\n{PLAIN}").as_bytes(),
            &utf16(&wide, u16::to_le_bytes),
            &utf16(&wide, u16::to_be_bytes),
            &utf16(PLAIN, u16::to_le_bytes),
            &utf16(PLAIN, u16::to_be_bytes),
        ] {
            assert_eq!(sections(content), Ok(vec![DER.to_vec()]), "{}", content.escape_ascii());
        }
        assert_eq!(sections(PLAIN.repeat(2).as_bytes()).unwrap().len(), 2);
        assert_eq!(sections(DER), Err("DER".to_owned()));
        assert_eq!(sections(&DER[..4]), Err("DER".to_owned()), "one that is cut short is told as DER");
    }

    #[test]
    fn what_is_damaged_is_told_by_its_line_and_without_its_content() {
        let secret = "-----BEGIN CERTIFICATE-----\nhush!\n-----END CERTIFICATE-----\n";
        for (content, told) in [
            (format!("text\n{secret}"), "line 2 begins a section that is no base64"),
            (PLAIN.replace("-----END", "----END"), "line 1 begins a section that has no end"),
            (PLAIN.replace("END CERTIFICATE", "END HUSH"), "line 1 begins a section whose end is cut short or another"),
            (PLAIN.replace("BEGIN CERTIFICATE", "BEGIN hush"), "line 1 begins a section with an odd label"),
            ("-----BEGIN hush".to_owned(), "line 1 begins a section without a label"),
            (PLAIN.replace("=\n-----END CERTIFICATE-----\n", "\n") + PLAIN, "line 1 begins a section that has no end"),
        ] {
            let error = sections(content.as_bytes()).unwrap_err();
            assert!(error.contains(told) && !error.to_lowercase().contains("hush"), "{error}");
        }
        for cut in 1..PLAIN.trim_end().len() {
            assert_ne!(sections(&PLAIN.as_bytes()[..cut]), Ok(vec![DER.to_vec()]), "{cut}");
        }
    }

    #[test]
    fn what_is_there_instead_is_told() {
        for (content, told) in [
            ("", "it is empty"),
            ("<html>", "it is an HTML or XML page"),
            ("hush", "it has no PEM section"),
            ("-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----", "it has the sections PRIVATE KEY"),
        ] {
            let Form::Pem(pem) = Form::of(content.as_bytes()) else { panic!("{content}") };
            assert_eq!(pem.told(), told);
        }
    }
}
