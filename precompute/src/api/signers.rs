//! The signers of OCSP answers and time-stamps: until when, with which key, and whether they work.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use serde_json::{Value, json};

use super::{Api, handlers::json_of};
use crate::{
    admin::gate::Caller,
    issuer::ActiveIssuer,
    pki::{Certificate, UnixTime, hex},
    principals::{Action, Object, Principal},
    sign::{Health, Signing},
    signers::{OcspSigner, TsaSigner},
};

const SECONDS_OF_DAY: u64 = 86_400;

/// All of them, as far as whoever asks may look.
pub(super) async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Response {
    json_of(&json!({ "signers": signers(&api, &caller.principal, UnixTime::now()) }))
}

/// Those that a principal may look at.
pub(super) fn signers(api: &Api, principal: &Principal, now: UnixTime) -> Vec<Value> {
    let may_view = |tenant: &str| principal.may(Action::View, Object::Tenant(tenant));
    let tenants = api.tenants();
    let issuers = tenants.issuers().filter(|(tenant, _)| may_view(tenant));
    let of_issuers = issuers.flat_map(|(tenant, issuer)| {
        let each = issuer.signers.all().iter().enumerate();
        each.map(move |(place, signer)| of_issuer(tenant, issuer, place, signer, now))
    });
    let settings = api.settings();
    let tsas = settings.tsas.iter().filter(|tsa| may_view(&tsa.tenant));
    of_issuers.chain(tsas.map(|tsa| of_tsa(&tsa.tenant, &tsa.name, &tsa.signer, now))).collect()
}

fn of_issuer(tenant: &str, issuer: &ActiveIssuer, place: usize, signer: &OcspSigner, now: UnixTime) -> Value {
    let is_revoked = signer.serial().is_some_and(|serial| issuer.state.records.is_revoked(serial));
    let fault = match signer.check_validity(now) {
        Err(error) => Some(error.to_string()),
        Ok(()) if is_revoked => Some("its certificate is revoked".to_owned()),
        Ok(()) => match signer.signing() {
            None => Some("its key is not here".to_owned()),
            Some(signing) => fault_of(&**signing),
        },
    };
    // It was read before.
    let certificate = Certificate::from_der(signer.certificate_der()).ok();
    let mut told = described(certificate.as_ref(), signer.not_after(), fault, now);
    told["kind"] = "ocsp".into();
    told["tenant"] = tenant.into();
    told["name"] = issuer.name.clone().into();
    told["issuer"] = hex::text(issuer.id().fingerprint()).into();
    told["place"] = place.into();
    told["algorithm"] = signer.algorithm().to_string().into();
    told["keys"] = signer.key_names().into();
    told
}

fn of_tsa(tenant: &str, name: &str, signer: &TsaSigner, now: UnixTime) -> Value {
    let of_key = signer.use_of_key();
    let fault = if !signer.is_valid(now) {
        Some("its certificate is not valid now".to_owned())
    } else if of_key.is_over(now) {
        Some(format!("the use of its key ended at {}", of_key.ends))
    } else {
        fault_of(&**signer.signing())
    };
    let mut told = described(Some(signer.certificate()), of_key.ends.min(signer.not_after()), fault, now);
    told["kind"] = "tsa".into();
    told["tenant"] = tenant.into();
    told["name"] = name.into();
    told["issuer"] = Value::Null;
    told["place"] = 0.into();
    told["algorithm"] = signer.algorithm().to_string().into();
    told["keys"] = signer.key_names().into();
    told
}

/// What is told of every signer. `end`: of its use.
fn described(certificate: Option<&Certificate>, end: UnixTime, fault: Option<String>, now: UnixTime) -> Value {
    json!({
        "subject": certificate.map(Certificate::subject),
        "serial": certificate.and_then(Certificate::serial).map(|serial| serial.to_string()),
        "not_before": certificate.map(|certificate| certificate.not_before().to_string()),
        "not_after": end.to_string(),
        "days_left": end.since(now).as_secs() / SECONDS_OF_DAY,
        "key_sha256": certificate.map(|certificate| fingerprint(certificate.spki_der())),
        "works": fault.is_none(),
        "fault": fault,
    })
}

fn fingerprint(spki: &[u8]) -> String {
    hex::text(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki).as_ref())
}

/// Why no holder of the key works, if so.
fn fault_of(signing: &dyn Signing) -> Option<String> {
    let pool = signing.status();
    if pool.members.is_empty() || !pool.is_down() {
        return None;
    }
    let why = pool.members.iter().filter(|member| member.health != Health::AtWork);
    let why: Vec<_> =
        why.map(|member| format!("{}: {}", member.name, member.why.as_deref().unwrap_or("does not sign"))).collect();
    Some(why.join("; "))
}
