//! Names of issuers: within a tenant no two are alike, because metrics and logs tell issuers apart by them.

use super::{IssuerConfig, Section};
use crate::{ocsp::HashAlgorithm, pki::hex::Hex};

/// Tells an issuer whose `name` in the file is another's.
pub(super) fn check_given(section: &Section<'_>, name: &str, given: &[Option<String>]) {
    if given.iter().flatten().any(|other| other == name) {
        let remedy =
            "the name of another issuer of this tenant; logs and metrics tell issuers apart by it, give each its own";
        section.problem("name", format_args!("is `{name}`, {remedy}"));
    }
}

/// Issuers that the file gives no name are called by their subject, and a CA keeps that when it changes its key: of
/// those that would be called alike the later ones get the first digits of their key's hash as well, and the first
/// keeps its name. `given` has the names of the file, in order.
pub(super) fn tell_apart(section: &Section<'_>, issuers: &mut [IssuerConfig], given: &[Option<String>]) {
    for place in 0..issuers.len() {
        let name = issuers[place].name.clone();
        let is_taken = |(other, issuer): (usize, &IssuerConfig)| {
            issuer.name == name && (other < place || other > place && given[other].is_some())
        };
        if given[place].is_none() && issuers.iter().enumerate().any(is_taken) {
            let key_hash = issuers[place].hashes.get(HashAlgorithm::Sha256).1;
            let name = format!("{name} {}", Hex(&key_hash[..4]));
            if issuers.iter().any(|issuer| issuer.name == name) {
                let problem = format_args!("two would be called `{name}`; give each of them a `name`");
                section.problem("issuer", problem);
            }
            issuers[place].name = name;
        }
    }
}
