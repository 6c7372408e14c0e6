//! Time-stamping, end to end: documents' digests stamped over HTTP by the built responder (RFC 3161).
//!
//! What HTTP promises is in `http`, what comes through TLS and proxies in `front`, what tokens say and who verifies them in
//! `tokens`, which of them are in order in `order`, how authorities are kept apart in `several`, what the service refuses
//! to start with in `refusals` and `chains`, what comes while nobody signs in `outage`, what is kept of tokens in `record`, and what
//! operators see in `operators`. Who may ask, and how much each gets, is in `admitted`. In `clients` are the programs that people stamp with, as they are shipped. Queries are
//! written by hand or by clients, and each kind of key is judged by verifiers that are not ours.

mod admitted;
mod chains;
mod clients;
mod front;
mod http;
mod operators;
mod order;
mod outage;
mod record;
mod refusals;
mod several;
mod tokens;

use std::time::Duration;

use ostia_tests::{Ca, KeyKind, Responder, Site, Tenant, Tsa, TsaCertificate};

/// For what a busy machine does within a second.
const PATIENCE: Duration = Duration::from_secs(40);

/// A responder with one authority at `/tsa`, after `set` has changed what it likes of it.
fn stamping(kind: KeyKind, set: impl FnOnce(Tsa) -> Tsa) -> (Ca, Responder) {
    let (ca, site) = site(kind, set);
    (ca, site.start())
}

/// The same after `edit` has changed what it likes of the configuration.
fn stamping_after(kind: KeyKind, edit: impl FnOnce(String) -> String) -> (Ca, Responder) {
    let (ca, site) = site(kind, |tsa| tsa);
    site.edit_config(edit);
    (ca, site.start())
}

fn site(kind: KeyKind, set: impl FnOnce(Tsa) -> Tsa) -> (Ca, Site) {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, kind);
    let site = Site::new(&[Tenant::new("tests").tsa(&set(Tsa::of("stamps", &signer)))]);
    (ca, site)
}
