//! A first look at the responder on a machine that has no CA: `ostia-responder demo`.
//!
//! [`prepare`] makes a small CA with the real `openssl`, its database, a delegated OCSP signer and
//! the `ostia.toml` that serves them; [`instructions`] are commands to copy. Invariant: a directory with the demo's
//! name is complete, because it is built beside its place and then renamed. An existing demo is reused, and a directory
//! that is not a demo is never touched. It does not know serving: it hands over the path of a configuration like any
//! other.

mod ca;
pub mod cluster;
mod error;
mod text;

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

pub use self::{error::DemoError, text::instructions};
use self::{
    error::{at, refused},
    text::configuration,
};

/// A directory with this file is a demo.
const MARKER: &str = "ostia.toml";
/// What the instructions and the configuration rely on.
const NEEDED: [&str; 11] = [
    "ca.pem",
    "ca.key",
    "openssl.cnf",
    "index.txt",
    "good.pem",
    "good.key",
    "revoked.pem",
    "ocsp.pem",
    "ocsp.key",
    "tsa.pem",
    "tsa.key",
];

/// A directory that is ready to be served.
#[derive(Debug)]
pub struct Demo {
    /// The directory as it was named, so that commands work where the demo was started.
    pub dir: PathBuf,
    /// Its configuration, for `serve`.
    pub config_path: PathBuf,
    /// Made just now, rather than found.
    pub fresh: bool,
    /// Certificates that the index lists as valid.
    pub good_count: usize,
    /// Certificates that the index lists as revoked, holds included.
    pub revoked_count: usize,
    /// Certificates that the index lists as expired.
    pub expired_count: usize,
    /// A good certificate for requests: `good.pem`, until someone revokes it.
    pub asked: PathBuf,
    /// The responder that `good.pem` names in its AIA extension.
    pub aia_url: String,
}

/// Makes the demo in `dir`, or finds it there. `http` and `admin` go into what is made, not into what is found.
pub fn prepare(dir: &Path, http: SocketAddr, admin: SocketAddr, say: &mut dyn FnMut(&str)) -> Result<Demo, DemoError> {
    prepare_with(OsStr::new("openssl"), dir, http, admin, say)
}

fn prepare_with(
    program: &OsStr,
    dir: &Path,
    http: SocketAddr,
    admin: SocketAddr,
    say: &mut dyn FnMut(&str),
) -> Result<Demo, DemoError> {
    // The path goes into openssl.cnf and into commands, which cannot contain such characters.
    if !dir.to_str().is_some_and(|dir| !dir.is_empty() && !dir.contains(char::is_control)) {
        return Err(refused(dir, "the name must be printable UTF-8"));
    }
    let fresh = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(refused(dir, "is not a directory")),
        Err(error) => return Err(at(dir, "reading")(error)),
        Ok(mut entries) => entries.next().is_none(),
    };
    if fresh {
        make(program, dir, http, admin, say)?;
    } else if !dir.join(MARKER).is_file() {
        return Err(refused(
            dir,
            format!("is not empty and not a demo (it has no {MARKER}), so nothing is changed in it"),
        ));
    }
    found(program, dir, fresh, say)
}

/// Builds the demo beside `dir` and renames it into place as the last act.
fn make(
    program: &OsStr,
    dir: &Path,
    http: SocketAddr,
    admin: SocketAddr,
    say: &mut dyn FnMut(&str),
) -> Result<(), DemoError> {
    let place = absolute(dir)?;
    let (Some(parent), Some(name)) = (place.parent(), place.file_name().and_then(OsStr::to_str)) else {
        return Err(refused(dir, "cannot be made: it names no directory inside another"));
    };
    // Renaming over it would leave this process, and the shell it came from, in a directory that is gone.
    if std::env::current_dir().is_ok_and(|current| current == place) {
        return Err(refused(dir, "is the working directory"));
    }
    fs::create_dir_all(parent).map_err(at(parent, "making"))?;

    let partial = Partial::begin(dir, parent.join(format!(".{name}.partial")))?;
    say(&format!("setting up {}", dir.display()));
    ca::make(ca::Openssl { program, dir: &partial.path }, &ca::url(http), say)?;
    let file = partial.path.join("openssl.cnf");
    ca::write_config(&file, &place.to_string_lossy(), &ca::url(http))?;
    let file = partial.path.join(MARKER);
    fs::write(&file, configuration(http, admin)).map_err(at(&file, "writing"))?;
    fs::rename(&partial.path, &place).map_err(at(&place, "renaming the finished directory to"))
}

