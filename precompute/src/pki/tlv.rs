//! Tag, length, value: the framing of DER, over a slice.
//!
//! `der::SliceReader` would do, but for its ceiling: its lengths end at 256 MiB, which is about
//! 6 million entries, and [`crate::limits::CRL_FILE_OCTETS_MAX`] promises more.

use std::fmt;

use super::{Excerpt, Instant};

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    /// The value alone.
    pub(crate) content: &'a [u8],
    /// Tag, length and value.
    pub(crate) whole: &'a [u8],
}

/// Elements one after the other. Each read names what it wants, for the error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tlvs<'a>(&'a [u8]);

impl<'a> Tlvs<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The elements inside of the one element that `octets` are.
    pub(crate) fn inside(octets: &'a [u8], tag: u8, what: &str) -> Result<Self, String> {
        let mut outer = Self(octets);
        let content = outer.read(tag, what)?;
        outer.finish(what)?;
        Ok(Self(content))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left to read.
    pub(crate) fn octets(&self) -> &'a [u8] {
        self.0
    }

    /// The next tag, if there is a next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element.
    pub(crate) fn any(&mut self, what: &str) -> Result<Tlv<'a>, String> {
        let (header, length) = header(self.0).map_err(|problem| format!("{what}: {problem}"))?;
        let end = header.checked_add(length).filter(|end| *end <= self.0.len());
        let end = end.ok_or_else(|| format!("{what}: {}", Malformed::Truncated))?;
        let (whole, rest) = self.0.split_at(end);
        self.0 = rest;
        Ok(Tlv { tag: whole[0], content: &whole[header..], whole })
    }

    /// The content of the next element, which has `tag`.
    pub(crate) fn read(&mut self, tag: u8, what: &str) -> Result<&'a [u8], String> {
        match self.peek() {
            Some(found) if found != tag => Err(format!("{what}: expected the tag {tag:#04x}, found {found:#04x}")),
            _ => Ok(self.any(what)?.content),
        }
    }

    /// The content of the next element, if that has `tag`.
    pub(crate) fn optional(&mut self, tag: u8, what: &str) -> Result<Option<&'a [u8]>, String> {
        if self.peek() == Some(tag) { self.read(tag, what).map(Some) } else { Ok(None) }
    }

    /// `Time` of RFC 5280 section 4.1: UTCTime or GeneralizedTime, in Z and whole seconds.
    pub(crate) fn time(&mut self, what: &str) -> Result<Instant, String> {
        let Tlv { tag, content, .. } = self.any(what)?;
        // The length tells the two forms apart in `from_asn1_text`, the tag must agree with it.
        let length = if tag == GENERALIZED_TIME { 15 } else { 13 };
        let time = matches!(tag, UTC_TIME | GENERALIZED_TIME)
            .then_some(content)
            .filter(|content| content.len() == length)
            .and_then(Instant::from_asn1_text);
        time.ok_or_else(|| {
            format!(
                "{what}: expected UTCTime YYMMDDHHMMSSZ or GeneralizedTime YYYYMMDDHHMMSSZ, found `{}`",
                Excerpt(content)
            )
        })
    }

    /// Nothing is left.
    pub(crate) fn finish(self, what: &str) -> Result<(), String> {
        if self.is_empty() { Ok(()) } else { Err(format!("{what}: {} bytes are left over", self.0.len())) }
    }
}

enum Malformed {
    Truncated,
    Tag,
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "ends too early",
            Self::Tag => "has a tag of several bytes",
            Self::Length => "has a length that is not in DER's shortest form",
        })
    }
}

/// Bytes of tag and length, and the length (X.690 sections 8.1.2, 8.1.3 and 10.1).
fn header(octets: &[u8]) -> Result<(usize, usize), Malformed> {
    let (&[tag, first], rest) = octets.split_first_chunk().ok_or(Malformed::Truncated)?;
    if tag & 0x1f == 0x1f {
        return Err(Malformed::Tag);
    }
    if first < 0x80 {
        return Ok((2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    // Four bytes hold every length that a file under its bound can have; 0x80 is BER's indefinite form.
    if !(1..=4).contains(&count) {
        return Err(Malformed::Length);
    }
    let digits = rest.get(..count).ok_or(Malformed::Truncated)?;
    let length = digits.iter().fold(0_u64, |length, &digit| length << 8 | u64::from(digit));
    if digits[0] == 0 || length < 0x80 {
        return Err(Malformed::Length);
    }
    Ok((2 + count, usize::try_from(length).map_err(|_| Malformed::Length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_der_on_every_short_header() {
        use der::Decode as _;
        let body = vec![0; 70_000];
        let heads = [&[0x30][..], &[0x30, 5], &[0x30, 0x7f], &[0x30, 0x80], &[0x30, 0x83, 1, 0, 0]];
        let others = [&[0x30, 0x83, 0, 0xff, 0xff][..], &[0x30, 0x84, 0, 1, 0, 0], &[0x30, 0x85, 0, 0, 0, 0, 1]];
        for head in (heads.into_iter().chain(others).map(<[u8]>::to_vec))
            .chain((0..=255).map(|length| vec![0x30, 0x81, length]))
            .chain((0..=255).map(|length| vec![0x30, 0x82, length, 3]))
        {
            let octets = [head.clone(), body.clone()].concat();
            let mut reader = der::SliceReader::new(&octets).unwrap();
            let oracle = der::Header::decode(&mut reader).map(|header| u32::from(header.length) as usize).ok();
            assert_eq!(header(&octets).map(|(_, length)| length).ok(), oracle, "{head:02x?}");
        }
    }

    #[test]
    fn takes_lengths_beyond_256_mib() {
        assert!(matches!(header(&[0x30, 0x84, 0x1f, 0xff, 0xff, 0xff]), Ok((6, 0x1fff_ffff))));
        assert!(matches!(header(&[0x1f, 0x84, 1]), Err(Malformed::Tag)));
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        for octets in [&[0x30, 3, 0, 0][..], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30], &[]] {
            assert!(Tlvs::new(octets).any("it").is_err());
        }
    }
}
