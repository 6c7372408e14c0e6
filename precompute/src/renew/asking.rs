//! The request for the next certificate, signed by the key of the present one. It does not know who gets it.

use std::{path::Path, sync::mpsc, time::Instant};

use super::{Renewing, post::Post};
use crate::{
    limits::renew as limits,
    pki::{Request, read_bounded},
    sign::{Job, Priority, Signing},
};

/// The request in PEM.
pub(super) fn request(post: &Post, signer: &Renewing) -> Result<String, String> {
    let present = signer.present.first().ok_or("there is no certificate")?;
    let key = post.key().ok_or("the signer's key is not here")?;
    let request = Request::again(present).map_err(|error| error.to_string())?;
    let message = request.to_be_signed().map_err(|error| error.to_string())?;
    let signature = sign(post, &*key, message)?;
    request.signed(key.algorithm().identifier(), &signature).map_err(|error| error.to_string())
}

/// Whether a request may be written there: over nothing, or over another request. The file may be a key by mistake.
pub fn may_be_written(file: &Path) -> Result<(), String> {
    let is_request = |there: &[u8]| memchr::memmem::find(there, b"CERTIFICATE REQUEST-----").is_some();
    match std::fs::symlink_metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match file.parent().filter(|parent| parent.is_dir()) {
                Some(_) => Ok(()),
                None => Err("its directory is not there".to_owned()),
            }
        }
        Err(error) => Err(error.to_string()),
        Ok(_) => match read_bounded(file, limits::OUTPUT_OCTETS_MAX as u64) {
            Ok(there) if there.is_empty() || is_request(&there) => Ok(()),
            Ok(_) => Err("it is there already, and is no request: it would be overwritten".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// The same unless the file has it.
pub(super) fn request_unless_in(post: &Post, signer: &Renewing, file: &Path) -> Result<Option<String>, String> {
    may_be_written(file).map_err(|problem| format!("{}: {problem}; name another file as `request`", file.display()))?;
    if is_in(signer, file) { Ok(None) } else { request(post, signer).map(Some) }
}

/// Whether the file has a request for the next certificate of this signer.
pub(super) fn is_in(signer: &Renewing, file: &Path) -> bool {
    let there = read_bounded(file, limits::OUTPUT_OCTETS_MAX as u64).ok();
    let wanted = signer.present.first().and_then(|present| Request::again(present).ok());
    there.zip(wanted).is_some_and(|(there, wanted)| wanted.is_in(&there))
}

/// Has the key sign, and waits for it, but not beyond the end of the service.
fn sign(post: &Post, key: &dyn Signing, message: Vec<u8>) -> Result<Vec<u8>, String> {
    let (send, signed) = mpsc::channel();
    let deadline = Instant::now() + limits::SIGN_WITHIN;
    let done = Box::new(move |_, outcome| drop(send.send(outcome)));
    key.submit(Job { message, priority: Priority::Once, deadline, done });
    loop {
        match signed.recv_timeout(limits::COMMAND_LOOK) {
            Ok(outcome) => return outcome.map_err(|error| error.to_string()),
            Err(mpsc::RecvTimeoutError::Timeout) if !post.stops() => {}
            Err(_) => return Err("the key was let go of".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_request_is_written_over_nothing_or_another_request_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        assert_eq!(may_be_written(&path("new.csr")), Ok(()));
        for (name, content, is_free) in [
            ("empty", "", true),
            ("old.csr", "-----BEGIN CERTIFICATE REQUEST-----\nMII=\n-----END CERTIFICATE REQUEST-----\n", true),
            ("new.csr", "-----BEGIN NEW CERTIFICATE REQUEST-----\n", true),
            ("a.key", "-----BEGIN PRIVATE KEY-----\n", false),
            ("a.pem", "-----BEGIN CERTIFICATE-----\n", false),
            ("index.txt", "V\t", false),
        ] {
            fs::write(path(name), content).unwrap();
            assert_eq!(may_be_written(&path(name)).is_ok(), is_free, "{name}");
        }
        assert!(may_be_written(dir.path()).is_err() && may_be_written(&path("none/a.csr")).is_err());
    }
}
