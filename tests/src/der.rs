//! DER by hand: to write also what no encoder would, and to read without the decoder under test.
//!
//! What is read comes from the service: bytes that are no DER fail the test.

/// One element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    /// Its identifier byte.
    pub tag: u8,
    /// Without identifier and length.
    pub content: &'a [u8],
    /// With them.
    pub whole: &'a [u8],
}

/// An element with this content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut length = content.len().to_be_bytes().to_vec();
    length.drain(..length.iter().take_while(|octet| **octet == 0).count());
    let header = match content.len() {
        short @ 0..=0x7f => vec![tag, short as u8],
        _ => [&[tag, 0x80 | length.len() as u8][..], &length].concat(),
    };
    [&header, content].concat()
}

/// An element that holds these, one behind the other.
pub fn holding(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(tag, &parts.concat())
}

/// An OBJECT IDENTIFIER, written with dots.
pub fn oid(text: &str) -> Vec<u8> {
    let arcs: Vec<u128> = text.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (128 - arc.leading_zeros()).div_ceil(7).max(1);
        content.extend((0..groups).rev().map(|group| {
            let more = if group > 0 { 0x80 } else { 0 };
            (arc >> (7 * group)) as u8 & 0x7f | more
        }));
    }
    element(0x06, &content)
}

/// The elements that stand behind each other in `octets`.
#[track_caller]
pub fn elements(mut octets: &[u8]) -> Vec<Element<'_>> {
    let mut all = Vec::new();
    while let [tag, first, rest @ ..] = octets {
        let count = if *first < 0x80 { 0 } else { usize::from(first & 0x7f) };
        assert!(*first != 0x80 && count <= rest.len().min(4), "a length that is no DER: {octets:02x?}");
        let length = match count {
            0 => usize::from(*first),
            _ => rest[..count].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)),
        };
        let minimal = count == 0 || rest[0] != 0 && length > 0x7f;
        assert!(minimal && rest.len() - count >= length, "a length that is no DER: {octets:02x?}");
        let (whole, behind) = octets.split_at(2 + count + length);
        all.push(Element { tag: *tag, content: &whole[2 + count..], whole });
        octets = behind;
    }
    assert!(octets.is_empty(), "a byte behind the last element: {octets:02x?}");
    all
}

/// The only element in `octets`, of this tag.
#[track_caller]
pub fn only(tag: u8, octets: &[u8]) -> Element<'_> {
    match elements(octets)[..] {
        [element] if element.tag == tag => element,
        ref others => panic!("not one element of tag {tag:02x}: {others:02x?}"),
    }
}
