//! HTTP/1.1 framing of requests, RFC 9112, over the bytes that have arrived so far.
//!
//! Purpose: from hostile bytes to method, target and body, or to the one status that refuses them. Invariant: the end
//! of a request is never in doubt. Every doubt is a refusal that ends the connection, so that nobody can smuggle a
//! second request into the first. It does not know sockets, or what is served.
//!
//! [`conditions`] evaluates a client's conditions, [`ranges`] which part it wants, and [`response`] writes the response, with a [`status`] whose number
//! other modules need not know, and a [`date`].

pub mod conditions;
pub mod date;
mod list;
pub mod ranges;
pub mod response;
pub mod status;

use std::{borrow::Cow, fmt, mem::MaybeUninit};

use memchr::memchr;

pub use self::list::List;
use self::{list::members, status::Status};
use crate::limits;

/// The status of a response that was written, as its first line says (RFC 9112 section 4); `None` if none was.
pub fn status_written(response: &[u8]) -> Option<u16> {
    const AFTER_VERSION: usize = "HTTP/1.1 ".len();
    let digits = response.get(AFTER_VERSION..AFTER_VERSION + 3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Why a request is refused; the connection ends after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rejection {
    /// 400
    BadRequest,
    /// 413
    BodyTooLarge,
    /// 414
    TargetTooLong,
    /// 417
    ExpectationFailed,
    /// 431
    HeadTooLarge,
    /// 505
    VersionNotSupported,
}

impl Rejection {
    /// The status for the client.
    pub const fn status(self) -> Status {
        match self {
            Self::BadRequest => Status::BadRequest,
            Self::BodyTooLarge => Status::ContentTooLarge,
            Self::TargetTooLong => Status::UriTooLong,
            Self::ExpectationFailed => Status::ExpectationFailed,
            Self::HeadTooLarge => Status::HeaderFieldsTooLarge,
            Self::VersionNotSupported => Status::VersionNotSupported,
        }
    }
}

/// The methods that are distinguished.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// Any other.
    Other,
}

/// The media type of a body, without its parameters; empty if none is named, or several that differ.
#[derive(Clone, Copy, Eq, Debug, Default)]
pub struct MediaType<'b>(&'b [u8]);

impl PartialEq for MediaType<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl<'b> MediaType<'b> {
    /// The media type in a Content-Type.
    fn of(content_type: &'b [u8]) -> Self {
        Self(content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii())
    }

    /// Whether it is this one, as `type/subtype`.
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// By Content-Length, or there is none.
    Length(usize),
    /// By chunks.
    Chunked,
}

/// The parts of a header section that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head<'b> {
    /// The method.
    pub method: Method,
    /// The target's path, without query; starts with a slash, or is empty or `*`.
    pub path: &'b [u8],
    /// The host asked for, with its port.
    pub host: Option<&'b [u8]>,
    /// HTTP/1.0.
    pub http_1_0: bool,
    /// Whether the client wants to keep the connection.
    pub keep_alive: bool,
    /// Where the body ends.
    pub framing: Framing,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// Content-Type.
    pub media_type: MediaType<'b>,
    /// The conditions for the response.
    pub conditions: Conditions<'b>,
    /// Range; used if it has one value.
    pub range: List<'b>,
    /// If-Range, likewise.
    pub if_range: List<'b>,
    /// X-Forwarded-For.
    pub forwarded_for: List<'b>,
    /// Authorization; it is a secret.
    pub authorization: Secret<'b>,
    /// Bytes of the header section.
    pub length: usize,
}

/// The value of a field that nobody but who it is for may see.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Secret<'b>(List<'b>);

impl<'b> Secret<'b> {
    /// Whether there is no such field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field that must occur once; `None` also if it occurs more than once.
    pub fn only(&self) -> Option<&'b [u8]> {
        self.0.only()
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "nothing" } else { "a secret" })
    }
}

/// The fields of a conditional request, RFC 9110 section 13.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conditions<'b> {
    /// If-Match.
    pub if_match: List<'b>,
    /// If-None-Match.
    pub if_none_match: List<'b>,
    /// If-Modified-Since; evaluated if it has one value.
    pub if_modified_since: List<'b>,
    /// If-Unmodified-Since, likewise.
    pub if_unmodified_since: List<'b>,
}

impl Conditions<'_> {
    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        [self.if_match, self.if_none_match, self.if_modified_since, self.if_unmodified_since].iter().all(List::is_empty)
    }
}

