//! Whether a tenant's answers are pre-signed, and for which CertIDs. It does not know signers.

use super::Section;
use crate::ocsp::{HashAlgorithm, NoncePolicy, Policy, Together};

/// The hash algorithms of CertIDs, under their names in configurations.
const HASHES: [(&str, HashAlgorithm); 4] = [
    ("sha1", HashAlgorithm::Sha1),
    ("sha256", HashAlgorithm::Sha256),
    ("sha384", HashAlgorithm::Sha384),
    ("sha512", HashAlgorithm::Sha512),
];

/// The hash algorithms of the CertIDs whose answers are pre-signed, of those that are answered together the first; empty if
/// none are. And which are answered together.
pub(super) fn read(section: &mut Section<'_>, policy: &Policy) -> (Vec<HashAlgorithm>, Together) {
    // Answers without a nonce are useless if every request must have one.
    let of_use = policy.nonce != NoncePolicy::Require;
    let wanted = section.boolean("presign");
    if wanted == Some(true) && !of_use {
        section.problem(
            "presign",
            "has no effect while every request must have a nonce (`nonce = \"require\"`); set it to false, or `nonce = \"echo\"`",
        );
    }
    let named = section.strings("presign_hashes");
    if named.is_some() && wanted == Some(false) {
        section.problem("presign_hashes", "has no effect with `presign = false`; remove one of the two");
    }
    let (mut hashes, mut all, mut together) = (Vec::new(), Vec::new(), Together::NONE);
    for entry in named.iter().flatten() {
        let mut set = Vec::new();
        for name in entry.split('+').map(str::trim) {
            match HASHES.iter().find(|(word, _)| *word == name) {
                Some((_, hash)) if all.contains(hash) => {
                    section.problem("presign_hashes", format_args!("names `{name}` twice; remove one"));
                }
                Some((_, hash)) => {
                    all.push(*hash);
                    set.push(*hash);
                }
                None => {
                    let words = HASHES.map(|(word, _)| format!("`{word}`")).join(", ");
                    section.problem(
                        "presign_hashes",
                        format_args!(
                            "names `{name}`; expected some of {words}, or several in one answer such as `sha1+sha256`"
                        ),
                    );
                }
            }
        }
        together = together.joining(&set);
        hashes.extend(set.first().map(|hash| together.first(*hash)));
    }
    if named.as_ref().is_some_and(Vec::is_empty) {
        section.problem("presign_hashes", "is empty; name a hash algorithm, or set `presign = false`");
    }
    match (wanted.unwrap_or(true) && of_use, named) {
        (false, _) => (Vec::new(), together),
        (true, None) => (vec![HashAlgorithm::Sha1], together),
        (true, Some(_)) => (hashes, together),
    }
}
