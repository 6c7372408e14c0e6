//! What is asked of an issuer: a push, as JSON has it.
//!
//! Purpose: from the members of an object to a [`Push`]. Invariant: a certificate counts only for the issuer whose key has
//! signed it, so nobody revokes a serial number of the wrong CA by a mistaken file. It does not know HTTP or ledgers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    members::{Members, kind_of},
    problem::{Kind, Problem},
};
use crate::{
    ledger::{Order, Push},
    pki::{
        Certificate, Reason, UnixTime, pem,
        written::{self, Radix},
    },
    principals::Action,
};

/// What can be done to a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// It was issued.
    Add,
    /// It is revoked, or put on hold.
    Revoke,
    /// Its hold ends.
    Release,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 3] = [Self::Add, Self::Revoke, Self::Release];

    /// The last segment of its path, and the value of `do` in a line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Revoke => "revoke",
            Self::Release => "release",
        }
    }

    /// What it takes a right to.
    pub const fn action(self) -> Action {
        match self {
            Self::Add => Action::Add,
            Self::Revoke => Action::Revoke,
            Self::Release => Action::Release,
        }
    }

    /// The verb of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// What may be said beside it.
    const fn members(self) -> &'static [&'static str] {
        match self {
            Self::Add => &["serial", "certificate", "not_after"],
            Self::Revoke => &["serial", "certificate", "reason", "time", "even_unlisted"],
            Self::Release => &["serial", "certificate"],
        }
    }
}

/// The name of the member of a line that says which verb it has.
const DO: &str = "do";
const CERTIFICATE: &str = "one certificate, in PEM or as DER in base64";
const TIME: &str = "RFC 3339 such as \"2026-11-29T08:30:00Z\", or seconds since 1970";

