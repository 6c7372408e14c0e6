//! The key that signs heads: Ed25519, made at its first use in the state directory, for its owner alone.
//!
//! Invariant: a key that is there is never replaced. It does not know what is signed.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use der::pem::LineEnding;
use zeroize::Zeroizing;

use crate::{
    limits::journal as limits,
    pki::{FileError, hex::Hex, read_secret},
    state_dir::give,
};

/// The file in the state directory,
pub const KEY_FILE: &str = "journal.key";
/// and before it is whole.
const UNFINISHED: &str = "journal.key.new";
const LABEL: &str = "PRIVATE KEY";
/// What stands before a notice that is signed; before a head stands something else.
pub const NOTICE_PREFIX: &[u8] = b"Ostia server notice 1\n";
/// What stands before a head of what a replica said; see [`crate::transparency`].
pub const TRANSPARENCY_PREFIX: &[u8] = b"Ostia transparency head 1\n";

/// The key. Copies are of the same.
#[derive(Clone)]
pub struct HeadKey(Arc<Ed25519KeyPair>);

/// Without the secret.
impl fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadKey({})", Hex(&self.public()))
    }
}

impl HeadKey {
    /// The key of this directory; the first call makes it.
    pub(super) fn open_or_make(state_dir: &Path) -> Result<Self, FileError> {
        match Self::open(state_dir)? {
            Some(key) => Ok(key),
            None => {
                let path = state_dir.join(KEY_FILE);
                Self::make(state_dir).map_err(|error| FileError::new(&path, format_args!("cannot be made: {error}")))
            }
        }
    }

    /// The key of this directory, if there is one.
    pub fn open(state_dir: &Path) -> Result<Option<Self>, FileError> {
        let path = state_dir.join(KEY_FILE);
        if matches!(fs::symlink_metadata(&path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let text = read_secret(&path, "key", limits::KEY_OCTETS_MAX)?;
        let pair = der::pem::decode_vec(&text).ok().map(|(label, der)| (label, Zeroizing::new(der)));
        let pair = pair.filter(|(label, _)| *label == LABEL);
        let pair = pair.and_then(|(_, der)| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok());
        let pair = pair.ok_or_else(|| {
            FileError::new(
                &path,
                "is no key of Ed25519 (PKCS#8 in PEM): it signs the journal; take it back from a backup, or move it away, and the next start makes another",
            )
        })?;
        Ok(Some(Self(Arc::new(pair))))
    }

    /// Removes the key of this directory: it was copied from another server, which has it still.
    pub fn forget(state_dir: &Path) -> io::Result<()> {
        match fs::remove_file(state_dir.join(KEY_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn make(state_dir: &Path) -> io::Result<Self> {
        let fail = |_| io::Error::other("the system has no random numbers");
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(fail)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(io::Error::other)?;
        let pem = der::pem::encode_string(LABEL, LineEnding::LF, document.as_ref());
        let pem = pem.map_err(|error| io::Error::other(error.to_string()))?;
        let pem = Zeroizing::new(pem);
        let unfinished = state_dir.join(UNFINISHED);
        // From a start that was killed.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        give(state_dir, &unfinished, &file);
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, state_dir.join(KEY_FILE))?;
        File::open(state_dir)?.sync_all()?;
        Ok(Self(Arc::new(pair)))
    }

    /// The 32 bytes of its public key.
    pub fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref());
        public
    }

    /// Signs what this server tells of itself to others, which no reader of a journal takes for a head.
    pub fn sign_notice(&self, message: &[u8]) -> [u8; 64] {
        self.sign(&[NOTICE_PREFIX, message].concat())
    }

    /// Signs a head of what this server said of certificates.
    pub fn sign_transparency(&self, head: &[u8]) -> [u8; 64] {
        self.sign(&[TRANSPARENCY_PREFIX, head].concat())
    }

    /// One of a directory of a test's own.
    #[cfg(test)]
    pub(crate) fn for_tests(state_dir: &Path) -> Self {
        Self::open_or_make(state_dir).unwrap()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(message).as_ref());
        signature
    }
}
