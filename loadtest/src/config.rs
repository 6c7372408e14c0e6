//! From the command line to a plan that can be carried out.
//!
//! Invariant: after this every number is within `limits`, every file has been read and every flag fits the others;
//! nothing is checked again later. It opens files and resolves names, and sends nothing.

use crate::certificate::{self, Certificate};
use crate::cli::{LagArgs, LoadArgs, OcspArgs, PushArgs, TsaArgs, VerifyArgs};
use crate::draw::Sampler;
use crate::engine::Load;
use crate::hash::Hash;
use crate::http::request::RequestWriter;
use crate::http::url::Url;
use crate::limits;
use crate::ocsp::judge::{Expectation, Rules, Unlisted};
use crate::ocsp::request::{IssuerId, RequestEncoder};
use crate::ocsp::workload::{NONCE_OCTETS_MAX, Questions};
use crate::oid;
use crate::population::Population;
use crate::problem::Problem;
use crate::proof::Verify;
use crate::time::{UnixNanos, UnixSeconds};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where requests go.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    pub(crate) urls: Vec<Url>,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// `ostia-loadtest ocsp`.
#[derive(Debug)]
pub(crate) struct OcspPlan {
    pub(crate) targets: Targets,
    pub(crate) issuer: Arc<Certificate>,
    pub(crate) questions: Arc<Questions>,
    pub(crate) load: Load,
    pub(crate) verify: Verify,
    pub(crate) seed: u64,
}

/// `ostia-loadtest tsa`.
#[derive(Debug)]
pub(crate) struct TsaPlan {
    pub(crate) targets: Targets,
    pub(crate) anchors: Arc<Vec<Certificate>>,
    pub(crate) hash: Hash,
    /// Content bytes of the policy's OID.
    pub(crate) policy: Option<Vec<u8>>,
    pub(crate) cert_req: bool,
    pub(crate) skew_s: i64,
    pub(crate) writers: Vec<RequestWriter>,
    pub(crate) load: Load,
    pub(crate) verify: Verify,
    pub(crate) seed: u64,
}

/// `ostia-loadtest lag`.
#[derive(Debug)]
pub(crate) struct LagPlan {
    pub(crate) targets: Targets,
    pub(crate) issuer: Arc<Certificate>,
    pub(crate) rules: Rules,
    pub(crate) victims: Population,
    pub(crate) revoke: Revoke,
    pub(crate) timeout: Duration,
    pub(crate) poll_interval: Duration,
    /// Pause between two questions about what is revoked.
    pub(crate) recheck: Duration,
    /// After the last revocation.
    pub(crate) keep_asking: Duration,
}

/// What revokes.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Revoke {
    /// This command, once for each certificate.
    Command(String),
    Push(PushPlan),
}

/// Revocations over the API.
#[derive(Debug)]
pub(crate) struct PushPlan {
    /// Where pushes go: the first that takes them.
    pub(crate) apis: Targets,
    /// The replicas hear of a push from somebody else.
    pub(crate) replicas: bool,
    pub(crate) token: Token,
    /// Of the path: without anything that could end it.
    pub(crate) issuer: String,
    pub(crate) bulk: bool,
    pub(crate) pause: Duration,
    pub(crate) samples: Option<PathBuf>,
}

