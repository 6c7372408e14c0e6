//! Where CRLs are published: the URLs of cRLDistributionPoints and freshestCRL (RFC 5280 sections 4.2.1.13, 4.2.1.15 and
//! 5.2.6).
//!
//! Invariant: what cannot be read is left out: these extensions only help to find a CRL, and change nothing that is said of
//! a certificate. It fetches nothing.

use crate::pki::{Certificate, elements::Elements, tag::SEQUENCE};

/// Content bytes of id-ce-freshestCRL, 2.5.29.46.
pub(super) const FRESHEST_CRL: &[u8] = &[0x55, 0x1d, 46];
/// uniformResourceIdentifier of GeneralName.
const URI: u8 = 0x86;
/// distributionPoint of DistributionPoint, and fullName of DistributionPointName.
const NAME: u8 = 0xa0;

/// The URLs where the deltas to the CRLs of this CA are, as its certificate says.
pub fn freshest_crls(certificate: &Certificate) -> Vec<&str> {
    certificate.extension(FRESHEST_CRL).map(urls).unwrap_or_default()
}

/// The URLs in CRLDistributionPoints, DER, in order.
pub(super) fn urls(value: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    let Ok(mut points) = Elements::only(value, SEQUENCE) else { return found };
    while let Ok(point) = points.expect(SEQUENCE) {
        let Ok(Some(name)) = Elements::new(point).optional(NAME) else { continue };
        let Ok(Some(full)) = Elements::new(name).optional(NAME) else { continue };
        let mut names = Elements::new(full);
        while let Ok(name) = names.any() {
            let url = str::from_utf8(name.content).ok().filter(|url| url.bytes().all(|byte| byte.is_ascii_graphic()));
            found.extend(url.filter(|_| name.tag == URI));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::crl::tests::draft::{certificate, element, extension, sequence};

    fn point(names: &[(u8, &str)]) -> Vec<u8> {
        let names: Vec<_> = names.iter().map(|(tag, name)| element(*tag, name)).collect();
        sequence(&[element(NAME, element(NAME, names.concat()))])
    }

    #[test]
    fn the_urls_of_all_points_are_found_and_nothing_else() {
        let points = sequence(&[
            point(&[(0x82, "dns.example"), (URI, "http://a/1"), (URI, "ldap://a/2?x?base")]),
            sequence(&[element(0x81, [0, 0x40])]),
            sequence(&[element(NAME, element(0xa1, "relative"))]),
            point(&[(URI, "http://b/ä"), (URI, "http://b/\n"), (URI, "http://b")]),
        ]);
        assert_eq!(urls(&points), ["http://a/1", "ldap://a/2?x?base", "http://b"]);
        for end in 0..points.len() {
            assert!(urls(&points[..end]).is_empty(), "{end}");
        }
        let ca = certificate("CA", 7, &[extension(46, false, &points)]);
        assert_eq!(freshest_crls(&ca).len(), 3);
        assert!(freshest_crls(&certificate("CA", 7, &[])).is_empty());
    }
}
