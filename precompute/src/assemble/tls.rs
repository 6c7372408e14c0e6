//! A certificate with its key, for TLS of a server. It does not know which server.

use std::{path::Path, sync::Arc};

use crate::{
    config::{At, SecretFile},
    limits,
    pki::{Certificate, UnixTime},
    tls::Certificates,
};

/// Opens the files that `certificate` and `key` of a section name; `None` if a problem was noted, now or before.
pub fn open_pair(at: &At<'_>, certificate: &Path, key: &SecretFile, now: UnixTime) -> Option<Arc<Certificates>> {
    if [certificate, &key.path].iter().any(|path| path.as_os_str().is_empty()) {
        return None;
    }
    let key = at.noted("key", key.find_now())?;
    match Certificates::open(certificate, &key) {
        Ok(certificates) => {
            tell_of_validity(at, &certificates, now);
            Some(certificates)
        }
        Err(error) => {
            at.problem(if error.of_key { "key" } else { "certificate" }, error);
            None
        }
    }
}

/// Warns about its validity. It is served all the same: a new one is taken from the same files while the service runs.
fn tell_of_validity(at: &At<'_>, certificates: &Certificates, now: UnixTime) {
    let Some(certificate) = certificates.certificate().and_then(|der| Certificate::from_der(&der).ok()) else { return };
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    let problem = if now < not_before {
        format!("is valid only from {not_before} on; check this machine's clock")
    } else if not_after <= now {
        format!("expired at {not_after}; renew it")
    } else if not_after.since(now) < limits::TLS_ENDS_SOON {
        format!("expires soon, at {not_after}; renew it")
    } else {
        return;
    };
    at.warning(
        "certificate",
        format_args!(
            "{problem}: clients refuse the connection; a new pair in the same files is used without a restart"
        ),
    );
}