/// Reads a header section from the start of `octets`; `None` until it is complete.
pub fn head(octets: &[u8]) -> Result<Option<Head<'_>>, Rejection> {
    // Two KiB that are not worth clearing, because most requests have few fields.
    let mut headers = [const { MaybeUninit::uninit() }; limits::HEADERS_USUAL];
    match head_within(octets, &mut headers) {
        Err(Stop::TooManyHeaders) => head_of_many_fields(octets),
        Err(Stop::Rejected(rejection)) => Err(rejection),
        Ok(head) => Ok(head),
    }
}

/// Like [`head`], with room for as many fields as a header section can have.
#[cold]
fn head_of_many_fields(octets: &[u8]) -> Result<Option<Head<'_>>, Rejection> {
    bounded(octets)?;
    let mut headers = vec![MaybeUninit::uninit(); limits::HEADERS_MAX];
    head_within(octets, &mut headers).map_err(|stop| match stop {
        Stop::TooManyHeaders => Rejection::HeadTooLarge,
        Stop::Rejected(rejection) => rejection,
    })
}

/// Why a header section was not read.
enum Stop {
    /// There is no room for its fields.
    TooManyHeaders,
    Rejected(Rejection),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

fn head_within<'b>(
    octets: &'b [u8],
    headers: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Option<Head<'b>>, Stop> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(octets, headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(bounded(octets).map(|()| None)?),
        Err(httparse::Error::TooManyHeaders) => return Err(Stop::TooManyHeaders),
        // A line without a version may just have a space in its target; that is repaired when the line is complete.
        Err(httparse::Error::Version) if !octets.contains(&b'\n') => return Ok(bounded(octets).map(|()| None)?),
        Err(httparse::Error::Version) => return Err(Rejection::VersionNotSupported.into()),
        Err(_) => return Err(Rejection::BadRequest.into()),
    };
    if length > limits::TARGET_OCTETS_MAX {
        // The same result as if it had come in pieces.
        bounded(&octets[..length])?;
    }
    let target = request.path.unwrap_or_default().as_bytes();
    if target.len() > limits::TARGET_OCTETS_MAX {
        return Err(Rejection::TargetTooLong.into());
    }
    let http_1_0 = request.version == Some(0);
    // After a CONNECT the client expects a tunnel: nothing after it is a request.
    let connect = request.method == Some("CONNECT");
    let (authority, path) = if connect { (Some(target), &b""[..]) } else { split_target(target)? };
    let mut head = Head {
        method: match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        },
        path,
        host: None,
        http_1_0,
        keep_alive: !http_1_0,
        framing: Framing::Length(0),
        expects_continue: false,
        media_type: MediaType::default(),
        conditions: Conditions::default(),
        range: List::default(),
        if_range: List::default(),
        forwarded_for: List::default(),
        authorization: Secret::default(),
        length,
    };
    fields(request.headers, octets, &mut head)?;
    head.keep_alive &= !connect;
    // RFC 9112 section 3.2.2: the authority of an absolute-form target takes precedence over Host.
    head.host = authority.or(head.host);
    Ok(Some(head))
}

/// Replaces spaces within the target by `+`. Some clients and proxies decode the `+` of base64 to a space and send it
/// raw; the request line then has more than three words, and [`head`] finds no version. The length stays the same;
/// false if nothing was changed.
pub fn mend_request_line(octets: &mut [u8]) -> bool {
    let end = octets.iter().take(limits::TARGET_OCTETS_MAX + 64).position(|&b| b == b'\n').unwrap_or(0);
    let line = &mut octets[..end];
    if !line.starts_with(b"GET /") && !line.starts_with(b"HEAD /") {
        return false;
    }
    let first = line.iter().position(|&b| b == b' ');
    let last = line.iter().rposition(|&b| b == b' ').filter(|&at| line[at..].starts_with(b" HTTP/"));
    let mut mended = false;
    if let (Some(first), Some(last)) = (first, last) {
        for octet in line[first + 1..last.max(first + 1)].iter_mut().filter(|octet| **octet == b' ') {
            *octet = b'+';
            mended = true;
        }
    }
    mended
}

/// Refuses a header section, complete or not, that is already too large.
fn bounded(octets: &[u8]) -> Result<(), Rejection> {
    let line = octets.iter().position(|&b| b == b'\n');
    // Method and version take less than 64 bytes beside the target.
    if line.unwrap_or(octets.len()) > limits::TARGET_OCTETS_MAX + 64 {
        return Err(Rejection::TargetTooLong);
    }
    if octets.len() > limits::HEAD_OCTETS_MAX { Err(Rejection::HeadTooLarge) } else { Ok(()) }
}

