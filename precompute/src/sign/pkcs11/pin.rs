//! The PIN: from a file or a systemd credential, and nowhere else.
//!
//! Invariant: no copy of it stays in memory after its use, and none gets into a message. It does not know tokens.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use aws_lc_rs::{hmac, rand::SystemRandom};
use zeroize::Zeroizing;

use crate::{
    limits,
    pki::{FileError, read_secret, secret_place},
};

/// A PIN; wiped when dropped.
pub(super) type Pin = Zeroizing<Vec<u8>>;

/// Recognises a PIN without keeping it: a hash under a key that only this process has.
#[derive(Clone)]
pub(super) struct PinMark(hmac::Tag);

impl PinMark {
    pub(super) fn of(pin: &Pin) -> Self {
        static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
            let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
            key.expect("AWS-LC ends the process itself where the system has no random bytes")
        });
        Self(hmac::sign(&KEY, pin))
    }
}

impl PartialEq for PinMark {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

/// Not even the hash is shown: a four-digit PIN can be found from it.
impl std::fmt::Debug for PinMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinMark")
    }
}

/// The file that a `pin-source` names. `base`: the directory of the configuration; `credentials`: the directory of
/// systemd credentials, if there is one. A bare name is a credential first, then a file beside the configuration.
pub(super) fn file_of(source: &str, base: &Path, credentials: Option<&OsStr>) -> Result<PathBuf, String> {
    if source.is_empty() {
        return Err("the pin-source is empty; name the file with the PIN".into());
    }
    if source.starts_with('|') {
        return Err("the pin-source is a command, and commands are not run; name a file with the PIN".into());
    }
    if let Some(rest) = source.strip_prefix("file:") {
        return Ok(base.join(path_of_file_uri(rest).ok_or_else(|| {
            "the pin-source is no file: URI of this machine; write it as pin-source=/path/to/pin".to_owned()
        })?));
    }
    let file = secret_place(source, &base.join(source), credentials);
    if source.bytes().all(|byte| byte.is_ascii_digit()) && !file.exists() {
        return Err("the pin-source is a number, not a file; it may be the PIN itself, and is not shown; write the PIN into a file that only the service may read, and name that file".into());
    }
    Ok(file)
}

/// RFC 8089: `//` and the name of this host may precede the path; special characters are percent-encoded.
fn path_of_file_uri(rest: &str) -> Option<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return None;
    }
    let mut octets = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            octets.push((digit()? * 16 + digit()?) as u8);
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).ok().map(PathBuf::from)
}

/// Reads a PIN. Only the owner may access the file (the group may read it). A trailing line end is cut.
pub(super) fn read(path: &Path) -> Result<Pin, FileError> {
    let mut pin = read_secret(path, "a PIN", limits::PIN_FILE_OCTETS_MAX as u64)?;
    let mut length = pin.len();
    for end in [b'\n', b'\r'] {
        if length > 0 && pin[length - 1] == end {
            length -= 1;
        }
    }
    if length == 0 {
        return Err(FileError::new(path, "holds no PIN; write the PIN of the token's user into it"));
    }
    pin.truncate(length);
    Ok(pin)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn at(source: &str, credentials: Option<&Path>) -> Result<PathBuf, String> {
        file_of(source, Path::new("/etc/ostia"), credentials.map(Path::as_os_str))
    }

    #[test]
    fn a_pin_source_is_a_path_a_file_uri_or_a_credential() {
        let credentials = tempfile::tempdir().unwrap();
        fs::write(credentials.path().join("ocsp.pin"), "1234").unwrap();
        for (source, path) in [
            ("/run/pin", "/run/pin"),
            ("pins/a", "/etc/ostia/pins/a"),
            ("beside.pin", "/etc/ostia/beside.pin"),
            ("file:/run/pin", "/run/pin"),
            ("file:///run/a%20pin", "/run/a pin"),
            ("file://localhost/run/pin", "/run/pin"),
        ] {
            assert_eq!(at(source, None).unwrap(), Path::new(path), "{source}");
            assert_eq!(at(source, Some(credentials.path())).unwrap(), Path::new(path), "{source}");
        }
        assert_eq!(at("ocsp.pin", None).unwrap(), Path::new("/etc/ostia/ocsp.pin"));
        assert_eq!(at("ocsp.pin", Some(credentials.path())).unwrap(), credentials.path().join("ocsp.pin"));
        for (source, problem) in [
            ("", "is empty"),
            ("4711", "is a number, not a file; it may be the PIN itself"),
            ("|cat /pin", "is a command, and commands are not run"),
            ("file:pin", "no file: URI of this machine"),
            ("file://elsewhere/pin", "no file: URI of this machine"),
            ("file:/%zz", "no file: URI"),
        ] {
            let error = at(source, None).unwrap_err();
            assert!(error.contains(problem) && !error.contains("4711"), "{source}: {error}");
        }
    }

    #[test]
    fn a_pin_is_known_again_by_its_mark_which_shows_nothing() {
        let mark = |pin: &str| PinMark::of(&Pin::new(pin.as_bytes().to_vec()));
        assert_eq!(mark("1234"), mark("1234"));
        assert_ne!(mark("1234"), mark("1235"));
        assert_eq!(format!("{:?}", mark("1234")), "PinMark");
    }

    #[test]
    fn a_pin_is_read_without_its_line_end_and_only_from_a_file_of_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        let longest = "1".repeat(limits::PIN_FILE_OCTETS_MAX);
        for (mode, content, expected) in [
            (0o600, "1234\n", Ok("1234")),
            (0o400, "1234", Ok("1234")),
            (0o640, "1234\r\n", Ok("1234")),
            (0o600, " 12\n34\n\n", Ok(" 12\n34\n")),
            (0o600, &longest, Ok(&*longest)),
            (0o600, &(longest.clone() + "1"), Err("is larger than the")),
            (0o600, "\n", Err("holds no PIN")),
            (0o600, "", Err("holds no PIN")),
            (0o644, "1234", Err("has mode 0644, which lets others use it; run: chmod 600")),
            (0o620, "1234", Err("has mode 0620")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (read(&path), expected) {
                (Ok(pin), Ok(expected)) => assert_eq!(&pin[..], expected.as_bytes()),
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected) && !error.contains("1234"), "{error}");
                }
                (read, expected) => panic!("{mode:o} {content:?}: {:?}, {expected:?}", read.map(|_| ())),
            }
        }
        let error = read(&dir.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("absent: cannot be read: No such file"), "{error}");
    }
}