/// The directory's absolute path. Links to an existing one are resolved, since a rename would replace a link.
fn absolute(dir: &Path) -> Result<PathBuf, DemoError> {
    if dir.exists() { dir.canonicalize() } else { std::path::absolute(dir) }.map_err(at(dir, "resolving"))
}

/// A directory being built. Removed when dropped unless it was renamed; what a killed set-up
/// left is removed by the next.
struct Partial {
    path: PathBuf,
    /// Held, so that two set-ups of one directory do not mix.
    _lock: File,
}

impl Partial {
    fn begin(dir: &Path, path: PathBuf) -> Result<Self, DemoError> {
        // Private from the first: keys are made in it.
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(at(&path, "making"))?;
        let lock = File::open(&path).map_err(at(&path, "opening"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refused(dir, "is being set up by another process")),
            Err(TryLockError::Error(error)) => return Err(at(&path, "locking")(error)),
        }
        for entry in fs::read_dir(&path).map_err(at(&path, "reading"))? {
            let entry = entry.map_err(at(&path, "reading"))?;
            let (left, is_dir) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
            if is_dir { fs::remove_dir_all(&left) } else { fs::remove_file(&left) }.map_err(at(&left, "removing"))?;
        }
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // an error here would hide the one that led here
    }
}

/// Looks at the contents of `dir`, so that the instructions match them.
fn found(program: &OsStr, dir: &Path, fresh: bool, say: &mut dyn FnMut(&str)) -> Result<Demo, DemoError> {
    if let Some(missing) = NEEDED.iter().find(|name| !dir.join(name).is_file()) {
        return Err(refused(dir, format!("is a demo that lacks {missing}; remove it to have it made again")));
    }
    if !fresh && ca::redirect_config(&dir.join("openssl.cnf"), &absolute(dir)?.to_string_lossy())? {
        say("the directory was moved: corrected its path in openssl.cnf");
    }
    let openssl = ca::Openssl { program, dir };
    let certificate = openssl.run(&["x509", "-in", "good.pem", "-noout", "-serial", "-ocsp_uri"])?;
    let (mut serial, mut aia_url) = ("", "");
    for line in certificate.lines() {
        match line.strip_prefix("serial=") {
            Some(hexadecimal) => serial = hexadecimal,
            None => aia_url = line,
        }
    }

    let entries = ca::entries(&dir.join("index.txt"))?;
    let count = |state: u8| entries.iter().filter(|entry| entry.state == state).count();
    let is_good = |entry: &&ca::Entry| entry.state == b'V';
    let asked = if entries.iter().filter(is_good).any(|entry| entry.serial == serial) {
        dir.join("good.pem")
    } else {
        let mut hosts = entries.iter().filter(is_good).filter(|entry| entry.subject.contains("/CN=host-"));
        let another = hosts.next().ok_or_else(|| {
            refused(dir, "is a demo with every certificate revoked or expired; remove it to have it made again")
        })?;
        dir.join("newcerts").join(format!("{}.pem", another.serial))
    };
    Ok(Demo {
        config_path: dir.join(MARKER),
        fresh,
        good_count: count(b'V'),
        revoked_count: count(b'R'),
        expired_count: count(b'E'),
        asked,
        aia_url: aia_url.to_owned(),
        dir: dir.to_owned(),
    })
}

#[cfg(test)]
mod tests;
