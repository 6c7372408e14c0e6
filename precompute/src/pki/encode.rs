//! Headers of DER elements, written where they go, X.690 section 8.1.

/// Bytes of an element, header and all, with so many bytes of content.
pub const fn element(length: usize) -> usize {
    let header = match length {
        0..0x80 => 2,
        0x80..0x100 => 3,
        0x100..0x1_0000 => 4,
        _ => 5,
    };
    header + length
}

/// Writes the tag and length of an element of less than 16 MiB.
#[inline]
pub fn header(out: &mut Vec<u8>, tag: u8, length: usize) {
    let [.., high, middle, low] = length.to_be_bytes();
    match length {
        0..0x80 => out.extend_from_slice(&[tag, low]),
        0x80..0x100 => out.extend_from_slice(&[tag, 0x81, low]),
        0x100..0x1_0000 => out.extend_from_slice(&[tag, 0x82, middle, low]),
        _ => out.extend_from_slice(&[tag, 0x83, high, middle, low]),
    }
}
