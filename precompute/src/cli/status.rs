//! `ostia-precompute status`, and `show` while the service runs: what is known of certificates.
//!
//! Purpose: asks the running service; where none answers, reads the book, and says so. Invariant: what the book says is
//! never taken for what the service answers. It does not know how either keeps it.

use std::{
    error::Error,
    io::{Write as _, stderr},
    path::Path,
};

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::{
    asked::Asked,
    client::{Client, ClientError, choose, segment},
    read,
};
use crate::{
    api::problem::Kind,
    book::Book,
    config::Config,
    issuer_id::IssuerId,
    ocsp::CaRevoked,
    output::{say, well, wrong},
    pki::{Serial, certificates},
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
        let mut wanted = asked.serials()?;
        for (path, certificate) in asked.certificate.iter().zip(asked.certificates()?) {
            wanted.push(certificate.serial().ok_or_else(|| {
                format!(
                    "{}: its serial number is 0, negative or longer than 20 bytes: no client can ask for it",
                    path.display()
                )
            })?);
        }
        let Asked { config, issuer, decimal, serials, .. } = asked;
        let hint = !decimal && serials.iter().any(|text| text.bytes().all(|digit| digit.is_ascii_digit()));
        ask_or_read(&config.path(), issuer.as_deref(), &wanted).map_err(|error| match hint {
            true if error.downcast_ref::<NotListed>().is_some() => {
                format!("{error} (they were read as hexadecimal; `--decimal` reads them as decimal)").into()
            }
            _ => error,
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
pub(super) fn ask_or_read(config: &Path, issuer: Option<&str>, serials: &[Serial]) -> Result<(), Box<dyn Error>> {
    let why = match Client::of(config) {
        Ok(client) => match ask(&client, issuer, serials) {
            Err(error) => match error.downcast::<ClientError>() {
                Ok(error) if matches!(*error, ClientError::Silent(_)) => error.to_string(),
                Ok(error) => return Err(error),
                Err(error) => return Err(error),
            },
            Ok(()) => return Ok(()),
        },
        Err(error) => error.to_string(),
    };
    let _ = writeln!(stderr(), "{why}");
    let _ = writeln!(stderr(), "what follows is what the book holds, which a running service may be ahead of");
    look(config, issuer, serials)
}

fn ask(client: &Client, issuer: Option<&str>, serials: &[Serial]) -> Result<(), Box<dyn Error>> {
    let issuer = match issuer {
        Some(named) => Some(choose(&client.issuers()?, Some(named), &[])?.id.clone()),
        None => None,
    };
    let mut unlisted = 0;
    for serial in serials {
        let path = match &issuer {
            Some(id) => format!("/v1/issuers/{}/certificates/{serial}", segment(id)),
            None => format!("/v1/certificates/{serial}"),
        };
        match client.get(&path) {
            Ok(answer) => {
                let several = answer["certificates"].as_array();
                for record in several.map_or(std::slice::from_ref(&answer), Vec::as_slice) {
                    say(told(serial, record))?;
                }
            }
            Err(ClientError::Refused(problem)) if problem.kind == Some(Kind::NotListed) => {
                say(format_args!("{serial}: {}", wrong("not listed")))?;
                unlisted += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    finish(unlisted, serials.len())
}

/// A record of the service in a line.
fn told(serial: &Serial, record: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let status = match record["status"].as_str() {
        Some("revoked") => format!("revoked {} {}", text(&record["revoked_since"]), text(&record["reason"])),
        other => other.unwrap_or("?").to_owned(),
    };
    let with_its_ca = match record["ca_revoked_since"].as_str() {
        Some(since) => format!(" (its CA is revoked since {since}; by itself it is {})", text(&record["own_status"])),
        None => String::new(),
    };
    let end = record["not_after"].as_str().unwrap_or("an unknown time");
    let issuer = &record["issuer"];
    let (tenant, name, origin) = (text(&issuer["tenant"]), text(&issuer["name"]), text(&record["origin"]));
    format!("{serial} {tenant}/{name}: {}{with_its_ca}, valid until {end}, said by {}", painted(&status), by(&origin))
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
fn look(config: &Path, issuer: Option<&str>, serials: &[Serial]) -> Result<(), Box<dyn Error>> {
    let config = read(config)?.finish()?;
    let issuers = issuers(&config)?;
    let wanted: Vec<_> =
        issuers.iter().filter(|(id, name)| issuer.is_none_or(|named| means(id, name, named))).collect();
    if wanted.is_empty() {
        return Err(format!("--issuer {} names no issuer of the configuration", issuer.unwrap_or_default()).into());
    }
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
    let mut unlisted = 0;
    for serial in serials {
        let mut listed = false;
        for (id, name) in &wanted {
            let Some((record, origin)) = book.get(id, serial)? else { continue };
            listed = true;
            let end = record.not_after.map_or("an unknown time".to_owned(), |time| time.to_string());
            let (tenant, status, by) = (id.tenant(), record.status, by(&origin.to_string()).to_owned());
            let status = painted(&status.to_string());
            say(format_args!("{serial} {tenant}/{name}: {status}, valid until {end}, said by {by}"))?;
        }
        if !listed {
            say(format_args!("{serial}: {}", wrong("not listed")))?;
            unlisted += 1;
        }
    }
    finish(unlisted, serials.len())
}

/// The issuers of a configuration with their names. Only certificates are opened, and no keys.
pub(super) fn issuers(config: &Config) -> Result<Vec<(IssuerId, String)>, Box<dyn Error>> {
    let mut issuers = Vec::new();
    for tenant in &config.tenants {
        for issuer in &tenant.issuers {
            let certificate = certificates(&issuer.certificate)?.remove(0);
            let name = issuer.name.clone().unwrap_or_else(|| certificate.subject());
            issuers.push((IssuerId::of(&tenant.name, &certificate), name));
        }
    }
    Ok(issuers)
}

/// Whether a text of the command line means this issuer.
fn means(id: &IssuerId, name: &str, text: &str) -> bool {
    let full = crate::pki::hex::text(id.fingerprint());
    let is_id = [8, 64].contains(&text.len()) && full.starts_with(&text.to_ascii_lowercase());
    is_id || text == name || text == format!("{}:{name}", id.tenant()) || text == format!("{}/{name}", id.tenant())
}
