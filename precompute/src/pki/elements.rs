//! DER elements, X.690, read in place: the only reader for DER that is parsed by hand.
//!
//! Purpose: it stands between the bytes of every request, certificate and CRL and their meaning. Invariant: what is
//! accepted is DER: definite and minimal lengths, primitive strings, tags of one byte. Nothing is copied, and nothing
//! is allocated except the text of an error, if requested ([`Named`]). It does not know what an element means, or what
//! an error means to a client.
//!
//! There are two reasons for a reader of our own. Every hit goes through it: `der`'s reader, which is the tests'
//! oracle, takes four times as long for a CertID, mostly for errors that say where and why. And the lengths of that
//! reader end at 256 MiB, which is about 6 million entries of a CRL, where [`crate::limits::CRL_FILE_OCTETS_MAX`]
//! promises more.

use std::fmt;

use super::tag;

/// Why bytes are not DER, or not the expected element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DerError {
    /// The bytes end before the element does.
    Truncated,
    /// An identifier byte that DER does not have, or the first of a longer tag.
    Tag,
    /// A length that is indefinite, not minimal, or over 4 GiB.
    Length,
    /// An element other than the expected one.
    Other {
        /// The tag that was expected.
        expected: u8,
        /// The tag that was found.
        found: u8,
    },
    /// This many bytes after the last element.
    LeftOver(u32),
    /// An INTEGER without content, or not in minimal form.
    Integer,
}

impl fmt::Display for DerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("ends too early"),
            Self::Tag => f.write_str("has a tag of several bytes, or one that DER does not have"),
            Self::Length => f.write_str("has a length that is not in DER's shortest form"),
            Self::Other { expected, found } => write!(f, "expected the tag {expected:#04x}, found {found:#04x}"),
            Self::LeftOver(count) => write!(f, "{count} bytes are left over"),
            Self::Integer => f.write_str("is not an INTEGER in DER's shortest form"),
        }
    }
}

impl std::error::Error for DerError {}

type Result<T> = std::result::Result<T, DerError>;

/// Says in an error which field was read.
pub trait Named<T> {
    /// The error's text begins with the name of the field.
    fn named(self, field: &str) -> std::result::Result<T, String>;
}

impl<T> Named<T> for Result<T> {
    #[inline]
    fn named(self, field: &str) -> std::result::Result<T, String> {
        self.map_err(|error| format!("{field}: {error}"))
    }
}

/// Bytes from which elements are read in order. A failed read consumes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The identifier byte.
    pub tag: u8,
    /// The value alone.
    pub content: &'a [u8],
    /// Tag, length and value.
    pub whole: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Begins at the first element.
    #[inline]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The content of `octets`, which must be exactly one element with `tag`.
    #[inline]
    pub fn only(octets: &'a [u8], tag: u8) -> Result<Self> {
        let mut elements = Self(octets);
        let content = elements.expect(tag)?;
        elements.finish()?;
        Ok(Self(content))
    }

    /// The next element. Inlined wherever a request is read, since each of these calls takes less than a call.
    #[inline(always)]
    pub fn any(&mut self) -> Result<Element<'a>> {
        let (header, length) = header(self.0)?;
        if length > self.0.len() - header {
            return Err(DerError::Truncated);
        }
        let (whole, behind) = self.0.split_at(header + length);
        self.0 = behind;
        Ok(Element { tag: whole[0], content: &whole[header..], whole })
    }

    /// The next element, with its header.
    #[inline]
    pub fn whole(&mut self) -> Result<&'a [u8]> {
        Ok(self.any()?.whole)
    }

    /// The content of the next element, which must have `tag`.
    #[inline(always)]
    pub fn expect(&mut self, tag: u8) -> Result<&'a [u8]> {
        match self.peek() {
            Some(found) if found != tag => Err(DerError::Other { expected: tag, found }),
            _ => Ok(self.any()?.content),
        }
    }

    /// The content of the next element if it has `tag`.
    #[inline]
    pub fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>> {
        if self.peek() == Some(tag) { Ok(Some(self.any()?.content)) } else { Ok(None) }
    }

    /// The next tag, if there is a next element.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The remaining elements, not yet checked.
    #[inline]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether no elements remain.
    #[inline]
    pub const fn is_finished(self) -> bool {
        self.0.is_empty()
    }

    /// Fails if any elements remain.
    #[inline]
    pub fn finish(self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(DerError::LeftOver(u32::try_from(count).unwrap_or(u32::MAX))),
        }
    }
}

/// The length of the first element of `octets`, with its header, from its header alone: its content may be missing.
pub fn announced(octets: &[u8]) -> Result<usize> {
    let (header, length) = header(octets)?;
    header.checked_add(length).ok_or(DerError::Length)
}

