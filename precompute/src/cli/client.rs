//! The client of the API: asks the service that runs with a configuration.
//!
//! Purpose: address and token from the `[admin]` section of the file, one request each, and errors that name the key of
//! the file. Invariant: the token goes to a loopback address alone, which the file's reader has checked. It does not know
//! what is asked.

use std::{
    error::Error,
    fmt,
    io::{ErrorKind, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};
use zeroize::Zeroizing;

use crate::{api::problem::Kind, assemble::read_token, config::Admin, limits, output::shell_word, pki::Certificate};

/// A service that can be asked.
pub(super) struct Client {
    agent: Agent,
    address: SocketAddr,
    authorization: Zeroizing<String>,
    config: PathBuf,
}

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
    /// Where the certificate is not listed: what is answered about it nevertheless, by issuer.
    pub(super) answered: Vec<Value>,
}

impl ServedProblem {
    /// From an object of RFC 9457.
    pub(super) fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str();
        let detail = text("detail").or_else(|| text("title")).unwrap_or("the service refused it, and did not say why");
        let answered = value["answered"].as_array().cloned().unwrap_or_default();
        Self { kind: text("type").and_then(Kind::of_type), detail: detail.to_owned(), answered }
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.kind, Some(Kind::NotDurable | Kind::NotTold | Kind::StandsBy | Kind::TooManyUploads))
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
    pub(super) fn of(config: &Path) -> Result<Self, Box<dyn Error>> {
        Self::of_api(config)?.ok_or_else(|| {
            format!(
                "{}: admin.token_file: is missing, so the running service cannot be asked, and takes no pushes; write a token into a file (`openssl rand -hex 32 > api.token; chmod 600 api.token`), name it under [admin] as `token_file`, and reload the service",
                config.display()
            )
            .into()
        })
    }

    /// The same; `None` where there is no API, because the configuration names no token.
    pub(super) fn of_api(config: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        let Admin { listen, token_file, .. } = Admin::of(config)?;
        let Some(file) = token_file else { return Ok(None) };
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let token = file
            .find(credentials.as_deref())
            .and_then(|path| read_token(&path))
            .map_err(|error| format!("{}: admin.token_file: {error}", config.display()))?;
        let authorization = Zeroizing::new(format!("Bearer {}", &**token));
        let agent = Agent::config_builder()
            // A proxy of the environment would get the token.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(limits::CLIENT_CONNECT_MAX))
            .timeout_global(Some(limits::CLIENT_ANSWER_MAX))
            .build()
            .new_agent();
        Ok(Some(Self { agent, address: listen, authorization, config: config.to_owned() }))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Gets a JSON value.
    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        let asked = self.agent.get(self.url(path)).header("Authorization", &**self.authorization).call();
        self.json(asked)
    }

    /// Sends a JSON value; `key`: the idempotency key.
    pub(super) fn post(&self, path: &str, value: &Value, key: Option<&str>) -> Result<Value, ClientError> {
        let mut request = self.agent.post(self.url(path)).header("Authorization", &**self.authorization);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.json(request.content_type("application/json").send(value.to_string()))
    }

    /// Uploads lines, and returns those of the answer.
    pub(super) fn upload(&self, path: &str, lines: &[u8]) -> Result<Vec<Value>, ClientError> {
        let request = self.agent.post(self.url(path)).header("Authorization", &**self.authorization);
        let answer = self.body(request.content_type("application/x-ndjson").send(lines))?;
        let lines = answer.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().map_err(|_| self.odd("its answer to a list is not in lines of JSON"))
    }

    /// Gets something long, as it comes.
    pub(super) fn download(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        let asked = self.agent.get(self.url(path)).header("Authorization", &**self.authorization);
        let asked = asked.config().timeout_global(None).timeout_recv_response(Some(limits::CLIENT_ANSWER_MAX));
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
            Ok(problem) if problem["type"].is_string() => Err(ClientError::Refused(ServedProblem::of(&problem))),
            _ => Err(self.odd(&format!("it answers {}", response.status()))),
        }
    }

    fn silent(&self, error: &ureq::Error) -> ClientError {
        let file = shell_word(&self.config.to_string_lossy());
        let Self { address, .. } = self;
        let remedy = match error {
            ureq::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
                format!("is the service running, and is `admin.listen` in {file} the address that it was started with?")
            }
            ureq::Error::Timeout(_) => {
                "it may be busy or stopped; whether the request was carried out is not known, and it may be repeated"
                    .to_owned()
            }
            _ => "the connection was lost; whether the request was carried out is not known, and it may be repeated"
                .to_owned(),
        };
        ClientError::Silent(format!("no answer from the service at {address}: {error}; {remedy}"))
    }

    fn odd(&self, what: &str) -> ClientError {
        let Self { address, .. } = self;
        ClientError::Odd(format!(
            "what answers at {address} is not this service, or another version of it: {what}; see `admin.listen` in {}",
            self.config.display()
        ))
    }
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
