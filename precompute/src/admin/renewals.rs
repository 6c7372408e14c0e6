//! Metrics of signers that are renewed. It does not know how.

use std::sync::Arc;

use super::{
    Part, Status,
    encode::{Labels, counters, gauges},
};
use crate::{pki::UnixTime, renew::Report};

/// How their renewals fare; nothing where no signer is renewed.
pub fn renewals(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| {
        let (reports, now) = (status.renewals(), UnixTime::now());
        if reports.is_empty() {
            return Ok(());
        }
        let each = |read: &dyn Fn(&Report) -> u64| {
            reports.iter().map(|report| (labels(report), read(report))).collect::<Vec<_>>()
        };
        let help = "When the renewal of the signer's certificate begins, Unix time";
        gauges(encoder, "signer_renewal_begins_seconds", help, each(&|report| report.begins.0))?;
        let help = "Whether the renewal of the signer's certificate has begun, and there is no new one yet";
        gauges(encoder, "signer_renewal_due", help, each(&|report| report.is_due(now).into()))?;
        let help = "Whether more than half of the time for the renewal is over without a new certificate";
        gauges(encoder, "signer_renewal_late", help, each(&|report| report.complaint(now).is_some().into()))?;
        counters(encoder, "signer_renewals", "Renewed certificates that were taken", each(&|report| report.renewed))?;
        counters(encoder, "signer_renewal_failures", "Failed renewals of certificates", each(&|report| report.failures))
    })
}

/// Like those of the signers themselves.
fn labels(report: &Report) -> Labels {
    let (issuer, tsa) = if report.is_tsa { (String::new(), &*report.name) } else { (report.name.clone(), "") };
    vec![("tenant", report.tenant.clone()), ("issuer", issuer), ("tsa", tsa.to_owned())]
}
