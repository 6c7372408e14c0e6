//! Names of issuers: within a tenant no two are alike, because metrics and logs tell issuers apart by them.

use super::AssembledIssuer;
use crate::config::At;
use crate::{ocsp::HashAlgorithm, pki::hex::Hex};

/// Issuers that the file gives no name are called by their subject, and a CA keeps that when it changes its key: of
/// those that would be called alike the later ones get the first digits of their key's hash as well, and the first
/// keeps its name. `given` has the names of the file, in order.
pub(super) fn tell_apart(at: &At<'_>, issuers: &mut [AssembledIssuer], given: &[bool]) {
    for place in 0..issuers.len() {
        let name = issuers[place].name.clone();
        let is_taken = |(other, issuer): (usize, &AssembledIssuer)| {
            issuer.name == name && (other < place || other > place && given[other])
        };
        if !given[place] && issuers.iter().enumerate().any(is_taken) {
            let key_hash = issuers[place].hashes.get(HashAlgorithm::Sha256).1;
            let name = format!("{name} {}", Hex(&key_hash[..4]));
            if issuers.iter().any(|issuer| issuer.name == name) {
                let problem = format_args!("two would be called `{name}`; give each of them a `name`");
                at.problem("issuer", problem);
            }
            issuers[place].name = name;
        }
    }
}
