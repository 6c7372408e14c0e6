//! `ostia-precompute verify`: says what a proof proves, with nothing but the server's public key.
//!
//! Invariant: no configuration is read and nobody is asked; whatever the files have in them, it ends with what was said or
//! with the check that failed.

use std::{
    error::Error,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use der::Decode as _;
use serde_json::json;
use x509_ocsp::{BasicOcspResponse, OcspResponse};

use super::end::Usage;
use crate::{
    issuer_id::IssuerId,
    limits::transparency as limits,
    output::say,
    pki::{Serial, Status, certificates, hex},
    transparency::{Answer, Head, Proof, Said, Statement, proof::Verdict, prove::Millis, sha256},
};

/// What is verified, and by what.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The proof, as `ostia-precompute prove` writes it.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The public key of the server, or a file with it: 64 hexadecimal digits, as `ostia-precompute server list --json` tells it.
    #[arg(long, value_name = "HEX|FILE")]
    key: Option<String>,
    /// An OCSP response in DER: fails unless the server had said that it gives it out.
    #[arg(long, value_name = "FILE")]
    response: Option<PathBuf>,
    /// The CA's certificate: fails unless the proof is about one of its certificates.
    #[arg(long, value_name = "FILE")]
    issuer_certificate: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let Some(key) = &self.key else {
            return Err(Usage::new("--key is missing: whoever makes a proof could make a key as well, so take the server's from somebody else: `ostia-precompute server list --json` on another server of the cluster, or the note of whoever set it up").into());
        };
        let key = read_key(key)?;
        let path = self.proof.display();
        let bytes = read(&self.proof, limits::PROOF_OCTETS_MAX)?;
        let proof: Proof = serde_json::from_slice(&bytes).map_err(|error| format!("{path}: is no proof: {error}"))?;
        let verdict = proof.verify(&key).map_err(|fault| format!("{path}: proves nothing: {fault}"))?;
        if let Some(certificate) = &self.issuer_certificate {
            check_issuer(&proof, certificate)?;
        }
        let response = self.response.as_deref().map(|path| find(&verdict, path)).transpose()?;
        match self.json {
            true => say(serde_json::to_string_pretty(&told(&proof, &verdict, response.as_ref()))?)?,
            false => lines(&proof, &verdict, response.as_ref()).into_iter().try_for_each(say)?,
        }
        Ok(())
    }
}

fn read_key(text: &str) -> Result<[u8; 32], Box<dyn Error>> {
    if let Some(key) = hex::array(text) {
        return Ok(key);
    }
    let written = read(Path::new(text), 4096)?;
    let key = std::str::from_utf8(&written).ok().and_then(|text| hex::array(text.trim()));
    key.ok_or_else(|| {
        format!("{text}: has no key: 64 hexadecimal digits, as `ostia-precompute server list --json` tells it").into()
    })
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() as u64 > most {
        return Err(format!("{}: is longer than {most} bytes", path.display()));
    }
    Ok(bytes)
}

fn check_issuer(proof: &Proof, path: &Path) -> Result<(), Box<dyn Error>> {
    let Some(tenant) = &proof.tenant else {
        return Err("the proof names no tenant, so its issuer cannot be told from the CA's certificate; make it with the replica's configuration".into());
    };
    let read = certificates(path)?;
    if !read.iter().any(|certificate| *IssuerId::of(tenant, certificate).fingerprint() == proof.issuer) {
        return Err(format!(
            "{}: the proof is about another CA's certificate, or another tenant's than `{tenant}`",
            path.display()
        )
        .into());
    }
    Ok(())
}

/// Where a response stands among what was said.
struct Given {
    statement: Statement,
    in_force: bool,
}

fn find(verdict: &Verdict, path: &Path) -> Result<Given, String> {
    let told = |what: &str| format!("{}: {what}", path.display());
    let bytes = read(path, limits::RESPONSE_OCTETS_MAX)?;
    let (serials, signature) = opened(&bytes).ok_or_else(|| told("is no signed OCSP response in DER"))?;
    if !serials.contains(&verdict.serial) {
        return Err(told("is about another certificate than the proof"));
    }
    let is_it =
        |statement: &&Statement| matches!(statement.said, Said::Answer(answer) if answer.signature == signature);
    let statement = verdict.known.iter().rev().find(is_it).ok_or_else(|| {
        told("was not said to be given out up to then: it was signed while a client waited, or is not this server's, or was given out before what was in force at the head before")
    })?;
    let in_force = verdict.said.contains(statement);
    Ok(Given { statement: *statement, in_force })
}

