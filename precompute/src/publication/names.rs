//! Under which name each published CRL is served.
//!
//! An issuer `ca` has `ca.crl`: its CRL of all certificates under the CA's present key, or where there is none, the first
//! CRL of its first file. Every other scope (a shard, another signer) has a name of its own behind a `~`: the last part of
//! the URL in its issuingDistributionPoint (`ca~7.crl` of `http://crl.example/7.crl`), or else the first digits of its
//! scope's hash. A delta has the name of what it changes with a `+` behind it, as Windows CAs call it: `ca+.crl`.
//!
//! Invariants: a name says the same of the same CRL after a restart; and while a CRL is refused, no other one gets its
//! name. Neither `~` nor `+` is in the name of an issuer. Pure.

use std::collections::BTreeMap;

use super::{AcceptedCrl, PublishedCrl};
use crate::{limits, pki::hex::Hex, source::CrlScope};

/// What separates the issuer's name from that of a scope.
const SCOPE: char = '~';
/// What marks a delta.
const DELTA: char = '+';

/// A name made fit for a path: letters, digits, `-`, `_` and `.` stay, whatever is between them becomes one `-`. Empty if
/// nothing is left.
pub fn fit(name: &str) -> String {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let parts = name.split(|c| !is_fit(c)).filter(|part| !part.is_empty());
    let fit = parts.collect::<Vec<_>>().join("-");
    fit.trim_matches(['-', '.']).to_owned()
}

/// What each of these CRLs has behind the issuer's name, in order. `before`: what is published; `is_whole`: whether no
/// CRL was refused.
pub(super) fn suffixes(before: &[PublishedCrl], accepted: &[AcceptedCrl], is_whole: bool) -> Vec<String> {
    let labels = labels(accepted);
    let has_whole = accepted.iter().any(|crl| crl.scope == CrlScope::WHOLE);
    let of_scope = |crl: &AcceptedCrl| {
        if crl.scope == CrlScope::WHOLE {
            return String::new();
        }
        let former = before.iter().find(|former| former.scope == crl.scope);
        match former.filter(|_| !is_whole) {
            Some(former) => former.suffix.trim_end_matches(DELTA).to_owned(),
            // What was refused might be the one that has this name.
            None if is_whole && !has_whole && crl.place == 0 => String::new(),
            None => format!("{SCOPE}{}", labels[&crl.scope]),
        }
    };
    accepted.iter().map(|crl| of_scope(crl) + if crl.is_delta { "+" } else { "" }).collect()
}

/// What each scope is called: by its URL, unless another one is called the same.
fn labels(accepted: &[AcceptedCrl]) -> BTreeMap<CrlScope, String> {
    let named: BTreeMap<CrlScope, Option<String>> =
        accepted.iter().map(|crl| (crl.scope, crl.url.as_deref().and_then(label))).collect();
    let is_only = |label: &str| named.values().flatten().filter(|other| *other == label).count() == 1;
    let called = |(scope, named): (&CrlScope, &Option<String>)| {
        let label = named.clone().filter(|label| is_only(label));
        (*scope, label.unwrap_or_else(|| Hex(&scope.0[SCOPE_DIGITS]).to_string()))
    };
    named.iter().map(called).collect()
}

/// Bytes of a scope that tell it from others; the first four are the same in all scopes of other signers.
const SCOPE_DIGITS: std::ops::Range<usize> = 4..8;

/// The last part of a URL's path, without `.crl`.
fn label(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let last = path.split_once("://")?.1.rsplit_once('/')?.1;
    let end = last.len().checked_sub(".crl".len()).filter(|at| last.is_char_boundary(*at));
    let stem = end.filter(|at| last[*at..].eq_ignore_ascii_case(".crl")).map_or(last, |at| &last[..at]);
    let label = fit(stem);
    (1..=limits::PUBLISHED_LABEL_MAX).contains(&label.len()).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_fit_for_a_path() {
        for (name, fitted) in [
            ("ca", "ca"),
            ("CN=Example CA 1,O=Example", "CN-Example-CA-1-O-Example"),
            ("CN=Größe, C=DE", "CN-Gr-e-C-DE"),
            ("../..", ""),
            ("..a/b+c~d", "a-b-c-d"),
            ("証明書", ""),
            ("v1.2_x-y", "v1.2_x-y"),
        ] {
            assert_eq!(fit(name), fitted, "{name}");
        }
    }

    #[test]
    fn a_scope_is_called_as_its_url_ends() {
        for (url, called) in [
            ("http://crl.example/7.crl", Some("7")),
            ("http://crl.example/a/b/R3-12.CRL?x=y/z", Some("R3-12")),
            ("http://crl.example/CA%20Name(1).crl", Some("CA-20Name-1")),
            ("http://crl.example/", None),
            ("http://crl.example", None),
            ("http://crl.example/.crl", None),
            ("ldap:///CN=a?b", Some("CN-a")),
            ("urn:x", None),
        ] {
            assert_eq!(label(url).as_deref(), called, "{url}");
        }
    }
}