/// The authority of an absolute-form target, and the path without query.
fn split_target(target: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Rejection> {
    let (authority, path) = match target.first() {
        Some(b'/') => (None, target),
        Some(b'*') if target.len() == 1 => (None, target),
        _ => {
            let rest = strip_scheme(target).ok_or(Rejection::BadRequest)?;
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
    };
    let end = memchr(b'?', path).unwrap_or(path.len());
    Ok((authority, &path[..end]))
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })
}

fn fields<'b>(headers: &[httparse::Header<'b>], octets: &'b [u8], head: &mut Head<'b>) -> Result<(), Rejection> {
    let (mut length, mut chunked, mut hosts, mut content_type) = (None, false, 0, None);
    let (mut close, mut keep_alive) = (false, !head.http_1_0);
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let value = content_length(header.value)?;
            if length.is_some_and(|other| other != value) {
                return Err(Rejection::BadRequest);
            }
            length = Some(value);
        } else if is("transfer-encoding") {
            // Only `chunked`, once; HTTP/1.0 has no transfer codings.
            if chunked || head.http_1_0 || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Rejection::BadRequest);
            }
            chunked = true;
        } else if is("connection") {
            for option in members(header.value) {
                close |= option.eq_ignore_ascii_case(b"close");
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("host") {
            hosts += 1;
            let host = header.value.trim_ascii();
            // RFC 9112 section 3.2: an invalid value is refused, so that no other server in the chain reads a different
            // host.
            if !host.iter().all(|&octet| is_of_host(octet)) {
                return Err(Rejection::BadRequest);
            }
            head.host = Some(host);
        } else if is("expect") {
            for expectation in members(header.value) {
                if !expectation.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Rejection::ExpectationFailed);
                }
                head.expects_continue = !head.http_1_0;
            }
        } else if is("content-type") {
            let media_type = MediaType::of(header.value);
            // If two differ, neither describes the body.
            let is_first_or_same = content_type.is_none_or(|other| other == media_type);
            head.media_type = if is_first_or_same { media_type } else { MediaType::default() };
            content_type = Some(head.media_type);
        } else {
            add_to_list(header, octets, head);
        }
    }
    // RFC 9112 section 9.3: `close` ends the connection, whatever other options there are.
    head.keep_alive = keep_alive && !close;
    // RFC 9112 section 3.2: an HTTP/1.1 request has exactly one Host.
    if hosts > 1 || hosts == 0 && !head.http_1_0 {
        return Err(Rejection::BadRequest);
    }
    head.framing = match (chunked, length) {
        (true, Some(_)) => return Err(Rejection::BadRequest),
        (true, None) => Framing::Chunked,
        (false, length) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(())
}

/// Adds a field that others read as a list, not [`fields`].
fn add_to_list<'b>(header: &httparse::Header<'b>, octets: &'b [u8], head: &mut Head<'b>) {
    // Most fields are none of these, as their first letter shows.
    let name = header.name.as_bytes();
    let is_one = matches!(
        name,
        [b'i' | b'I', b'f' | b'F', b'-', ..]
            | [b'x' | b'X', b'-', ..]
            | [b'r' | b'R', b'a' | b'A', ..]
            | [b'a' | b'A', b'u' | b'U', ..]
    );
    if !is_one {
        return;
    }
    for (name, list) in [
        ("if-match", &mut head.conditions.if_match),
        ("if-none-match", &mut head.conditions.if_none_match),
        ("if-modified-since", &mut head.conditions.if_modified_since),
        ("if-unmodified-since", &mut head.conditions.if_unmodified_since),
        ("range", &mut head.range),
        ("if-range", &mut head.if_range),
        ("x-forwarded-for", &mut head.forwarded_for),
        ("authorization", &mut head.authorization.0),
    ] {
        if header.name.eq_ignore_ascii_case(name) {
            list.add(name, header, octets);
        }
    }
}

/// Whether a byte may occur in a Host field: a uri-host and its port (RFC 3986 section 3.2.2).
fn is_of_host(octet: u8) -> bool {
    OF_HOST[usize::from(octet)]
}

const OF_HOST: [bool; 256] = {
    let mut allowed = [false; 256];
    let others = b"-._~!$&'()*+,;=:[]%";
    let mut octet = 0;
    while octet < 256 {
        allowed[octet] = (octet as u8).is_ascii_alphanumeric();
        octet += 1;
    }
    let mut place = 0;
    while place < others.len() {
        allowed[others[place] as usize] = true;
        place += 1;
    }
    allowed
};

