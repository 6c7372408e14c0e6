//! A line of a journal or of an export, taken apart. Pure; nothing is copied.

use crate::pki::hex;

/// What a line comes to.
pub(super) type Hash = [u8; 32];

/// One line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line<'l> {
    Shown(Shown<'l>),
    /// Only its hash is there.
    Hidden(Hash),
    /// How an export begins.
    Export,
}

/// One that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shown<'l> {
    pub(super) server: &'l [u8],
    pub(super) seq: u64,
    pub(super) at: &'l [u8],
    pub(super) prev: Hash,
    /// Behind `prev`, with the comma and the brace at the end.
    pub(super) rest: &'l [u8],
}

/// The journal's own kinds of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind<'l> {
    /// The first line of a file: the journal's name, and the key.
    File {
        journal: &'l str,
        key: Hash,
    },
    /// A head: how many bytes of the line are signed, and the signature.
    Head {
        signed: usize,
        signature: [u8; 64],
    },
    Lost,
    Torn,
    Fault,
    /// Somebody's entry.
    Entry,
}

const SERVER: usize = 36;
const AT: usize = 27;
const SALT: usize = 32;
const DIGITS_MAX: usize = 20;

/// Takes what is expected off the front.
fn take<'l>(rest: &mut &'l [u8], count: usize) -> Option<&'l [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn expect(rest: &mut &[u8], text: &[u8]) -> Option<()> {
    *rest = rest.strip_prefix(text)?;
    Some(())
}

fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    // One way to write each: in lower case.
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    hex::array(std::str::from_utf8(digits).ok()?)
}

impl<'l> Line<'l> {
    /// `None` if it is no line of either. `text`: without its end.
    pub(super) fn read(text: &'l [u8]) -> Option<Self> {
        if let Some(hash) = text.strip_prefix(b"{\"hidden\":\"") {
            return Some(Self::Hidden(bytes(hash.strip_suffix(b"\"}")?)?));
        }
        if text.starts_with(b"{\"export\":1,\"tenant\":\"") {
            return Some(Self::Export);
        }
        let rest = &mut { text };
        expect(rest, b"{\"server\":\"")?;
        let server = take(rest, SERVER)
            .filter(|server| server.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')))?;
        expect(rest, b"\",\"seq\":")?;
        let digits = rest.iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
        let digits = take(rest, digits)?;
        let seq = std::str::from_utf8(digits).ok()?.parse().ok().filter(|seq| *seq > 0 && digits[0] != b'0')?;
        expect(rest, b",\"at\":\"")?;
        let at = take(rest, AT)
            .filter(|at| at.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'.' | b'T' | b'Z')))?;
        expect(rest, b"\",\"salt\":\"")?;
        bytes::<16>(take(rest, SALT)?)?;
        expect(rest, b"\",\"prev\":\"")?;
        let prev = bytes(take(rest, 64)?)?;
        expect(rest, b"\"")?;
        (rest.starts_with(b",\"") && rest.ends_with(b"}")).then_some(())?;
        Some(Self::Shown(Shown { server, seq, at, prev, rest }))
    }
}

impl<'l> Shown<'l> {
    /// `None` if a line of the journal's own is not as it has to be. `text`: the whole line.
    pub(super) fn kind(&self, text: &[u8]) -> Option<Kind<'l>> {
        let rest = &mut { self.rest };
        if expect(rest, b",\"type\":\"").is_none() {
            return Some(Kind::Entry);
        }
        if expect(rest, b"file\",\"journal\":\"").is_some() {
            let end = rest.iter().position(|byte| *byte == b'"')?;
            let journal = std::str::from_utf8(take(rest, end)?).ok()?;
            // People see it.
            journal.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-').then_some(())?;
            expect(rest, b"\",\"format\":1,\"key\":\"")?;
            let key = bytes(take(rest, 64)?)?;
            expect(rest, b"\",\"software\":\"")?;
            let software = rest.strip_suffix(b"\"}")?;
            return (!software.contains(&b'"')).then_some(Kind::File { journal, key });
        }
        if expect(rest, b"head\",\"signature\":\"").is_some() {
            let signature = bytes(take(rest, 128)?)?;
            (*rest == b"\"}").then_some(())?;
            let signed = text.len() - b",\"signature\":\"\"}".len() - 128;
            return Some(Kind::Head { signed, signature });
        }
        let own: [(&[u8], _); 3] = [(b"lost\"", Kind::Lost), (b"torn\"", Kind::Torn), (b"fault\"", Kind::Fault)];
        Some(own.into_iter().find(|(name, _)| rest.starts_with(name)).map_or(Kind::Entry, |(_, kind)| kind))
    }
}
