//! The client of the API: asks the running service.
//!
//! Purpose: one request each, and errors that name the key of the file or the option. `reach`: where the service is, and what is
//! shown to it; `tls`: whose certificate counts. It does not know what is asked.

pub(super) mod reach;
mod tls;

use std::{
    error::Error,
    fmt,
    io::{ErrorKind, Read},
    path::Path,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use ureq::{Body, RequestBuilder, http::Response};

pub(super) use self::reach::Reach;
use self::reach::Reached;
use crate::{api::problem::Kind, limits, pki::Certificate};

/// A service that can be asked.
pub(super) struct Client(Reached);

/// Why there is no answer as wanted.
#[derive(Debug)]
pub(super) enum ClientError {
    /// Nothing answers, which may pass.
    Silent(String),
    /// The service refused.
    Refused(ServedProblem),
    /// What answers is something else.
    Odd(String),
}

/// A problem, as the service told it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct ServedProblem {
    /// `None` for one that this version does not know.
    pub(super) kind: Option<Kind>,
    pub(super) detail: String,
    /// The member of the request that it is about.
    pub(super) member: Option<String>,
    /// Where the certificate is not listed: what is answered about it nevertheless, by issuer.
    pub(super) answered: Vec<Value>,
}

impl ServedProblem {
    /// From an object of RFC 9457.
    pub(super) fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str();
        let detail = text("detail").or_else(|| text("title")).unwrap_or("the service refused it, and did not say why");
        let answered = value["answered"].as_array().cloned().unwrap_or_default();
        let (kind, member) = (text("type").and_then(Kind::of_type), text("member").map(str::to_owned));
        Self { kind, detail: detail.to_owned(), member, answered }
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        let passing = [Kind::NotDurable, Kind::NotTold, Kind::StandsBy, Kind::TooManyUploads, Kind::TooManyRequests];
        self.kind.is_some_and(|kind| passing.contains(&kind))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(text) | Self::Odd(text) => f.write_str(text),
            Self::Refused(problem) => f.write_str(&problem.detail),
        }
    }
}

impl Error for ClientError {}

/// An issuer of the service.
#[derive(Debug)]
pub(super) struct ServedIssuer {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) certificate: Option<Certificate>,
}

/// `tenant/name`.
impl fmt::Display for ServedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

impl Client {
    /// For the service that runs with this configuration file, to do something that only the service can do. Nothing is
    /// asked yet.
    pub(super) fn of(options: &Reach, config: &Path) -> Result<Self, Box<dyn Error>> {
        Self::of_api(options, config)?.ok_or_else(|| {
            format!(
                "{}: admin.token_file: is missing, so nothing says who asks the running service; name the token of a principal with --token-file, or write one into a file (`openssl rand -hex 32 > api.token; chmod 600 api.token`), name it under [admin] as `token_file`, and reload the service",
                config.display()
            )
            .into()
        })
    }

