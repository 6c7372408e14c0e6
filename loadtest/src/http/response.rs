//! Finding a response's end and body.
//!
//! Invariant: total over any bytes and bounded by `limits`; where the framing is doubtful the connection is given up
//! (`Broken`) rather than guessed at, so that no answer is ever matched with another request. It does not know content.

use crate::limits::{RESPONSE_BODY_OCTETS_MAX, RESPONSE_HEAD_OCTETS_MAX};

/// The peer does not speak HTTP/1, or not within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

/// How the body's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Known(usize),
    Chunked,
    /// Until the peer closes (HTTP/1.0 style).
    UntilClose,
}

/// Status line and fields, as far as they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes of the head, its empty line included.
    pub(crate) octets: usize,
    pub(crate) length: Length,
    pub(crate) keep_alive: bool,
}

/// Reads a head from the beginning of `bytes`; `None`: more is needed.
#[inline]
pub(crate) fn head(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    let window = &bytes[..bytes.len().min(RESPONSE_HEAD_OCTETS_MAX)];
    let mut head = Head { status: 0, octets: 0, length: Length::UntilClose, keep_alive: true };
    let mut line_start = 0;
    loop {
        let Some(found) = memchr::memchr(b'\n', &window[line_start..]) else {
            let too_long = window.len() == RESPONSE_HEAD_OCTETS_MAX;
            // A peer that speaks something else is told apart at once, not after 16 KiB.
            let alien = line_start == 0 && !b"HTTP/1.".starts_with(&window[..window.len().min(7)]);
            return match (too_long, alien) {
                (true, _) => Err(Broken("the head is over 16 KiB")),
                (_, true) => Err(Broken("not HTTP/1")),
                _ => Ok(None),
            };
        };
        let end = line_start + found;
        let line = match &window[line_start..end] {
            [text @ .., b'\r'] => text,
            text => text,
        };
        if line_start == 0 {
            status_line(line, &mut head)?;
        } else if line.is_empty() {
            head.octets = end + 1;
            // RFC 9112 section 6.3: these never have a body.
            if matches!(head.status, 100..=199 | 204 | 304) {
                head.length = Length::Known(0);
            }
            return Ok(Some(head));
        } else {
            field(line, &mut head)?;
        }
        line_start = end + 1;
    }
}

fn status_line(line: &[u8], head: &mut Head) -> Result<(), Broken> {
    let (minor, status) = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', a, b, c, rest @ ..]
            if matches!(rest.first(), None | Some(b' ')) && [a, b, c].iter().all(|d| d.is_ascii_digit()) =>
        {
            (*minor, u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
        }
        _ => return Err(Broken("not an HTTP/1 status line")),
    };
    if !(100..=599).contains(&status) {
        return Err(Broken("a status outside 100 to 599"));
    }
    head.status = status;
    head.keep_alive = minor == b'1';
    Ok(())
}

#[inline]
fn field(line: &[u8], head: &mut Head) -> Result<(), Broken> {
    // Only fields that begin with c or t can matter: Content-Length, Connection, Transfer-Encoding.
    match line[0] | 0x20 {
        b'c' => {
            if let Some(value) = value_of(line, b"content-length") {
                let length = decimal(value).ok_or(Broken("Content-Length is not a number"))?;
                match head.length {
                    Length::UntilClose => head.length = Length::Known(length),
                    Length::Known(same) if same == length => {}
                    _ => return Err(Broken("two framings of one body")),
                }
                if length > RESPONSE_BODY_OCTETS_MAX {
                    return Err(Broken("the body is over 256 KiB"));
                }
            } else if let Some(value) = value_of(line, b"connection") {
                for token in value.split(|b| *b == b',') {
                    let token = token.trim_ascii();
                    if token.eq_ignore_ascii_case(b"close") {
                        head.keep_alive = false;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        head.keep_alive = true;
                    }
                }
            }
        }
        b't' => {
            if let Some(value) = value_of(line, b"transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") || head.length != Length::UntilClose {
                    return Err(Broken("a transfer coding besides chunked, or beside Content-Length"));
                }
                head.length = Length::Chunked;
            }
        }
        b' ' | b'\t' => return Err(Broken("a folded field")),
        _ => {}
    }
    Ok(())
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    match rest {
        [b':', value @ ..] if field.eq_ignore_ascii_case(name) => Some(value.trim_ascii()),
        _ => None,
    }
}

