//! Preferred signature algorithms, RFC 6960 section 4.4.7: how a client prefers answers to be signed. It does not know
//! signers.

use std::fmt;

use precompute::{
    pki::{
        elements::{Elements, algorithm_identifier},
        tag,
    },
    sign::Algorithm,
};

use super::Result;

/// PreferredSignatureAlgorithms, in a client's order; empty if it states none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PreferredAlgorithms<'a> {
    /// Elements PreferredSignatureAlgorithm, checked.
    content: &'a [u8],
}

impl<'a> PreferredAlgorithms<'a> {
    /// No preferences.
    pub const NONE: Self = Self { content: &[] };

    /// Decodes the extension's value.
    pub(super) fn decode(value: &'a [u8]) -> Result<Self> {
        let content = Elements::only(value, tag::SEQUENCE)?.rest();
        let mut rest = content;
        while !rest.is_empty() {
            rest = first(rest)?.1;
        }
        Ok(Self { content })
    }

    /// The known algorithms among them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Algorithm> + Clone + use<'a> {
        let mut rest = self.content;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let (algorithm, left) = first(rest).ok()?;
                rest = left;
                if algorithm.is_some() {
                    return algorithm;
                }
            }
            None
        })
    }
}

impl fmt::Debug for PreferredAlgorithms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The algorithm of the first PreferredSignatureAlgorithm in a list, and the bytes after it.
fn first(list: &[u8]) -> Result<(Option<Algorithm>, &[u8])> {
    let mut reader = Elements::new(list);
    let mut preferred = Elements::new(reader.expect(tag::SEQUENCE)?);
    let (oid, parameters) = algorithm_identifier(preferred.expect(tag::SEQUENCE)?)?;
    let mut algorithm = Algorithm::identified(oid, parameters);
    if !preferred.is_finished() {
        // certIdentifier: the signer's key has to be of this kind.
        let (oid, parameters) = algorithm_identifier(preferred.expect(tag::SEQUENCE)?)?;
        algorithm = algorithm.filter(|algorithm| algorithm.is_of_key(oid, parameters));
    }
    preferred.finish()?;
    Ok((algorithm, reader.rest()))
}