/// Reads a request. `issuer`: the CA's certificate, if it is known, against which a certificate is verified.
pub(super) fn read(verb: Verb, json: &[u8], issuer: Option<&Certificate>) -> Result<Push, Problem> {
    push(verb, Members::read(json, "body", r#"{"serial":"0A1B"}"#)?, issuer)
}

/// Reads a line of a list, which says its verb.
pub(super) fn read_line(json: &[u8], issuer: Option<&Certificate>) -> Result<(Verb, Push), Problem> {
    let mut members = Members::read(json, "line", r#"{"do":"revoke","serial":"0A1B"}"#)?;
    let expected = "\"add\", \"revoke\" or \"release\"";
    let Some(name) = members.text(DO, expected)? else {
        return Err(Problem::of_member(DO, format_args!("is missing; expected {expected}")));
    };
    match Verb::of_name(&name) {
        Some(verb) => Ok((verb, push(verb, members, issuer)?)),
        None => Err(Problem::of_member(DO, format_args!("is {}; expected {expected}", written::excerpt(&name)))),
    }
}

fn push(verb: Verb, mut members: Members, issuer: Option<&Certificate>) -> Result<Push, Problem> {
    let serial = members.text("serial", "a string in hexadecimal, such as \"0A1B\"")?;
    let certificate = members.text("certificate", CERTIFICATE)?;
    let order = match verb {
        Verb::Add => Order::Add { not_after: instant(&mut members, "not_after")? },
        Verb::Revoke => Order::Revoke {
            reason: members.reason()?.unwrap_or(Reason::Unspecified),
            time: instant(&mut members, "time")?,
            even_unlisted: boolean(&mut members, "even_unlisted")?,
        },
        Verb::Release => Order::Release,
    };
    members.finish(verb.members(), verb.name())?;
    match (serial, certificate) {
        (Some(text), None) => {
            let serial = written::serial(&text, Radix::Hexadecimal).map_err(|what| is("serial", &what))?;
            Ok(Push::new(serial, order))
        }
        (None, Some(text)) => of_certificate(order, &text, issuer),
        (Some(_), Some(_)) => Err(Problem::of_member("serial", "stands beside `certificate`; give one of the two")),
        (None, None) => Err(Problem::of_member("serial", "is missing, and so is `certificate`; give one of the two")),
    }
}

fn is(member: &'static str, what: &str) -> Problem {
    Problem::of_member(member, format_args!("is {what}"))
}

fn instant(members: &mut Members, name: &'static str) -> Result<Option<UnixTime>, Problem> {
    match members.take(name) {
        None => Ok(None),
        Some(Value::String(text)) => written::time(&text).map(Some).map_err(|what| is(name, &what)),
        Some(Value::Number(number)) => {
            let seconds = number.as_u64().map(UnixTime).filter(|time| *time <= UnixTime::MAX);
            seconds.map(Some).ok_or_else(|| is(name, &format!("{number}; expected {TIME}")))
        }
        Some(other) => Err(is(name, &format!("{}; expected {TIME}", kind_of(&other)))),
    }
}

fn boolean(members: &mut Members, name: &'static str) -> Result<bool, Problem> {
    match members.take(name) {
        None => Ok(false),
        Some(Value::Bool(said)) => Ok(said),
        Some(other) => Err(is(name, &format!("{}; expected true or false", kind_of(&other)))),
    }
}

fn of_certificate(mut order: Order, text: &str, issuer: Option<&Certificate>) -> Result<Push, Problem> {
    let certificate = certificate(text).map_err(|what| Problem::of_member("certificate", what))?;
    let Some(serial) = certificate.serial() else {
        let what = "has a serial number that is 0, negative or longer than 20 bytes: no client can ask for it";
        return Err(Problem::of_member("certificate", what));
    };
    let issued = match issuer {
        Some(issuer) => certificate.verify_issued_by(issuer).map_err(|error| error.to_string()),
        None => Err("the certificate of this issuer is not known".into()),
    };
    if let Err(error) = issued {
        let detail = format!(
            "the certificate {serial} of `{}` does not count for this issuer: {error}; name the issuer that signed it",
            certificate.issuer()
        );
        return Err(Problem::new(Kind::WrongIssuer, detail).with("serial", serial.to_string()));
    }
    if matches!(order, Order::Revoke { .. }) && issuer.is_some_and(|issuer| issuer.der() == certificate.der()) {
        // A mistaken file, most likely; and a revocation is for good.
        let what = "is the CA's own; if it is meant, give its `serial`";
        return Err(Problem::of_member("certificate", what));
    }
    if let Order::Add { not_after } = &mut order {
        let end = certificate.not_after();
        if let Some(other) = not_after.filter(|other| *other != end) {
            let what = format_args!("is {other}, and the certificate ends at {end}; leave it out");
            return Err(Problem::of_member("not_after", what));
        }
        *not_after = Some(end);
    }
    Ok(Push { certificate_sha256: Some(certificate.sha256()), ..Push::new(serial, order) })
}

/// The only certificate of a text. The error follows the member's name.
pub(crate) fn certificate(text: &str) -> Result<Certificate, String> {
    let text = text.trim();
    let from_der = |der: &[u8]| Certificate::from_der(der).map_err(|error| error.to_string());
    if !text.contains("-----BEGIN") {
        let plain: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(plain).map_err(|_| format!("is neither PEM nor base64; expected {CERTIFICATE}"))?;
        return from_der(&der);
    }
    if pem::seems_private(text.as_bytes()) {
        return Err(format!("has a private key in it, which is not shown and was not kept; expected {CERTIFICATE}"));
    }
    let sections = pem::sections(text.as_bytes()).map_err(|damage| format!("is damaged: {damage}"))?;
    let certificates: Vec<_> = sections.iter().filter(|section| section.label == "CERTIFICATE").collect();
    match certificates[..] {
        [one] => from_der(one.content().map_err(|damage| format!("is damaged: {damage}"))?),
        [] => Err(format!("has no section `-----BEGIN CERTIFICATE-----`; expected {CERTIFICATE}")),
        _ => Err(format!("has {} certificates; expected {CERTIFICATE}", certificates.len())),
    }
}

#[cfg(test)]
mod tests;