/// The serial numbers in a response, and the hash of its signature.
fn opened(bytes: &[u8]) -> Option<(Vec<Serial>, [u8; 32])> {
    let response = OcspResponse::from_der(bytes).ok()?;
    let basic = BasicOcspResponse::from_der(response.response_bytes?.response.as_bytes()).ok()?;
    let singles = basic.tbs_response_data.responses.iter();
    let serials =
        singles.filter_map(|single| Serial::from_der_content(single.cert_id.serial_number.as_bytes())).collect();
    Some((serials, sha256(&[basic.signature.raw_bytes()])))
}

fn record(said: &[Statement]) -> Option<(u64, Option<Status>)> {
    said.iter().find_map(|statement| match statement.said {
        Said::Record(record) => Some((statement.at, record)),
        Said::Answer(_) => None,
    })
}

fn answers(said: &[Statement]) -> impl Iterator<Item = (u64, Answer)> + '_ {
    said.iter().filter_map(|statement| match statement.said {
        Said::Answer(answer) => Some((statement.at, answer)),
        Said::Record(_) => None,
    })
}

fn in_words(status: Option<Status>) -> String {
    status.map_or_else(|| "not listed".into(), |status| status.to_string())
}

fn lines(proof: &Proof, verdict: &Verdict, response: Option<&Given>) -> Vec<String> {
    let Verdict { serial, before, after, said, .. } = verdict;
    let mut lines = vec![format!(
        "{serial} of the issuer {}, at {}, by the server {} of the cluster `{}`:",
        hex::text(&proof.issuer),
        Millis(proof.at),
        before.server,
        before.cluster
    )];
    lines.push(match record(said) {
        None => "  nothing was said of it".into(),
        Some((since, status)) => format!("  {}, said since {}", in_words(status), Millis(since)),
    });
    for (since, answer) in answers(said) {
        lines.push(format!(
            "  answered from {} on: {}, from {} until {}, signature SHA-256 {}",
            Millis(since),
            answer.hash.name(),
            answer.this_update,
            answer.next_update,
            hex::text(&answer.signature)
        ));
    }
    let head = |head: &Head| format!("{} of {}", head.number, Millis(head.at));
    lines.push(format!("  between the heads {} and {}", head(before), head(after)));
    if let Some(since) = after.gap {
        lines.push(format!("  statements since {} may be missing, as the server says itself", Millis(since)));
    }
    lines.extend(response.map(|given| {
        let ends = if given.in_force { "and was given out then" } else { "and no longer given out then" };
        format!("  the response is one that was given out from {} on, {ends}", Millis(given.statement.at))
    }));
    lines
}

fn told(proof: &Proof, verdict: &Verdict, response: Option<&Given>) -> serde_json::Value {
    let Verdict { serial, before, after, said, .. } = verdict;
    let head = |head: &Head| json!({"number": head.number, "at": Millis(head.at).to_string()});
    let status = |status: Option<Status>| match status {
        None => json!({"status": "not_listed"}),
        Some(Status::Good) => json!({"status": "good"}),
        Some(Status::Revoked { time, reason }) => {
            json!({"status": "revoked", "revoked": time.to_string(), "reason": reason.name()})
        }
    };
    let answer = |(since, answer): (u64, Answer)| {
        json!({
            "since": Millis(since).to_string(),
            "hash": answer.hash.name(),
            "this_update": answer.this_update.to_string(),
            "next_update": answer.next_update.to_string(),
            "signature_sha256": hex::text(&answer.signature),
        })
    };
    json!({
        "issuer": hex::text(&proof.issuer),
        "serial": serial.to_string(),
        "at": Millis(proof.at).to_string(),
        "server": before.server.to_string(),
        "cluster": before.cluster,
        "before": head(before),
        "after": head(after),
        "missing_since": after.gap.map(|since| Millis(since).to_string()),
        "record": record(said).map(|(since, record)| json!({"since": Millis(since).to_string(), "is": status(record)})),
        "answers": answers(said).map(answer).collect::<Vec<_>>(),
        "response": response.map(|given| json!({"since": Millis(given.statement.at).to_string(), "in_force": given.in_force})),
    })
}
