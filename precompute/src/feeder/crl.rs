//! Whether what came is the CRL that was asked for.
//!
//! Invariant: a CRL counts only if the issuer has signed it, it is not of the future, and it is not older than, or of
//! another kind than the one before; anything else changes nothing. It does not know where the bytes are from.

use super::origin::{CrlFacts, Facts, Validators};
use crate::{
    pki::{Certificate, UnixTime},
    source::Crl,
};

/// Looks at what came. `last`: the one before. The error completes what says where it is from.
pub(super) fn judge(
    content: Vec<u8>,
    issuer: &Certificate,
    last: Option<&CrlFacts>,
    validators: Validators,
    now: UnixTime,
) -> Result<Facts, String> {
    let crl = Crl::from_octets(content, issuer)?;
    crl.mark().is_past(now)?;
    let facts = CrlFacts::new(crl.mark(), crl.is_delta());
    if let Some(last) = last {
        if last.is_delta != facts.is_delta {
            let kind = |is_delta| if is_delta { "a delta CRL" } else { "a complete CRL" };
            return Err(format!("is {}, and the one before was {}", kind(facts.is_delta), kind(last.is_delta)));
        }
        crl.mark().follows(Some(&last.mark()))?;
    }
    let header = crl.header();
    Ok(Facts {
        validators,
        this_update: Some(header.this_update.0),
        next_update: header.next_update.map(|next| next.0),
        crl: Some(facts),
        sql: None,
    })
}
