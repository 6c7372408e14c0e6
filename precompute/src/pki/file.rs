//! Files with certificates: PEM (one or many, with text around them) or DER, read within a bound.
//!
//! Invariant: no content of a file that may be a key gets into a message. It does not know what a certificate is for.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use tracing::warn;
use zeroize::Zeroizing;

use super::{Certificate, elements::Elements, pem, wrapped};
use crate::{
    limits,
    output::{may_be_secret, nearest},
};

/// Why a file was refused; always names the file.
#[derive(Debug)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl FileError {
    /// `problem` with `path`.
    pub fn new(path: &Path, problem: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), problem: problem.to_string() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        // Somebody may have given the key itself in place of its file.
        let path = if may_be_secret(&path) { "a file whose name may be a secret" } else { &*path };
        write!(f, "{path}: {}", self.problem)
    }
}

impl std::error::Error for FileError {}

/// Opens only a regular file: opening or reading a pipe could wait for its writer forever.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let without_waiting = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(without_waiting).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is not a regular file, which a source has to be"))
}

/// Reads a whole file of at most `limit` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_opened(path, File::open(path), limit)
}

/// The same for a file that was just opened, or failed to open.
pub fn read_opened(path: &Path, opened: io::Result<File>, limit: u64) -> Result<Vec<u8>, FileError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        opened?.take(limit + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = read().map_err(|error| FileError::new(path, format_args!("cannot be read: {error}")))?;
    if content.len() as u64 > limit {
        return Err(FileError::new(path, format_args!("is larger than the {limit} bytes allowed")));
    }
    Ok(content)
}

/// A whole file with a secret, and whether anybody but its owner may access it (the group may read it). No copy stays
/// in memory.
pub struct Secret {
    /// What is in it.
    pub content: Zeroizing<Vec<u8>>,
    /// The error if others may.
    pub exposed: Option<FileError>,
}

impl Secret {
    /// Reads the file, which should contain `what`.
    pub fn read(path: &Path, what: &str, limit: u64) -> Result<Self, FileError> {
        let fail = |problem: String| FileError::new(path, problem);
        let unreadable = |error: io::Error| fail(format!("cannot be read: {error}{}", remedy(&error)));
        let mut file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let exposed = (mode & 0o027 != 0).then(|| {
            let right = if is_for_a_group(path, &metadata) { "640" } else { "600" };
            fail(format!(
                "holds {what} and has mode {mode:04o}, which lets others use it; run: chmod {right} {}",
                path.display()
            ))
        });
        // Never grown: that would leave a copy behind.
        let mut content = Zeroizing::new(vec![0; limit as usize + 1]);
        let mut length = 0;
        while length < content.len() {
            match file.read(&mut content[length..]).map_err(unreadable)? {
                0 => break,
                count => length += count,
            }
        }
        if length as u64 > limit {
            return Err(fail(format!("is larger than the {limit} bytes allowed for {what}")));
        }
        content.truncate(length);
        Ok(Self { content, exposed })
    }
}

