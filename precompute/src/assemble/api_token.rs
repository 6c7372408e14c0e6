//! The token of the API: from a file, for the service as a hash and for its clients as it is.
//!
//! Invariant: the service keeps only the hash, and compares in constant time; the token gets into no message. It does not
//! know HTTP.

use std::{fmt, path::Path};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use zeroize::Zeroizing;

use crate::{
    limits,
    pki::{FileError, read_secret},
};

/// The hash of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken([u8; digest::SHA256_OUTPUT_LEN]);

/// Not even the hash is shown.
impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

impl ApiToken {
    /// Reads the file of a token.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Ok(Self::of(read_token(path)?.as_bytes()))
    }

    /// That of a token.
    pub(crate) fn of(token: &[u8]) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(hash)
    }

    /// Whether this is the token, found out in the same time for every other of its length.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(given).0).is_ok()
    }
}

/// Reads the token itself, for who sends it: one line of token68 (RFC 9110 section 11.2).
pub(crate) fn read_token(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let fail = |problem: String| FileError::new(path, problem);
    let content = read_secret(path, "the token of the API", limits::TOKEN_FILE_OCTETS_MAX)?;
    let token = content.trim_ascii_end();
    if token.len() < limits::TOKEN_OCTETS_MIN {
        return Err(fail(format!(
            "holds a token of {} characters; expected at least {}: make one with `openssl rand -hex 32`",
            token.len(),
            limits::TOKEN_OCTETS_MIN
        )));
    }
    let body = token.iter().rposition(|octet| *octet != b'=').map_or(&[][..], |last| &token[..=last]);
    let is_token68 = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~+/".contains(octet);
    match std::str::from_utf8(token) {
        Ok(text) if !body.is_empty() && body.iter().all(is_token68) => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(fail(
            "holds something else than one token: expected one line of letters, digits and -._~+/ with `=` at its end alone, such as `openssl rand -hex 32` prints".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_one_line_of_a_file_of_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let padded = format!("{TOKEN}-._~+/==");
        let long = "a".repeat(limits::TOKEN_FILE_OCTETS_MAX as usize + 1);
        for (mode, content, expected) in [
            (0o600, format!("{TOKEN}\n"), Ok(TOKEN)),
            (0o400, format!("{TOKEN}\r\n"), Ok(TOKEN)),
            (0o440, padded.clone(), Ok(&*padded)),
            (
                0o600,
                TOKEN[1..].to_owned(),
                Err("holds a token of 31 characters; expected at least 32: make one with `openssl rand"),
            ),
            (0o600, String::new(), Err("holds a token of 0 characters")),
            (0o600, format!("{TOKEN}\n{TOKEN}\n"), Err("holds something else than one token")),
            (0o600, format!("{TOKEN} {TOKEN}"), Err("holds something else than one token")),
            (0o600, format!("={TOKEN}"), Err("holds something else than one token")),
            (0o600, "=".repeat(32), Err("holds something else than one token")),
            (0o600, format!("{TOKEN}\u{e9}"), Err("holds something else than one token")),
            (0o600, long, Err("is larger than the")),
            (0o644, TOKEN.to_owned(), Err("has mode 0644, which lets others use it; run: chmod 600")),
            (0o620, TOKEN.to_owned(), Err("has mode 0620, which lets others use it; run: chmod 600")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, &content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (read_token(&path), expected) {
                (Ok(token), Ok(expected)) => {
                    assert_eq!(&*token, expected);
                    assert!(ApiToken::load(&path).unwrap().is(expected.as_bytes()));
                }
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected) && !error.contains(&TOKEN[1..]), "{error}");
                }
                (read, expected) => panic!("{mode:o} {content:?}: {:?}, {expected:?}", read.map(|_| ())),
            }
        }
    }
}