fn content_length(value: &[u8]) -> Result<usize, Rejection> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Rejection::BadRequest);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Rejection::BadRequest)?;
    // A number with too many digits for the type also means too many bytes.
    text.parse().map_err(|_| Rejection::BodyTooLarge)
}

/// A body, and how many bytes it took on the wire.
pub type Body<'a> = (Cow<'a, [u8]>, usize);

/// Reads a body of at most `max` bytes from the start of `octets`; `None` until it is complete.
pub fn body(octets: &[u8], framing: Framing, max: usize) -> Result<Option<Body<'_>>, Rejection> {
    match framing {
        Framing::Length(length) if length > max => Err(Rejection::BodyTooLarge),
        Framing::Length(length) => Ok(octets.get(..length).map(|body| (Cow::Borrowed(body), length))),
        Framing::Chunked => {
            let body = chunked(octets, max)?;
            // Regardless of how much of it has arrived at once.
            let sent = body.as_ref().map_or(octets.len(), |(_, end)| *end);
            if sent > max * limits::CHUNKED_FACTOR { Err(Rejection::BodyTooLarge) } else { Ok(body) }
        }
    }
}

fn chunked(octets: &[u8], max: usize) -> Result<Option<Body<'_>>, Rejection> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some((size, data)) = chunk_size(octets, at)? else { return Ok(None) };
        if size == 0 {
            return trailers(octets, data).map(|end| end.map(|end| (Cow::Owned(body), end)));
        }
        if body.len() + size > max {
            return Err(Rejection::BodyTooLarge);
        }
        let end = data + size;
        let Some(chunk) = octets.get(data..end) else { return Ok(None) };
        body.extend_from_slice(chunk);
        match octets.get(end..end + 2) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(Rejection::BadRequest),
            None if octets.get(end).is_some_and(|&b| b != b'\r') => return Err(Rejection::BadRequest),
            None => return Ok(None),
        }
    }
}

/// The size of the chunk that starts at `at`, and the start of its data.
fn chunk_size(octets: &[u8], at: usize) -> Result<Option<(usize, usize)>, Rejection> {
    let line = &octets[at..];
    let Some(end) = line.iter().position(|&b| b == b'\n') else {
        let plausible = line.len() <= CHUNK_LINE_OCTETS_MAX;
        return if plausible { Ok(None) } else { Err(Rejection::BadRequest) };
    };
    let text = line[..end].strip_suffix(b"\r").filter(|text| text.len() <= CHUNK_LINE_OCTETS_MAX);
    let text = text.ok_or(Rejection::BadRequest)?;
    let digits = text.split(|&b| b == b';').next().unwrap_or_default();
    // Extensions are ignored; any character other than a hexadecimal digit is a doubt.
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let valid = !digits.is_empty()
        && digits.len() - zeros <= CHUNK_SIZE_DIGITS_MAX
        && digits.iter().all(u8::is_ascii_hexdigit)
        && is_text(text);
    if !valid {
        return Err(Rejection::BadRequest);
    }
    let size =
        digits.iter().fold(0usize, |size, &digit| size << 4 | (digit as char).to_digit(16).unwrap_or(0) as usize);
    Ok(Some((size, at + end + 1)))
}

/// Digits of a size after leading zeros; some clients write many zeros.
const CHUNK_SIZE_DIGITS_MAX: usize = 8;
/// A size, and an extension.
const CHUNK_LINE_OCTETS_MAX: usize = 256;

/// The end of the trailer section that starts at `at`; its fields are dropped.
fn trailers(octets: &[u8], mut at: usize) -> Result<Option<usize>, Rejection> {
    loop {
        let Some(end) = octets[at..].iter().position(|&b| b == b'\n') else { return Ok(None) };
        let line = octets[at..at + end].strip_suffix(b"\r").ok_or(Rejection::BadRequest)?;
        at += end + 1;
        if line.is_empty() {
            return Ok(Some(at));
        }
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        let named = name.len() < line.len() && !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic());
        if !named || !is_text(line) {
            return Err(Rejection::BadRequest);
        }
    }
}

/// Whether there are no control bytes except tabs.
fn is_text(octets: &[u8]) -> bool {
    octets.iter().all(|&b| b == b'\t' || !b.is_ascii_control())
}

#[cfg(test)]
mod tests;
