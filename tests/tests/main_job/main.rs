//! The main job, end to end: a CA's certificates answered over OCSP by the built programs.
//!
//! Every peer is real: CAs and clients are `openssl`, odd requests are written by hand. What clients
//! are told is in `answers` and `http`, where it comes from in `sources`, by URL in `fetching`,
//! from lists of what was issued in `issued`, what becomes of sources in `doubt`, for how long an answer counts in `freshness`,
//! what survives in `restart` and, of the book, in `book`, and whose its files are in `owner`,
//! what is refused in `bad_input`, how a slow key is shared in `misses`, what a tenant can choose in `policies`, what answers carry in `carried`,
//! (`unlisted`: of what no source lists), who signs in `signers`, by which certificates in `signer_paths`, and who no more in `revoked_signers`, how their certificates are renewed in `renewal`, with keys on PKCS#11 tokens in `tokens`, which are lost in `token_loss` and left in `token_end`, how keys are made
//! and tried in `keys`, what wrong input is told in `messages`, what doubtful one in `checks`, and what never in `secrets`, by a new algorithm in `ml_dsa`, what is signed before anybody asks in `presign`,
//! what is pushed in `pushes`, to issuers without files in `pushes_alone`, what is told of a certificate in `status`, how soon it is answered in `lag`, and while something goes wrong in `ledger`, what large sources keep from nobody in `busy_sources`,
//! what caches are told in `caches`,
//! what a changed configuration does in `reload`, and what it leaves behind in `leaving`, what is answered from a feed in `replica`,
//! what by another CA's responder in `forwarding`,
//! where it listens in `listeners`, `tls` and `epoll`, what systemd gives it in `unit`, how it ends in `drain`, what it bears in `hostile`,
//! what runs without serving and whose a state directory is in `service`, which server in `server`,
//! what `check` says of a feed and how a writer's key is made in `feed`,
//! what operators see in `operators`, what they do in a browser in `console`, how customers are kept apart in
//! `tenants`, who may ask on the admin listener in `principals`, what a newcomer does first in `demo`, whether README.md's commands and configurations work in `readme`,
//! and those of the page on other CAs in `which_ca`, and what becomes of those whom nobody reads in `unread`.

mod answers;
mod backup;
mod bad_input;
mod book;
mod busy_sources;
mod caches;
mod carried;
mod check_json;
mod checks;
mod command_line;
mod console;
mod conversions;
mod databases;
mod demo;
mod described;
mod directories;
mod doubt;
mod drain;
mod epoll;
mod feed;
mod fetching;
mod forwarding;
mod freshness;
mod hostile;
mod http;
mod issued;
mod journal;
mod keys;
mod lag;
mod leaving;
mod ledger;
mod listeners;
mod manual;
mod messages;
mod metrics;
mod misses;
mod ml_dsa;
mod operators;
mod owner;
mod policies;
mod presign;
mod principals;
mod publication;
mod pushes;
mod pushes_alone;
mod readme;
mod recipes;
mod reload;
mod renewal;
mod replica;
mod restart;
mod revoked_signers;
mod secrets;
mod server;
mod service;
mod signer_paths;
mod signers;
mod sources;
mod status;
mod tenants;
mod terminal;
mod tls;
mod token_end;
mod token_loss;
mod token_servers;
mod token_start;
mod tokens;
mod unit;
mod unlisted;
mod unread;
mod upgrades;
mod version;
mod which_ca;

use ostia_tests::{Ca, Delegate, KeyKind, Responder, Site, Tenant};

/// A CA with a proper delegate, and a responder that reads the CA's index.
fn ca_and_site() -> (Ca, Site) {
    let ca = Ca::new("Main job CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    (ca, site)
}

/// The same, with what `prepare` makes of the CA before the responder starts.
fn serving<T>(prepare: impl FnOnce(&Ca) -> T) -> (Ca, T, Responder) {
    let (ca, site) = ca_and_site();
    let prepared = prepare(&ca);
    let responder = site.start();
    (ca, prepared, responder)
}

/// A time of the index (`YYMMDDHHMMSSZ`) as `openssl ocsp` prints it.
fn printed_time(index: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let two = |at: usize| &index[at..at + 2];
    let month = MONTHS[two(2).parse::<usize>().unwrap() - 1];
    let day: u8 = two(4).parse().unwrap();
    format!("{month} {day:>2} {}:{}:{} 20{} GMT", two(6), two(8), two(10), two(0))
}