/// Whether a file is read by its group: it is in a directory that gives its files to its group, as `/etc/ostia/keys` of the
/// package, or it is another user's, and this process belongs to its group.
fn is_for_a_group(path: &Path, metadata: &fs::Metadata) -> bool {
    const SETGID: u32 = 0o2000;
    let directory = path.parent().and_then(|directory| fs::metadata(directory).ok());
    let is_given = directory.is_some_and(|directory| directory.permissions().mode() & SETGID != 0);
    let group = metadata.gid();
    let is_member = || {
        let others = rustix::process::getgroups().unwrap_or_default();
        rustix::process::getegid().as_raw() == group || others.iter().any(|other| other.as_raw() == group)
    };
    is_given || metadata.uid() != rustix::process::geteuid().as_raw() && is_member()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Reads a whole file that contains `what`, a secret. Refuses it if anybody but its owner may access it (the group may
/// read it).
pub fn read_secret(path: &Path, what: &str, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let Secret { content, exposed } = Secret::read(path, what, limit)?;
    exposed.map_or(Ok(content), Err)
}

/// The directory beside the configuration in which keys are looked for by their names.
const KEYS: &str = "keys";

/// Where the secret is that a configuration names as `written`. A mere name is that of a systemd credential, if the service
/// has one of it, or else of a file beside the configuration, or in `keys` there: so the same configuration holds within the
/// service and by hand. A path is nothing but a path. `beside`: `written` as a path. `credentials`: the directory of the
/// service's credentials, which `$CREDENTIALS_DIRECTORY` names.
pub fn secret_place(written: &str, beside: &Path, credentials: Option<&OsStr>) -> PathBuf {
    if written.is_empty() || written.contains('/') || [".", ".."].contains(&written) {
        return beside.to_owned();
    }
    // One that may not be looked at is there: whoever opens it learns why.
    let is_there = |path: &PathBuf| !matches!(fs::metadata(path), Err(error) if is_absence(&error));
    let credential = credentials.map(|directory| Path::new(directory).join(written));
    let among_keys = || beside.parent().map(|directory| directory.join(KEYS).join(written));
    let credential = credential.filter(is_there);
    let elsewhere = credential.or_else(|| if beside.exists() { None } else { among_keys().filter(is_there) });
    elsewhere.unwrap_or_else(|| beside.to_owned())
}

/// The same where the file has to be there. A mere name that is at none of the places is an error that names all of them, and
/// the name there that was probably meant; what is wrong with a path, its reader says.
pub fn find_secret(written: &str, beside: &Path, credentials: Option<&OsStr>) -> Result<PathBuf, FileError> {
    let place = secret_place(written, beside, credentials);
    let is_absent = fs::metadata(&place).is_err_and(|error| is_absence(&error));
    let (true, false, Some(directory)) = (is_absent, written.contains('/'), beside.parent()) else { return Ok(place) };
    let keys = directory.join(KEYS);
    let credentials = credentials.map(Path::new);
    let of_service = match credentials {
        Some(directory) => format!("among the credentials of the service ({})", directory.display()),
        None => "among systemd credentials ($CREDENTIALS_DIRECTORY is not set here)".to_owned(),
    };
    let meant = credentials.into_iter().chain([directory, &keys]).find_map(|directory| similar(written, directory));
    let meant = meant.map(|path| format!("; {} is there: did you mean that?", path.display())).unwrap_or_default();
    Err(FileError::new(
        beside,
        format_args!(
            "does not exist, and no file of this name is in {} or {of_service}; put it into {0}, readable by the service alone (mode 0600, or 0640 and its group){meant}",
            keys.display()
        ),
    ))
}

/// The file of a directory whose name is nearest to this one.
fn similar(written: &str, directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.take(limits::NAMES_LOOKED_AT_MAX);
    let names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    nearest(written, names.iter().map(String::as_str)).map(|name| directory.join(name))
}

fn is_absence(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind())
}

/// What to do about a file that may not be read.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; let the group of this program's user read it (`chgrp GROUP FILE; chmod 640 FILE`), or hand it over as a systemd credential of its name"
        }
        _ => "",
    }
}

/// Every certificate of a PEM file in order, or the only one of a DER file. Never empty.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, FileError> {
    certificates_in(&read_bounded(path, limits::CERTIFICATE_FILE_OCTETS_MAX)?, path)
}

/// The same of what was read from `path`, or came by another way of that name.
pub fn certificates_in(content: &[u8], path: &Path) -> Result<Vec<Certificate>, FileError> {
    let parse = |der: &[u8]| {
        let certificate = Certificate::from_der(der).map_err(|error| FileError::new(path, error))?;
        if certificate.is_validity_clamped() {
            warn!(
                file = %path.display(),
                subject = certificate.subject(),
                "a date of the validity is before 1970 (a UTCTime means 1950 to 2049): taken as 1970"
            );
        }
        Ok(certificate)
    };
    if pem::is_der(content) {
        return match (parse(content), wrapped::wrapping(path, content, &[])) {
            (Err(_), Some(wrapping)) => Err(FileError::new(path, wrapping)),
            (parsed, _) => Ok(vec![parsed?]),
        };
    }
    let damaged = |damage| FileError::new(path, damage);
    let sections = pem::sections(content).map_err(damaged)?;
    let mut chain = Vec::new();
    for section in sections.iter().filter(|section| CERTIFICATES.contains(&section.label)) {
        let der = section.content().map_err(damaged)?;
        // OpenSSL's trust settings follow the certificate in the same section, and mean nothing here.
        let length = match Elements::new(der).any() {
            Ok(certificate) if section.label == TRUSTED => certificate.whole.len(),
            _ => der.len(),
        };
        chain.push(parse(&der[..length])?);
    }
    if chain.is_empty() {
        return Err(no_certificate(path, content, &sections));
    }
    Ok(chain)
}

