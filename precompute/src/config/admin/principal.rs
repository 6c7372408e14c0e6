//! `[[admin.principal]]`: who may ask for something, what proves it, and what is allowed.
//!
//! Invariant: no token and no hash of one gets into a message. Whether the tenants exist is not known here.

use std::str::FromStr;

use super::super::{Place, Section};
use crate::{
    limits,
    output::may_be_secret,
    pki::written::excerpt,
    principals::{Denial, Grant, Malformed, Mark, Proof, Rates, TokenHash},
};

/// A principal as the file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrincipalConfig {
    /// Its place in the file.
    pub place: Place,
    /// Its name in the journal and in the log.
    pub name: String,
    /// What proves that it asks.
    pub proof: Proof,
    /// What it may do,
    pub allow: Vec<Grant>,
    /// and what it may not.
    pub deny: Vec<Denial>,
    /// How often.
    pub rates: Rates,
}

/// What is said of a value that nobody should see in a log.
const NOT_SHOWN: &str = "may be a token itself, and is not shown";

/// Whether a text has in it what `token new` and `openssl rand -hex` make: whoever writes that into another place than its hash
/// belongs to would find it in every log.
fn is_like_a_token(text: &str) -> bool {
    text.split(|letter: char| !letter.is_ascii_hexdigit()).any(|digits| digits.len() >= limits::TOKEN_OCTETS_MIN)
}

/// The name of who has the token of `token_file`.
pub const OF_TOKEN_FILE: &str = "token_file";

/// Reads all of them.
pub(super) fn read_all(section: &mut Section<'_>) -> Vec<PrincipalConfig> {
    if !section.has("principal") {
        return Vec::new();
    }
    if section.count("principal").is_some_and(|count| count > limits::PRINCIPALS_MAX) {
        section.problem("principal", format_args!("is there more than {} times", limits::PRINCIPALS_MAX));
    }
    let mut principals: Vec<PrincipalConfig> = Vec::new();
    section.sections("principal", |section| {
        let principal = read(section)?;
        if principals.iter().any(|other| other.name == principal.name) {
            section.problem("name", format_args!("is {}, as another principal's", excerpt(&principal.name)));
        }
        if let Some(other) = principals.iter().find(|other| other.proof == principal.proof) {
            let key = key_of(&principal.proof);
            section.problem(key, format_args!("is that of {} too; give each its own", excerpt(&other.name)));
        }
        principals.push(principal);
        Some(())
    });
    principals
}

const fn key_of(proof: &Proof) -> &'static str {
    match proof {
        Proof::Token(_) => "token_sha256",
        Proof::Certificate(_) => "certificate",
    }
}

fn read(section: &mut Section<'_>) -> Option<PrincipalConfig> {
    let name = read_name(section);
    let proof = read_proof(section);
    let allow = read_list(section, "allow");
    if section.has("allow") && allow.as_ref().is_some_and(Vec::is_empty) || !section.has("allow") {
        section.problem(
            "allow",
            "names nothing that the principal may do; expected roles with tenants, such as [\"operator:acme\"], or \"viewer:*\" for every tenant",
        );
    }
    let deny = read_list(section, "deny").unwrap_or_default();
    let mut rate = |key| section.integer(key, limits::RATE_RANGE).and_then(|rate| u32::try_from(rate).ok());
    let rates = Rates { requests: rate("requests_per_second"), pushes: rate("pushes_per_second") };
    Some(PrincipalConfig { place: section.place(), name: name?, proof: proof?, allow: allow?, deny, rates })
}

fn read_name(section: &mut Section<'_>) -> Option<String> {
    const EXPECTED: &str = "expected 1 to 64 letters, digits and -_.@ such as \"deploy\"";
    if !section.has("name") {
        section.problem("name", format_args!("is missing; {EXPECTED}, which the journal and the log name it by"));
    }
    let name = section.string("name")?;
    if is_like_a_token(&name) {
        section.problem("name", format_args!("{NOT_SHOWN}; {EXPECTED}"));
        return None;
    }
    let is_name = (1..=limits::PRINCIPAL_NAME_OCTETS_MAX).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.@".contains(&octet));
    if !is_name {
        section.problem("name", format_args!("is {}; {EXPECTED}", excerpt(&name)));
        return None;
    }
    if name == OF_TOKEN_FILE {
        section.problem("name", "is `token_file`, which is who has the token of that file; choose another");
        return None;
    }
    Some(name)
}

fn read_proof(section: &mut Section<'_>) -> Option<Proof> {
    match (section.has("token_sha256"), section.has("certificate")) {
        (true, false) => {
            let digits = section.string("token_sha256")?;
            let hash = TokenHash::from_hex(&digits);
            if hash.is_none() {
                section.problem(
                    "token_sha256",
                    "is no SHA-256 hash of a token, and is not shown; expected the 64 hexadecimal digits that `ostia-precompute token new` prints",
                );
            }
            Some(Proof::Token(hash?))
        }
        (false, true) => {
            let text = section.string("certificate")?;
            let mark = parsed::<Mark>(section, "certificate", &text)?;
            Some(Proof::Certificate(mark))
        }
        (there, _) => {
            section.string("token_sha256");
            section.string("certificate");
            let (key, what) = if there {
                ("certificate", "stands beside `token_sha256`; keep one of the two")
            } else {
                (
                    "token_sha256",
                    "is missing, and so is `certificate`; `ostia-precompute token new` makes a token and prints this key, and `certificate = \"dns:deploy.example\"` names a client by its certificate",
                )
            };
            section.problem(key, what);
            None
        }
    }
}

fn read_list<T: FromStr<Err = Malformed>>(section: &mut Section<'_>, key: &'static str) -> Option<Vec<T>> {
    let texts = section.strings(key)?;
    if texts.len() > limits::GRANTS_MAX {
        section.problem(key, format_args!("has more than {} entries", limits::GRANTS_MAX));
        return None;
    }
    let mut values = Vec::new();
    for text in &texts {
        values.push(parsed(section, key, text)?);
    }
    Some(values)
}

fn parsed<T: FromStr<Err = Malformed>>(section: &Section<'_>, key: &str, text: &str) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) if may_be_secret(text) => {
            section.problem(key, "may be a secret itself, and is not shown");
            None
        }
        Err(_) if is_like_a_token(text) => {
            section.problem(key, format_args!("{NOT_SHOWN}; expected a role with a tenant, such as \"operator:acme\""));
            None
        }
        Err(malformed) => {
            section.problem(key, malformed);
            None
        }
    }
}
