//! When each certificate in use ends. It does not know what follows from that.

use std::{fmt, sync::Arc};

use prometheus_client::encoding::DescriptorEncoder;

use super::{
    Part, Status,
    encode::{Labels, gauges},
    gate::Gate,
};
use crate::{
    assemble::AssembledTls,
    pki::{Certificate, hex},
    service::Tenants,
};

/// Those of the issuers, and that of the admin listener.
pub fn certificates(status: &Arc<Status>, gate: &Arc<Gate>) -> Part {
    let (status, gate) = (Arc::clone(status), Arc::clone(gate));
    Box::new(move |encoder| {
        let mut ends = Ends::of_issuers(&status.tenants());
        ends.add_admin(&gate);
        ends.encode(encoder)
    })
}

/// The ends of certificates, each with what it is for.
#[derive(Default, Debug)]
pub struct Ends(Vec<(Labels, u64)>);

/// Whose a certificate is; what does not apply is empty.
#[derive(Clone, Copy, Default, Debug)]
pub struct Whose<'w> {
    /// The tenant's name.
    pub tenant: &'w str,
    /// The issuer's.
    pub issuer: &'w str,
    /// The authority's.
    pub tsa: &'w str,
}

impl Ends {
    /// The certificates of the issuers themselves, and those of their signers.
    pub fn of_issuers(tenants: &Tenants) -> Self {
        let mut ends = Self::default();
        for (tenant, issuer) in tenants.issuers() {
            let whose = Whose { tenant, issuer: &issuer.name, tsa: "" };
            ends.add(whose, "ca", &issuer.certificate);
            for signer in issuer.signers.all() {
                // It was read before.
                if let Ok(certificate) = Certificate::from_der(signer.certificate_der()) {
                    ends.add(whose, "signer", &certificate);
                }
            }
        }
        ends
    }

    /// Adds that of the admin listener, if it speaks TLS.
    pub fn add_admin(&mut self, gate: &Gate) {
        if let Some(certificate) = gate.settings().tls.as_ref().and_then(AssembledTls::certificate) {
            self.add(Whose::default(), "admin", &certificate);
        }
    }

    /// Adds a certificate; `role`: what it is there.
    pub fn add(&mut self, whose: Whose<'_>, role: &str, certificate: &Certificate) {
        let Whose { tenant, issuer, tsa } = whose;
        let serial = hex::text(certificate.serial_content()).to_ascii_uppercase();
        let labels = [("tenant", tenant), ("issuer", issuer), ("tsa", tsa), ("role", role), ("serial", &serial)];
        let labels: Labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
        self.note(labels, certificate.not_after().0);
    }

    /// No series may be there twice, or nothing is scraped at all: the same certificate in the same place counts once, and
    /// of two CAs that have used one serial number the one that ends first.
    fn note(&mut self, labels: Labels, end: u64) {
        match self.0.iter_mut().find(|(other, _)| *other == labels) {
            Some((_, noted)) => *noted = end.min(*noted),
            None => self.0.push((labels, end)),
        }
    }

    /// The metric of all of them.
    pub fn encode(self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauges(encoder, "certificate_not_after_seconds", "End of a certificate in use, Unix time", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_series_is_there_twice_and_the_first_end_counts() {
        let mut ends = Ends::default();
        let labels = |serial: &str| vec![("serial", serial.to_owned())];
        for (serial, end) in [("01", 30), ("02", 50), ("01", 20), ("01", 40)] {
            ends.note(labels(serial), end);
        }
        assert_eq!(ends.0, [(labels("01"), 20), (labels("02"), 50)]);
    }
}
