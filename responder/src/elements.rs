//! DER elements, read in place.
//!
//! Invariant: what is taken is DER: definite and minimal lengths, primitive strings. What an error means to a client is
//! not known here.

use der::{Decode as _, ErrorKind, Header, Reader as _, Result, SliceReader, Tag, TagNumber};

/// A reader inside of the one element with `tag` that `octets` are.
pub(crate) fn only(octets: &[u8], tag: Tag) -> Result<SliceReader<'_>> {
    let mut reader = SliceReader::new(octets)?;
    let content = expect(&mut reader, tag)?;
    finish(&reader)?;
    SliceReader::new(content)
}

/// The content of the next element, which must have `tag`.
pub(crate) fn expect<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> Result<&'a [u8]> {
    let header = Header::decode(reader)?;
    if header.tag != tag {
        return Err(header.tag.unexpected_error(Some(tag)));
    }
    reader.read_slice(header.length)
}

/// The content of the next element if it is `[number] EXPLICIT`.
pub(crate) fn optional<'a>(reader: &mut SliceReader<'a>, number: u8) -> Result<Option<&'a [u8]>> {
    if reader.peek_byte() != Some(0xa0 | number) {
        return Ok(None);
    }
    expect(reader, Tag::ContextSpecific { constructed: true, number: TagNumber::new(number) }).map(Some)
}

/// The content of the one INTEGER that `octets` are.
pub(crate) fn integer(octets: &[u8]) -> Result<&[u8]> {
    let mut reader = SliceReader::new(octets)?;
    let content = expect(&mut reader, Tag::Integer)?;
    finish(&reader)?;
    checked_integer(content)
}

/// The content of an INTEGER, in the fewest octets that hold it (X.690 section 8.3.2).
pub(crate) fn checked_integer(content: &[u8]) -> Result<&[u8]> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(Tag::Integer.non_canonical_error()),
        _ => Ok(content),
    }
}

pub(crate) fn finish(reader: &SliceReader<'_>) -> Result<()> {
    if reader.is_finished() {
        Ok(())
    } else {
        let (decoded, remaining) = (reader.position(), reader.remaining_len());
        Err(ErrorKind::TrailingData { decoded, remaining }.at(decoded))
    }
}

/// The next element, with its header.
pub(crate) fn whole<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8]> {
    reader.tlv_bytes()
}

/// An AlgorithmIdentifier with `content`: the content octets of its OBJECT IDENTIFIER, and its parameters, DER.
pub(crate) fn algorithm_identifier(content: &[u8]) -> Result<(&[u8], Option<&[u8]>)> {
    let mut reader = SliceReader::new(content)?;
    let oid = expect(&mut reader, Tag::ObjectIdentifier)?;
    let parameters = if reader.is_finished() { None } else { Some(whole(&mut reader)?) };
    finish(&reader)?;
    Ok((oid, parameters))
}
