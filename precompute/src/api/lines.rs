//! Lines from a stream, numbered, each within a bound.
//!
//! Purpose: bytes come in whole frames of any size and go out as lines. Invariant: no more than a line's bound is kept of a
//! line that is not at its end; a longer one is told with its number, and the next one is read. It does not know what is in
//! a line.

use crate::limits;

/// A line without its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// From 1 on.
    pub(crate) number: u64,
    /// `None` if it is longer than [`limits::API_LINE_OCTETS_MAX`].
    pub(crate) content: Option<Vec<u8>>,
}

/// Parts a stream into lines.
#[derive(Default, Debug)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    too_long: bool,
    /// Lines that were at their end.
    ended: u64,
}

impl Lines {
    /// Takes the next bytes, and hands on every line that is at its end.
    pub(crate) fn feed(&mut self, mut octets: &[u8], mut each: impl FnMut(Line)) {
        while let Some(end) = memchr::memchr(b'\n', octets) {
            self.keep(&octets[..end]);
            octets = &octets[end + 1..];
            each(self.end());
        }
        self.keep(octets);
    }

    /// The last line, if the stream did not end with a line's end.
    pub(crate) fn finish(mut self) -> Option<Line> {
        (self.too_long || !self.begun.is_empty()).then(|| self.end())
    }

    fn keep(&mut self, octets: &[u8]) {
        if self.too_long || self.begun.len() + octets.len() > limits::API_LINE_OCTETS_MAX {
            self.too_long = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(octets);
        }
    }

    fn end(&mut self) -> Line {
        self.ended += 1;
        let mut content = std::mem::take(&mut self.begun);
        if content.last() == Some(&b'\r') {
            content.pop();
        }
        let too_long = std::mem::take(&mut self.too_long);
        Line { number: self.ended, content: (!too_long).then_some(content) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(frames: &[&[u8]]) -> Vec<Line> {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        frames.iter().for_each(|frame| lines.feed(frame, |line| told.push(line)));
        told.extend(lines.finish());
        told
    }

    #[test]
    fn a_line_too_long_is_told_by_its_number_and_the_next_is_read() {
        let long = vec![b'x'; limits::API_LINE_OCTETS_MAX + 1];
        let line = |number, content: Option<&[u8]>| Line { number, content: content.map(<[u8]>::to_vec) };
        let told = lines(&[b"a\r\n", &long, b"\n\nb\n", &long[1..], b"\n", &long]);
        let expected = [
            line(1, Some(b"a")),
            line(2, None),
            line(3, Some(b"")),
            line(4, Some(b"b")),
            line(5, Some(&long[1..])),
            line(6, None),
        ];
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_into_frames_does_not_matter(
            text in "[ab\n\r]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let frames: Vec<_> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let told = lines(&frames);
            let wanted: Vec<_> = text.split_terminator('\n').collect();
            prop_assert_eq!(told.len(), wanted.len());
            for ((number, wanted), line) in (1..).zip(wanted).zip(told) {
                let wanted = wanted.strip_suffix('\r').unwrap_or(wanted);
                prop_assert_eq!(line, Line { number, content: Some(wanted.as_bytes().to_vec()) });
            }
        }
    }
}
