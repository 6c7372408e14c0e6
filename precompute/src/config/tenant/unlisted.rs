//! What is said of serials that no source lists: by the tenant, or by one of its issuers.
//!
//! Invariant: nobody gets *good* for a serial that an index beside it does not list, unless that is said where it can be
//! meant of that index: at the issuer itself, or at a tenant all of whose issuers have one. It does not know certificates:
//! what is doubtful is warned of where the issuer's name is known, in [`crate::assemble`].

use super::super::Section;
use crate::ocsp::Unlisted;

/// Where it is said.
const KEY: &str = "unlisted";
const ACCEPTED: &str = "accept_unlisted_as_good";

/// What stands in a section, a tenant's or an issuer's.
pub(super) fn read(section: &mut Section<'_>) -> Option<Unlisted> {
    let unlisted = section.choice(
        KEY,
        &[
            ("unauthorized", Unlisted::Unauthorized),
            ("unknown", Unlisted::Unknown),
            ("revoked", Unlisted::Revoked),
            ("good", Unlisted::Good),
        ],
    );
    let accepted = section.boolean(ACCEPTED).unwrap_or(false);
    if unlisted == Some(Unlisted::Good) && !accepted {
        section.problem(
            KEY,
            "is `good`, which vouches for certificates that the CA may never have issued (BR 4.9.10 forbids it for TLS CAs); if that is meant, add `accept_unlisted_as_good = true` beside it",
        );
    }
    unlisted
}

/// What an issuer takes of what its tenant says.
pub(super) fn inherited(said: Option<Unlisted>, has_index: bool, some_by_crl: bool) -> Option<Unlisted> {
    said.filter(|said| !(*said == Unlisted::Good && has_index && some_by_crl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_is_not_inherited_by_an_index_that_has_a_neighbour_without() {
        use Unlisted::{Good, Revoked, Unknown};
        for (said, has_index, some_by_crl, expected) in [
            (None, true, true, None),
            (Some(Good), false, true, Some(Good)),
            (Some(Good), true, true, None),
            (Some(Good), true, false, Some(Good)),
            (Some(Unknown), true, true, Some(Unknown)),
            (Some(Revoked), true, true, Some(Revoked)),
        ] {
            assert_eq!(inherited(said, has_index, some_by_crl), expected, "{said:?} {has_index} {some_by_crl}");
        }
    }
}
