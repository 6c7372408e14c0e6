//! Framing of HTTP requests.
//!
//! - How the bytes were cut into reads never shows: the same requests come out, and the same end.
//! - What stands behind a request changes nothing in it.
//! - A request takes no more bytes than there are; its body is what its framing says.
//! - A header section that is taken is one that every other HTTP implementation reads the same way.

use std::fmt;

use responder::{
    front::route::body_max,
    limits,
    net::http::{self, Framing, Head, Method, Rejection},
};

/// Bytes of an expanded input: more than any bound of the reader, and little enough to be read often.
const EXPANDED_OCTETS_MAX: usize = 48 << 10;

/// Inputs up to this length are also fed byte by byte, which takes as many readings as there are bytes.
const SINGLE_OCTETS_MAX: usize = 400;

/// Reads the input as what a connection receives. `0xff N X` stands for the byte X, N × 64 times, so that small
/// inputs reach the bounds; with N = 0 for `0xff` alone. Taken
/// is what consists of whole requests.
pub fn http(octets: &[u8]) -> bool {
    let input = expand(octets);
    let whole = connection([&input[..]]);
    let sizes = [input.len() / 2 + 1, input.len() / 23 + 1, 13];
    for size in sizes.into_iter().filter(|&size| input.len() / size <= SINGLE_OCTETS_MAX) {
        same(&whole, &connection(input.chunks(size)), size);
    }
    if input.len() <= SINGLE_OCTETS_MAX {
        same(&whole, &connection(input.chunks(1)), 1);
    }
    // Where a bound begins to count.
    let line = limits::TARGET_OCTETS_MAX + 64;
    let chunked = limits::CHUNKED_FACTOR * limits::BODY_OCTETS_MAX;
    for bound in [line, limits::HEAD_OCTETS_MAX, chunked, limits::CHUNKED_OCTETS_MAX] {
        for at in bound..=bound + 1 {
            if let Some((first, second)) = input.split_at_checked(at) {
                same(&whole, &connection([first, second]), at);
            }
        }
    }
    !whole.requests.is_empty() && whole.left == 0 && !matches!(whole.end, End::Refused(_))
}

fn same(whole: &Reading, cut: &Reading, size: usize) {
    assert_eq!(whole.requests, cut.requests, "read in pieces of {size}");
    match (&whole.end, &cut.end) {
        // Of a request with two faults, the one that can be seen earlier is told: that it is too large.
        (
            End::Refused(_),
            End::Refused(Rejection::TargetTooLong | Rejection::HeadTooLarge | Rejection::BodyTooLarge),
        ) => {}
        (whole, cut) => assert_eq!(whole, cut, "read in pieces of {size}"),
    }
}

fn expand(octets: &[u8]) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(octets.len());
    let mut rest = octets;
    loop {
        match rest {
            [0xff, 0, left @ ..] => {
                expanded.push(0xff);
                rest = left;
            }
            [0xff, count, octet, left @ ..] => {
                expanded.resize(expanded.len() + 64 * usize::from(*count), *octet);
                rest = left;
            }
            [octet, left @ ..] => {
                expanded.push(*octet);
                rest = left;
            }
            [] => break,
        }
    }
    expanded.truncate(EXPANDED_OCTETS_MAX);
    expanded
}

/// What a connection makes of its input.
#[derive(Debug)]
struct Reading {
    requests: Vec<Request>,
    end: End,
    /// Bytes behind the last request.
    left: usize,
}

#[derive(PartialEq, Debug)]
enum End {
    /// More bytes are awaited.
    Open,
    /// After the last request, as the client wished.
    Closed,
    /// No request was understood any more.
    Refused(Rejection),
}

#[derive(PartialEq, Debug)]
struct Request {
    method: Method,
    path: Octets,
    host: Option<Octets>,
    http_1_0: bool,
    keep_alive: bool,
    expects_continue: bool,
    conditions: String,
    media_type: String,
    forwarded_for: Vec<Octets>,
    head_octets: usize,
    body_octets: usize,
    body: Octets,
}

/// Shown shortly, since a broken promise shows two of them.
#[derive(PartialEq)]
struct Octets(Vec<u8>);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..60).unwrap_or(&self.0);
        write!(f, "{} of `{}`", self.0.len(), shown.escape_ascii())
    }
}

/// Takes `pieces` as a connection takes what it reads.
fn connection<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Reading {
    let (mut input, mut requests) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match next(&mut input) {
                Ok(None) => break,
                Err(rejection) => return Reading { requests, end: End::Refused(rejection), left: input.len() },
                Ok(Some(request)) => {
                    let keep_alive = request.keep_alive;
                    requests.push(request);
                    if !keep_alive {
                        return Reading { requests, end: End::Closed, left: input.len() };
                    }
                }
            }
        }
    }
    Reading { requests, end: End::Open, left: input.len() }
}

