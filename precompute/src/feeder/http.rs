//! A CRL at an HTTP or HTTPS URL.
//!
//! Purpose: one conditional GET, at most a few redirects, and a look at what came. Invariants: every wait ends, no more
//! bytes are taken than a CRL may have, and nothing is unpacked; a redirect leads from TLS to nothing less, and the login
//! goes to the host that it is for. What comes counts only if [`crl::judge`] says so. It does not know when it is asked.

mod begins;
mod fresh;

use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use ureq::{
    Body, Error,
    http::{HeaderName, Response, header},
};

use super::{
    crl,
    mirror::{Draft, Last},
    origin::{Answer, CrlFacts, Origin, Problem, Question, Validators, of_file},
    url::SourceUrl,
};
use crate::{
    feed::{
        https::{self, Https},
        redis::Trust,
    },
    ledger::Fetching,
    limits::{self, fetch},
    pki::{Certificate, UnixTime},
    source::CrlIssuers,
};

/// The CRL of an issuer at a URL.
#[derive(Clone, PartialEq, Debug)]
pub struct CrlAtUrl {
    /// Where it is.
    pub url: SourceUrl,
    /// The file that mirrors it.
    pub mirror: PathBuf,
    /// Whose key signs it.
    pub issuer: Certificate,
    /// Certificates of those who sign CRLs for it beside its own key.
    pub crl_issuers: Vec<Certificate>,
    /// The file with the CAs whose certificates count over TLS; `None` for those that the system trusts.
    pub tls_ca: Option<PathBuf>,
    /// How often it is asked for, where the operator says it.
    pub every: Option<Duration>,
    /// The file that mirrors the delta that it names; `None` if that is not wanted.
    pub delta: Option<PathBuf>,
    /// The complete CRL, if this is the delta to it.
    pub(super) delta_of: Option<CrlFacts>,
}

/// What a server said, as far as it ends a question or leads on.
enum Reply {
    Same(Validators),
    Moved(SourceUrl),
    Here(Here),
}

/// A body that was read.
struct Here {
    content: Vec<u8>,
    validators: Validators,
    /// Its status and type, for messages.
    kind: String,
}

impl Origin for CrlAtUrl {
    fn ask(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        let ends = Instant::now() + question.within;
        let (mut url, mut place) = (self.url.clone(), self.url.to_string());
        for _ in 0..=fetch::REDIRECTS_MAX {
            let at = |problem: Problem| Problem { text: format!("{place}: {}", problem.text), ..problem };
            let left = ends.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.get(&url, question, left).map_err(at)? {
                Reply::Moved(next) if url.is_over_tls() && !next.is_over_tls() => {
                    return Err(at(Problem::new(format!(
                        "leads to {next}, from TLS to none, which is not followed; have it lead to `https://`, or name that place itself"
                    ))));
                }
                Reply::Moved(next) => {
                    place = format!("{}, which leads to {next}", self.url);
                    url = next;
                }
                Reply::Same(validators) => return Ok(Answer::Same(Some(validators))),
                Reply::Here(here) => return self.take(here, question, draft).map_err(at),
            }
        }
        Err(Problem::new(format!(
            "{place}: leads on and on; more than {} redirects are not followed: name the place where the CRL is",
            fetch::REDIRECTS_MAX
        )))
    }
}

impl CrlAtUrl {
    /// One that is complete, or a delta that somebody has named.
    pub fn new(url: SourceUrl, mirror: PathBuf, (issuer, crl_issuers): (Certificate, Vec<Certificate>)) -> Self {
        Self { url, mirror, issuer, crl_issuers, tls_ca: None, every: None, delta: None, delta_of: None }
    }

