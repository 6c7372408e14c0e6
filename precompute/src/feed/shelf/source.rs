//! Asks one source for one part of a snapshot.
//!
//! Invariants: no more bytes are taken than the part has, and one; no redirect is followed; every wait ends. What comes
//! counts only after it has been verified. It does not know which source is asked, or when.

use std::{fmt, io::Read as _, str::FromStr, time::Duration};

use ureq::{
    Agent, Error, Timeout,
    http::{Response, Uri, header},
};

use super::{
    super::{
        Cluster, Manifest, Refusal, Trusted,
        https::{self, Https},
    },
    id::{Part, SnapshotId},
};
use crate::limits::{feed::MANIFEST_OCTETS_MAX, shelf as limits};

/// Where snapshots can be had: `http://host:port` or `https://host:port`, and a path before `/snapshot/…` if there is one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BaseUrl(String);

/// It is no base URL, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; write it as `http://host:port` (or `https://` where something before it gives out TLS), the address that `snapshot_listen` of that machine says",
            self.0
        )
    }
}

impl std::error::Error for UrlError {}

impl FromStr for BaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let no = |why: &str| Err(UrlError(format!("`{text}` {why}")));
        if text.len() > limits::URL_OCTETS_MAX {
            return Err(UrlError("the URL is too long".to_owned()));
        }
        let Ok(url) = text.parse::<Uri>() else { return no("is no URL") };
        let Some(scheme @ ("http" | "https")) = url.scheme_str() else {
            return no("does not begin with `http://` or `https://`");
        };
        let Some(authority) = url.authority().filter(|authority| !authority.host().is_empty()) else {
            return no("names no host");
        };
        if authority.as_str().contains('@') {
            return no("has a user name, which is not sent");
        }
        if url.query().is_some() || text.contains('#') {
            return no("has something behind its path");
        }
        Ok(Self(format!("{scheme}://{authority}{}", url.path().trim_end_matches('/'))))
    }
}

impl BaseUrl {
    /// Whether it takes TLS to ask there.
    pub(super) fn is_over_tls(&self) -> bool {
        https::is_over_tls(&self.0)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is asked for, and what the answer has to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) id: SnapshotId,
    pub(super) part: Part,
    /// How many bytes it has, or at most.
    pub(super) octets: usize,
    pub(super) is_exact: bool,
    /// Whether another source may be quicker, so that this one has less time than its agent gives it.
    pub(super) is_hurried: bool,
}

impl Wish {
    pub(super) fn url(&self, base: &BaseUrl) -> String {
        format!("{base}/snapshot/{}/{}", self.id, self.part)
    }
}

/// Why a source did not give what was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFault {
    /// What was asked for.
    pub url: String,
    /// What came of it.
    pub answer: Answer,
}

/// What came instead of a part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Answer {
    /// It has no such snapshot.
    Unknown,
    /// Another status, and the type of what came with it.
    Status { code: u16, kind: String },
    /// It names another place, which is not asked.
    Redirect { code: u16, to: String },
    /// It is not as long as it has to be.
    Length { octets: u64, wanted: u64, kind: String },
    /// It ended in the middle.
    CutShort { octets: usize, wanted: usize },
    /// It took too long.
    TooSlow { octets: usize },
    /// Nobody answers, or not in HTTP.
    Unreachable(String),
    /// It is something else than it has to be.
    Wrong(Refusal),
}

impl SourceFault {
    /// Whether something else came in place of the snapshot, which does not pass by itself.
    pub fn is_wrong(&self) -> bool {
        match self.answer {
            Answer::Redirect { .. } | Answer::Length { .. } | Answer::Wrong(_) => true,
            Answer::Unknown
            | Answer::Status { .. }
            | Answer::CutShort { .. }
            | Answer::TooSlow { .. }
            | Answer::Unreachable(_) => false,
        }
    }
}

impl fmt::Display for SourceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, answer } = self;
        let not_ours = "is this the address that `snapshot_listen` of a writer or replica says?";
        match answer {
            Answer::Unknown => write!(f, "{url}: answers 404: it does not have this snapshot, or not whole yet"),
            Answer::Status { code, kind } => {
                write!(f, "{url}: answers {code} ({kind}); {not_ours} If it is, its log says why")
            }
            Answer::Redirect { code, to } => {
                write!(f, "{url}: answers {code} and names `{to}`, which is not followed; name that place itself")
            }
            Answer::Length { octets, wanted, kind } => {
                write!(f, "{url}: answers with {octets} bytes of {kind} in place of {wanted}; {not_ours}")
            }
            Answer::CutShort { octets, wanted } => {
                write!(f, "{url}: ended after {octets} of {wanted} bytes; the connection was lost, or it stopped")
            }
            Answer::TooSlow { octets } => {
                write!(f, "{url}: took too long; {octets} bytes came; look after that machine and the way to it")
            }
            Answer::Unreachable(error) => match https::remedy(error, "`feed.snapshot_from`", "`feed.https_ca`") {
                remedy if remedy.is_empty() => write!(f, "{url}: gives no answer: {error}; {not_ours}"),
                remedy => write!(f, "{url}: gives no answer: {error}{remedy}"),
            },
            Answer::Wrong(Refusal::Forged) => {
                write!(
                    f,
                    "{url}: gives other bytes than the signed manifest says; something on the way or there changed them; {not_ours}"
                )
            }
            Answer::Wrong(refusal) => write!(f, "{url}: gives something else: {refusal}; {not_ours}"),
        }
    }
}

