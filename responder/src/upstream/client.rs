//! One upstream over HTTP/1.1: connections that are used again, and an answer within bounds.
//!
//! Purpose: from the bytes of a request to those of an answer. It asks by POST, and by GET (RFC 6960 appendix A.1) from when
//! an upstream refuses that method. Invariants: an answer has status 200, the media type, and at most
//! [`limits::REPLY_OCTETS_MAX`] bytes; redirects are not followed; there are at most [`limits::CONNECTIONS_MAX`] connections.
//! A request on a connection that the upstream has just closed is sent once more: asking twice changes nothing. It does not
//! know what an answer says.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
    header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::told::{Fault, Told};
use crate::limits::upstream as limits;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// RFC 6960.
    Ocsp,
    /// RFC 3161.
    TimeStamp,
}

impl Protocol {
    const fn media_types(self) -> (&'static str, &'static str) {
        match self {
            Self::Ocsp => ("application/ocsp-request", "application/ocsp-response"),
            Self::TimeStamp => ("application/timestamp-query", "application/timestamp-reply"),
        }
    }
}

/// A request for an upstream.
#[derive(Clone, Debug)]
pub struct Errand {
    /// What is asked for.
    pub protocol: Protocol,
    /// Behind the path of the upstream's URL: empty, or with a slash at its beginning.
    pub path: Arc<str>,
    /// The Host field, if it is not that of the URL.
    pub host: Option<Arc<str>>,
    /// The body of a POST.
    pub body: Bytes,
}

/// The bytes that came, and how long caches may keep them where that was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The body.
    pub body: Bytes,
    /// By its Cache-Control; `None` where that says nothing.
    pub max_age: Option<Duration>,
}

/// One upstream.
pub struct Upstream {
    name: String,
    host: String,
    port: u16,
    /// The Host field.
    authority: String,
    /// Without a slash at its end.
    path: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<Idle>>,
    slots: Semaphore,
    /// Whether it has refused POST.
    by_get: AtomicBool,
    /// What has happened with it.
    pub told: Told,
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a request has brought no reply.
enum Lost {
    Fault(Fault),
    /// The upstream has closed the connection before the request; another one may carry it.
    Stale,
}

impl From<Fault> for Lost {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Upstream {
    /// The one at this URL; `tls`: for `https`. An error completes "the upstream …".
    pub fn new(url: &str, tls: Option<TlsConnector>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let is_over_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match tls.filter(|_| is_over_tls) {
            Some(connector) => {
                let name = ServerName::try_from(bare.clone()).map_err(|error| format!("`{url}`: {error}"))?;
                Some((connector, name))
            }
            None => None,
        };
        Ok(Self {
            name: url.to_owned(),
            host: bare,
            port: uri.port_u16().unwrap_or(if is_over_tls { 443 } else { 80 }),
            authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
            path: uri.path().trim_end_matches('/').to_owned(),
            tls,
            idle: Mutex::default(),
            slots: Semaphore::new(limits::CONNECTIONS_MAX),
            by_get: AtomicBool::new(false),
            told: Told::default(),
        })
    }

    /// Its URL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks once.
    pub async fn ask(&self, errand: &Errand, within: Duration) -> Result<Reply, Fault> {
        let end = tokio::time::Instant::now() + within;
        timeout_at(end, self.reply(errand)).await.unwrap_or(Err(Fault::Slow(within)))
    }

    async fn reply(&self, errand: &Errand) -> Result<Reply, Fault> {
        let _slot = self.slots.acquire().await.map_err(|error| Fault::Unreachable(error.to_string()))?;
        let by_get = errand.protocol == Protocol::Ocsp && self.by_get.load(Relaxed);
        match self.exchange(errand, by_get).await {
            Err(Fault::Http(405 | 501)) if errand.protocol == Protocol::Ocsp && !by_get => {
                let reply = self.exchange(errand, true).await;
                self.by_get.store(reply.is_ok(), Relaxed);
                reply
            }
            Err(fault @ Fault::Http(_)) if by_get => {
                // Perhaps it takes POST again.
                self.by_get.store(false, Relaxed);
                Err(fault)
            }
            outcome => outcome,
        }
    }

    async fn exchange(&self, errand: &Errand, by_get: bool) -> Result<Reply, Fault> {
        while let Some(sender) = self.take_idle() {
            match self.exchange_over(sender, errand, by_get).await {
                Err(Lost::Stale) => {}
                Err(Lost::Fault(fault)) => return Err(fault),
                Ok(reply) => return Ok(reply),
            }
        }
        let sender = match timeout(limits::CONNECT_WITHIN, self.connect()).await {
            Ok(connected) => connected.map_err(Fault::Unreachable)?,
            Err(_) => return Err(Fault::Unreachable(format!("no connection within {:?}", limits::CONNECT_WITHIN))),
        };
        match self.exchange_over(sender, errand, by_get).await {
            Err(Lost::Stale) => Err(Fault::Unreachable("it closes the connection before it answers".into())),
            Err(Lost::Fault(fault)) => Err(fault),
            Ok(reply) => Ok(reply),
        }
    }

