//! Every decision about a query for a time-stamp, before its time is looked at.
//!
//! Purpose: from the DER of a query to who answers it and with what: a rejection, or a token that has to be signed, here or
//! elsewhere. Invariant: a query that is not in order costs no signature, no serial number and no look at the clock, and
//! waits for nobody. What a token then says is [`Authority::prepare`]'s. It does no I/O, reads no clock, and does not know
//! HTTP.

use std::sync::Arc;

use super::{
    authority::{Authority, Checked},
    failure::{Failure, Rejection},
    request::Request,
};

/// What a query at one path is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Who is asked there, in the order of the file; at least one.
    pub authorities: &'a [Arc<Authority>],
    /// Whether the client may be kept waiting: whether nothing stands in the output that the wait would keep.
    pub may_wait: bool,
}

/// What is done with a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision<'d> {
    /// There is no token, for this reason.
    Reject(Rejection),
    /// A token is made.
    Grant {
        /// What is asked for.
        request: Request<'d>,
        /// How it is.
        checked: Checked,
        /// Who makes its signature.
        signed: Signed,
    },
    /// A token is made elsewhere, which takes too long for those in the output: they leave first, and the query is decided
    /// anew then.
    OutputFirst,
}

/// Where a token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signed {
    /// On this thread, which has turns for it.
    Here,
    /// On the signer's pool.
    Elsewhere,
}

impl<'a> Exchange<'a> {
    /// Decides what is done with a query, and by which authority: the one that serves the requested policy, else the first.
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
