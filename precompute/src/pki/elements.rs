//! DER elements, X.690, read in place.
//!
//! Purpose: what stands between the bytes of every request and what it asks. Invariant: what is taken is DER: definite
//! and minimal lengths, primitive strings, tags of one byte; nothing is copied, and nothing allocated. It does not know
//! what an element means, nor what an error means to a client. It is our own because every hit goes through it: `der`'s
//! reader, the tests' oracle, takes four times as long over a CertID, most of it for errors that say where and why.

use der::{Tag, TagNumber};

/// What was read is not DER, or not the element that has to stand there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unexpected;

type Result<T> = std::result::Result<T, Unexpected>;

/// Bytes of which elements are taken from the front.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With its header.
    whole: &'a [u8],
    behind: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Nothing is read yet.
    pub fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The inside of the one element with `tag` that `octets` are.
    pub fn only(octets: &'a [u8], tag: Tag) -> Result<Self> {
        let mut elements = Self(octets);
        let content = elements.expect(tag)?;
        elements.finish()?;
        Ok(Self(content))
    }

    /// The content of the next element, which must have `tag`.
    #[inline]
    pub fn expect(&mut self, tag: Tag) -> Result<&'a [u8]> {
        let element = first(self.0)?;
        if element.tag != tag.octet() {
            return Err(Unexpected);
        }
        self.0 = element.behind;
        Ok(element.content)
    }

    /// The content of the next element if it has `tag`.
    #[inline]
    pub fn optional(&mut self, tag: Tag) -> Result<Option<&'a [u8]>> {
        if self.0.first() == Some(&tag.octet()) { self.expect(tag).map(Some) } else { Ok(None) }
    }

    /// The content of the next element if it is `[number] EXPLICIT`, or IMPLICIT of something constructed.
    #[inline]
    pub fn optional_tagged(&mut self, number: TagNumber) -> Result<Option<&'a [u8]>> {
        self.optional(Tag::ContextSpecific { constructed: true, number })
    }

    /// The next element, with its header.
    pub fn whole(&mut self) -> Result<&'a [u8]> {
        let element = first(self.0)?;
        self.0 = element.behind;
        Ok(element.whole)
    }

    /// The elements that are left, not looked at yet.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether none is left.
    pub fn is_finished(self) -> bool {
        self.0.is_empty()
    }

    /// None may be left.
    pub fn finish(self) -> Result<()> {
        if self.is_finished() { Ok(()) } else { Err(Unexpected) }
    }
}

/// Takes `octets` apart behind their first element.
#[inline]
fn first(octets: &[u8]) -> Result<Element<'_>> {
    let (&[tag, length], behind_length) = octets.split_first_chunk().ok_or(Unexpected)?;
    let (length, behind_header) =
        if length < 0x80 { (usize::from(length), behind_length) } else { long_length(length, behind_length)? };
    if !is_tag(tag) || length > behind_header.len() {
        return Err(Unexpected);
    }
    let (content, behind) = behind_header.split_at(length);
    let whole = &octets[..octets.len() - behind.len()];
    Ok(Element { tag, content, whole, behind })
}

/// A length in more than one byte, and what stands behind it (X.690 sections 8.1.3.5 and 10.1).
#[cold]
fn long_length(first: u8, behind: &[u8]) -> Result<(usize, &[u8])> {
    let count = usize::from(first & 0x7f);
    // None is the indefinite form; more than four are more than anybody may send.
    let (octets, behind) = behind.split_at_checked(count).filter(|_| (1..=4).contains(&count)).ok_or(Unexpected)?;
    let length = octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet));
    let least = if count == 1 { 0x80 } else { 1 << (8 * (count - 1)) };
    if length < least { Err(Unexpected) } else { Ok((length, behind)) }
}

/// Whether DER has this identifier byte: of the universal types, EXTERNAL, EMBEDDED PDV, SEQUENCE, SET and CHARACTER
/// STRING are constructed, and all others primitive (X.690 sections 8 and 10.2). Numbers over 30 take more bytes, and
/// nothing that is read here has one.
#[inline]
fn is_tag(octet: u8) -> bool {
    const CONSTRUCTED: u32 = 1 << 8 | 1 << 11 | 1 << 16 | 1 << 17 | 1 << 29;
    let (class, constructed, number) = (octet >> 6, octet & 0x20 != 0, octet & 0x1f);
    number != 0x1f && (class != 0 || number != 0 && constructed == (CONSTRUCTED >> number & 1 == 1))
}

/// The content of the one INTEGER that `octets` are.
pub fn integer(octets: &[u8]) -> Result<&[u8]> {
    let mut elements = Elements::new(octets);
    let content = elements.expect(Tag::Integer)?;
    elements.finish()?;
    checked_integer(content)
}

/// The content of an INTEGER, in the fewest bytes that hold it (X.690 section 8.3.2).
#[inline]
pub fn checked_integer(content: &[u8]) -> Result<&[u8]> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(Unexpected),
        _ => Ok(content),
    }
}

/// An AlgorithmIdentifier with `content`: the content bytes of its OBJECT IDENTIFIER, and its parameters, DER.
pub fn algorithm_identifier(content: &[u8]) -> Result<(&[u8], Option<&[u8]>)> {
    let mut elements = Elements::new(content);
    let oid = elements.expect(Tag::ObjectIdentifier)?;
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
            assert_eq!(Elements::new(&der).expect(Tag::OctetString).map(<[u8]>::len), Ok(length));
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
        assert_eq!(elements.optional(Tag::Boolean), Ok(None));
        assert_eq!(elements.expect(Tag::OctetString), Err(Unexpected));
        assert_eq!(elements.expect(Tag::Integer), Ok(&[5][..]), "a failure takes nothing");
        assert_eq!(elements.optional_tagged(TagNumber::N0), Ok(None));
        assert_eq!(elements.finish(), Err(Unexpected));
        assert_eq!(elements.optional_tagged(TagNumber::N1), Ok(Some(&[5, 0][..])));
        assert_eq!(elements.finish(), Ok(()));
        assert_eq!(elements.expect(Tag::Null), Err(Unexpected));
        assert_eq!(Elements::only(&octets, Tag::Integer).map(Elements::rest), Err(Unexpected), "not the only one");
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
