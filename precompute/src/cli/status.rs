//! `ostia-precompute status`, and `show` while the service runs: what is known of certificates.
//!
//! Purpose: asks the running service; where none answers, reads the book, and says so. Invariants: what the book says is
//! never taken for what the service answers; and a certificate is looked up for those issuers alone that have signed it. It
//! does not know how either keeps it.

use std::{
    error::Error,
    io::{Write as _, stderr},
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::{
    asked::Asked,
    client::{Client, ClientError, Reach, ServedIssuer, choose, segment},
    end::Usage,
    read,
};
use crate::{
    api::problem::Kind,
    book::Book,
    config::Config,
    issuer_id::IssuerId,
    ocsp::{CaRevoked, Policy, profile},
    output::{say, well, wrong},
    pki::{Certificate, Reason, Serial, UnixTime, certificates},
};

/// The certificates asked about.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").args(["serials", "certificate"]).required(true).multiple(true)))]
pub(super) struct Status {
    #[command(flatten)]
    asked: Asked,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let Self { asked } = self;
        let mut wanted: Vec<_> = asked.serials()?.into_iter().map(Wanted::from).collect();
        for (path, certificate) in asked.certificate.iter().zip(asked.certificates()?) {
            let serial = certificate.serial().ok_or_else(|| {
                format!(
                    "{}: its serial number is 0, negative or longer than 20 bytes: no client can ask for it",
                    path.display()
                )
            })?;
            wanted.push(Wanted { serial, of: Some((path.clone(), certificate)) });
        }
        let Asked { config, reach, issuer, decimal, serials, .. } = asked;
        let hint = !decimal && serials.iter().any(|text| text.bytes().all(|digit| digit.is_ascii_digit()));
        ask_or_read(&reach, &config.path(), issuer.as_deref(), &wanted).map_err(|error| match hint {
            true if error.downcast_ref::<NotListed>().is_some() => {
                format!("{error} (they were read as hexadecimal; `--decimal` reads them as decimal)").into()
            }
            _ => error,
        })
    }
}

/// A certificate that is asked about.
pub(super) struct Wanted {
    serial: Serial,
    /// Its file and itself, where the command line names that.
    of: Option<(PathBuf, Certificate)>,
}

impl From<Serial> for Wanted {
    fn from(serial: Serial) -> Self {
        Self { serial, of: None }
    }
}

impl Wanted {
    /// Those of these issuers that it may be of: all of them for a mere serial number, and for a certificate those that have
    /// signed it, at least one. `named`: how the command line names them.
    fn issuers<'i, I>(
        &self,
        issuers: &'i [I],
        named: Option<&str>,
        certificate_of: impl Fn(&I) -> Option<&Certificate>,
    ) -> Result<Vec<&'i I>, String> {
        let Some((path, certificate)) = &self.of else { return Ok(issuers.iter().collect()) };
        let has_signed =
            |issuer: &&I| certificate_of(issuer).is_some_and(|ca| certificate.verify_issued_by(ca).is_ok());
        let signers: Vec<_> = issuers.iter().filter(has_signed).collect();
        if !signers.is_empty() {
            return Ok(signers);
        }
        let (path, by) = (path.display(), certificate.issuer());
        Err(match named {
            Some(named) => {
                format!("{path}: the issuer {named} has not signed it; it names `{by}` as its issuer")
            }
            None => format!("{path}: no issuer of the configuration has signed it; it names `{by}` as its issuer"),
        })
    }
}

/// Some are not listed.
#[derive(Debug)]
struct NotListed {
    unlisted: usize,
    of: usize,
}

impl std::fmt::Display for NotListed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} not listed", self.unlisted, self.of)
    }
}

impl Error for NotListed {}

/// Prints what the running service knows; if none answers, what the book holds.
pub(super) fn ask_or_read(
    reach: &Reach,
    config: &Path,
    issuer: Option<&str>,
    wanted: &[Wanted],
) -> Result<(), Box<dyn Error>> {
    let why = match Client::of_api(reach, config) {
        Ok(None) => format!("{}: the service is not asked, since `admin.token_file` is missing", config.display()),
        Ok(Some(client)) => match ask(&client, issuer, wanted) {
            Err(error) => match error.downcast::<ClientError>() {
                // The book here is not that of a service elsewhere.
                Ok(error) if matches!(*error, ClientError::Silent(_)) && !reach.is_elsewhere() => error.to_string(),
                Ok(error) => return Err(error),
                Err(error) => return Err(error),
            },
            Ok(()) => return Ok(()),
        },
        Err(error) if reach.is_elsewhere() || error.is::<Usage>() => return Err(error),
        Err(error) => error.to_string(),
    };
    let _ = writeln!(stderr(), "{why}");
    let _ = writeln!(stderr(), "what follows is what the book holds, which a running service may be ahead of");
    look(config, issuer, wanted)
}

