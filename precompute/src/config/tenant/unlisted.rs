//! What is said of serials that no source lists: by the tenant, or by one of its issuers.
//!
//! Invariant: nobody gets *good* for a serial that an index beside it does not list, unless that is said where it can be
//! meant of that index: at the issuer itself, or at a tenant all of whose issuers have one. A CRL lists the revoked alone,
//! so that what is said of the others has to be said in words, or is warned of.

use super::{super::Section, IssuerConfig};
use crate::ocsp::{Policy, Unlisted};

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

/// An issuer, what stands in its own section, and that.
pub(super) type Said<'a> = (IssuerConfig, Option<Unlisted>, Section<'a>);

/// Settles what is said for each issuer of the tenant whose section `tenant` is, and tells what is doubtful of it.
pub(super) fn settle<'a>(tenant: &Section<'a>, said: Option<Unlisted>, issuers: Vec<Said<'a>>) -> Vec<IssuerConfig> {
    let some_by_crl = issuers.iter().any(|(issuer, ..)| issuer.sources.is_crl_alone());
    let settle = |(mut issuer, own, section): Said<'a>| {
        let has_index = !issuer.sources.is_crl_alone();
        let inherited = inherited(said, has_index, some_by_crl);
        if own.is_none() && inherited != said {
            section.warning(
                "index",
                "lists every certificate of this CA, so the tenant's `unlisted = \"good\"`, which is for its issuers with only a CRL, does not apply here: serial numbers that the index does not list are `unauthorized`; set `unlisted` here too",
            );
        }
        if own.or(said).is_none() && !has_index {
            section.warning(
                "crl",
                format_args!(
                    "lists revoked certificates only, and `unlisted` is not set for all others: each of them, valid or not, is answered `unauthorized`, as if this CA were unknown here. {CHOICES}"
                ),
            );
        }
        issuer.unlisted_is_said = own.or(said).is_some();
        issuer.policy.unlisted = own.or(inherited).unwrap_or(Policy::DEFAULT.unlisted);
        if issuer.policy.unlisted == Unlisted::Good {
            let place = if own.is_some() { &section } else { tenant };
            place.warning(
                KEY,
                format_args!(
                    "is `good`: certificates of `{}` that no source lists are answered as good, including those that the CA never issued; BR 4.9.10 forbids it for TLS CAs. Give its issuer an `index`, or choose another value",
                    issuer.name
                ),
            );
        }
        issuer
    };
    issuers.into_iter().map(settle).collect()
}

/// What an issuer takes of what its tenant says.
fn inherited(said: Option<Unlisted>, has_index: bool, some_by_crl: bool) -> Option<Unlisted> {
    said.filter(|said| !(*said == Unlisted::Good && has_index && some_by_crl))
}

/// What can be said of an issuer that has nothing but a CRL.
const CHOICES: &str = "Set it here: `unlisted = \"unauthorized\"` (no change), `unlisted = \"unknown\"` (signed; most clients refuse it), `unlisted = \"revoked\"` (signed; all refuse it), or `unlisted = \"good\"` with `accept_unlisted_as_good = true` (clients accept every certificate that is not revoked, including those this CA never issued: BR 4.9.10 forbids it for TLS CAs); or name the CA's `index`, which lists them";

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
