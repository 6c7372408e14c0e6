//! The issuers that can be asked about, and which one a text means.
//!
//! Purpose: from a text to the ledger of an issuer, and from a ledger to what an answer tells of it. Invariant: a text means
//! one issuer or none; what could mean two is refused with the names of both. What whoever asks does not see takes no part: it is
//! neither found nor named, and costs no time. It does not know HTTP.

use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use crate::{
    answers::Answers,
    issuer::{Answered, under_revoked_ca},
    ledger::{Ledger, Ledgers},
    ocsp::{HashAlgorithm, profile::statement},
    pki::{Certificate, Serial, Status, UnixTime, hex, written},
    principals::{Action, Object, Principal},
    records::Found,
    service::Tenants,
};

/// Issuers that a message names: as many as a person reads.
const NAMED_MAX: usize = 16;

/// Digits of an id in short, as `IssuerId` is shown.
const SHORT_DIGITS: usize = 8;

/// The issuers that there are for whoever asks.
pub(super) fn visible(ledgers: &Ledgers, principal: &Principal) -> Vec<Ledger> {
    let all = ledgers.all();
    all.iter().filter(|issuer| principal.sees(issuer.id().tenant())).cloned().collect()
}

/// The same, as far as it may look at them.
pub(super) fn shown(ledgers: &Ledgers, principal: &Principal) -> Vec<Ledger> {
    let may_view = |issuer: &&Ledger| principal.may(Action::View, Object::Tenant(issuer.id().tenant()));
    ledgers.all().iter().filter(may_view).cloned().collect()
}

/// The issuer among these that a text means: its id (64 hexadecimal digits, or the first 8), `tenant:name`, or its name alone where no
/// other has it.
pub(super) fn find(issuers: &[Ledger], text: &str) -> Result<Ledger, Problem> {
    let ids = [64, SHORT_DIGITS].contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let lower = text.to_ascii_lowercase();
    let by = |is: &dyn Fn(&Ledger) -> bool| -> Vec<_> { issuers.iter().filter(|one| is(one)).collect() };
    let by_id = by(&|one| ids && hex::text(one.id().fingerprint()).starts_with(&lower));
    let by_both = by(&|one| text == full_name(one));
    let found = [by_id, by_both, by(&|one| text == one.name())].into_iter().find(|found| !found.is_empty());
    match found.as_deref() {
        Some([one]) => Ok((*one).clone()),
        Some(several) => {
            let detail = format!("{} may be {}; name one of them by its id", written::excerpt(text), named(several));
            Err(Problem::new(Kind::UnknownIssuer, detail))
        }
        None => {
            let all: Vec<_> = issuers.iter().collect();
            let known = if all.is_empty() { "none".to_owned() } else { named(&all) };
            let detail = format!("{} names no issuer; known are {known}", written::excerpt(text));
            Err(Problem::new(Kind::UnknownIssuer, detail))
        }
    }
}

/// `tenant:name`, by which requests name it.
fn full_name(issuer: &Ledger) -> String {
    format!("{}:{}", issuer.id().tenant(), issuer.name())
}

fn named(issuers: &[&Ledger]) -> String {
    let names = issuers.iter().take(NAMED_MAX).map(|one| format!("`{}` ({})", full_name(one), one.id()));
    let mut names: Vec<_> = names.collect();
    if issuers.len() > NAMED_MAX {
        names.push(format!("{} more", issuers.len() - NAMED_MAX));
    }
    names.join(", ")
}

/// An issuer in an answer, by its names.
pub(super) fn reference(issuer: &Ledger) -> Value {
    json!({ "id": hex::text(issuer.id().fingerprint()), "tenant": issuer.id().tenant(), "name": issuer.name() })
}

