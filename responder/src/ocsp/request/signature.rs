//! The signature of a request, RFC 6960 section 4.1.2.
//!
//! Most requests have none, and a policy that requires none ignores it. So it is only parsed here, for its verifier. It
//! does not know whom to trust.

use precompute::pki::{
    elements::{Elements, algorithm_identifier},
    tag,
};

use super::{DecodeError, Result};

/// A signature, and the bytes it covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestSignature<'a> {
    /// The signed bytes: tbsRequest, with its header.
    pub tbs: &'a [u8],
    /// The whole AlgorithmIdentifier, DER.
    pub algorithm: &'a [u8],
    /// The bytes of the BIT STRING.
    pub bits: &'a [u8],
    /// Certificate elements; often none.
    pub certs: &'a [u8],
    /// The name of the alleged signer: a GeneralName, DER.
    pub requestor_name: Option<&'a [u8]>,
}

impl<'a> RequestSignature<'a> {
    /// The signature of a request that has been decoded.
    pub(super) fn of_request(der: &'a [u8]) -> Result<Option<Self>> {
        let mut outer = Elements::only(der, tag::SEQUENCE)?;
        let tbs = outer.whole()?;
        let Some(signature) = outer.optional(tag::explicit(0))? else { return Ok(None) };

        let mut reader = Elements::only(signature, tag::SEQUENCE)?;
        let algorithm = reader.whole()?;
        algorithm_identifier(Elements::new(algorithm).expect(tag::SEQUENCE)?)?;
        // Signatures are bytes: no bit of the last one is unused.
        let [0, bits @ ..] = reader.expect(tag::BIT_STRING)? else { return Err(DecodeError::Malformed) };
        let certs = match reader.optional(tag::explicit(0))? {
            Some(certs) => Elements::only(certs, tag::SEQUENCE)?.rest(),
            None => &[],
        };
        reader.finish()?;
        let mut rest = Elements::new(certs);
        while !rest.is_finished() {
            rest.expect(tag::SEQUENCE)?;
        }

        let mut fields = Elements::only(tbs, tag::SEQUENCE)?;
        fields.optional(tag::explicit(0))?; // version
        let requestor_name = fields.optional(tag::explicit(1))?;
        if let Some(name) = requestor_name {
            let mut reader = Elements::new(name);
            reader.whole()?;
            reader.finish()?;
        }
        Ok(Some(Self { tbs, algorithm, bits, certs, requestor_name }))
    }
}
