//! `ostia-precompute add|revoke|release`: pushes to the running service.
//!
//! A few certificates are pushed one by one; a list goes up in parts (`bulk`), of lines in any usual form (`list`). It
//! does not know how a push is decided.

mod bulk;
mod list;

use std::{
    error::Error,
    io::{Write as _, stderr},
    path::PathBuf,
};

use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use super::{
    asked::Asked,
    client::{Client, ClientError, ServedIssuer, choose},
    end::Usage,
};
use crate::{
    api::Verb,
    output::say,
    pki::{Reason, UnixTime, written},
};

/// Which certificates.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").args(["serials", "certificate", "file"]).required(true).multiple(true)))]
pub(super) struct Which {
    #[command(flatten)]
    asked: Asked,
    /// A list, `-` for standard input: a serial number a line, or CSV (serial,reason,time; another order or not_after
    /// by a heading), or a JSON object a line. Lines that begin with # do not count.
    #[arg(long, value_name = "LIST")]
    file: Option<PathBuf>,
    /// A key for the request, if it is for one certificate: repeated with it, the request gets the same answer.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Add {
    #[command(flatten)]
    which: Which,
    /// The end of the validity: RFC 3339, or seconds since 1970. A certificate says it itself.
    #[arg(long, value_name = "TIME", value_parser = written::time)]
    not_after: Option<UnixTime>,
}

#[derive(Args, Debug)]
pub(super) struct Revoke {
    #[command(flatten)]
    which: Which,
    /// Why: unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, cessationOfOperation,
    /// certificateHold, privilegeWithdrawn or aACompromise, in any case, or the number of one. certificateHold puts it on
    /// hold.
    #[arg(long, value_name = "REASON", value_parser = written::reason)]
    reason: Option<Reason>,
    /// Since when: RFC 3339, or seconds since 1970. Default: now.
    #[arg(long, value_name = "TIME", value_parser = written::time)]
    time: Option<UnixTime>,
    /// Revoke it even if nobody has listed it.
    #[arg(long)]
    even_unlisted: bool,
}

#[derive(Args, Debug)]
pub(super) struct Release {
    #[command(flatten)]
    which: Which,
}

/// What is said of every certificate that does not say it itself.
type Said = Map<String, Value>;

impl Add {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let mut said = Said::new();
        said.extend(self.not_after.map(|time| ("not_after".to_owned(), json!(time.0))));
        run(Verb::Add, self.which, &said)
    }
}

impl Revoke {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let mut said = Said::new();
        said.extend(self.reason.map(|reason| ("reason".to_owned(), json!(reason.name()))));
        said.extend(self.time.map(|time| ("time".to_owned(), json!(time.0))));
        said.extend(self.even_unlisted.then(|| ("even_unlisted".to_owned(), json!(true))));
        run(Verb::Revoke, self.which, &said)
    }
}

impl Release {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        run(Verb::Release, self.which, &Said::new())
    }
}

fn run(verb: Verb, which: Which, said: &Said) -> Result<(), Box<dyn Error>> {
    let Which { asked, file, idempotency_key } = which;
    // What is wrong with the command line is told before anything is done.
    let (serials, certificates) = (asked.serials()?, asked.certificates()?);
    let Asked { config, reach, issuer, decimal, certificate, .. } = asked;
    if idempotency_key.is_some() && (serials.len() + certificates.len() != 1 || file.is_some()) {
        return Err(Usage::new("--idempotency-key is for one certificate; a list may be sent again without").into());
    }
    let client = Client::of(&reach, &config.path())?;
    let issuers = client.issuers()?;
    let issuer = choose(&issuers, issuer.as_deref(), &certificates)?;
    let mut refused = 0;
    let serials = serials.iter().map(|serial| (serial.to_string(), json!({ "serial": serial.to_string() })));
    let certificates = certificates.iter().zip(&certificate).map(|(certificate, path)| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        (path.display().to_string(), json!({ "certificate": STANDARD.encode(certificate.der()) }))
    });
    for (name, mut request) in serials.chain(certificates) {
        for (key, value) in said {
            request[key] = value.clone();
        }
        if !push_one(&client, issuer, verb, &name, &request, idempotency_key.as_deref())? {
            refused += 1;
        }
    }
    if let Some(file) = file {
        let totals = bulk::push(&client, issuer, &list::Form { verb, decimal, said }, &file)?;
        say(format_args!("{issuer}: {totals}"))?;
        refused += totals.refused;
    }
    match refused {
        0 => Ok(()),
        1 => Err("1 was refused".into()),
        _ => Err(format!("{refused} were refused").into()),
    }
}

/// Returns whether it was taken. An error is one that the next certificate would meet as well.
fn push_one(
    client: &Client,
    issuer: &ServedIssuer,
    verb: Verb,
    name: &str,
    request: &Value,
    key: Option<&str>,
) -> Result<bool, Box<dyn Error>> {
    let path = format!("/v1/issuers/{}/{}", issuer.id, verb.name());
    match client.post(&path, request, key) {
        Ok(answer) => {
            let serial = answer["serial"].as_str().unwrap_or(name);
            let done = match (answer["outcome"].as_str(), verb) {
                (Some("unchanged"), _) => "unchanged: it was so before",
                (Some("still-held"), _) => {
                    "no longer on hold by a push, but a source has it on hold still: release it there"
                }
                (_, Verb::Add) => "added",
                (_, Verb::Revoke) if request["reason"] == Reason::CertificateHold.name() => "on hold",
                (_, Verb::Revoke) => "revoked",
                (_, Verb::Release) => "released",
            };
            let note = answer["note"].as_str().map(|note| format!("; {note}")).unwrap_or_default();
            say(format_args!("{serial} {issuer}: {done}{note}"))?;
            Ok(true)
        }
        Err(ClientError::Refused(problem))
            if problem.kind.is_some_and(|kind| (400..500).contains(&kind.status()) && kind.status() != 401) =>
        {
            let _ = writeln!(stderr(), "{name} {issuer}: {}", problem.detail);
            Ok(false)
        }
        Err(error) => Err(format!("{name} {issuer}: {error}").into()),
    }
}
