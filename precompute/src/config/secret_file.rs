//! A file with a secret, as the configuration names it: by its path, or by a mere name, which may be that of a systemd
//! credential: see [`secret_place`].
//!
//! Invariant: a value that may be the secret itself is refused and not shown. No file is opened here, and some are looked for.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::Section;
use crate::{
    limits,
    pki::{FileError, find_secret, secret_place},
};

/// A file with a secret.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SecretFile {
    /// As the configuration names it: a path, or a mere name.
    pub written: String,
    /// That as a path.
    pub path: PathBuf,
}

impl SecretFile {
    /// Where it is. `credentials`: the directory of the service's systemd credentials, if there is one.
    pub fn locate(&self, credentials: Option<&OsStr>) -> PathBuf {
        secret_place(&self.written, &self.path, credentials)
    }

    /// The same where it has to be there: a mere name that is at none of its places is an error.
    pub fn find(&self, credentials: Option<&OsStr>) -> Result<PathBuf, FileError> {
        find_secret(&self.written, &self.path, credentials)
    }

    /// Where it is for this process.
    pub fn path_now(&self) -> PathBuf {
        self.locate(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())
    }

    /// The same where it has to be there.
    pub fn find_now(&self) -> Result<PathBuf, FileError> {
        self.find(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())
    }

    /// Whether the value is a mere word. Then it may be the secret itself, and if there is no such file, nobody shows it.
    pub fn is_mere_word(&self) -> bool {
        is_mere_word(&self.written)
    }

    /// Reads the key of a section that names a private key.
    pub fn of_private_key(section: &mut Section<'_>, key: &'static str) -> Option<Self> {
        let (written, path) = section.written_path(key)?;
        Some(Self { written, path })
    }

    /// Reads the key of a section that names one. `secret`: what is in it; `made_by`: what an empty name should be.
    pub(super) fn read(section: &mut Section<'_>, key: &'static str, secret: &str, made_by: &str) -> Option<Self> {
        let written = section.string(key)?;
        if written.is_empty() {
            section.problem(key, format_args!("is empty; {made_by}"));
            return None;
        }
        // A name of this length is rather the secret.
        if written.len() >= limits::TOKEN_OCTETS_MIN && is_mere_word(&written) {
            section.problem(
                key,
                format_args!(
                    "may be the {secret} itself, and is not shown; write it into a file that only the service may read, and name that file"
                ),
            );
            return None;
        }
        let path = section.resolve(&written);
        Some(Self { written, path })
    }
}

/// Neither a path nor a name with an ending.
fn is_mere_word(text: &str) -> bool {
    !text.contains(['/', '.'])
}

/// That of a path, for tests and for who writes a configuration.
impl From<&Path> for SecretFile {
    fn from(path: &Path) -> Self {
        Self { written: path.display().to_string(), path: path.to_owned() }
    }
}