/// For one snapshot; [`Agent::shutdown`] ends what is under way.
pub(super) fn agent(https: &Https, over_tls: bool) -> Agent {
    agent_within(https, over_tls, limits::SILENCE_MAX, limits::CHUNK_WITHIN)
}

/// `silence`: how long nothing may come; `whole`: how long an answer may take in all.
pub(super) fn agent_within(https: &Https, over_tls: bool, silence: Duration, whole: Duration) -> Agent {
    https
        .client(over_tls)
        .max_response_header_size(limits::HEAD_OCTETS_MAX)
        .timeout_resolve(Some(limits::CONNECT_WITHIN))
        .timeout_connect(Some(limits::CONNECT_WITHIN))
        .timeout_recv_response(Some(silence))
        .timeout_per_read(Some(silence))
        .timeout_global(Some(whole))
        .build()
        .new_agent()
}

/// Tries whether a source is reached, and has the snapshot with this manifest. [`Answer::Unknown`] is the answer of one that
/// does not have it, which is also expected where no snapshot is known yet. It ends within [`limits::TRIED_WITHIN`].
pub fn reach(
    base: &BaseUrl,
    manifest: Option<&Manifest>,
    cluster: &Cluster,
    trusted: &Trusted,
    https: &Https,
) -> Result<(), SourceFault> {
    let id = manifest.map_or_else(SnapshotId::none, SnapshotId::of);
    let wish = Wish { id, part: Part::Manifest, octets: MANIFEST_OCTETS_MAX, is_exact: false, is_hurried: false };
    let agent = agent_within(https, base.is_over_tls(), limits::TRIED_WITHIN, limits::TRIED_WITHIN);
    let bytes = get(&agent, base, &wish)?;
    let wrong = |refusal| SourceFault { url: wish.url(base), answer: Answer::Wrong(refusal) };
    match Manifest::open(&bytes, cluster, trusted) {
        Ok(theirs) if SnapshotId::of(&theirs) == id => Ok(()),
        Ok(_) => Err(wrong(Refusal::Absurd("it is the manifest of another snapshot"))),
        Err(refusal) => Err(wrong(refusal)),
    }
}

/// Asks for it. The bytes are not verified yet, except for their number.
pub(super) fn get(agent: &Agent, base: &BaseUrl, wish: &Wish) -> Result<Vec<u8>, SourceFault> {
    let url = wish.url(base);
    let mut request = agent.get(&url);
    if wish.is_hurried {
        request = request
            .config()
            .timeout_recv_response(Some(limits::HURRIED_SILENCE_MAX))
            .timeout_per_read(Some(limits::HURRIED_SILENCE_MAX))
            .timeout_global(Some(limits::HURRIED_CHUNK_WITHIN))
            .build();
    }
    let outcome = match request.call() {
        Ok(response) => body(response, wish),
        Err(error) => Err(silent(error, 0, wish.octets)),
    };
    outcome.map_err(|answer| SourceFault { url, answer })
}

fn body(response: Response<ureq::Body>, wish: &Wish) -> Result<Vec<u8>, Answer> {
    let header = |name: header::HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        // Only visible characters of ASCII, by `to_str`; a few of them tell what it is.
        value.map(|value| value.chars().take(200).collect::<String>())
    };
    let kind = header(header::CONTENT_TYPE).unwrap_or_else(|| "no type".to_owned());
    match response.status().as_u16() {
        200 => {}
        404 => return Err(Answer::Unknown),
        code @ 300..400 => {
            return Err(Answer::Redirect { code, to: header(header::LOCATION).unwrap_or_default() });
        }
        code => return Err(Answer::Status { code, kind }),
    }
    let wanted = wish.octets as u64;
    let other_length = |octets: u64| Answer::Length { octets, wanted, kind: kind.clone() };
    let fits = |octets: u64| if wish.is_exact { octets == wanted } else { octets <= wanted };
    if let Some(octets) = response.body().content_length().filter(|octets| !fits(*octets)) {
        return Err(other_length(octets));
    }
    let mut bytes = Vec::with_capacity(if wish.is_exact { wish.octets } else { 0 });
    let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader().take(wanted + 1);
    if let Err(error) = reader.read_to_end(&mut bytes) {
        return Err(silent(error.into(), bytes.len(), wish.octets));
    }
    if fits(bytes.len() as u64) { Ok(bytes) } else { Err(other_length(bytes.len() as u64)) }
}

/// Why nothing more came.
fn silent(error: Error, octets: usize, wanted: usize) -> Answer {
    match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => Answer::Unreachable(error.to_string()),
        Error::Timeout(_) => Answer::TooSlow { octets },
        Error::Io(_) if octets > 0 => Answer::CutShort { octets, wanted },
        error => Answer::Unreachable(error.to_string()),
    }
}
