//! Fields that may be repeated, RFC 9110 section 5.3: all their values are one list, in order.
//!
//! Nothing is copied or allocated: the list is the part of the header section from the first such field to the last,
//! whose form has been checked. It is parsed again whenever its members are read. It does not know what the values
//! mean.

use std::fmt;

/// All fields of one name.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct List<'b> {
    name: &'static str,
    /// Whole lines, from the name of the first field to the value of the last; other fields may be between them.
    lines: &'b [u8],
}

impl<'b> List<'b> {
    /// Adds the next field, which is in the header section at the start of `octets`.
    pub(super) fn add(&mut self, name: &'static str, header: &httparse::Header<'b>, octets: &'b [u8]) {
        let place = |part: &[u8]| part.as_ptr().addr().checked_sub(octets.as_ptr().addr());
        let first = if self.is_empty() { header.name.as_bytes() } else { self.lines };
        if let (Some(start), Some(value)) = (place(first), place(header.value)) {
            self.name = name;
            self.lines = octets.get(start..value + header.value.len()).unwrap_or_default();
        }
    }

    /// Whether there is no such field.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The values of the fields, in order, each a list of its own.
    fn values(&self) -> impl DoubleEndedIterator<Item = &'b [u8]> + use<'b> {
        let name = self.name.as_bytes();
        self.lines.split(|&b| b == b'\n').filter_map(move |line| {
            let (field, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            field.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
        })
    }

    /// The members of the list, in order.
    pub fn members(&self) -> impl DoubleEndedIterator<Item = &'b [u8]> + use<'b> {
        self.values().flat_map(members)
    }

    /// The value of a field that must occur once; `None` also if it occurs more than once.
    pub fn only(&self) -> Option<&'b [u8]> {
        let mut values = self.values();
        values.next().filter(|_| values.next().is_none())
    }
}

/// The members of one field's value, in order. Empty elements do not count (RFC 9110 section 5.6.1.2).
pub(super) fn members(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

impl fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values().map(String::from_utf8_lossy)).finish()
    }
}
