//! The issuers that can be asked about, and which one a text means.
//!
//! Purpose: what the API needs of an issuer's ledger, as a trait, so that tests can have ledgers that fail. Invariant: a
//! text means one issuer or none; what could mean two is refused with the names of both. It does not know HTTP.

use std::sync::Arc;

use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use crate::{
    issuer_id::IssuerId,
    ledger::{HealthReport, Ledger, Ledgers, Outcome, Push, PushError, Refusal},
    pki::{Certificate, Serial, UnixTime, hex},
    records::{Counts, Found},
};

/// The ledger of one issuer.
pub trait IssuerLedger: Send + Sync {
    /// Its issuer.
    fn id(&self) -> &IssuerId;
    /// The issuer's name.
    fn name(&self) -> String;
    /// Takes pushes, and blocks until they are durable and shown. Each has an outcome of its own. `key`: the idempotency
    /// key, for a single push.
    fn push(
        &self,
        pushes: &[Push],
        key: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Result<Outcome, Refusal>>, PushError>;
    /// What is known of a certificate.
    fn look_up(&self, serial: &Serial) -> Option<Found>;
    /// How many are known.
    fn counts(&self) -> Counts;
    /// A digest of the issuer's state, which is the same in every process with the same state.
    fn digest(&self) -> u128;
    /// The condition of its sources.
    fn health(&self) -> HealthReport;
}

/// Where the issuers of the present configuration are found.
pub trait Directory: Send + Sync {
    /// All of them.
    fn issuers(&self) -> Vec<Arc<dyn IssuerLedger>>;
}

impl IssuerLedger for Ledger {
    fn id(&self) -> &IssuerId {
        self.id()
    }

    fn name(&self) -> String {
        self.name()
    }

