//! What is published of an issuer beside its answers. It does not know paths, or what a CRL says.

use super::{Section, issuer::Sources};

/// What is published of an issuer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Publish {
    /// The CRLs that it follows.
    pub crls: bool,
    /// The CA's certificates.
    pub ca: bool,
}

/// Reads `publish`. `has_feed`: whether the records come from a feed, or go into one.
pub(super) fn read(section: &mut Section<'_>, sources: &Sources, has_feed: bool) -> Publish {
    const KEY: &str = "publish";
    let mut publish = Publish::default();
    let Some(named) = section.strings(KEY) else { return publish };
    if named.is_empty() {
        section.problem(KEY, "is empty; name some of `crl`, `ca`, or remove it");
    }
    for name in &named {
        let is_named = match name.as_str() {
            "crl" => &mut publish.crls,
            "ca" => &mut publish.ca,
            _ => {
                section.problem(KEY, format_args!("names `{name}`; expected some of `crl`, `ca`"));
                continue;
            }
        };
        if std::mem::replace(is_named, true) {
            section.problem(KEY, format_args!("names `{name}` twice; remove one"));
        }
    }
    if publish.crls && has_feed {
        section.problem(
            KEY,
            "names `crl`, and a feed carries what CRLs say but no CRLs; publish `ca` alone here, and the CRLs with an `ostia-responder` without `[feed]` that reads them",
        );
    } else if publish.crls && !sources.has_crls() {
        section.problem(KEY, "names `crl`, and there is no CRL to publish; add `crl`, or name `ca` alone");
    }
    publish
}
