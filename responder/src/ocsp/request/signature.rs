//! The signature of a request, RFC 6960 section 4.1.2.
//!
//! Most requests have none, and where none is asked for nobody looks at it; so it is taken apart
//! only here, for those who verify it.

use der::{Reader as _, SliceReader, Tag};

use super::{DecodeError, Result};
use crate::elements::{algorithm_identifier, expect, finish, only, optional, whole};

/// A signature, and what it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestSignature<'a> {
    /// What is signed: tbsRequest, with its header.
    pub tbs: &'a [u8],
    /// The whole AlgorithmIdentifier, DER.
    pub algorithm: &'a [u8],
    /// The octets of the BIT STRING.
    pub bits: &'a [u8],
    /// Elements Certificate; often none.
    pub certs: &'a [u8],
    /// Who says to have signed: a GeneralName, DER.
    pub requestor_name: Option<&'a [u8]>,
}

impl<'a> RequestSignature<'a> {
    /// The signature of a request that has been decoded.
    pub(super) fn of_request(der: &'a [u8]) -> Result<Option<Self>> {
        let mut outer = only(der, Tag::Sequence)?;
        let tbs = whole(&mut outer)?;
        let Some(signature) = optional(&mut outer, 0)? else { return Ok(None) };

        let mut reader = only(signature, Tag::Sequence)?;
        let algorithm = whole(&mut reader)?;
        algorithm_identifier(expect(&mut SliceReader::new(algorithm)?, Tag::Sequence)?)?;
        // Signatures are octets: no bit of the last one is unused.
        let [0, bits @ ..] = expect(&mut reader, Tag::BitString)? else { return Err(DecodeError::Malformed) };
        let certs = match optional(&mut reader, 0)? {
            Some(certs) => {
                let mut list = only(certs, Tag::Sequence)?;
                let length = list.remaining_len();
                list.read_slice(length)?
            }
            None => &[],
        };
        finish(&reader)?;
        let mut rest = SliceReader::new(certs)?;
        while !rest.is_finished() {
            expect(&mut rest, Tag::Sequence)?;
        }

        let mut fields = only(tbs, Tag::Sequence)?;
        optional(&mut fields, 0)?; // version
        let requestor_name = optional(&mut fields, 1)?;
        if let Some(name) = requestor_name {
            let mut reader = SliceReader::new(name)?;
            whole(&mut reader)?;
            finish(&reader)?;
        }
        Ok(Some(Self { tbs, algorithm, bits, certs, requestor_name }))
    }
}
