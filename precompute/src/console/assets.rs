//! The files that pages name: style, script, icon.
//!
//! Invariant: each is the one that this program was built with, whatever a browser has kept: its path has its hash, and an
//! ETag says the same where somebody asks again.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};

use crate::pki::hex;

/// A file.
pub(super) struct Asset {
    /// The last segment of its path.
    name: &'static str,
    pub(super) media_type: &'static str,
    pub(super) content: &'static str,
    /// Of the content, shortened.
    hash: LazyLock<String>,
}

pub(super) static STYLE: Asset =
    asset("console.css", "text/css; charset=utf-8", include_str!("assets/console.css"), || of(&STYLE));
pub(super) static SCRIPT: Asset =
    asset("console.js", "text/javascript; charset=utf-8", include_str!("assets/console.js"), || of(&SCRIPT));
pub(super) static ICON: Asset = asset("icon.svg", "image/svg+xml", include_str!("assets/icon.svg"), || of(&ICON));

const fn asset(name: &'static str, media_type: &'static str, content: &'static str, hash: fn() -> String) -> Asset {
    Asset { name, media_type, content, hash: LazyLock::new(hash) }
}

fn of(asset: &Asset) -> String {
    hex::text(&digest(&SHA256, asset.content.as_bytes()).as_ref()[..8])
}

impl Asset {
    /// Where pages ask for it.
    pub(super) fn path(&self) -> String {
        format!("/console/assets/{}?v={}", self.name, *self.hash)
    }

    pub(super) fn etag(&self) -> String {
        format!("\"{}\"", *self.hash)
    }

    /// The file with this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_has_the_hash_of_its_content() {
        for asset in [&STYLE, &SCRIPT, &ICON] {
            assert!(std::ptr::eq(Asset::named(asset.name).unwrap(), asset));
            assert!(asset.path().ends_with(&*asset.hash) && asset.etag().contains(&*asset.hash));
            assert!(!asset.content.is_empty() && !asset.content.contains("http://") || asset.name == "icon.svg");
        }
        assert_ne!(*STYLE.hash, *SCRIPT.hash);
        assert!(Asset::named("other.css").is_none());
    }
}
