//! Every decision about a time-stamp query before the clock is read.
//!
//! Purpose: decides from the DER of a query which authority answers it and how: with a rejection, or with a token that
//! is signed on this thread or elsewhere. Invariant: a refused query costs no signature, no serial number, no look at
//! the clock, and no wait. [`Authority::prepare`] then fills the token. It does no I/O, reads no clock, and does not
//! know HTTP.

use std::sync::Arc;

use super::{
    authority::{Authority, Checked},
    failure::{Failure, Rejection},
    request::Request,
};

/// The inputs of a decision about a query at one path.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The authorities at that path, in the order of the file; at least one.
    pub authorities: &'a [Arc<Authority>],
    /// Whether the client may have to wait: true if the output contains no responses that would wait, too.
    pub may_wait: bool,
}

/// The decision about a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision<'d> {
    /// Reject it for this reason.
    Reject(Rejection),
    /// Make a token.
    Grant {
        /// The query.
        request: Request<'d>,
        /// The result of the checks.
        checked: Checked,
        /// Where it is signed.
        signed: Signed,
    },
    /// A token has to be signed elsewhere, which takes too long for the responses in the output: they are sent first,
    /// and then the query is decided again.
    OutputFirst,
}

/// Where a token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signed {
    /// On this thread, in one of its turns.
    Here,
    /// On the signer's pool.
    Elsewhere,
}

impl<'a> Exchange<'a> {
    /// Decides a query, and which authority answers: the one that serves the requested policy, else the first.
    pub fn decide<'d>(&self, der: &'d [u8]) -> (Option<&'a Arc<Authority>>, Decision<'d>) {
        let mut by = self.authorities.first();
        let decision = self.decision(der, &mut by);
        (by, decision.unwrap_or_else(|failure| Decision::Reject(failure.into())))
    }

    fn decision<'d>(&self, der: &'d [u8], by: &mut Option<&'a Arc<Authority>>) -> Result<Decision<'d>, Failure> {
        let request = Request::decode(der)?;
        request.check_version()?;
        if let Some(policy) = request.policy
            && let Some(serving) = self.authorities.iter().find(|authority| authority.serves(policy))
        {
            *by = Some(serving);
        }
        let authority = by.ok_or(Failure::SystemFailure)?;
        let checked = authority.check(&request)?;
        let signed = if authority.signer.signing().signs_here() { Signed::Here } else { Signed::Elsewhere };
        if signed == Signed::Elsewhere && !self.may_wait {
            return Ok(Decision::OutputFirst);
        }
        Ok(Decision::Grant { request, checked, signed })
    }
}

#[cfg(test)]
mod tests;