fn ask(client: &Client, named: Option<&str>, wanted: &[Wanted]) -> Result<(), Box<dyn Error>> {
    let is_needed = named.is_some() || wanted.iter().any(|wanted| wanted.of.is_some());
    let all = if is_needed { client.issuers()? } else { Vec::new() };
    let only = named.map(|named| choose(&all, Some(named), &[])).transpose()?;
    let candidates = only.map_or(&*all, std::slice::from_ref);
    let mut paths = Vec::new();
    for wanted in wanted {
        let serial = &wanted.serial;
        if named.is_none() && wanted.of.is_none() {
            paths.push(vec![format!("/v1/certificates/{serial}")]);
            continue;
        }
        let issuers = wanted.issuers(candidates, named, |issuer| issuer.certificate.as_ref())?;
        let path = |issuer: &ServedIssuer| format!("/v1/issuers/{}/certificates/{serial}", segment(&issuer.id));
        paths.push(issuers.into_iter().map(path).collect());
    }
    let mut unlisted = 0;
    for (Wanted { serial, .. }, paths) in wanted.iter().zip(paths) {
        unlisted += usize::from(!ask_of(client, serial, &paths)?);
    }
    finish(unlisted, wanted.len())
}

/// Prints what the service knows at these paths of a serial number. False if it is listed at none of them.
fn ask_of(client: &Client, serial: &Serial, paths: &[String]) -> Result<bool, Box<dyn Error>> {
    let (mut listed, mut otherwise) = (false, Vec::new());
    for path in paths {
        match client.get(path) {
            Ok(answer) => {
                listed = true;
                let several = answer["certificates"].as_array();
                for record in several.map_or(std::slice::from_ref(&answer), Vec::as_slice) {
                    say(told(serial, record))?;
                }
            }
            Err(ClientError::Refused(problem)) if problem.kind == Some(Kind::NotListed) => {
                otherwise.extend(problem.answered);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !listed {
        let otherwise: String = otherwise.iter().map(|one| format!("; {}{}", full_name(one), answered(one))).collect();
        say(format_args!("{serial}: {}{otherwise}", wrong("not listed")))?;
    }
    Ok(listed)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn full_name(record: &Value) -> String {
    format!("{}/{}", text(&record["issuer"]["tenant"]), text(&record["issuer"]["name"]))
}

/// What is answered, and why.
fn answered(record: &Value) -> String {
    let why = record["answered_why"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
    format!(" is answered `{}`{why}", text(&record["answered"]))
}

/// A record of the service in a line.
fn told(serial: &Serial, record: &Value) -> String {
    let status = match record["status"].as_str() {
        Some("revoked") => format!("revoked {} {}", text(&record["revoked_since"]), text(&record["reason"])),
        other => other.unwrap_or("?").to_owned(),
    };
    let with_its_ca = match record["ca_revoked_since"].as_str() {
        Some(since) => format!(" (its CA is revoked since {since}; by itself it is {})", own_status(record)),
        None => String::new(),
    };
    let end = record["not_after"].as_str().unwrap_or("an unknown time");
    // A service of before does not say it.
    let differs = record["answered"].as_str().is_some_and(|answered| answered != text(&record["status"]));
    let (status, otherwise) = match differs {
        true => (wrong(&status).to_string(), format!(", but{}", answered(record))),
        false => (painted(&status), String::new()),
    };
    let (name, by) = (full_name(record), by(text(&record["origin"])));
    format!("{serial} {name}: {status}{with_its_ca}{otherwise}, valid until {end}, said by {by}")
}

/// The status of its own of a certificate whose CA is revoked.
fn own_status(record: &Value) -> String {
    match (record["own_reason"].as_str(), record["own_revoked_since"].as_str()) {
        (Some(reason), Some(since)) if reason == Reason::CertificateHold.name() => format!("on hold since {since}"),
        (Some(reason), Some(since)) => format!("revoked {since} {reason}"),
        _ => text(&record["own_status"]).to_owned(),
    }
}

/// A status in its colour.
pub(super) fn painted(status: &str) -> String {
    if status.starts_with("revoked") { wrong(status).to_string() } else { well(status).to_string() }
}

/// An origin in words.
fn by(origin: &str) -> &str {
    match origin {
        "source" => "a source",
        "push" => "a push",
        "both" => "a source and a push",
        other => other,
    }
}

fn finish(unlisted: usize, of: usize) -> Result<(), Box<dyn Error>> {
    if unlisted > 0 { Err(NotListed { unlisted, of }.into()) } else { Ok(()) }
}

/// Prints what the book holds, which may belong to another process.
fn look(config: &Path, named: Option<&str>, wanted: &[Wanted]) -> Result<(), Box<dyn Error>> {
    let config = read(config)?.finish()?;
    let mut candidates = opened(&config)?;
    candidates.retain(|issuer| named.is_none_or(|named| means(&issuer.id, &issuer.name, named)));
    if candidates.is_empty() {
        return Err(format!("--issuer {} names no issuer of the configuration", named.unwrap_or_default()).into());
    }
    let of_each = wanted.iter().map(|wanted| wanted.issuers(&candidates, named, |issuer| Some(&issuer.certificate)));
    let of_each: Vec<_> = of_each.collect::<Result<_, _>>()?;
    let Some(mut book) = Book::look(&config.state_dir)? else {
        return Err(
            format!("{}: holds no book yet: nothing was read or pushed so far", config.state_dir.display()).into()
        );
    };
    let mut configured = config.tenants.iter().flat_map(|tenant| &tenant.issuers);
    if configured.any(|issuer| issuer.policy.ca_revoked != CaRevoked::ItAlone) {
        let _ =
            writeln!(stderr(), "whether a CA is revoked with all its certificates (`ca_revoked`) does not stand there");
    }
    let (mut unlisted, now) = (0, UnixTime::now());
    for (Wanted { serial, .. }, issuers) in wanted.iter().zip(of_each) {
        let mut listed = false;
        for Opened { id, name, policy, .. } in issuers {
            let Some((record, origin)) = book.get(id, serial)? else { continue };
            listed = true;
            let end = record.not_after.map_or("an unknown time".to_owned(), |time| time.to_string());
            let (tenant, status, by) = (id.tenant(), record.status.to_string(), by(&origin.to_string()).to_owned());
            let (status, expired) = match profile::has_expired(policy, record.not_after, now) {
                true => (wrong(&status).to_string(), ", but expired: a service answers `unauthorized`"),
                false => (painted(&status), ""),
            };
            say(format_args!("{serial} {tenant}/{name}: {status}{expired}, valid until {end}, said by {by}"))?;
        }
        if !listed {
            say(format_args!("{serial}: {}", wrong("not listed")))?;
            unlisted += 1;
        }
    }
    finish(unlisted, wanted.len())
}

/// An issuer of a configuration.
struct Opened {
    id: IssuerId,
    name: String,
    certificate: Certificate,
    policy: Policy,
}

fn opened(config: &Config) -> Result<Vec<Opened>, Box<dyn Error>> {
    let mut issuers = Vec::new();
    for tenant in &config.tenants {
        for issuer in &tenant.issuers {
            let certificate = certificates(&issuer.certificate)?.remove(0);
            let name = issuer.name.clone().unwrap_or_else(|| certificate.subject());
            let (id, policy) = (IssuerId::of(&tenant.name, &certificate), tenant.policy_of(issuer));
            issuers.push(Opened { id, name, certificate, policy });
        }
    }
    Ok(issuers)
}

/// The issuers of a configuration with their names. Only certificates are opened, and no keys.
pub(super) fn issuers(config: &Config) -> Result<Vec<(IssuerId, String)>, Box<dyn Error>> {
    Ok(opened(config)?.into_iter().map(|issuer| (issuer.id, issuer.name)).collect())
}

/// Whether a text of the command line means this issuer.
fn means(id: &IssuerId, name: &str, text: &str) -> bool {
    let full = crate::pki::hex::text(id.fingerprint());
    let is_id = [8, 64].contains(&text.len()) && full.starts_with(&text.to_ascii_lowercase());
    is_id || text == name || text == format!("{}:{name}", id.tenant()) || text == format!("{}/{name}", id.tenant())
}
