//! Where the deltas to a CRL are published: the URLs of freshestCRL (RFC 5280 section 5.2.6).
//!
//! Invariant: what cannot be read is left out: the extension only helps to find a CRL, and changes nothing that is said of
//! a certificate. It fetches nothing.

use crate::pki::{elements::Elements, tag::SEQUENCE};

/// Content bytes of id-ce-freshestCRL, 2.5.29.46.
pub(super) const FRESHEST_CRL: &[u8] = &[0x55, 0x1d, 46];
/// uniformResourceIdentifier of GeneralName.
const URI: u8 = 0x86;
/// distributionPoint of DistributionPoint, and fullName of DistributionPointName.
const NAME: u8 = 0xa0;

/// The URLs in CRLDistributionPoints, DER, in order. AD CS writes spaces as they are.
pub(super) fn urls(value: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    let Ok(mut points) = Elements::only(value, SEQUENCE) else { return found };
    while let Ok(point) = points.expect(SEQUENCE) {
        urls_of_point(point, &mut found);
    }
    found
}

/// The URLs in IssuingDistributionPoint, DER, in order: it begins as a DistributionPoint does.
pub(super) fn own_urls(value: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    if let Ok(point) = Elements::only(value, SEQUENCE) {
        urls_of_point(point.rest(), &mut found);
    }
    found
}

fn urls_of_point<'v>(point: &'v [u8], found: &mut Vec<&'v str>) {
    let Ok(Some(name)) = Elements::new(point).optional(NAME) else { return };
    let Ok(Some(full)) = Elements::new(name).optional(NAME) else { return };
    let mut names = Elements::new(full);
    while let Ok(name) = names.any() {
        let is_url = |url: &&str| url.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let url = str::from_utf8(name.content).ok().filter(is_url);
        found.extend(url.filter(|_| name.tag == URI));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::crl::tests::draft::{element, sequence};

    fn point(names: &[(u8, &str)]) -> Vec<u8> {
        let names: Vec<_> = names.iter().map(|(tag, name)| element(*tag, name)).collect();
        sequence(&[element(NAME, element(NAME, names.concat()))])
    }

    #[test]
    fn a_crl_names_its_own_urls() {
        let name = element(NAME, element(NAME, element(URI, "http://a/7.crl")));
        assert_eq!(own_urls(&sequence(&[name.clone(), element(0x81, [0xff])])), ["http://a/7.crl"]);
        assert!(own_urls(&sequence(&[element(0x81, [0xff])])).is_empty() && own_urls(&name).is_empty());
    }

    #[test]
    fn the_urls_of_all_points_are_found_and_nothing_else() {
        let points = sequence(&[
            point(&[(0x82, "dns.example"), (URI, "http://a/1"), (URI, "ldap://a/2?x?base")]),
            sequence(&[element(0x81, [0, 0x40])]),
            sequence(&[element(NAME, element(0xa1, "relative"))]),
            point(&[(URI, "http://b/ä"), (URI, "http://b/\n"), (URI, "http://b/My CA+.crl")]),
        ]);
        assert_eq!(urls(&points), ["http://a/1", "ldap://a/2?x?base", "http://b/My CA+.crl"]);
        for end in 0..points.len() {
            assert!(urls(&points[..end]).is_empty(), "{end}");
        }
    }
}