/// An issuer in the list of all.
pub(super) fn description(issuer: &Ledger, certificate: Option<&Certificate>, now: UnixTime) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let (records, health) = (&issuer.state().records, issuer.state().health.report());
    let counts = records.counts();
    let time = |time: Option<UnixTime>| time.map(|time| time.to_string());
    json!({
        "id": hex::text(issuer.id().fingerprint()),
        "short_id": issuer.id().to_string(),
        "tenant": issuer.id().tenant(),
        "name": issuer.name(),
        "subject": certificate.map(Certificate::subject),
        "certificate": certificate.map(|certificate| STANDARD.encode(certificate.der())),
        "counts": { "good": counts.good, "revoked": counts.revoked },
        "ca_revoked_since": time(health.ca_revoked_since),
        "digest": hex::text(&records.digest().to_bytes()),
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

/// What is known of a certificate, in an answer. Where its CA takes it along, its own status stands beside; and what is
/// answered now if somebody asks, which may be something else.
pub(super) fn record(issuer: &Ledger, tenants: &Tenants, serial: &Serial, found: &Found) -> Value {
    let time = |time: UnixTime| Value::from(time.to_string());
    let mut record = json!({
        "issuer": reference(issuer),
        "serial": serial.to_string(),
        "not_after": found.not_after.map(time),
        "origin": found.origin.to_string(),
    });
    let ca_revoked_since = issuer.state().health.report().ca_revoked_since;
    let told = ca_revoked_since.map_or(*found, |since| under_revoked_ca(*found, since));
    record["status"] = told.status.word().into();
    if let Status::Revoked { time: since, reason } = told.status {
        record["reason"] = reason.name().into();
        record["revoked_since"] = time(since);
    }
    if let Some(since) = ca_revoked_since {
        record["ca_revoked_since"] = time(since);
        record["own_status"] = found.status.word().into();
        if let Status::Revoked { time: since, reason } = found.status {
            record["own_reason"] = reason.name().into();
            record["own_revoked_since"] = time(since);
        }
    }
    if let Some(active) = tenants.issuer(issuer.id()) {
        let Answered { status, why } = active.answered(serial, UnixTime::now());
        record["answered"] = status.into();
        record["answered_why"] = why.into();
    }
    record
}

/// The answers that are kept about a certificate, one for each hash and signer; those that several hashes share are one.
pub(super) fn kept(
    issuer: &Ledger,
    tenants: &Tenants,
    answers: &Answers,
    serial: &Serial,
    now: UnixTime,
) -> Vec<Value> {
    let Some(active) = tenants.issuer(issuer.id()) else { return Vec::new() };
    let present = active.find(serial).ok().flatten().and_then(|found| statement(&active.policy, Some(found), now).ok());
    let (mut told, mut seen, mut packed) = (Vec::<Value>::new(), Vec::new(), Vec::new());
    for (place, signer) in active.signers.all().iter().enumerate() {
        for hash in HashAlgorithm::ALL {
            let key = active.key(hash, place as u8, serial);
            if let Some(at) = seen.iter().position(|other| *other == key) {
                if let Some(hashes) = told[at]["hashes"].as_array_mut() {
                    hashes.push(hash.name().into());
                }
                continue;
            }
            let Some(entry) = answers.get(&key, active.packed_length(signer), &mut packed) else { continue };
            let is_served = entry.next_update > now && present.is_some_and(|said| said.state == Some(entry.state));
            seen.push(key);
            told.push(json!({
                "hashes": [hash.name()],
                "signer": place,
                "signer_serial": signer.serial().map(ToString::to_string),
                "status": entry.state.status().map(|status| status.word()),
                "this_update": entry.this_update.to_string(),
                "next_update": entry.next_update.to_string(),
                "is_served": is_served,
            }));
        }
    }
    told
}

/// What is answered about a certificate that these issuers do not list, where that is not `unauthorized`: at most
/// [`NAMED_MAX`] of them.
pub(super) fn answered_otherwise<'l>(
    ledgers: impl IntoIterator<Item = &'l Ledger>,
    tenants: &Tenants,
    serial: &Serial,
    now: UnixTime,
) -> Vec<Value> {
    let answered = ledgers.into_iter().filter_map(|issuer| {
        let Answered { status, why } = tenants.issuer(issuer.id())?.answered(serial, now);
        let told = json!({ "issuer": reference(issuer), "answered": status, "answered_why": why });
        (status != "unauthorized").then_some(told)
    });
    answered.take(NAMED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Issuers, *};

    #[test]
    fn a_text_means_one_issuer_or_none() {
        let Issuers { ledgers, .. } =
            &Issuers::of(&[("a", 1, "Root"), ("a", 2, "Sub"), ("b", 1, "Root"), ("b", 3, "CN=x:y")]);
        let ids: Vec<_> = ledgers.all().iter().map(|one| one.id().clone()).collect();
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
            assert_eq!(
                find(&ledgers.all(), &text).map(|one| one.id().clone()).ok(),
                Some(ids[place].clone()),
                "{text}"
            );
        }
        for (text, words) in [
            ("Root", format!("`Root` may be `a:Root` ({}), `b:Root` ({})", ids[0], ids[2])),
            ("root", "`root` names no issuer; known are `a:Root`".into()),
            ("a:CN=x:y", "names no issuer".into()),
            ("", "`` names no issuer".into()),
            (&full[..9], "names no issuer".into()),
            ("00000000", "names no issuer".into()),
        ] {
            let problem = find(&ledgers.all(), text).err().unwrap();
            assert_eq!(problem.kind, Kind::UnknownIssuer);
            assert!(problem.detail.contains(&words), "{text}: {}", problem.detail);
        }
        let none = find(&[], "a").err().unwrap();
        assert!(none.detail.ends_with("known are none"), "{}", none.detail);
    }
}
