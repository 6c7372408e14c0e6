//! DER elements, read in place.

use der::{Decode as _, Header, Reader as _, SliceReader, Tag, TagNumber};

use super::{DecodeError, Result};

/// A reader inside of the one element with `tag` that `octets` are.
pub(in crate::ocsp) fn only(octets: &[u8], tag: Tag) -> Result<SliceReader<'_>> {
    let mut reader = SliceReader::new(octets)?;
    let content = expect(&mut reader, tag)?;
    finish(&reader)?;
    Ok(SliceReader::new(content)?)
}

/// The content of the next element, which must have `tag`.
pub(in crate::ocsp) fn expect<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> Result<&'a [u8]> {
    let header = Header::decode(reader)?;
    if header.tag != tag {
        return Err(DecodeError::Malformed);
    }
    Ok(reader.read_slice(header.length)?)
}

/// The content of the next element if it is `[number] EXPLICIT`.
pub(in crate::ocsp) fn optional<'a>(reader: &mut SliceReader<'a>, number: u8) -> Result<Option<&'a [u8]>> {
    if reader.peek_byte() != Some(0xa0 | number) {
        return Ok(None);
    }
    expect(reader, Tag::ContextSpecific { constructed: true, number: TagNumber::new(number) }).map(Some)
}

/// The content of the one INTEGER that `octets` are.
pub(in crate::ocsp) fn integer(octets: &[u8]) -> Result<&[u8]> {
    let mut reader = SliceReader::new(octets)?;
    let content = expect(&mut reader, Tag::Integer)?;
    finish(&reader)?;
    checked_integer(content)
}

/// The content of an INTEGER, in the fewest octets that hold it (X.690 section 8.3.2).
pub(in crate::ocsp) fn checked_integer(content: &[u8]) -> Result<&[u8]> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(DecodeError::Malformed),
        _ => Ok(content),
    }
}

pub(in crate::ocsp) fn finish(reader: &SliceReader<'_>) -> Result<()> {
    if reader.is_finished() { Ok(()) } else { Err(DecodeError::Malformed) }
}

/// The next element, with its header.
pub(in crate::ocsp) fn whole<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8]> {
    Ok(reader.tlv_bytes()?)
}

/// An AlgorithmIdentifier with `content`: the content octets of its OBJECT IDENTIFIER, and its parameters, DER.
pub(in crate::ocsp) fn algorithm_identifier(content: &[u8]) -> Result<(&[u8], Option<&[u8]>)> {
    let mut reader = SliceReader::new(content)?;
    let oid = expect(&mut reader, Tag::ObjectIdentifier)?;
    let parameters = if reader.is_finished() { None } else { Some(whole(&mut reader)?) };
    finish(&reader)?;
    Ok((oid, parameters))
}
