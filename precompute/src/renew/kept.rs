//! The certificates of a signer that are kept in the state directory: `renewed/<signer>/<certificate>.pem`.
//!
//! Invariant: a file is there as a whole or not at all. Removing one makes the next start forget it. It does not know
//! whether a certificate suits.

use std::{
    fmt,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use der::pem::{LineEnding, encode_string};
use tracing::warn;

use super::standing::{Chain, age};
use crate::{
    limits::renew as limits,
    pki::{Certificate, UnixTime, certificates, hex},
    state_dir::write_whole,
};

/// The directory in the state directory.
pub const DIRECTORY: &str = "renewed";

/// Names a signer by its tenant, what it signs, its CA and its key, all of which stay when it is renewed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SignerId(String);

impl SignerId {
    /// Of the signer with this certificate.
    pub fn of(tenant: &str, is_tsa: bool, certificate: &Certificate) -> Self {
        let what: &[u8] = if is_tsa { b"tsa" } else { b"ocsp" };
        Self(name(&[tenant.as_bytes(), what, certificate.issuer_der(), certificate.spki_der()]))
    }
}

impl fmt::Display for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn name(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex::text(&context.finish().as_ref()[..16])
}

/// The certificates of one signer.
#[derive(Clone, Debug)]
pub struct Kept(PathBuf);

impl Kept {
    /// Of this signer.
    pub fn of(state_dir: &Path, id: &SignerId) -> Self {
        Self(state_dir.join(DIRECTORY).join(&id.0))
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    fn file(&self, certificate: &Certificate) -> PathBuf {
        self.0.join(name(&[certificate.der()]) + ".pem")
    }

    /// Whether this one is there.
    pub fn has(&self, certificate: &Certificate) -> bool {
        self.file(certificate).is_file()
    }

    /// All of them, in no order. One that cannot be read is warned of and left out.
    pub fn read(&self) -> Vec<Chain> {
        let chain = |path: &PathBuf| {
            certificates(path)
                .inspect_err(|problem| {
                    warn!("{problem}: a renewed certificate is left out; remove the file if it stays so")
                })
                .ok()
        };
        self.files().iter().filter_map(chain).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "pem")).collect()
    }

    /// Adds one, and removes those that have ended and the oldest of too many. When this returns it is on disk.
    pub fn add(&self, chain: &[Certificate], now: UnixTime) -> io::Result<()> {
        let Some(leaf) = chain.first() else { return Ok(()) };
        let mut text = String::new();
        for certificate in chain {
            text += &encode_string("CERTIFICATE", LineEnding::LF, certificate.der())
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        write_whole(&self.file(leaf), text.as_bytes(), 0o600)?;
        self.tidy(now);
        Ok(())
    }

    fn tidy(&self, now: UnixTime) {
        let mut all: Vec<_> =
            self.files().into_iter().filter_map(|path| Some((certificates(&path).ok()?, path))).collect();
        all.sort_by_key(|(chain, _)| std::cmp::Reverse(age(chain)));
        let is_over = |(place, (chain, _)): &(usize, &(Chain, PathBuf))| {
            *place >= limits::KEPT_MAX || chain[0].not_after() <= now
        };
        for (_, (_, path)) in all.iter().enumerate().filter(is_over) {
            let _ = fs::remove_file(path);
        }
    }
}
