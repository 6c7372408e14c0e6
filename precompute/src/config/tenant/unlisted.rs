//! The answer for serials that no source lists: set by the tenant, or by one of its issuers.
//!
//! Invariant: a serial that an index does not list is not reported *good* unless the setting can refer to that index:
//! it is at the issuer itself, or at a tenant all of whose issuers have an index. It does not know certificates:
//! [`crate::assemble`] warns of doubtful settings, because it knows the issuers' names.

use super::super::Section;
use crate::ocsp::Unlisted;

/// The key of the setting.
const KEY: &str = "unlisted";
const ACCEPTED: &str = "accept_unlisted_as_good";

/// The setting in a tenant's or an issuer's section.
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

/// The part of a tenant's setting that applies to an issuer.
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