    /// The same; `None` where neither the command line nor the configuration names a token or a client certificate.
    pub(super) fn of_api(options: &Reach, config: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        Ok(reach::reach(options, config)?.map(Self))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.base)
    }

    /// A request that says who asks.
    fn signed<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.0.authorization {
            Some(authorization) => request.header("Authorization", &**authorization),
            None => request,
        }
    }

    /// Gets a JSON value.
    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        let asked = self.signed(self.0.agent.get(self.url(path))).call();
        self.json(asked)
    }

    /// Sends a JSON value; `key`: the idempotency key.
    pub(super) fn post(&self, path: &str, value: &Value, key: Option<&str>) -> Result<Value, ClientError> {
        let mut request = self.signed(self.0.agent.post(self.url(path)));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.json(request.content_type("application/json").send(value.to_string()))
    }

    /// Uploads lines, and returns those of the answer. It takes as long as the service lets these lines take, and tells its
    /// progress meanwhile.
    pub(super) fn upload(&self, path: &str, lines: &[u8]) -> Result<Vec<Value>, ClientError> {
        let request = self.signed(self.0.agent.post(self.url(path)));
        let request = request.config().timeout_global(None).timeout_recv_response(Some(limits::CLIENT_ANSWER_MAX));
        let request = request.timeout_send_body(Some(limits::CLIENT_RETRY_MAX));
        let request = request.timeout_per_read(Some(limits::CLIENT_ANSWER_MAX)).build();
        let answer = self.body(request.content_type("application/x-ndjson").send(lines))?;
        let lines = answer.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().map_err(|_| self.odd("its answer to a list is not in lines of JSON"))
    }

    /// Gets something long, as it comes.
    pub(super) fn download(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        let asked = self
            .signed(self.0.agent.get(self.url(path)))
            .config()
            .timeout_global(None)
            .timeout_recv_response(Some(limits::CLIENT_ANSWER_MAX));
        let response = asked.timeout_per_read(Some(limits::CLIENT_ANSWER_MAX)).build().call();
        match response {
            Ok(response) if response.status().is_success() => {
                Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
            }
            other => Err(match self.body(other) {
                Ok(_) => self.odd("it says nothing"),
                Err(error) => error,
            }),
        }
    }

    /// The issuers of the service.
    pub(super) fn issuers(&self) -> Result<Vec<ServedIssuer>, ClientError> {
        let answer = self.get("/v1/issuers")?;
        let issuers = answer["issuers"].as_array().ok_or_else(|| self.odd("it lists no issuers"))?;
        let text = |issuer: &Value, name: &str| issuer[name].as_str().unwrap_or_default().to_owned();
        let certificate = |issuer: &Value| {
            let der = STANDARD.decode(issuer["certificate"].as_str()?).ok()?;
            Certificate::from_der(&der).ok()
        };
        let issuers = issuers.iter().map(|issuer| ServedIssuer {
            id: text(issuer, "id"),
            tenant: text(issuer, "tenant"),
            name: text(issuer, "name"),
            certificate: certificate(issuer),
        });
        Ok(issuers.collect())
    }

    fn json(&self, asked: Result<Response<Body>, ureq::Error>) -> Result<Value, ClientError> {
        let text = self.body(asked)?;
        serde_json::from_str(&text).map_err(|_| self.odd("its answer is not JSON"))
    }

    fn body(&self, asked: Result<Response<Body>, ureq::Error>) -> Result<String, ClientError> {
        let mut response = asked.map_err(|error| self.silent(&error))?;
        let text = response.body_mut().with_config().limit(limits::CLIENT_ANSWER_OCTETS_MAX).read_to_string();
        let text = text.map_err(|error| self.silent(&error))?;
        if response.status().is_success() {
            return Ok(text);
        }
        let problem: Result<Value, _> = serde_json::from_str(&text);
        match problem {
            Ok(problem) if problem["type"].is_string() => {
                let mut problem = ServedProblem::of(&problem);
                if problem.kind == Some(Kind::Unauthorized) {
                    problem.detail += &format!("; it was asked with {}", self.0.shown);
                }
                Err(ClientError::Refused(problem))
            }
            _ if text.contains("speaks TLS") => Err(self.odd("it speaks TLS, and this configuration does not")),
            _ => Err(self.odd(&format!("it answers {}", response.status()))),
        }
    }

    fn silent(&self, error: &ureq::Error) -> ClientError {
        let Reached { base, place, .. } = &self.0;
        let text = error.to_string();
        let remedy = match error {
            ureq::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => place.clone(),
            ureq::Error::Timeout(_) => {
                "it may be busy or stopped; whether the request was carried out is not known, and it may be repeated"
                    .to_owned()
            }
            _ => of_tls(&text)
                .unwrap_or(
                    "the connection was lost; whether the request was carried out is not known, and it may be repeated",
                )
                .to_owned(),
        };
        ClientError::Silent(format!("no answer from the service at {base}: {text}; {remedy}"))
    }

    fn odd(&self, what: &str) -> ClientError {
        let Reached { base, place, .. } = &self.0;
        ClientError::Odd(format!(
            "what answers at {base} is not this service, or another version of it: {what}; {place}"
        ))
    }
}