/// Bytes of the first element's tag and length, and the length (X.690 sections 8.1.2, 8.1.3 and 10.1).
#[inline(always)]
fn header(octets: &[u8]) -> Result<(usize, usize)> {
    let (&[tag, length], behind) = octets.split_first_chunk().ok_or(DerError::Truncated)?;
    if !is_tag(tag) {
        return Err(DerError::Tag);
    }
    if length < 0x80 { Ok((2, usize::from(length))) } else { long_length(length, behind) }
}

/// The same for a length in more than one byte, which follows the first in `behind`.
#[cold]
fn long_length(first: u8, behind: &[u8]) -> Result<(usize, usize)> {
    let count = usize::from(first & 0x7f);
    // Zero is the indefinite form; four bytes hold every length in a file within its bound.
    if !(1..=4).contains(&count) {
        return Err(DerError::Length);
    }
    let digits = behind.get(..count).ok_or(DerError::Truncated)?;
    let length = digits.iter().fold(0_u64, |length, &digit| length << 8 | u64::from(digit));
    if digits[0] == 0 || length < 0x80 {
        return Err(DerError::Length);
    }
    Ok((2 + count, usize::try_from(length).map_err(|_| DerError::Length)?))
}

/// Whether DER has this identifier byte. Of the universal types, EXTERNAL, EMBEDDED PDV, SEQUENCE, SET and CHARACTER
/// STRING are constructed, and all others primitive (X.690 sections 8 and 10.2). Tag numbers over 30 take more bytes,
/// and nothing that is read here has one.
#[inline]
const fn is_tag(octet: u8) -> bool {
    const CONSTRUCTED: u32 = 1 << 8 | 1 << 11 | 1 << 16 | 1 << 17 | 1 << 29;
    let (class, constructed, number) = (octet >> 6, octet & 0x20 != 0, octet & 0x1f);
    number != 0x1f && (class != 0 || number != 0 && constructed == (CONSTRUCTED >> number & 1 == 1))
}

/// The content of `octets`, which must be exactly one INTEGER.
#[inline]
pub fn integer(octets: &[u8]) -> Result<&[u8]> {
    checked_integer(Elements::only(octets, tag::INTEGER)?.rest())
}

/// The content of an INTEGER, which must be minimal (X.690 section 8.3.2).
#[inline]
pub const fn checked_integer(content: &[u8]) -> Result<&[u8]> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(DerError::Integer),
        _ => Ok(content),
    }
}

/// The magnitude of a positive INTEGER, from its minimal content.
#[inline]
pub fn magnitude(content: &[u8]) -> Result<&[u8]> {
    match content {
        [0, magnitude @ ..] if matches!(magnitude, [0x80..=0xff, ..]) => Ok(magnitude),
        [0x01..=0x7f, ..] => Ok(content),
        _ => Err(DerError::Integer),
    }
}

/// Reads an AlgorithmIdentifier's `content`: the content bytes of its OBJECT IDENTIFIER, and its parameters, DER.
#[inline]
pub fn algorithm_identifier(content: &[u8]) -> Result<(&[u8], Option<&[u8]>)> {
    let mut elements = Elements::new(content);
    let oid = elements.expect(tag::OBJECT_IDENTIFIER)?;
    let parameters = if elements.is_finished() { None } else { Some(elements.whole()?) };
    elements.finish()?;
    Ok((oid, parameters))
}

#[cfg(test)]
mod tests {
    use der::{Reader as _, SliceReader};
    use proptest::prelude::*;

    use super::*;

    /// Elements in a row as `der` reads them.
    fn by_der(octets: &[u8]) -> Option<Vec<&[u8]>> {
        let mut reader = SliceReader::new(octets).ok()?;
        let mut found = Vec::new();
        while !reader.is_finished() {
            found.push(reader.tlv_bytes().ok()?);
        }
        Some(found)
    }

    fn by_us(octets: &[u8]) -> Option<Vec<&[u8]>> {
        let mut elements = Elements::new(octets);
        let mut found = Vec::new();
        while !elements.is_finished() {
            found.push(elements.whole().ok()?);
        }
        Some(found)
    }

    fn element(tag: u8, length: usize) -> Vec<u8> {
        let mut der = vec![tag];
        match length {
            0..=0x7f => der.push(length as u8),
            0x80..=0xff => der.extend([0x81, length as u8]),
            0x100..=0xffff => der.extend([0x82, (length >> 8) as u8, length as u8]),
            _ => der.extend([0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8]),
        }
        der.resize(der.len() + length, 0);
        der
    }

    #[test]
    fn every_tag_of_one_octet_is_taken_where_der_takes_it() {
        let mut beyond = Vec::new();
        for tag in 0..=0xff {
            let der = element(tag, 3);
            match (by_us(&der), by_der(&der)) {
                (Some(_), None) => beyond.push(tag),
                (found, expected) => assert_eq!(found, expected, "{tag:#x}"),
            }
        }
        // Types that `der` has no name for: ObjectDescriptor, RELATIVE-OID, TIME, one that is reserved, GraphicString,
        // GeneralString, UniversalString, EXTERNAL, EMBEDDED PDV, CHARACTER STRING.
        assert_eq!(beyond, [0x07, 0x0d, 0x0e, 0x0f, 0x19, 0x1b, 0x1c, 0x28, 0x2b, 0x3d]);
    }