    fn push(
        &self,
        pushes: &[Push],
        key: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Result<Outcome, Refusal>>, PushError> {
        self.push(pushes, key, now)
    }

    fn look_up(&self, serial: &Serial) -> Option<Found> {
        self.look_up(serial)
    }

    fn counts(&self) -> Counts {
        self.state().records.counts()
    }

    fn digest(&self) -> u128 {
        u128::from_be_bytes(self.state().records.digest().to_bytes())
    }

    fn health(&self) -> HealthReport {
        self.state().health.report()
    }
}

impl Directory for Ledgers {
    fn issuers(&self) -> Vec<Arc<dyn IssuerLedger>> {
        self.all().iter().map(|ledger| Arc::new(ledger.clone()) as Arc<dyn IssuerLedger>).collect()
    }
}

/// Issuers that a message names: as many as a person reads.
const NAMED_MAX: usize = 16;

/// Digits of an id in short, as `IssuerId` is shown.
const SHORT_DIGITS: usize = 8;

/// The issuer that a text means: its id (64 hexadecimal digits, or the first 8), `tenant:name`, or its name alone where no
/// other has it.
pub(super) fn find(directory: &dyn Directory, text: &str) -> Result<Arc<dyn IssuerLedger>, Problem> {
    let issuers = directory.issuers();
    let ids = [64, SHORT_DIGITS].contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let lower = text.to_ascii_lowercase();
    let by = |is: &dyn Fn(&dyn IssuerLedger) -> bool| -> Vec<_> { issuers.iter().filter(|one| is(&***one)).collect() };
    let by_id = by(&|one| ids && hex::text(one.id().fingerprint()).starts_with(&lower));
    let by_both = by(&|one| text == full_name(one));
    let found = [by_id, by_both, by(&|one| text == one.name())].into_iter().find(|found| !found.is_empty());
    match found.as_deref() {
        Some([one]) => Ok(Arc::clone(one)),
        Some(several) => {
            let detail =
                format!("{} may be {}; name one of them by its id", super::written::excerpt(text), named(several));
            Err(Problem::new(Kind::UnknownIssuer, detail))
        }
        None => {
            let all: Vec<_> = issuers.iter().collect();
            let known = if all.is_empty() { "none".to_owned() } else { named(&all) };
            let detail = format!("{} names no issuer; known are {known}", super::written::excerpt(text));
            Err(Problem::new(Kind::UnknownIssuer, detail))
        }
    }
}

/// `tenant:name`, by which requests name it.
fn full_name(issuer: &dyn IssuerLedger) -> String {
    format!("{}:{}", issuer.id().tenant(), issuer.name())
}

fn named(issuers: &[&Arc<dyn IssuerLedger>]) -> String {
    let names = issuers.iter().take(NAMED_MAX).map(|one| format!("`{}` ({})", full_name(&***one), one.id()));
    let mut names: Vec<_> = names.collect();
    if issuers.len() > NAMED_MAX {
        names.push(format!("{} more", issuers.len() - NAMED_MAX));
    }
    names.join(", ")
}

/// An issuer in an answer, by its names.
pub(super) fn reference(issuer: &dyn IssuerLedger) -> Value {
    json!({ "id": hex::text(issuer.id().fingerprint()), "tenant": issuer.id().tenant(), "name": issuer.name() })
}

/// An issuer in the list of all.
pub(super) fn description(issuer: &dyn IssuerLedger, certificate: Option<&Certificate>, now: UnixTime) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let (counts, health) = (issuer.counts(), issuer.health());
    let time = |time: Option<UnixTime>| time.map(|time| time.to_string());
    json!({
        "id": hex::text(issuer.id().fingerprint()),
        "short_id": issuer.id().to_string(),
        "tenant": issuer.id().tenant(),
        "name": issuer.name(),
        "subject": certificate.map(Certificate::subject),
        "certificate": certificate.map(|certificate| STANDARD.encode(certificate.der())),
        "counts": { "good": counts.good, "revoked": counts.revoked },
        "digest": format!("{:032x}", issuer.digest()),
        "sources": {
            "in_order": health.fault.is_none() && health.book_fault.is_none(),
            "verified": time(health.verified),
            "last_read": time(health.last_read),
            "crl_next_update": time(health.crl_next_update),
            "crl_out_of_date": health.crl_next_update.is_some_and(|end| end <= now),
            "fault": health.fault,
            "book_fault": health.book_fault,
            "push_fault": health.push_fault,
            "contradictions": health.contradictions,
            "push_contradictions": health.push_contradictions,
            "warnings": health.warnings,
        },
    })
}

/// What is known of a certificate, in an answer.
pub(super) fn record(issuer: &dyn IssuerLedger, serial: &Serial, found: &Found) -> Value {
    let time = |time: UnixTime| Value::from(time.to_string());
    let mut record = json!({
        "issuer": reference(issuer),
        "serial": serial.to_string(),
        "status": "good",
        "not_after": found.not_after.map(time),
        "origin": found.origin.to_string(),
    });
    if let crate::pki::Status::Revoked { time: since, reason } = found.status {
        record["status"] = "revoked".into();
        record["reason"] = reason.name().into();
        record["revoked_since"] = time(since);
    }
    record
}

#[cfg(test)]
mod tests {
    use super::{super::testing::FakeDirectory, *};

    #[test]
    fn a_text_means_one_issuer_or_none() {
        let directory = FakeDirectory::of(&[("a", 1, "Root"), ("a", 2, "Sub"), ("b", 1, "Root"), ("b", 3, "CN=x:y")]);
        let ids: Vec<_> = directory.issuers().iter().map(|one| one.id().clone()).collect();
        let full = hex::text(ids[2].fingerprint());
        for (text, place) in [
            (full.clone(), 2),
            (full.to_uppercase(), 2),
            (ids[0].to_string(), 0),
            ("Sub".into(), 1),
            ("a:Sub".into(), 1),
            ("a:Root".into(), 0),
            ("b:Root".into(), 2),
            ("CN=x:y".into(), 3),
            ("b:CN=x:y".into(), 3),
        ] {
            assert_eq!(find(&directory, &text).map(|one| one.id().clone()).ok(), Some(ids[place].clone()), "{text}");
        }
        for (text, words) in [
            ("Root", format!("`Root` may be `a:Root` ({}), `b:Root` ({})", ids[0], ids[2])),
            ("root", "`root` names no issuer; known are `a:Root`".into()),
            ("a:CN=x:y", "names no issuer".into()),
            ("", "`` names no issuer".into()),
            (&full[..9], "names no issuer".into()),
            ("00000000", "names no issuer".into()),
        ] {
            let problem = find(&directory, text).err().unwrap();
            assert_eq!(problem.kind, Kind::UnknownIssuer);
            assert!(problem.detail.contains(&words), "{text}: {}", problem.detail);
        }
        let none = find(&FakeDirectory::of(&[]), "a").err().unwrap();
        assert!(none.detail.ends_with("known are none"), "{}", none.detail);
    }
}
