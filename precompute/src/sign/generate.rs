//! Makes keys.
//!
//! Invariant: an existing file is never overwritten, and a new file is never readable by anybody but its owner, and the
//! group that its directory is for. It does not know signers.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use aws_lc_rs::{
    encoding::AsDer as _,
    error::Unspecified,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair,
    },
};
use der::pem::LineEnding;
use zeroize::Zeroizing;

use super::{Algorithm, SoftwareKey};
use crate::pki::FileError;

/// Kinds of keys that can be made, as the command line names them.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum, Debug)]
#[allow(missing_docs)]
pub enum KeyKind {
    P256,
    P384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ed25519,
    #[value(name = "ml-dsa-44")]
    MlDsa44,
    #[value(name = "ml-dsa-65")]
    MlDsa65,
    #[value(name = "ml-dsa-87")]
    MlDsa87,
}

impl KeyKind {
    /// The default algorithm of such a key.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::EcdsaP256Sha256,
            Self::P384 => Algorithm::EcdsaP384Sha384,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Algorithm::RsaPkcs1Sha256,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::MlDsa44 => Algorithm::MlDsa44,
            Self::MlDsa65 => Algorithm::MlDsa65,
            Self::MlDsa87 => Algorithm::MlDsa87,
        }
    }

    /// The size of an RSA key.
    pub(super) const fn modulus_bits(self) -> u64 {
        match self {
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            _ => 2048,
        }
    }

    /// A new key in PKCS#8, DER; version 1, which every program reads.
    fn pkcs8(self) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let rsa = |size| Ok(Zeroizing::new(RsaKeyPair::generate(size)?.as_der()?.as_ref().to_vec()));
        let document = match self {
            Self::P256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?.to_pkcs8v1(),
            Self::P384 => EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING)?.to_pkcs8v1(),
            Self::Rsa2048 => return rsa(KeySize::Rsa2048),
            Self::Rsa3072 => return rsa(KeySize::Rsa3072),
            Self::Rsa4096 => return rsa(KeySize::Rsa4096),
            Self::Ed25519 => Ed25519KeyPair::generate()?.to_pkcs8v1(),
            Self::MlDsa44 => PqdsaKeyPair::generate(&ML_DSA_44_SIGNING)?.to_pkcs8v1(),
            Self::MlDsa65 => PqdsaKeyPair::generate(&ML_DSA_65_SIGNING)?.to_pkcs8v1(),
            Self::MlDsa87 => PqdsaKeyPair::generate(&ML_DSA_87_SIGNING)?.to_pkcs8v1(),
        };
        Ok(Zeroizing::new(document?.as_ref().to_vec()))
    }
}

/// Makes a key in a file of its own, PKCS#8 in PEM, mode 0600; 0640 in a directory that gives its files to its group (setgid):
/// its members are to use the keys there.
pub fn generate_file(kind: KeyKind, path: &Path) -> Result<SoftwareKey, FileError> {
    let fail = |problem: String| FileError::new(path, problem);
    let key = kind.pkcs8().map_err(|_| fail("no key could be made for it".into()))?;
    let pem = der::pem::encode_string("PRIVATE KEY", LineEnding::LF, &key).map_err(|error| fail(error.to_string()))?;
    let pem = Zeroizing::new(pem);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        fail(match error.kind() {
            ErrorKind::AlreadyExists => "already exists and is not overwritten; name another file".into(),
            _ => format!("cannot be written: {error}"),
        })
    })?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| share(&file, path)).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // It was just created, and holds no key.
        let _ = std::fs::remove_file(path);
        fail(format!("cannot be written: {error}"))
    })?;
    SoftwareKey::from_file(path)
}

/// Lets the group read a file in a directory that gives its files to its group.
fn share(file: &File, path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let gives = std::fs::metadata(directory)?.permissions().mode() & 0o2000 != 0;
    if gives { file.set_permissions(Permissions::from_mode(0o640)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_for_its_owner_alone_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519, KeyKind::MlDsa65] {
            let path = dir.path().join(format!("{kind:?}.key"));
            let key = generate_file(kind, &path).unwrap();
            assert_eq!(key.algorithm(), kind.algorithm());
            let text = std::fs::read(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            let error = generate_file(kind, &path).unwrap_err().to_string();
            assert!(error.contains("already exists and is not overwritten"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), text);
        }
    }

    #[test]
    fn in_a_directory_that_is_for_its_group_the_group_may_read_the_key() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, wanted) in [(0o2750, 0o640), (0o750, 0o600)] {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let path = dir.path().join(format!("{mode:o}.key"));
            generate_file(KeyKind::Ed25519, &path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, wanted);
        }
    }
}
