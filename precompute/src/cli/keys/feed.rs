//! `ostia-precompute keys feed`: makes the key of a writer of a feed, and its public key for everybody who reads it.
//!
//! Invariant: no file is written over, and a command that fails leaves none. It does not know the configuration.

use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use der::pem::LineEnding;

use crate::{
    assemble::read_writer_key,
    config::quoted,
    feed::PublicKey,
    output::{may_be_secret, say},
    sign::{KeyKind, generate_file},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// New file for the private key (PKCS#8 in PEM, mode 0600). The public key is put beside it: FILE.pub.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(Arguments { out }: &Arguments) -> Result<(), Box<dyn Error>> {
    if may_be_secret(&out.to_string_lossy()) {
        return Err("--out is no name of a file; it may be a secret, and is not shown".into());
    }
    let mut public = out.clone().into_os_string();
    public.push(".pub");
    let public = PathBuf::from(public);
    if let Some(there) = [out, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(format!("{}: already exists and is not overwritten; name another file", there.display()).into());
    }
    generate_file(KeyKind::Ed25519, out)?;
    let key = match finish(out, &public) {
        Ok(key) => key,
        Err(error) => {
            // It was just made, and nobody knows it yet.
            let _ = fs::remove_file(out);
            return Err(error);
        }
    };
    let (private, public) = (out.display(), public.display());
    let (named, trusted) = (quoted(&private.to_string()), quoted(&public.to_string()));
    Ok(say(format_args!(
        "The key of a writer is in {private}, and stays on its machine. Its public key, {}, is in {public}.\n\nName the key in the configuration of this writer, and its public key in that of every writer and replica:\n\n    [feed]\n    key = {named}\n    trusted = [{trusted}]",
        key.id()
    ))?)
}

/// Reads the private key as the writer will, and writes the public one.
fn finish(private: &Path, public: &Path) -> Result<PublicKey, Box<dyn Error>> {
    let key = read_writer_key(private)?.public();
    write_public(public, &key)?;
    Ok(key)
}

fn write_public(path: &Path, key: &PublicKey) -> Result<(), Box<dyn Error>> {
    let cannot = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{}: already exists and is not overwritten; name another file", path.display())
        }
        _ => format!("{}: cannot be written: {error}", path.display()),
    };
    let pem = der::pem::encode_string("PUBLIC KEY", LineEnding::LF, &key.spki()).map_err(|error| error.to_string())?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(cannot)?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // It was just created.
        let _ = fs::remove_file(path);
        cannot(error).into()
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    fn openssl(dir: &Path, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    #[test]
    fn openssl_finds_the_public_key_of_a_writer_in_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("feed.key");
        run(&Arguments { out: out.clone() }).unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("feed.key"), mode("feed.key.pub") & 0o600), (0o600, 0o600));
        let public = openssl(dir.path(), &["pkey", "-in", "feed.key", "-pubout"]);
        assert_eq!(fs::read(dir.path().join("feed.key.pub")).unwrap(), public);
        let text = String::from_utf8(openssl(dir.path(), &["pkey", "-in", "feed.key", "-text", "-noout"])).unwrap();
        assert!(text.starts_with("ED25519 Private-Key"), "{text}");
    }

    #[test]
    fn neither_file_is_written_over_and_a_failure_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        for there in ["a.key", "a.key.pub"] {
            let (there, out) = (dir.path().join(there), dir.path().join("a.key"));
            fs::write(&there, "kept").unwrap();
            let error = run(&Arguments { out: out.clone() }).unwrap_err().to_string();
            assert!(error.contains("already exists and is not overwritten"), "{error}");
            assert_eq!(fs::read_to_string(&there).unwrap(), "kept");
            fs::remove_file(&there).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        let error = run(&Arguments { out: dir.path().join("absent/feed.key") }).unwrap_err().to_string();
        assert!(error.contains("absent/feed.key: cannot be written"), "{error}");
        let pasted = "-----BEGIN PRIVATE KEY-----";
        let error = run(&Arguments { out: pasted.into() }).unwrap_err().to_string();
        assert!(error.contains("is not shown") && !error.contains(pasted), "{error}");
    }
}
