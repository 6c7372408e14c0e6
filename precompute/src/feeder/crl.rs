//! Whether what came is the CRL that was asked for.
//!
//! Invariant: a CRL counts only if the issuer has signed it, it is not of the future, and it is not older than, or of
//! another kind or another part of the certificates than the one before; anything else changes nothing. It does not know where the bytes are from.

use super::origin::{CrlFacts, Facts, Validators};
use crate::{
    limits::fetch as limits,
    pki::UnixTime,
    source::{CrlFile, CrlIssuers},
};

/// Looks at what came. `last`: the one before; `delta_of`: the complete CRL, if a delta is wanted. The error completes what says where it is from.
pub(super) fn judge(
    content: Vec<u8>,
    issuers: &CrlIssuers<'_>,
    last: Option<&CrlFacts>,
    delta_of: Option<&CrlFacts>,
    validators: Validators,
    now: UnixTime,
) -> Result<Facts, String> {
    let crls = CrlFile::from_octets(content, issuers)?.crls;
    crls.iter().try_for_each(|crl| crl.mark().is_past(now))?;
    // Of several in one file the first stands for all.
    let crl = crls.first().ok_or("holds no CRL")?;
    let facts = CrlFacts::of(crl);
    if let Some(of) = delta_of {
        if !facts.is_delta {
            return Err("is a complete CRL, and the one that names it says that it is a delta".to_owned());
        }
        if facts.part != of.part {
            return Err("is a delta to another part of the certificates (issuingDistributionPoint)".to_owned());
        }
    }
    if let Some(last) = last {
        if last.is_delta != facts.is_delta {
            let kind = |is_delta| if is_delta { "a delta CRL" } else { "a complete CRL" };
            return Err(format!("is {}, and the one before was {}", kind(facts.is_delta), kind(last.is_delta)));
        }
        // One shard in the place of another would leave that one's certificates to nobody.
        if last.part.is_some() && last.part != facts.part {
            return Err("is of another part of the certificates (issuingDistributionPoint) than the CRL taken before"
                .to_owned());
        }
        crl.mark().follows(Some(&last.mark()))?;
    }
    let header = crl.header();
    Ok(Facts {
        validators,
        this_update: Some(header.this_update.0),
        next_update: crls.iter().filter_map(|crl| crl.header().next_update).min().map(|next| next.0),
        freshest: Some(crl.freshest().take(limits::FRESHEST_MAX).map(str::to_owned).collect()),
        crl: Some(facts),
        ..Facts::default()
    })
}
