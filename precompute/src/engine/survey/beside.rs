//! Certificates that lie beside an index: whose are they?
//!
//! `openssl ca` keeps each certificate in `newcerts`, easy-rsa in `certs_by_serial`, named by its serial number. A sample of
//! them tells another CA's index apart, also where the right one is named as well. Invariant: what is not there or cannot be
//! read says nothing. It does not know what else looks doubtful.

use std::path::Path;

use super::at;
use crate::{
    config::ListingFile,
    limits,
    pki::{self, Certificate, Serial, is_same_name},
    source::Form,
};

/// Directories beside an index, and the end of the names in them.
const KEPT: [&str; 2] = ["newcerts", "certs_by_serial"];

/// What looks unintended about a listing by what lies beside it. `serials`: what the listings list.
pub(super) fn doubt<'s>(
    listing: &ListingFile,
    issuer: &Certificate,
    serials: impl ExactSizeIterator<Item = &'s Serial>,
) -> Option<String> {
    let directory = listing.path.parent().filter(|_| listing.form == Form::Database)?;
    let kept: Vec<_> = KEPT.map(|name| directory.join(name)).into_iter().filter(|kept| kept.is_dir()).collect();
    let step = serials.len().div_ceil(limits::CERTIFICATES_SAMPLED).max(1);
    let mut sample = serials.step_by(step).flat_map(|serial| kept.iter().map(move |kept| (serial, kept)));
    sample.find_map(|(serial, kept)| {
        let path = kept.join(format!("{serial}.pem"));
        let other = of_another(&path, issuer)?;
        let text = format_args!(
            "lists {serial}, and {} was issued by `{other}`: the file is another CA's, or this CA has been renamed; name this CA's database",
            path.display()
        );
        Some(at(&format!("{}: `index`", listing.path.display()), text))
    })
}

/// Who has issued the certificate in a file, if that is another CA.
fn of_another(path: &Path, issuer: &Certificate) -> Option<String> {
    let certificate = pki::certificates(path).ok()?.into_iter().next()?;
    (!is_same_name(certificate.issuer_der(), issuer.subject_der())).then(|| certificate.issuer())
}