    fn get(&self, url: &SourceUrl, question: &Question<'_>, within: Duration) -> Result<Reply, Problem> {
        let agent = self
            .https(url)?
            .client(url.is_over_tls())
            .max_response_header_size(fetch::HEAD_OCTETS_MAX)
            .user_agent(concat!("ostia/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(fetch::CONNECT_WITHIN))
            .timeout_connect(Some(fetch::CONNECT_WITHIN))
            .timeout_recv_response(Some(fetch::SILENCE_MAX))
            .timeout_per_read(Some(fetch::SILENCE_MAX))
            .timeout_global(Some(within))
            .build()
            .new_agent();
        let stopped = agent.clone();
        question.stop.then(move || stopped.shutdown());
        let mut request = agent.get(url.asked()).header(header::ACCEPT, "application/pkix-crl, */*;q=0.5");
        // Nothing is unpacked, so nothing may be packed.
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(login) = url.authorization() {
            request = request.header(header::AUTHORIZATION, login.as_str());
        }
        let validators = question.last.filter(|last| is_noted(last)).map(|last| &last.facts.validators);
        let conditions = [
            (header::IF_NONE_MATCH, validators.and_then(|validators| validators.etag.as_deref())),
            (header::IF_MODIFIED_SINCE, validators.and_then(|validators| validators.last_modified.as_deref())),
        ];
        for (name, value) in conditions {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = request.call().map_err(|error| Problem::new(unreachable(&error)))?;
        read(url, response, validators, question)
    }

    /// Whose certificates count. A file is read each time, so that another one counts at once; those of the system once.
    fn https(&self, url: &SourceUrl) -> Result<Https, Problem> {
        static SYSTEM: OnceLock<Https> = OnceLock::new();
        match self.tls_ca.as_ref().filter(|_| url.is_over_tls()) {
            None => Ok(SYSTEM.get_or_init(Https::default).clone()),
            Some(path) => match https::cas(path) {
                Ok(pem) => Ok(Https::trusting(&Trust::These(pem))),
                Err(error) => Err(Problem::new(format!("cannot be asked, since `tls_ca` cannot be used: {error}"))),
            },
        }
    }

    /// Takes what came, if it is the CRL.
    fn take(&self, here: Here, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        let Here { content, validators, kind } = here;
        draft.write_all(&content).map_err(|error| of_file(draft.path(), "cannot be written", &error))?;
        if question.last.is_some_and(|last| is_noted(last) && last.sha256 == draft.sha256()) {
            return Ok(Answer::Same(Some(validators)));
        }
        let (octets, begin) = (content.len(), content[..content.len().min(512)].to_vec());
        let before = question.last.and_then(|last: &Last| last.facts.crl.as_ref());
        let issuers = CrlIssuers::with(&self.issuer, &self.crl_issuers, question.now);
        let facts = crl::judge(content, &issuers, before, self.delta_of.as_ref(), validators, question.now).map_err(
            |problem| {
                let is_older = problem.contains("than the CRL taken before");
                let remedy = match begins::told(&begin) {
                    _ if is_older => {
                        format!("; if its CA had to begin anew, remove {} and reload", self.mirror.display())
                    }
                    Some(told) => format!("; {told}; name the URL of the CRL itself"),
                    None => String::new(),
                };
                Problem::new(format!("answers {kind} with {octets} bytes that are not taken: it {problem}{remedy}"))
            },
        )?;
        Ok(Answer::New(Box::new(facts)))
    }
}

/// Whether everything is known of the last one that is of interest now: an earlier version noted less.
fn is_noted(last: &Last) -> bool {
    last.facts.freshest.is_some()
}

/// Reads an answer.
fn read(
    url: &SourceUrl,
    response: Response<Body>,
    asked_with: Option<&Validators>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    let (code, now) = (response.status().as_u16(), question.now);
    let said = Said { response: &response };
    let kind = said.kind();
    let validators = said.validators(now);
    match code {
        200 => {}
        304 if asked_with.is_some_and(|asked| asked.etag.is_some() || asked.last_modified.is_some()) => {
            let (etag, last_modified) =
                asked_with.map(|asked| (asked.etag.clone(), asked.last_modified.clone())).unwrap_or_default();
            return Ok(Reply::Same(Validators {
                etag: validators.etag.or(etag),
                last_modified: validators.last_modified.or(last_modified),
                fresh_for: validators.fresh_for,
            }));
        }
        301 | 302 | 303 | 307 | 308 => {
            let location = said.text(header::LOCATION).unwrap_or_default();
            let next = if location.is_empty() {
                Err("no place".to_owned())
            } else {
                url.join(location).map_err(|error| format!("a place that {error}"))
            };
            return next.map(Reply::Moved).map_err(|place| Problem::new(format!("answers {kind} and names {place}")));
        }
        _ => {
            let wait = said.text(header::RETRY_AFTER).and_then(|value| fresh::retry_after(value, now));
            return Err(Problem { text: format!("answers {kind}{}", remedy(code, url)), wait });
        }
    }
    if let Some(coding) = said.text(header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(Problem::new(format!(
            "answers {kind}, packed as `{}`, which was not asked for; have it give out the CRL as it is",
            coding.escape_debug()
        )));
    }
    let content = body(response, &kind, question.fetching)?;
    Ok(Reply::Here(Here { content, validators, kind }))
}

fn body(response: Response<Body>, kind: &str, fetching: &Fetching) -> Result<Vec<u8>, Problem> {
    let (most, length) = (limits::CRL_FILE_OCTETS_MAX, response.body().content_length());
    let too_long = || Problem::new(format!("answers {kind} with more than the {most} bytes that a CRL may have"));
    if length.is_some_and(|length| length > most) {
        return Err(too_long());
    }
    let mut content = Vec::with_capacity(length.unwrap_or(0).try_into().unwrap_or(0));
    let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut part = vec![0; fetch::PART_OCTETS];
    while content.len() as u64 <= most {
        match reader.read(&mut part) {
            Ok(0) => break,
            Ok(count) => content.extend_from_slice(&part[..count]),
            Err(error) => {
                let of = length.map(|length| format!(" of {length}")).unwrap_or_default();
                let (octets, error) = (content.len(), Error::from(error));
                return Err(Problem::new(format!("answers {kind} and ended after {octets}{of} bytes: {error}")));
            }
        }
        fetching.progress(content.len() as u64, length);
    }
    match content.len() as u64 {
        0 => Err(Problem::new(format!("answers {kind} with an empty body, in place of a CRL"))),
        octets if octets > most => Err(too_long()),
        octets if length.is_some_and(|length| length != octets) => {
            Err(Problem::new(format!("answers {kind} with {octets} bytes, and said {}", length.unwrap_or(0))))
        }
        _ => Ok(content),
    }
}

/// The head of an answer.
struct Said<'r> {
    response: &'r Response<Body>,
}

impl Said<'_> {
    fn text(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Status and type, for messages.
    fn kind(&self) -> String {
        let status = self.response.status();
        let kind = self.text(header::CONTENT_TYPE).unwrap_or("no type").chars().take(100).collect::<String>();
        format!("{} ({})", status.as_u16(), kind.escape_debug())
    }

    fn validators(&self, now: UnixTime) -> Validators {
        let short =
            |name| self.text(name).filter(|value| value.len() <= fetch::VALIDATOR_OCTETS_MAX).map(str::to_owned);
        let cache = self.response.headers().get_all(header::CACHE_CONTROL);
        let cache: Vec<_> = cache.iter().filter_map(|value| value.to_str().ok()).collect();
        let fresh_for = fresh::fresh_for(&cache.join(","), self.text(header::AGE), self.text(header::EXPIRES), now);
        Validators { etag: short(header::ETAG), last_modified: short(header::LAST_MODIFIED), fresh_for }
    }
}

/// What to do about a status.
fn remedy(code: u16, url: &SourceUrl) -> &'static str {
    match code {
        304 => "; it was asked without conditions: something on the way answers from a cache that is broken",
        401 | 403 => {
            "; if it wants a user and a password, write them into the URL (`https://user:password@…`), else permit this machine there"
        }
        404 if url.asked().contains('+') => {
            "; is the URL right? IIS refuses a `+` in a path unless `allowDoubleEscaping` is set"
        }
        404 | 410 => "; is the URL right? The CRL distribution points of the CA's certificates name it",
        407 => "; no proxy is asked: have something between pass the request on",
        429 => "; it is asked less often now",
        500..=599 => "; its own log says why",
        _ => "",
    }
}

/// Why nothing came at all.
fn unreachable(error: &Error) -> String {
    let text = error.to_string();
    match https::remedy(&text, "the URL", "`tls_ca`") {
        remedy if remedy.is_empty() => format!("gives no answer: {text}"),
        remedy => format!("gives no answer: {text}{remedy}"),
    }
}

#[cfg(test)]
mod tests;