fn decimal(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |n, d| n * 10 + usize::from(d - b'0')))
}

/// Decodes a chunked body from the beginning of `bytes` into `out`, which is cleared; gives the bytes taken, or `None`
/// if more is needed. The slow path: OCSP and TSP servers rarely chunk.
pub(crate) fn chunked(bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Broken> {
    out.clear();
    let mut at = 0;
    loop {
        let Some(line) = line_at(bytes, at)? else { return Ok(None) };
        let digits = line.text.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits)
            .ok()
            .filter(|d| (1..=6).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|d| usize::from_str_radix(d, 16).ok())
            .ok_or(Broken("a chunk size that is no number"))?;
        at = line.next;
        if size == 0 {
            break;
        }
        if out.len() + size > RESPONSE_BODY_OCTETS_MAX {
            return Err(Broken("the body is over 256 KiB"));
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if &chunk[size..] != b"\r\n" {
            return Err(Broken("a chunk longer than its size"));
        }
        out.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    // Trailer fields, to the empty line.
    let trailer_start = at;
    loop {
        let Some(line) = line_at(bytes, at)? else { return Ok(None) };
        at = line.next;
        if line.text.is_empty() {
            return Ok(Some(at));
        }
        if at - trailer_start > RESPONSE_HEAD_OCTETS_MAX {
            return Err(Broken("trailers over 16 KiB"));
        }
    }
}

struct Line<'a> {
    text: &'a [u8],
    next: usize,
}

fn line_at(bytes: &[u8], at: usize) -> Result<Option<Line<'_>>, Broken> {
    let rest = &bytes[at..];
    match memchr::memchr(b'\n', rest) {
        Some(end) if end > 0 && rest[end - 1] == b'\r' => Ok(Some(Line { text: &rest[..end - 1], next: at + end + 1 })),
        Some(_) => Err(Broken("a bare line feed in the chunked coding")),
        None if rest.len() > 1024 => Err(Broken("a chunk line over 1 KiB")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Head {
        head(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn finds_status_length_and_persistence() {
        let text = "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH:  12 \r\nDate: y\r\n\r\nbody";
        let want = Head { status: 200, octets: text.len() - 4, length: Length::Known(12), keep_alive: true };
        assert_eq!(known(text), want);
        assert!(!known("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n").keep_alive);
        assert!(!known("HTTP/1.0 200 OK\r\n\r\n").keep_alive);
        assert!(known("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").keep_alive);
        assert_eq!(known("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n").length, Length::Chunked);
        assert_eq!(known("HTTP/1.1 503 x\r\n\r\n").length, Length::UntilClose);
        assert_eq!(known("HTTP/1.1 304 x\r\n\r\n").length, Length::Known(0));
        assert_eq!(known("HTTP/1.1 200 x\nContent-Length: 1\n\n").length, Length::Known(1), "bare LF ends lines too");
    }

    #[test]
    fn waits_at_every_cut_of_a_head() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(head(&text[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn refuses_doubtful_framing() {
        for text in [
            "SSH-2.0-x",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 999 OK\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert!(head(text.as_bytes()).is_err(), "{text:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(RESPONSE_HEAD_OCTETS_MAX));
        assert!(head(endless.as_bytes()).is_err());
    }

    #[test]
    fn joins_chunks_and_waits_at_every_cut() {
        let text = b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        let end = text.len() - 4;
        let mut out = Vec::new();
        assert_eq!(chunked(text, &mut out), Ok(Some(end)));
        assert_eq!(out, b"abc0123456789");
        for cut in 0..end {
            assert_eq!(chunked(&text[..cut], &mut out), Ok(None), "{cut}");
        }
    }

    #[test]
    fn refuses_chunks_that_lie() {
        let mut out = Vec::new();
        for text in
            ["x\r\n", "\r\n", "3\r\nabcd\r\n", "3\nabc\r\n", "fffffff\r\n", "ffffff\r\n", "+3\r\nabc\r\n0\r\n\r\n"]
        {
            assert!(chunked(text.as_bytes(), &mut out).is_err(), "{text:?}");
        }
    }
}
