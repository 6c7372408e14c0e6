//! Which certificates a CRL covers: issuingDistributionPoint, RFC 5280 section 5.2.5.
//!
//! Invariant: a field that narrows the CRL is never lost, since the absence of a certificate means something only if the
//! CRL covers it. It does not know entries.

use std::fmt;

use super::extension::boolean;
use crate::pki::{
    elements::{Elements, Named},
    tag::SEQUENCE,
};

/// Fields of issuingDistributionPoint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Coverage {
    /// Only certificates that name its distribution point, which may be one of several shards.
    pub distribution_point: bool,
    /// End-entity certificates only.
    pub only_contains_user_certs: bool,
    /// CA certificates only.
    pub only_contains_ca_certs: bool,
    /// Certificates that were revoked for some reasons only. What it lists is revoked; another one may be as well.
    pub only_some_reasons: bool,
    /// Also certificates of other CAs. Each entry says whose it is.
    pub indirect_crl: bool,
    /// Attribute certificates only, of which nobody asks here.
    pub only_contains_attribute_certs: bool,
}

impl Coverage {
    /// All certificates of the issuer, revoked for whatever reason.
    pub fn is_complete(self) -> bool {
        self == Self { indirect_crl: self.indirect_crl, ..Self::default() }
    }

    /// Reads the value of issuingDistributionPoint.
    pub(super) fn read(value: &[u8]) -> Result<Self, String> {
        const WHAT: &str = "issuingDistributionPoint";
        let mut fields = Elements::only(value, SEQUENCE).named(WHAT)?;
        let mut coverage = Self::default();
        let mut last = None;
        while !fields.is_finished() {
            let field = fields.any().named(WHAT)?;
            let number = field.tag & 0x1f;
            if last.replace(number) >= Some(number) {
                return Err(format!("{WHAT}: its fields are out of order"));
            }
            match field.tag {
                0xa0 => coverage.distribution_point = true,
                0x81 => coverage.only_contains_user_certs = boolean(field.content, WHAT)?,
                0x82 => coverage.only_contains_ca_certs = boolean(field.content, WHAT)?,
                0x83 => coverage.only_some_reasons = true,
                0x84 => coverage.indirect_crl = boolean(field.content, WHAT)?,
                0x85 => coverage.only_contains_attribute_certs = boolean(field.content, WHAT)?,
                tag => return Err(format!("{WHAT}: has the unknown field {tag:#04x}")),
            }
        }
        let only = [
            coverage.only_contains_user_certs,
            coverage.only_contains_ca_certs,
            coverage.only_contains_attribute_certs,
        ];
        if only.into_iter().filter(|only| *only).count() > 1 {
            return Err(format!(
                "{WHAT}: onlyContainsUserCerts, onlyContainsCACerts and onlyContainsAttributeCerts exclude each other"
            ));
        }
        Ok(coverage)
    }
}

/// The fields that are set, in RFC 5280's words.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            (self.distribution_point, "distributionPoint"),
            (self.only_contains_user_certs, "onlyContainsUserCerts"),
            (self.only_contains_ca_certs, "onlyContainsCACerts"),
            (self.only_some_reasons, "onlySomeReasons"),
            (self.indirect_crl, "indirectCRL"),
            (self.only_contains_attribute_certs, "onlyContainsAttributeCerts"),
        ];
        f.write_str("issuingDistributionPoint")?;
        fields.iter().filter(|(set, _)| *set).try_for_each(|(_, field)| write!(f, " {field}"))
    }
}