/// A bearer token, printable and without spaces. It is not shown.
pub(crate) struct Token(pub(crate) String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

const OCSP_REQUEST: &str = "application/ocsp-request";
const OCSP_RESPONSE: &str = "application/ocsp-response";

impl OcspPlan {
    pub(crate) fn new(args: &OcspArgs, now: UnixSeconds) -> Result<Self, Problem> {
        let load = load(&args.load)?;
        if !(0.0..=1.0).contains(&args.get_share) {
            return Err(Problem::new(format!(
                "--get-share {}: a share is from 0 (all POST) to 1 (all GET)",
                args.get_share
            )));
        }
        if args.nonce > NONCE_OCTETS_MAX {
            return Err(Problem::new(format!(
                "--nonce {}: RFC 9654 allows up to {NONCE_OCTETS_MAX} bytes",
                args.nonce
            )));
        }
        let issuer = issuer(&args.issuer)?;
        let targets = targets(&args.url)?;
        let mut population = Population::default();
        if let Some(path) = &args.population.index {
            population.add_index(path, now)?;
        }
        if let Some(path) = &args.population.serials {
            population.add_serials(path)?;
        }
        for path in &args.population.cert {
            population.add_certificates(path)?;
        }
        if let Some(n) = args.random {
            population.add_random(n, args.load.seed)?;
        }
        if population.len() == 0 {
            let why = "no certificates to ask about; name them with --index, --serials or --cert, or make some up with --random N";
            return Err(Problem::new(why));
        }
        let issuer_id = IssuerId::new(&issuer, args.hash);
        let encoder = RequestEncoder::new(&issuer_id, args.nonce);
        let rules = Rules {
            issuer: issuer_id,
            unlisted: args.unlisted,
            status_may_change: args.status_may_change,
            nonce_may_be_missing: args.nonce_optional,
            skew_s: skew(&args.verify),
            max_age_s: args.max_age.map(|age| age.as_secs() as i64),
        };
        let sampler = Sampler::new(args.draw, population.len());
        let writers = writers(&targets, OCSP_REQUEST, OCSP_RESPONSE, &args.load)?;
        let questions = Questions::new(population, sampler, rules, encoder, writers, args.get_share, args.nonce);
        let (verify, seed) = (args.verify.verify, args.load.seed);
        Ok(Self { targets, issuer: Arc::new(issuer), questions: Arc::new(questions), load, verify, seed })
    }
}

impl TsaPlan {
    pub(crate) fn new(args: &TsaArgs) -> Result<Self, Problem> {
        let load = load(&args.load)?;
        let anchors = Arc::new(certificate::from_file("--ca", &args.ca)?);
        let targets = targets(&args.url)?;
        let policy = match &args.policy {
            None => None,
            Some(text) => Some(oid::from_dotted(text).filter(|o| o.len() <= 127).ok_or_else(|| {
                Problem::new(format!(
                    "--policy {text}: not an object identifier; write it dotted, as in 1.3.6.1.4.1.99999.1"
                ))
            })?),
        };
        let writers = writers(&targets, "application/timestamp-query", "application/timestamp-reply", &args.load)?;
        Ok(Self {
            targets,
            anchors,
            hash: args.hash,
            policy,
            cert_req: !args.no_cert_req,
            skew_s: skew(&args.verify),
            writers,
            load,
            verify: args.verify.verify,
            seed: args.load.seed,
        })
    }
}

impl LagPlan {
    pub(crate) fn new(args: &LagArgs) -> Result<Self, Problem> {
        let issuer = issuer(&args.issuer)?;
        let targets = targets(&args.urls)?;
        let (victims, revoke) = if args.push.push.is_empty() {
            let command = args.revoke_with.clone().unwrap_or_default();
            (named_victims(args, &command)?, Revoke::Command(command))
        } else {
            let (victims, push) = pushes(&args.push)?;
            (victims, Revoke::Push(push))
        };
        if args.timeout.is_zero() || args.timeout > limits::TIMEOUT_MAX {
            return Err(Problem::new(format!("--timeout {:?}: more than 0 and at most 120s is needed", args.timeout)));
        }
        if args.poll_interval > args.timeout {
            return Err(Problem::new(format!("--poll-interval {:?}: longer than --timeout", args.poll_interval)));
        }
        if args.recheck.is_zero() {
            return Err(Problem::new(
                "--recheck 0: more than 0 is needed; 1ms asks each replica under 1,000 times a second",
            ));
        }
        let rules = Rules {
            issuer: IssuerId::new(&issuer, args.hash),
            unlisted: Unlisted::NotGood,
            status_may_change: true,
            nonce_may_be_missing: true,
            skew_s: args.skew.as_secs_f64().ceil() as i64,
            max_age_s: None,
        };
        Ok(Self {
            targets,
            issuer: Arc::new(issuer),
            rules,
            victims,
            revoke,
            timeout: args.timeout,
            poll_interval: args.poll_interval,
            recheck: args.recheck,
            keep_asking: args.keep_asking,
        })
    }

    /// What an answer about a victim is judged by: nothing is known beforehand.
    pub(crate) const EXPECTATION: Expectation = Expectation::Any;

    /// Writer of requests to one replica.
    pub(crate) fn writer(&self, target: usize) -> RequestWriter {
        RequestWriter::new(&self.targets.urls[target], OCSP_REQUEST, OCSP_RESPONSE, false, &[])
    }
}

/// The certificates that a command shall revoke.
fn named_victims(args: &LagArgs, command: &str) -> Result<Population, Problem> {
    let mut victims = Population::default();
    if let Some(path) = &args.serials {
        victims.add_serials(path)?;
    }
    for path in &args.cert {
        victims.add_certificates(path)?;
    }
    if victims.len() == 0 || victims.len() > limits::LAG_SERIALS_MAX {
        return Err(Problem::new(format!(
            "{} certificates to revoke; name between 1 and {} with --serials or --cert",
            victims.len(),
            limits::LAG_SERIALS_MAX
        )));
    }
    if !command.contains("{serial}") {
        return Err(Problem::new(format!(
            "--revoke-with {command:?}: {{serial}} is not in it, so every certificate would get the same command; put it where \
             the serial number in hex belongs"
        )));
    }
    Ok(victims)
}

/// What is pushed, and where to.
fn pushes(args: &PushArgs) -> Result<(Population, PushPlan), Problem> {
    let (flag, count, most) = match args.bulk {
        Some(count) => ("--bulk", count, limits::POPULATION_MAX),
        None => ("--pushes", args.pushes, limits::LAG_SERIALS_MAX),
    };
    if count == 0 || count > most {
        return Err(Problem::new(format!("{flag} {count}: between 1 and {most} are possible")));
    }
    let issuer = args.push_issuer.clone().unwrap_or_default();
    // RFC 3986 section 3.3: what a segment of a path may have without an escape.
    if issuer.is_empty() || !issuer.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=%".contains(&b)) {
        return Err(Problem::new(format!(
            "--push-issuer {issuer:?}: cannot stand in a path; write the id that `GET /v1/issuers` shows, as in default:ca"
        )));
    }
    let token = args.token.as_deref().map(token).transpose()?.unwrap_or(Token(String::new()));
    let mut victims = Population::default();
    // New ones in each run: what an earlier one revoked stays revoked.
    victims.add_random(count, UnixNanos::now().0 as u64)?;
    let apis = targets(&args.push)?;
    if apis.urls.len() > 1 && !args.replicas {
        return Err(Problem::new(format!(
            "--push: {} instances; several are possible only with --replicas, where one of them leads and the others stand by",
            apis.urls.len()
        )));
    }
    let (bulk, pause, samples) = (args.bulk.is_some(), args.pause, args.samples.clone());
    Ok((victims, PushPlan { apis, replicas: args.replicas, token, issuer, bulk, pause, samples }))
}

