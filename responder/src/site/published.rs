//! The published documents of a tenant, by the end of their paths: `/<name>.crl`, `.cer` and `.p7c`.
//!
//! Invariant: only what ends like that is looked up here. Base64 has no dot, so that no OCSP request in a path does. It
//! does not know HTTP.

use std::sync::Arc;

use precompute::{
    pki::hex,
    publication::{CaCertificates, Document, Published},
};

use super::Issuer;

/// What a tenant publishes.
#[derive(Debug, Default)]
pub struct PublishedNames(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    crls: bool,
    ca: Option<CaCertificates>,
    issuer: Arc<Issuer>,
}

/// What a path names.
#[derive(Clone, Copy, Debug)]
pub enum PublishedTarget<'s, 'b> {
    /// One of the CRLs of an issuer.
    Crl {
        /// The issuer.
        issuer: &'s Arc<Issuer>,
        /// Which one, as the path has it; see [`is_suffix`].
        suffix: &'b [u8],
    },
    /// The certificate of an issuer.
    Certificate {
        /// The issuer.
        issuer: &'s Arc<Issuer>,
        /// Its certificate.
        document: &'s Document,
    },
    /// All certificates in the file of an issuer.
    Bundle {
        /// The issuer.
        issuer: &'s Arc<Issuer>,
        /// The certificates.
        document: &'s Document,
    },
    /// Nothing, at a path where something could be published.
    Nothing,
}

impl PublishedNames {
    /// What the configuration publishes of each of these issuers.
    pub fn new<'p>(published: impl Iterator<Item = (&'p Published, Arc<Issuer>)>) -> Self {
        let entry = |(published, issuer): (&Published, _)| {
            let Published { name, crls, ca } = published.clone();
            Entry { name, crls, ca, issuer }
        };
        let mut entries: Vec<_> = published.map(entry).collect();
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Self(entries)
    }

    /// What is at `rest`, the path after the tenant's path; `None` if nothing can be published at such a path.
    #[inline]
    pub fn at<'s, 'b>(&'s self, rest: &'b [u8]) -> Option<PublishedTarget<'s, 'b>> {
        let (stem, extension) = rest.split_last_chunk::<4>()?;
        if extension[0] != b'.' || self.0.is_empty() {
            return None;
        }
        self.named(stem.strip_prefix(b"/")?, extension)
    }

    fn named<'s, 'b>(&'s self, stem: &'b [u8], extension: &[u8; 4]) -> Option<PublishedTarget<'s, 'b>> {
        if !matches!(extension, b".crl" | b".cer" | b".p7c") {
            return None;
        }
        let is_of_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let (name, suffix) = stem.split_at(stem.iter().position(|b| !is_of_name(b)).unwrap_or(stem.len()));
        let Ok(place) = self.0.binary_search_by(|entry| entry.name.as_bytes().cmp(name)) else {
            return Some(PublishedTarget::Nothing);
        };
        let Entry { crls, ca, issuer, .. } = &self.0[place];
        Some(match (extension, ca) {
            (b".crl", _) if *crls => PublishedTarget::Crl { issuer, suffix },
            (b".cer", Some(ca)) if suffix.is_empty() => {
                PublishedTarget::Certificate { issuer, document: &ca.certificate }
            }
            (b".p7c", Some(ca)) if suffix.is_empty() => PublishedTarget::Bundle { issuer, document: &ca.bundle },
            _ => PublishedTarget::Nothing,
        })
    }

    /// The file names of everything that is published whatever the sources say.
    pub fn files(published: &Published) -> impl Iterator<Item = String> {
        let Published { name, crls, ca } = published;
        let extensions = [(".crl", *crls), (".cer", ca.is_some()), (".p7c", ca.is_some())];
        extensions.into_iter().filter(|(_, is)| *is).map(move |(extension, _)| format!("{name}{extension}"))
    }
}

/// Whether what a path has is this suffix. Clients write the `+` and the `~` as they are, or escape them.
pub fn is_suffix(mut written: &[u8], suffix: &str) -> bool {
    for wanted in suffix.bytes() {
        written = match written {
            [b'%', high, low, rest @ ..] if hex::byte(*high, *low) == Some(wanted) => rest,
            [byte, rest @ ..] if *byte == wanted && wanted != b'%' => rest,
            _ => return false,
        };
    }
    written.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_may_be_escaped_and_has_to_be_whole() {
        for (written, suffix, is) in [
            ("", "", true),
            ("+", "+", true),
            ("%2B", "+", true),
            ("%2b", "+", true),
            ("%252B", "+", false),
            ("%2", "+", false),
            ("++", "+", false),
            ("+", "", false),
            ("", "+", false),
            ("~7%2B", "~7+", true),
            ("%7E7+", "~7+", true),
            (" ", "+", false),
            ("~8", "~7", false),
        ] {
            assert_eq!(is_suffix(written.as_bytes(), suffix), is, "{written} {suffix}");
        }
    }
}