/// What to do about a refused handshake, by the words of the library.
fn of_tls(text: &str) -> Option<&'static str> {
    let remedies = [
        (
            "UnknownIssuer",
            "its certificate is neither that of the configuration nor of a CA that counts: a reload has the service take a new one, and --ca names a CA",
        ),
        ("NotValidForName", "its certificate does not have this name: ask by --url under a name that it has"),
        ("not valid for name", "its certificate does not have this name: ask by --url under a name that it has"),
        ("Expired", "the listener's certificate has expired; renew it, and reload the service"),
        ("expired", "one of the certificates has expired: the listener's, or the one of --client-certificate"),
        ("InvalidContentType", "the listener does not speak TLS: reload the service, or ask by http://"),
        (
            "UnknownCA",
            "the service does not know the CA of --client-certificate: `client_ca` under [admin] names those that count",
        ),
        ("CertificateExpired", "the service says that --client-certificate has expired"),
        ("BadCertificate", "the service refuses --client-certificate"),
        ("DecryptError", "the service refuses --client-certificate: it is not signed by a CA of `client_ca`"),
    ];
    remedies.into_iter().find(|(word, _)| text.contains(word)).map(|(_, remedy)| remedy)
}

/// A segment of a path, percent-encoded (RFC 3986 section 3.3).
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~:=,".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded += &format!("%{octet:02X}");
        }
    }
    encoded
}

/// The pause before another attempt; it doubles with each.
pub(super) fn pause(attempt: u32) -> Duration {
    let first = limits::CLIENT_RETRY_PAUSE_MIN;
    first.saturating_mul(1 << attempt.min(10)).min(limits::CLIENT_RETRY_PAUSE_MAX)
}

/// The issuer of the service that the user means. `named`: what the command line says; `certificates`: those that are to be
/// pushed, which may say it themselves.
pub(super) fn choose<'i>(
    issuers: &'i [ServedIssuer],
    named: Option<&str>,
    certificates: &[Certificate],
) -> Result<&'i ServedIssuer, String> {
    let listed = |issuers: &[&ServedIssuer]| {
        let names: Vec<_> =
            issuers.iter().map(|one| format!("`{}:{}` ({:.8})", one.tenant, one.name, one.id)).collect();
        names.join(", ")
    };
    let all: Vec<_> = issuers.iter().collect();
    if let Some(named) = named {
        let lower = named.to_ascii_lowercase();
        let is_id = [8, 64].contains(&named.len()) && lower.bytes().all(|digit| digit.is_ascii_hexdigit());
        let by = |is: &dyn Fn(&ServedIssuer) -> bool| -> Vec<_> { issuers.iter().filter(|one| is(one)).collect() };
        let ways = [
            by(&|one| is_id && one.id.starts_with(&lower)),
            by(&|one| [format!("{}:{}", one.tenant, one.name), one.to_string()].iter().any(|full| full == named)),
            by(&|one| one.name == named),
        ];
        return match ways.iter().find(|found| !found.is_empty()).map(Vec::as_slice) {
            Some([one]) => Ok(one),
            Some(several) => Err(format!("--issuer {named} may be {}; name one of them by its id", listed(several))),
            None => Err(format!("--issuer {named} names no issuer of the service; it has {}", listed(&all))),
        };
    }
    if let [one] = issuers {
        return Ok(one);
    }
    let signed_all = |issuer: &&&ServedIssuer| {
        let own = issuer.certificate.as_ref();
        own.is_some_and(|own| certificates.iter().all(|certificate| certificate.verify_issued_by(own).is_ok()))
    };
    if certificates.is_empty() {
        return Err(format!("the service has several issuers; name one with --issuer: {}", listed(&all)));
    }
    let signers: Vec<_> = all.iter().filter(signed_all).copied().collect();
    match signers[..] {
        [one] => Ok(one),
        [] => Err(format!("no issuer of the service has signed all of these certificates; it has {}", listed(&all))),
        _ => Err(format!(
            "several tenants have the issuer of these certificates; name one with --issuer: {}",
            listed(&signers)
        )),
    }
}
