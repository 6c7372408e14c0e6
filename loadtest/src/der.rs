//! DER, read and written by hand: the ground on which this program's own OCSP and TSP codecs stand.
//!
//! Invariant: reading never panics, never allocates, never looks outside its slice, and refuses every encoding that is
//! not DER (indefinite or non-minimal lengths, high tag numbers). It does not know any structure of OCSP or TSP.

/// Why bytes are not what they should be: the name of the element at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Result of reading.
pub(crate) type Read<T> = Result<T, Malformed>;

/// Universal tags used here.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[n] EXPLICIT` or `[n] IMPLICIT` of something constructed.
    pub(crate) const fn context(n: u8) -> u8 {
        0xa0 | n
    }

    /// `[n] IMPLICIT` of something primitive.
    pub(crate) const fn context_primitive(n: u8) -> u8 {
        0x80 | n
    }
}

/// One element: its tag, its content, and its whole encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// A cursor over a run of elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is.
    #[inline]
    pub(crate) fn any(&mut self, what: &'static str) -> Read<Tlv<'a>> {
        let err = Malformed(what);
        let [tag, first, ..] = *self.rest else { return Err(err) };
        if tag & 0x1f == 0x1f {
            return Err(err);
        }
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81 => match self.rest.get(2) {
                Some(&n) if n >= 0x80 => (3, usize::from(n)),
                _ => return Err(err),
            },
            0x82 => match self.rest.get(2..4) {
                Some(&[a, b]) if a != 0 => (4, usize::from(a) << 8 | usize::from(b)),
                _ => return Err(err),
            },
            0x83 => match self.rest.get(2..5) {
                Some(&[a, b, c]) if a != 0 => (5, usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)),
                _ => return Err(err),
            },
            _ => return Err(err),
        };
        // No overflow: length < 2^24.
        let whole = self.rest.get(..header + length).ok_or(err)?;
        self.rest = &self.rest[header + length..];
        Ok(Tlv { tag, content: &whole[header..], whole })
    }

    /// The next element, which must have this tag.
    #[inline]
    pub(crate) fn tlv(&mut self, tag: u8, what: &'static str) -> Read<Tlv<'a>> {
        if self.rest.first() != Some(&tag) {
            return Err(Malformed(what));
        }
        self.any(what)
    }

    /// Its content.
    #[inline]
    pub(crate) fn content(&mut self, tag: u8, what: &'static str) -> Read<&'a [u8]> {
        self.tlv(tag, what).map(|t| t.content)
    }

    /// A reader over its content.
    #[inline]
    pub(crate) fn nested(&mut self, tag: u8, what: &'static str) -> Read<Reader<'a>> {
        self.content(tag, what).map(Reader::new)
    }

    /// The next element if it has this tag.
    #[inline]
    pub(crate) fn optional(&mut self, tag: u8, what: &'static str) -> Read<Option<Tlv<'a>>> {
        if self.rest.first() == Some(&tag) { self.any(what).map(Some) } else { Ok(None) }
    }

    /// A small non-negative INTEGER, as versions are.
    pub(crate) fn small_integer(&mut self, what: &'static str) -> Read<u32> {
        small(self.content(tag::INTEGER, what)?, what)
    }

    /// A minimal INTEGER's content bytes, of any size and sign.
    pub(crate) fn integer(&mut self, what: &'static str) -> Read<&'a [u8]> {
        let content = self.content(tag::INTEGER, what)?;
        match *content {
            [] => Err(Malformed(what)),
            [0, b, ..] if b < 0x80 => Err(Malformed(what)),
            [0xff, b, ..] if b >= 0x80 => Err(Malformed(what)),
            _ => Ok(content),
        }
    }

    /// A BOOLEAN: DER knows 0x00 and 0xff.
    pub(crate) fn boolean(&mut self, what: &'static str) -> Read<bool> {
        match self.content(tag::BOOLEAN, what)? {
            [0] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(Malformed(what)),
        }
    }

    /// A BIT STRING of whole bytes: keys and signatures.
    pub(crate) fn bit_string(&mut self, what: &'static str) -> Read<&'a [u8]> {
        match self.content(tag::BIT_STRING, what)? {
            [0, bits @ ..] => Ok(bits),
            _ => Err(Malformed(what)),
        }
    }

    /// Nothing may follow.
    pub(crate) fn finish(self, what: &'static str) -> Read<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed(what)) }
    }
}

/// The only element of a whole message.
pub(crate) fn only<'a>(bytes: &'a [u8], tag: u8, what: &'static str) -> Read<Tlv<'a>> {
    let mut reader = Reader::new(bytes);
    let tlv = reader.tlv(tag, what)?;
    reader.finish(what)?;
    Ok(tlv)
}

/// A minimal non-negative INTEGER's or ENUMERATED's content, up to 31 bits.
pub(crate) fn small(content: &[u8], what: &'static str) -> Read<u32> {
    match *content {
        [] => Err(Malformed(what)),
        [0, b, ..] if b < 0x80 => Err(Malformed(what)),
        [first, ..] if first >= 0x80 || content.len() > 4 => Err(Malformed(what)),
        _ => Ok(content.iter().fold(0u32, |n, b| n << 8 | u32::from(*b))),
    }
}

/// Tag and length bytes for a content of `length` bytes, under 16 MiB (every caller encodes a request).
pub(crate) fn header(tag: u8, length: usize) -> Vec<u8> {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    match length {
        0..=0x7f => vec![tag, c],
        0x80..=0xff => vec![tag, 0x81, c],
        0x100..=0xffff => vec![tag, 0x82, b, c],
        _ => vec![tag, 0x83, a, b, c],
    }
}

/// An element around the concatenation of `parts`.
pub(crate) fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = header(tag, parts.iter().map(|p| p.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// AlgorithmIdentifier, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AlgorithmIdentifier<'a> {
    /// The OID's content bytes.
    pub(crate) oid: &'a [u8],
    /// The parameters' whole encoding, where present.
    pub(crate) parameters: Option<&'a [u8]>,
}

impl<'a> AlgorithmIdentifier<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>, what: &'static str) -> Read<Self> {
        Self::from_content(reader.content(tag::SEQUENCE, what)?, what)
    }

    /// From the content bytes of the SEQUENCE (or of what implicitly tags it).
    pub(crate) fn from_content(content: &'a [u8], what: &'static str) -> Read<Self> {
        let mut inner = Reader::new(content);
        let oid = inner.content(tag::OID, what)?;
        let parameters = if inner.is_empty() { None } else { Some(inner.any(what)?.whole) };
        inner.finish(what)?;
        Ok(Self { oid, parameters })
    }

    /// Parameters NULL or absent, which hash algorithms and RSA treat alike.
    pub(crate) fn has_no_parameters(&self) -> bool {
        matches!(self.parameters, None | Some([tag::NULL, 0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_at_every_length_form() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 70_000] {
            let content = vec![7u8; length];
            let whole = wrap(tag::OCTET_STRING, &[&content]);
            let tlv = only(&whole, tag::OCTET_STRING, "x").unwrap();
            assert_eq!((tlv.content, tlv.whole), (content.as_slice(), whole.as_slice()));
        }
    }

    #[test]
    fn refuses_lengths_that_are_not_minimal_indefinite_or_beyond_the_end() {
        for bytes in [
            &[0x04, 0x81, 0x01, 0xaa][..],
            &[0x04, 0x82, 0x00, 0x81],
            &[0x30, 0x80, 0x00, 0x00],
            &[0x04, 0x02, 0x00],
            &[0x04, 0x84, 0, 0, 0, 1, 0],
            &[0x1f, 0x01, 0x00],
            &[0x04],
            &[],
        ] {
            assert_eq!(Reader::new(bytes).any("x"), Err(Malformed("x")), "{bytes:02x?}");
        }
    }

    #[test]
    fn refuses_integers_that_are_not_minimal() {
        for bytes in [&[2u8, 0][..], &[2, 2, 0, 1], &[2, 2, 0xff, 0x80]] {
            assert!(Reader::new(bytes).integer("x").is_err(), "{bytes:02x?}");
        }
        assert_eq!(Reader::new(&[2, 2, 0, 0x80]).integer("x"), Ok(&[0, 0x80][..]));
        assert_eq!(Reader::new(&[2, 2, 0, 0x80]).small_integer("x"), Ok(128));
        assert!(Reader::new(&[2, 1, 0x80]).small_integer("x").is_err());
    }

    #[test]
    fn refuses_trailing_bytes_after_the_only_element() {
        assert!(only(&[5, 0, 0], tag::NULL, "x").is_err());
    }
}