/// The error for a file that is not DER and has no section with a certificate.
fn no_certificate(path: &Path, content: &[u8], sections: &[pem::Section]) -> FileError {
    if pem::seems_private(content) {
        let problem = "holds no certificate, but a private key; the two may have been named in each other's place";
        return FileError::new(path, problem);
    }
    if let Some(wrapping) = wrapped::wrapping(path, content, sections) {
        return FileError::new(path, wrapping);
    }
    if sections.iter().any(|section| section.label == "X509 CRL") {
        return FileError::new(
            path,
            "holds a CRL, not a certificate; the two may have been named in each other's place",
        );
    }
    let told = pem::told(content, sections);
    let problem = format_args!("holds no certificate: expected PEM (`-----BEGIN CERTIFICATE-----`) or DER; {told}");
    FileError::new(path, problem)
}

/// PEM labels of certificates; the last is an old one.
const CERTIFICATES: [&str; 3] = ["CERTIFICATE", TRUSTED, "X509 CERTIFICATE"];
/// A certificate with OpenSSL's trust settings (`openssl x509 -trustout`).
const TRUSTED: &str = "TRUSTED CERTIFICATE";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_mere_name_is_a_credential_or_a_file_beside_the_configuration_or_one_of_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for directory in ["credentials", "etc/keys"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in ["credentials/all", "etc/all", "etc/keys/all", "etc/two", "etc/keys/two", "etc/keys/key"] {
            fs::write(at(file), "").unwrap();
        }
        // A file that cannot be looked at is there, and its reader tells what is wrong with it.
        symlink("loop", at("etc/keys/loop")).unwrap();
        let credentials = at("credentials");
        for (written, by_hand, in_service) in [
            ("all", "etc/all", "credentials/all"),
            ("two", "etc/two", "etc/two"),
            ("key", "etc/keys/key", "etc/keys/key"),
            ("loop", "etc/keys/loop", "etc/keys/loop"),
            ("absent", "etc/absent", "etc/absent"),
            ("./all", "etc/./all", "etc/./all"),
            ("keys/all", "etc/keys/all", "etc/keys/all"),
            ("..", "etc/..", "etc/.."),
            ("", "etc/", "etc/"),
        ] {
            let beside = at("etc").join(written);
            assert_eq!(secret_place(written, &beside, None), at(by_hand), "{written}");
            assert_eq!(secret_place(written, &beside, Some(credentials.as_os_str())), at(in_service), "{written}");
        }
    }
    #[test]
    fn a_mere_name_that_is_nowhere_names_all_places_and_the_nearest_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("keys")).unwrap();
        fs::write(at("keys/ocsp.key"), "").unwrap();
        let find = |written: &str, credentials: Option<&OsStr>| {
            find_secret(written, &at(written), credentials).map_err(|error| error.to_string())
        };
        assert_eq!(find("ocsp.key", None), Ok(at("keys/ocsp.key")));
        assert_eq!(find("keys/absent", None), Ok(at("keys/absent")), "of a path its reader tells");
        let shown = |path: &str| at(path).display().to_string();
        let told = find("ocsp.kye", None).unwrap_err();
        for words in [
            format!("{}: does not exist", shown("ocsp.kye")),
            format!("is in {} or among systemd credentials", shown("keys")),
            format!("; {} is there: did you mean that?", shown("keys/ocsp.key")),
        ] {
            assert!(told.contains(&words), "no `{words}` in: {told}");
        }
        let credentials = at("credentials");
        let told = find("another.pem", Some(credentials.as_os_str())).unwrap_err();
        assert!(told.contains(&shown("credentials")) && !told.contains("did you mean"), "{told}");
    }

    #[test]
    fn the_mode_that_is_told_leaves_the_file_to_who_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for (of_directory, remedy) in [(0o700, "run: chmod 600 "), (0o2750, "run: chmod 640 ")] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(of_directory)).unwrap();
            let told = read_secret(&path, "a key", 100).unwrap_err().to_string();
            assert!(told.contains(remedy), "{of_directory:o}: {told}");
        }
    }
}
