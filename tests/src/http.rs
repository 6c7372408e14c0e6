//! HTTP by hand, so that a test can send what no proper client would and see every byte that comes back.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// A stuck responder fails its test rather than the whole run.
const PATIENCE: Duration = Duration::from_secs(15);

/// One HTTP response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Its code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, of exactly Content-Length.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header that occurs once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        value
    }

    /// A header that must be there.
    #[track_caller]
    pub fn expect(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// A header with a date, which must be there.
    #[track_caller]
    pub fn date(&self, name: &str) -> SystemTime {
        let value = self.expect(name);
        assert!(value.len() == 29 && value.ends_with(" GMT"), "{name} is no IMF-fixdate: {value}");
        httpdate::parse_http_date(value).unwrap_or_else(|_| panic!("{name}: {value}"))
    }

    /// The number in a Cache-Control directive such as `max-age`.
    #[track_caller]
    pub fn cache_control_seconds(&self, directive: &str) -> u64 {
        let value = self.expect("cache-control");
        let parts = value.split(',').filter_map(|part| part.trim().split_once('='));
        let mut found = parts.filter(|(name, _)| *name == directive).map(|(_, seconds)| seconds.parse().unwrap());
        found.next().unwrap_or_else(|| panic!("no {directive} in {value}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection on which several requests can be sent.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> std::io::Result<Self> {
        Self::open_within(address, PATIENCE)
    }

    /// Connects; whoever lets it wait for longer than that has failed.
    pub fn open_within(address: SocketAddr, patience: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Reads one response; `None` where the peer has closed. One to HEAD has no body whatever its headers say.
    pub fn receive(&mut self, head_only: bool) -> std::io::Result<Option<Reply>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if line.is_empty() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let field = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("header cut short: {line:?}"));
            if field.is_empty() {
                break;
            }
            let (name, value) = field.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if !head_only && status != 304 && status != 204 {
            let length = reply.expect("content-length").parse().unwrap();
            reply.body.resize(length, 0);
            self.stream.read_exact(&mut reply.body)?;
        }
        Ok(Some(reply))
    }
}

/// Sends one request on a connection of its own and reads the answer.
pub fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Reply> {
    exchange_within(address, request, PATIENCE)
}

/// The same where each step is waited for no longer than that.
pub fn exchange_within(address: SocketAddr, request: &[u8], patience: Duration) -> std::io::Result<Reply> {
    let mut connection = Connection::open_within(address, patience)?;
    connection.send(request)?;
    let closed = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed without an answer");
    connection.receive(request.starts_with(b"HEAD "))?.ok_or_else(closed)
}

/// A request without a body; `headers` are whole lines.
pub fn request(method: &str, target: &str, headers: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: ostia.test\r\n{headers}\r\n").into_bytes()
}

/// A GET that must be answered.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Reply {
    exchange(address, &request("GET", target, "")).unwrap_or_else(|error| panic!("GET {target}: {error}"))
}

/// An OCSP request by POST.
#[track_caller]
pub fn post(address: SocketAddr, target: &str, body: &[u8]) -> Reply {
    let headers = format!("Content-Type: application/ocsp-request\r\nContent-Length: {}\r\n", body.len());
    let mut octets = request("POST", target, &headers);
    octets.extend_from_slice(body);
    exchange(address, &octets).unwrap_or_else(|error| panic!("POST {target}: {error}"))
}

/// The target of an OCSP request by GET, as RFC 6960 (appendix A.1) spells it.
pub fn ocsp_target(prefix: &str, request: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(request).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("{}/{encoded}", prefix.trim_end_matches('/'))
}
