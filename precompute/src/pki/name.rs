//! Distinguished names, compared as RFC 5280 section 7.1 says.
//!
//! Purpose: a CA has one name, even if its certificate writes it as UTF8String and its CRL as PrintableString, in
//! another case or with other spaces. Invariant: a name that is not understood equals only itself, byte by byte. It
//! does not know what depends on a name: a signature is always checked as well, and a CertID hashes the bytes
//! unchanged.
//!
//! Text is prepared by RFC 4518: converted to Unicode, mapped, case-folded, its spaces reduced. NFKC normalisation is
//! left out, as in OpenSSL: composed and decomposed letters differ, which refuses names and never confuses them.

use std::fmt;

use x509_cert::{
    attr::AttributeTypeAndValue,
    der::{Any, Decode as _, Tag, Tagged as _, asn1::SetOfVec},
    name::{Name, RdnSequence, RelativeDistinguishedName},
};

use super::{
    Excerpt,
    elements::{DerError, Element, Elements},
    hex,
    tag::{DIRECTORY_NAME, OBJECT_IDENTIFIER, SEQUENCE, SET},
};

/// Whether two Names, DER, are equal.
pub fn is_same_name(first: &[u8], second: &[u8]) -> bool {
    // Mostly the bytes are equal, and nothing has to be read.
    first == second
        || Prepared::read(first).is_ok_and(|first| Prepared::read(second).is_ok_and(|second| first == second))
}

/// The same for two GeneralNames; a directoryName (RFC 5280 section 4.2.1.6) holds a Name.
pub fn is_same_general_name(first: &[u8], second: &[u8]) -> bool {
    let name = |general| Elements::only(general, DIRECTORY_NAME).map(|name| name.rest());
    first == second || matches!((name(first), name(second)), (Ok(first), Ok(second)) if is_same_name(first, second))
}

/// A name in RFC 4514 form, for people: with text of every string type as text, which would be bytes in hexadecimal of some.
pub(super) fn shown(name: &Name) -> String {
    let in_utf8 = |attribute: &AttributeTypeAndValue| {
        let value = text(attribute.value.tag().octet(), attribute.value.value())
            .and_then(|text| Any::new(Tag::Utf8String, text.into_bytes()).ok());
        let value = value.unwrap_or_else(|| attribute.value.clone());
        AttributeTypeAndValue { oid: attribute.oid, value }
    };
    let rdn = |rdn: &RelativeDistinguishedName| {
        let attributes: Vec<_> = rdn.0.iter().map(in_utf8).collect();
        SetOfVec::try_from(attributes).map_or_else(|_| rdn.clone(), RelativeDistinguishedName)
    };
    RdnSequence(name.0.iter().map(rdn).collect()).to_string()
}

/// Shows two different names to people, even if both look alike.
pub(crate) struct Unlike<'a> {
    pub(crate) names: &'a [u8],
    pub(crate) is: &'a [u8],
}

impl fmt::Display for Unlike<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name| Name::from_der(name).map(|name| shown(&name)).unwrap_or_default();
        let (names, is) = (shown(self.names), shown(self.is));
        write!(f, "was issued by `{}`, not by `{}`", Excerpt(names.as_bytes()), Excerpt(is.as_bytes()))?;
        if names == is {
            // Enough of both, from the first difference on, to see it.
            let same = self.names.iter().zip(self.is).take_while(|(first, second)| first == second).count();
            f.write_str(", which read alike and differ as RFC 5280 compares names (section 7.1): in DER, from byte ")?;
            const SHOWN: usize = 12;
            let some = |name: &[u8]| hex::text(&name[same..name.len().min(same + SHOWN)]);
            write!(f, "{same} on, {} and {}", some(self.names), some(self.is))?;
        }
        Ok(())
    }
}

/// A Name in the form for comparison: its RDNs in order, the attributes of each in any order.
#[derive(PartialEq, Eq, Debug)]
struct Prepared<'a>(Vec<Vec<Attribute<'a>>>);

/// Type, content of the OBJECT IDENTIFIER, and value.
type Attribute<'a> = (&'a [u8], Value<'a>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Value<'a> {
    Text(String),
    /// The whole element.
    Other(&'a [u8]),
}

impl<'a> Prepared<'a> {
    fn read(name: &'a [u8]) -> Result<Self, DerError> {
        let mut rdns = Elements::only(name, SEQUENCE)?;
        let mut read = Vec::new();
        while !rdns.is_finished() {
            let mut attributes = Elements::new(rdns.expect(SET)?);
            let mut rdn = Vec::new();
            while !attributes.is_finished() {
                let mut fields = Elements::new(attributes.expect(SEQUENCE)?);
                let kind = fields.expect(OBJECT_IDENTIFIER)?;
                let value = Value::of(&fields.any()?);
                fields.finish()?;
                rdn.push((kind, value));
            }
            rdn.sort_unstable();
            read.push(rdn);
        }
        Ok(Self(read))
    }
}

impl<'a> Value<'a> {
    fn of(element: &Element<'a>) -> Self {
        text(element.tag, element.content).map_or(Self::Other(element.whole), |text| Self::Text(prepared(&text)))
    }
}

/// The value of a string type in Unicode; `None` for another type, and for invalid bytes.
fn text(tag: u8, content: &[u8]) -> Option<String> {
    const UTF8: u8 = 0x0c;
    const NUMERIC: u8 = 0x12;
    const PRINTABLE: u8 = 0x13;
    const TELETEX: u8 = 0x14;
    const IA5: u8 = 0x16;
    const VISIBLE: u8 = 0x1a;
    const UNIVERSAL: u8 = 0x1c;
    const BMP: u8 = 0x1e;
    match tag {
        UTF8 => Some(str::from_utf8(content).ok()?.to_owned()),
        NUMERIC | PRINTABLE | IA5 | VISIBLE => {
            content.is_ascii().then(|| str::from_utf8(content).ok().map(Into::into))?
        }
        // T.61 in name only: CAs write Latin-1, and OpenSSL reads it so.
        TELETEX => Some(content.iter().map(|byte| char::from(*byte)).collect()),
        UNIVERSAL => {
            let (characters, rest) = content.as_chunks::<4>();
            let characters = characters.iter().map(|bytes| char::from_u32(u32::from_be_bytes(*bytes)));
            rest.is_empty().then(|| characters.collect())?
        }
        BMP => {
            let (units, rest) = content.as_chunks::<2>();
            let units = units.iter().map(|bytes| u16::from_be_bytes(*bytes));
            // BMPString has no surrogates; a writer that uses them means UTF-16.
            rest.is_empty().then(|| char::decode_utf16(units).collect::<Result<_, _>>().ok())?
        }
        _ => None,
    }
}

/// RFC 4518 sections 2.2 and 2.6.1: removes characters without width, folds case, reduces spaces to one and trims the
/// ends.
fn prepared(text: &str) -> String {
    let kept = text.chars().filter(|character| !is_mapped_to_nothing(*character));
    // To upper case first: that turns `ß` into `SS` as RFC 3454's table B.2 does, and makes both small sigmas equal.
    let folded: String = kept.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    folded.split(char::is_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// RFC 4518 section 2.2: controls that are not spaces, soft hyphens, joiners, variation selectors, zero-width space.
fn is_mapped_to_nothing(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{ad}' | '\u{34f}'
        | '\u{6dd}' | '\u{70f}' | '\u{1806}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2063}' | '\u{206a}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffc}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests;
