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
use der::{Decode as _, Encode as _};
use serde_json::json;
use x509_ocsp::{BasicOcspResponse, OcspResponse};

use super::end::Usage;
use crate::{
    issuer_id::IssuerId,
    limits::transparency as limits,
    output::say,
    pki::{Certificate, Serial, Status, certificates, hex, verify_signed},
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
    /// An OCSP response in DER: fails unless the CA or a delegate of it has signed it and the server had said that it gives it
    /// out. It takes --issuer-certificate.
    #[arg(long, value_name = "FILE", requires = "issuer_certificate")]
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
        let issuer = self.issuer_certificate.as_deref().map(|path| issuer(&proof, path)).transpose()?;
        let response = self.response.as_deref().zip(issuer);
        let response = response.map(|(path, issuer)| find(&verdict, &issuer, path)).transpose()?;
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

/// The CA's certificate, if the proof is about one of its certificates.
fn issuer(proof: &Proof, path: &Path) -> Result<Certificate, Box<dyn Error>> {
    let Some(tenant) = &proof.tenant else {
        return Err("the proof names no tenant, so its issuer cannot be told from the CA's certificate; make it with the replica's configuration".into());
    };
    let is_it = |certificate: &Certificate| *IssuerId::of(tenant, certificate).fingerprint() == proof.issuer;
    certificates(path)?.into_iter().find(is_it).ok_or_else(|| {
        format!("{}: the proof is about another CA's certificate, or another tenant's than `{tenant}`", path.display())
            .into()
    })
}

/// Where a response stands among what was said, and what it says itself.
struct Given {
    statement: Statement,
    in_force: bool,
    says: &'static str,
}

/// A signature can be put under other words and another key, so it counts only once it was verified by this CA.
fn find(verdict: &Verdict, issuer: &Certificate, path: &Path) -> Result<Given, String> {
    let told = |what: &str| format!("{}: {what}", path.display());
    let bytes = read(path, limits::RESPONSE_OCTETS_MAX)?;
    let basic = opened(&bytes).ok_or_else(|| told("is no signed OCSP response in DER"))?;
    let singles = basic.tbs_response_data.responses.iter();
    let mut about = singles.filter(|single| {
        Serial::from_der_content(single.cert_id.serial_number.as_bytes()).is_some_and(|serial| serial == verdict.serial)
    });
    let single = about.next().ok_or_else(|| told("is about another certificate than the proof"))?;
    if !is_signed(&basic, issuer) {
        return Err(told(
            "is signed neither by the CA nor by a delegate of it whose certificate is in it: somebody changed it, or it is another CA's",
        ));
    }
    let signature = sha256(&[basic.signature.raw_bytes()]);
    let is_it =
        |statement: &&Statement| matches!(statement.said, Said::Answer(answer) if answer.signature == signature);
    let statement = verdict.known.iter().rev().find(is_it).ok_or_else(|| {
        told("was not said to be given out up to then: it was signed while a client waited, or is not this server's, or was given out before what was in force at the head before")
    })?;
    let says = match single.cert_status {
        x509_ocsp::CertStatus::Good(_) => "good",
        x509_ocsp::CertStatus::Revoked(_) => "revoked",
        x509_ocsp::CertStatus::Unknown(_) => "unknown",
    };
    Ok(Given { statement: *statement, in_force: verdict.said.contains(statement), says })
}

fn opened(bytes: &[u8]) -> Option<BasicOcspResponse> {
    let response = OcspResponse::from_der(bytes).ok()?;
    BasicOcspResponse::from_der(response.response_bytes?.response.as_bytes()).ok()
}

/// Whether this CA has signed a response, or a delegate whose certificate it carries (RFC 6960 section 4.2.2.2).
fn is_signed(basic: &BasicOcspResponse, issuer: &Certificate) -> bool {
    let Ok(data) = basic.tbs_response_data.to_der() else { return false };
    let carried = basic.certs.iter().flatten().take(limits::RESPONSE_CERTIFICATES_MAX);
    let carried = carried.filter_map(|certificate| Certificate::from_der(&certificate.to_der().ok()?).ok());
    let is_delegate =
        |certificate: &Certificate| certificate.has_ocsp_signing() && certificate.verify_issued_by(issuer).is_ok();
    let mut signers = carried.filter(is_delegate).chain([issuer.clone()]);
    let signature = basic.signature.raw_bytes();
    signers.any(|signer| verify_signed(signer.spki_der(), &basic.signature_algorithm, &data, signature).is_ok())
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
    let doubt = if verdict.is_doubtful() { " as far as is known" } else { "" };
    lines.push(match record(said) {
        None => format!("  nothing was said of it{doubt}"),
        Some((since, status)) => format!("  {}{}, said since {}", in_words(status), doubt, Millis(since)),
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
    if verdict.is_far() {
        lines.push("  the two heads are further apart than any server makes them: its clock was changed, or it was off, and what it said in between is not all here".into());
    }
    lines.extend(response.map(|given| {
        let ends = if given.in_force { "and was given out then" } else { "and no longer given out then" };
        format!("  the response says {}; it was given out from {} on, {ends}", given.says, Millis(given.statement.at))
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
        "heads_far_apart": verdict.is_far(),
        "missing_since": after.gap.map(|since| Millis(since).to_string()),
        "record": record(said).map(|(since, record)| json!({"since": Millis(since).to_string(), "is": status(record)})),
        "answers": answers(said).map(answer).collect::<Vec<_>>(),
        "response": response.map(|given| json!({"says": given.says, "since": Millis(given.statement.at).to_string(), "in_force": given.in_force})),
    })
}
