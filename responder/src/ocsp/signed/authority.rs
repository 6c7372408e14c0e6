//! What a certificate's extensions allow its key to do, RFC 5280 section 4.2.1. It does not know paths.

use precompute::pki::{
    Certificate,
    elements::{Elements, checked_integer},
    tag,
};

use crate::ocsp::request::{
    DecodeError,
    extensions::{Extension, each_extension},
};

/// id-ce-keyUsage, 2.5.29.15
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// id-ce-basicConstraints, 2.5.29.19
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// Extensions that may be critical because nothing here depends on them: id-ce-subjectAltName,
/// id-ce-certificatePolicies (every policy is acceptable) and id-ce-extKeyUsage. nameConstraints and policyConstraints
/// are not among them.
const WITHOUT_BEARING: [&[u8]; 3] = [&[0x55, 0x1d, 0x11], &[0x55, 0x1d, 0x20], &[0x55, 0x1d, 0x25]];

/// What a certificate allows its key to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Authority {
    /// digitalSignature, or no keyUsage.
    pub(super) may_sign: bool,
    /// cA, and keyCertSign or no keyUsage.
    pub(super) may_issue: bool,
    /// pathLenConstraint.
    pub(super) path_length: Option<usize>,
}

impl Authority {
    /// Reads the extensions; the error says why the certificate cannot be used at all.
    pub(super) fn of(certificate: &Certificate) -> Result<Self, &'static str> {
        let mut found = Found { usage: None, ca: false, path_length: None, unknown: false };
        found.read(certificate.der()).map_err(|_| "has extensions that are malformed, or one twice")?;
        if found.unknown {
            return Err("has a critical extension that is not supported");
        }
        let usage_has = |bit: u8| found.usage.is_none_or(|usage| usage & (0x80 >> bit) != 0);
        Ok(Self { may_sign: usage_has(0), may_issue: found.ca && usage_has(5), path_length: found.path_length })
    }
}

/// The extensions found so far.
struct Found {
    /// The first byte of keyUsage's BIT STRING.
    usage: Option<u8>,
    ca: bool,
    path_length: Option<usize>,
    /// Whether one is critical, and unknown here.
    unknown: bool,
}

impl Found {
    fn read(&mut self, certificate: &[u8]) -> Result<(), DecodeError> {
        let tbs = Elements::only(certificate, tag::SEQUENCE)?.expect(tag::SEQUENCE)?;
        let mut fields = Elements::new(tbs);
        while !fields.is_finished() {
            match fields.optional(tag::explicit(3))? {
                Some(extensions) => each_extension(extensions, |extension| self.take(&extension))?,
                None => drop(fields.whole()?),
            }
        }
        Ok(())
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), DecodeError> {
        match extension.oid {
            KEY_USAGE => {
                let mut reader = Elements::new(extension.value);
                let bits = reader.expect(tag::BIT_STRING)?;
                reader.finish()?;
                // After the count of unused bits; without bits nothing is allowed.
                self.usage = Some(bits.get(1).copied().unwrap_or(0));
            }
            BASIC_CONSTRAINTS => {
                let mut fields = Elements::only(extension.value, tag::SEQUENCE)?;
                if let Some(ca) = fields.optional(tag::BOOLEAN)? {
                    self.ca = ca == [0xff];
                }
                if !fields.is_finished() {
                    self.path_length = match checked_integer(fields.expect(tag::INTEGER)?)? {
                        [0x80..=0xff, ..] => return Err(DecodeError::Malformed),
                        [most] => Some(usize::from(*most)),
                        // Longer than any path.
                        _ => None,
                    };
                }
                fields.finish()?;
            }
            oid => self.unknown |= extension.critical && !WITHOUT_BEARING.contains(&oid),
        }
        Ok(())
    }
}