fn token(path: &Path) -> Result<Token, Problem> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limits::TOKEN_FILE_OCTETS_MAX).read_to_string(&mut text))
        .map_err(|e| Problem::file("--token", path, &e))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let path = path.display();
        return Err(Problem::new(format!(
            "--token {path}: no token in it; one line of printable characters is needed"
        )));
    }
    Ok(Token(token.to_owned()))
}

fn issuer(path: &Path) -> Result<Certificate, Problem> {
    let mut certificates = certificate::from_file("--issuer", path)?;
    if certificates.len() > 1 {
        return Err(Problem::new(format!(
            "--issuer {}: {} certificates in it; a file with the issuing CA's alone is needed",
            path.display(),
            certificates.len()
        )));
    }
    certificates.pop().ok_or_else(|| Problem::new(format!("--issuer {}: no certificate in it", path.display())))
}

fn targets(urls: &[Url]) -> Result<Targets, Problem> {
    if urls.len() > limits::TARGETS_MAX {
        return Err(Problem::new(format!(
            "--url: {} of them; at most {} are handled",
            urls.len(),
            limits::TARGETS_MAX
        )));
    }
    let addresses = urls.iter().map(Url::resolve).collect::<Result<_, _>>()?;
    Ok(Targets { urls: urls.to_vec(), addresses })
}

fn writers(targets: &Targets, content: &str, accept: &str, args: &LoadArgs) -> Result<Vec<RequestWriter>, Problem> {
    for field in &args.header {
        let name = field.split_once(':').map_or("", |(name, _)| name);
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) || field.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err(Problem::new(format!("--header {field:?}: not a header field; write 'Name: value'")));
        }
        if ["content-length", "transfer-encoding", "connection"].contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Problem::new(format!("--header {field:?}: this program frames its requests itself")));
        }
    }
    let close = args.one_request_per_connection;
    Ok(targets.urls.iter().map(|url| RequestWriter::new(url, content, accept, close, &args.header)).collect())
}

fn skew(args: &VerifyArgs) -> i64 {
    args.skew.as_secs_f64().ceil() as i64
}

fn load(args: &LoadArgs) -> Result<Load, Problem> {
    let within = |flag: &str, value: usize, most: usize| match value {
        0 => Err(Problem::new(format!("{flag} 0: at least 1 is needed"))),
        n if n > most => Err(Problem::new(format!("{flag} {n}: at most {most}"))),
        n => Ok(n),
    };
    let connections = within("--connections", args.connections, limits::CONNECTIONS_MAX)?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    // Half, so that a server on the same machine is measured rather than starved.
    let threads = within("--threads", args.threads.unwrap_or(cores.div_ceil(2)), limits::THREADS_MAX)?.min(connections);
    let pipeline = within("--pipeline", args.pipeline, limits::PIPELINE_MAX)?;
    if args.one_request_per_connection && pipeline > 1 {
        return Err(Problem::new(format!(
            "--pipeline {pipeline}: with --one-request-per-connection there is nothing to pipeline"
        )));
    }
    if args.requests == Some(0) {
        return Err(Problem::new("--requests 0: at least 1 is needed"));
    }
    if args.timeout.is_zero() || args.timeout > limits::TIMEOUT_MAX {
        return Err(Problem::new(format!("--timeout {:?}: more than 0 and at most 120s is needed", args.timeout)));
    }
    if args.duration.is_some_and(|d| d.is_zero()) {
        return Err(Problem::new("--duration 0: more than 0 is needed"));
    }
    if let Some(rate) = args.rate
        && !(rate > 0.0 && rate <= limits::RATE_MAX)
    {
        return Err(Problem::new(format!("--rate {rate}: more than 0 and at most {} a second", limits::RATE_MAX)));
    }
    let unstated = if args.requests.is_some() { limits::DURATION_WITH_REQUESTS } else { limits::DURATION_DEFAULT };
    Ok(Load {
        connections,
        threads,
        duration: args.duration.unwrap_or(unstated),
        requests: args.requests,
        pipeline,
        rate: args.rate,
        one_request_per_connection: args.one_request_per_connection,
        timeout: args.timeout,
    })
}