    #[test]
    fn lengths_are_definite_and_minimal() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let der = element(0x04, length);
            assert_eq!(by_us(&der), Some(vec![&der[..]]), "{length}");
            assert_eq!(Elements::new(&der).expect(tag::OCTET_STRING).map(<[u8]>::len), Ok(length));
            assert!(by_us(&der[..der.len() - 1]).is_none(), "{length}, cut");
        }
        for header in [
            &[0x80][..],
            &[0x81, 0x01],
            &[0x81, 0x7f],
            &[0x82, 0x00, 0x01],
            &[0x82, 0x00, 0xff],
            &[0x83, 0x00, 0x00, 0x01],
            &[0x84, 0x00, 0xff, 0xff, 0xff],
            &[0x85, 0x00, 0x00, 0x00, 0x00, 0x01],
            &[0xff],
        ] {
            let der = [&[0x04], header, &[0; 300]].concat();
            assert!(by_us(&der).is_none() && by_der(&der).is_none(), "{header:x?}");
        }
    }

    #[test]
    fn what_is_optional_is_passed_over_and_what_is_expected_is_not() {
        let octets = [0x02, 0x01, 0x05, 0xa1, 0x02, 0x05, 0x00];
        let mut elements = Elements::new(&octets);
        assert_eq!(elements.optional(tag::BOOLEAN), Ok(None));
        assert_eq!(elements.expect(tag::OCTET_STRING), Err(DerError::Other { expected: 4, found: 2 }));
        assert_eq!(elements.expect(tag::INTEGER), Ok(&[5][..]), "a failure takes nothing");
        assert_eq!(elements.optional(tag::explicit(0)), Ok(None));
        assert_eq!(elements.finish(), Err(DerError::LeftOver(4)));
        assert_eq!(elements.optional(tag::explicit(1)), Ok(Some(&[5, 0][..])));
        assert_eq!(elements.finish(), Ok(()));
        assert_eq!(elements.expect(tag::NULL), Err(DerError::Truncated));
        assert_eq!(
            Elements::only(&octets, tag::INTEGER).map(Elements::rest),
            Err(DerError::LeftOver(4)),
            "not the only one"
        );
    }

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
            let mut reader = SliceReader::new(&octets).unwrap();
            let oracle = der::Header::decode(&mut reader).map(|header| u32::from(header.length) as usize).ok();
            assert_eq!(header(&octets).map(|(_, length)| length).ok(), oracle, "{head:02x?}");
        }
    }

    #[test]
    fn takes_lengths_beyond_256_mib() {
        assert_eq!(header(&[0x30, 0x84, 0x1f, 0xff, 0xff, 0xff]), Ok((6, 0x1fff_ffff)));
        assert_eq!(announced(&[0x30, 0x84, 0x1f, 0xff, 0xff, 0xff]), Ok(0x2000_0005));
        assert_eq!(header(&[0x1f, 0x84, 1]), Err(DerError::Tag));
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        for octets in [&[0x30, 3, 0, 0][..], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30], &[]] {
            assert_eq!(Elements::new(octets).any().map(|element| element.whole), Err(DerError::Truncated));
        }
    }

    #[test]
    fn an_error_begins_with_the_name_of_its_field() {
        let mut elements = Elements::new(&[0x31, 0]);
        let told = elements.expect(tag::SEQUENCE).named("Extension");
        assert_eq!(told, Err("Extension: expected the tag 0x30, found 0x31".to_owned()));
    }

    #[test]
    fn a_magnitude_is_that_of_a_positive_integer_in_the_fewest_octets() {
        for (content, expected) in
            [(&[5][..], &[5][..]), (&[0x7f, 0], &[0x7f, 0]), (&[0, 0x80], &[0x80]), (&[0, 0xff, 1], &[0xff, 1])]
        {
            assert_eq!(magnitude(content), Ok(expected));
        }
        for content in [&[][..], &[0], &[0, 5], &[0, 0, 0x80], &[0x80], &[0xff, 0x7f]] {
            assert_eq!(magnitude(content), Err(DerError::Integer), "{content:x?}");
        }
    }

    proptest! {
        #[test]
        fn elements_are_read_as_der_reads_them(
            octets in prop::collection::vec(prop_oneof![Just(0u8), Just(0x30), Just(0x81), Just(0x82), 0..6u8, any::<u8>()], 0..40),
        ) {
            if let Some(expected) = by_der(&octets) {
                prop_assert_eq!(by_us(&octets), Some(expected));
            }
        }
    }
}