    async fn exchange_over(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        errand: &Errand,
        by_get: bool,
    ) -> Result<Reply, Lost> {
        sender.ready().await.map_err(|_| Lost::Stale)?;
        let request = self.request(errand, by_get)?;
        let response = sender.send_request(request).await.map_err(|error| {
            // Nothing of an answer has come.
            if error.is_canceled() || error.is_incomplete_message() || error.is_closed() {
                Lost::Stale
            } else {
                Lost::Fault(Fault::Unreachable(in_full(&error)))
            }
        })?;
        let reply = read(response, errand.protocol).await?;
        self.keep_idle(sender);
        Ok(reply)
    }

    fn request(&self, errand: &Errand, by_get: bool) -> Result<Request<Full<Bytes>>, Fault> {
        let Self { path, authority, .. } = self;
        let (sent, wanted) = errand.protocol.media_types();
        let own = &*errand.path;
        let path = match (path.is_empty() && own.is_empty(), by_get) {
            (true, false) => "/".to_owned(),
            (_, false) => format!("{path}{own}"),
            (_, true) => format!("{path}{own}/{}", escaped(&BASE64_STANDARD.encode(&errand.body))),
        };
        let request = Request::builder().uri(path).header(HOST, errand.host.as_deref().unwrap_or(authority));
        let request = request.header(ACCEPT, wanted);
        let request = if by_get {
            request.method(Method::GET).body(Full::default())
        } else {
            request.method(Method::POST).header(CONTENT_TYPE, sent).body(Full::new(errand.body.clone()))
        };
        request.map_err(|error| Fault::Unreachable(error.to_string()))
    }

    /// A new connection.
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect((&*self.host, self.port)).await.map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => open(TokioIo::new(stream)).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(|error| error.to_string())?;
                open(TokioIo::new(stream)).await
            }
        }
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < limits::IDLE_KEPT);
        // The one that was used last is the least likely to be closed.
        idle.pop().map(|idle| idle.sender)
    }

    fn keep_idle(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < limits::CONNECTIONS_MAX {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

/// Speaks HTTP over a connection; it ends when the sender is dropped.
async fn open<T>(stream: T) -> Result<SendRequest<Full<Bytes>>, String>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder.max_buf_size(limits::REPLY_HEAD_OCTETS_MAX).max_headers(limits::REPLY_FIELDS_MAX);
    let (sender, connection) = builder.handshake(stream).await.map_err(|error| in_full(&error))?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// The body, if head and body are those of an answer.
async fn read(response: Response<Incoming>, protocol: Protocol) -> Result<Reply, Fault> {
    if response.status() != StatusCode::OK {
        return Err(Fault::Http(response.status().as_u16()));
    }
    let found =
        response.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let found = found.unwrap_or_default();
    let bare = found.split(';').next().unwrap_or_default().trim();
    if !bare.eq_ignore_ascii_case(protocol.media_types().1) {
        let shown = found.chars().take(80).flat_map(char::escape_debug).collect();
        return Err(Fault::MediaType(shown));
    }
    let max_age = max_age(response.headers());
    let body = Limited::new(response.into_body(), limits::REPLY_OCTETS_MAX).collect().await;
    let body = body.map_err(|error| {
        let is_too_long = error.downcast_ref::<LengthLimitError>().is_some();
        if is_too_long { Fault::TooLong } else { Fault::Unreachable(in_full(&*error)) }
    })?;
    Ok(Reply { body: body.to_bytes(), max_age })
}

/// How long a cache may still keep it (RFC 9111 sections 4.2 and 5.2.2): without the time that it has spent in caches before.
/// What forbids keeping it, and an Age that cannot be read, are 0.
fn max_age(fields: &HeaderMap) -> Option<Duration> {
    let values = fields.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(str::trim);
    let lengths = directives.filter_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match &*name.to_ascii_lowercase() {
            "no-store" | "no-cache" | "private" => Some(0),
            "max-age" => Some(value.trim_matches('"').parse().unwrap_or(0)),
            _ => None,
        }
    });
    let age =
        fields.get(AGE).map_or(0, |age| age.to_str().ok().and_then(|age| age.trim().parse().ok()).unwrap_or(u64::MAX));
    lengths.min().map(|length: u64| Duration::from_secs(length.saturating_sub(age)))
}

/// An error with what caused it.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Base64 in a path: RFC 6960 appendix A.1.1.
fn escaped(symbols: &str) -> String {
    symbols.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_has_spent_in_caches_before_is_no_part_of_how_long_it_may_be_kept() {
        for (lines, seconds) in [
            (&[("cache-control", "max-age=20, public")][..], Some(20)),
            (&[("cache-control", "max-age=20"), ("age", "19")], Some(1)),
            (&[("cache-control", "max-age=20"), ("age", "21")], Some(0)),
            (&[("cache-control", "max-age=20"), ("age", "-1")], Some(0)),
            (&[("cache-control", "max-age=20, no-store"), ("age", "1")], Some(0)),
            (&[("age", "5")], None),
        ] {
            let fields: HeaderMap = lines
                .iter()
                .map(|(name, value)| (name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(max_age(&fields), seconds.map(Duration::from_secs), "{lines:?}");
        }
    }
}
