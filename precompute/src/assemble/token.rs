//! A token of the API in a file. Invariant: it gets into no message. It does not know HTTP.

use std::path::Path;

use zeroize::Zeroizing;

use crate::{
    limits,
    pki::{FileError, read_secret},
};

/// Reads the token itself: one line of token68 (RFC 9110 section 11.2).
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