/// Takes the first request out of `input`, if it is complete.
fn next(input: &mut Vec<u8>) -> Result<Option<Request>, Rejection> {
    let head = match http::head(input) {
        Err(Rejection::VersionNotSupported) => {
            let before = input.len();
            if !http::mend_request_line(input) {
                return Err(Rejection::VersionNotSupported);
            }
            assert_eq!(input.len(), before, "mending moves nothing");
            assert!(!http::mend_request_line(input), "what is mended stays as it is");
            http::head(input)?
        }
        head => head?,
    };
    let Some(head) = head else { return Ok(None) };
    plausible(&head, input);
    let body_max = body_max(&head);
    let Some((body, body_octets)) = http::body(&input[head.length..], head.framing, body_max)? else {
        return Ok(None);
    };
    let end = head.length + body_octets;
    assert!(end <= input.len(), "no bytes are taken that have not arrived");
    assert!(body.len() <= body_max && body_max <= limits::TSA_BODY_OCTETS_MAX);
    match head.framing {
        Framing::Length(length) => assert_eq!((&body[..], body_octets), (&input[head.length..end], length)),
        Framing::Chunked => {
            assert!(body.len() < body_octets && input[..end].ends_with(b"\n"));
            assert!(body_octets <= limits::CHUNKED_FACTOR * body_max);
        }
    }

    // The bytes behind belong to whatever comes next.
    let alone = http::head(&input[..head.length]);
    assert_eq!(alone, Ok(Some(head)), "without anything behind it");
    let alone = http::body(&input[head.length..end], head.framing, body_max);
    assert_eq!(alone, Ok(Some((body.clone(), body_octets))), "without anything behind it");

    let request = Request {
        method: head.method,
        path: Octets(head.path.to_vec()),
        host: head.host.map(|field| Octets(field.to_vec())),
        http_1_0: head.http_1_0,
        keep_alive: head.keep_alive,
        expects_continue: head.expects_continue,
        conditions: format!("{:?}", head.conditions),
        media_type: format!("{:?}", head.media_type),
        forwarded_for: head.forwarded_for.members().map(|member| Octets(member.to_vec())).collect(),
        head_octets: head.length,
        body_octets,
        body: Octets(body.into_owned()),
    };
    input.drain(..end);
    Ok(Some(request))
}

/// The rules of RFC 9112 that tell one request from two, checked on the lines themselves.
fn plausible(head: &Head<'_>, input: &[u8]) {
    assert!(head.length <= input.len().min(limits::HEAD_OCTETS_MAX));
    assert!(head.path.len() <= limits::TARGET_OCTETS_MAX);
    assert!(head.path.is_empty() || head.path == b"*" || head.path.starts_with(b"/"));
    assert!(!head.path.iter().any(|octet| matches!(octet, b'?' | b' ' | b'\r' | b'\n' | 0)));
    assert!(head.http_1_0 || head.host.is_some(), "HTTP/1.1 has a Host");

    let section = &input[..head.length];
    let lines = section.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // Empty lines before the request line are passed over (RFC 9112 section 2.2).
    let mut lines = lines.skip_while(|line| line.is_empty());
    let request_line = lines.next().unwrap_or_default();
    assert_eq!(request_line.split(|&octet| octet == b' ').count(), 3, "method, target, version");
    let (mut lengths, mut codings, mut ended) = (Vec::new(), 0, 0);
    for line in lines {
        if line.is_empty() {
            ended += 1;
            continue;
        }
        assert_eq!(ended, 0, "nothing stands behind the empty line");
        assert!(!line.iter().any(|octet| matches!(octet, 0 | b'\r')), "no field holds a bare CR or a NUL");
        let colon = line.iter().position(|&octet| octet == b':').expect("every field has a colon");
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic), "no fold, no space before the colon");
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths.push(value);
        }
        codings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
    // The empty line itself, and what `split` finds behind its line feed.
    assert_eq!(ended, 2, "the section ends with its first empty line");
    match head.framing {
        Framing::Chunked => assert!(codings == 1 && lengths.is_empty() && !head.http_1_0),
        Framing::Length(length) => {
            assert_eq!(codings, 0);
            assert!(!lengths.is_empty() || length == 0);
            for text in lengths {
                let digits = std::str::from_utf8(text).expect("digits");
                assert!(digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.parse() == Ok(length));
            }
        }
    }
}
