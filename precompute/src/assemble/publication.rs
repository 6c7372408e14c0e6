//! What is published of an issuer: its name in paths, and the CA's certificates as documents. It does not know CRLs, which
//! come from the sources later.

use std::sync::Arc;

use super::AssembledIssuer;
use crate::{
    config::{At, Publish},
    pki::{Certificate, certs_only},
    publication::{CaCertificates, Document, Published, fit},
};

/// What is published of an issuer, which has no name yet. `chain`: its file, the CA's certificate first.
pub(super) fn of(publish: Publish, chain: &[Certificate]) -> Option<Published> {
    let Publish { crls, ca } = publish;
    let ca = chain.first().filter(|_| ca).map(|own| {
        let certificate = Document::new(own.der().to_vec()).modified_at(own.not_before());
        // The date does not change when a certificate is left out.
        let newest = chain.iter().map(Certificate::not_before).max();
        let bundle = Document { modified: newest, ..Document::new(certs_only(chain)) };
        CaCertificates { certificate: Arc::new(certificate), bundle: Arc::new(bundle) }
    });
    (crls || ca.is_some()).then(|| Published { name: String::new(), crls, ca })
}

/// Names what is published of a tenant's issuers. Two that would have one name are a problem, and so is none.
pub(super) fn name(at: &At<'_>, issuers: &mut [AssembledIssuer]) {
    let mut taken: Vec<(String, String)> = Vec::new();
    for issuer in issuers {
        let Some(published) = &mut issuer.published else { continue };
        let (name, path) = (&issuer.name, fit(&issuer.name));
        if path.is_empty() {
            let problem = format_args!(
                "cannot publish anything of `{name}`: its name has no letter or digit that a path may have; give the issuer a `name`"
            );
            at.problem("publish", problem);
        } else if let Some((_, other)) = taken.iter().find(|(taken, _)| *taken == path) {
            let problem =
                format_args!("would serve `{other}` and `{name}` both as `{path}`; give one of them another `name`");
            at.problem("publish", problem);
        }
        taken.push((path.clone(), name.clone()));
        published.name = path;
    }
}
