//! `ostia-precompute keys generate`: makes a key, and the request with which the CA issues its certificate.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::{
    output::{may_be_secret, say, shell_word},
    pki::{Purpose, Request},
    sign::{Algorithm, Holder as _, KeyKind, Pkcs11Token, SoftwareKey, generate_file, pkcs11::Uri},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// Where to put the key: a new file, or a PKCS#11 token named by a URI such as
    /// 'pkcs11:token=ocsp;object=ocsp?module-name=softhsm2'.
    #[arg(long, value_name = "FILE|URI")]
    key: String,
    /// Kind of key.
    #[arg(long, value_enum, required_unless_present = "csr_only")]
    algorithm: Option<KeyKind>,
    /// What its certificate is for: OCSP responses, or time-stamps.
    #[arg(long, value_enum)]
    purpose: For,
    /// The certificate's subject, such as 'CN=OCSP signer 2027,O=Example,C=DE'.
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// New file for the request (PKCS#10 in PEM).
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Make no key, only a request for an existing one.
    #[arg(long, conflicts_with = "algorithm")]
    csr_only: bool,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum For {
    Ocsp,
    Tsa,
}

/// An existing key that signs.
enum KeyPlace {
    File(SoftwareKey),
    Token(Box<Pkcs11Token>),
}

impl KeyPlace {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::File(key) => key.algorithm(),
            Self::Token(token) => token.algorithm(),
        }
    }

    fn public_key_octets(&self) -> &[u8] {
        match self {
            Self::File(key) => key.public_key_octets(),
            Self::Token(token) => token.public_key_octets(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(match self {
            Self::File(key) => key.sign(message)?,
            Self::Token(token) => token.open()?.sign(message)?,
        })
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { key: written, algorithm, purpose, subject, csr, csr_only } = arguments;
    let purpose = match purpose {
        For::Ocsp => Purpose::Ocsp,
        For::Tsa => Purpose::Tsa,
    };
    // Everything that can be checked before there is a key.
    let any = Algorithm::Ed25519;
    Request::new(subject, purpose, any.key_identifier(), &[])?;
    let mut file = create_new(csr)?;
    let kind = algorithm.filter(|_| !csr_only);
    // It was just created, and is empty.
    let remove = || drop(fs::remove_file(csr));
    let key = find_or_make(written, kind).inspect_err(|_| remove())?;
    let place = match &key {
        KeyPlace::File(_) => format!("in {written}"),
        KeyPlace::Token(token) => format!("on {}", token.called()),
    };
    write_request(&key, purpose, subject, &mut file, csr).map_err(|error| {
        remove();
        match kind {
            None => error,
            Some(_) => format!(
                "{error}\nThe key was made {place} and stays there, but its request was not written. Fix this, then run the same command with --csr-only instead of --algorithm"
            )
            .into(),
        }
    })?;
    let is = if kind.is_some() { "made" } else { "found" };
    let (signs, csr_place, next) = (key.algorithm(), csr.display(), next(written, purpose, csr));
    Ok(say(format_args!("The key was {is} {place}; it signs with {signs}. Its request is in {csr_place}.\n\n{next}"))?)
}

fn write_request(
    key: &KeyPlace,
    purpose: Purpose,
    subject: &str,
    file: &mut File,
    csr: &Path,
) -> Result<(), Box<dyn Error>> {
    let request = Request::new(subject, purpose, key.algorithm().key_identifier(), key.public_key_octets())?;
    let signature = key.sign(&request.to_be_signed()?)?;
    let request = request.signed(key.algorithm().identifier(), &signature)?;
    let written = file.write_all(request.as_bytes()).and_then(|()| file.sync_all());
    Ok(written.map_err(|error| cannot_be_written(csr, &error))?)
}

fn cannot_be_written(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot be written: {error}", path.display())
}

fn find_or_make(written: &str, kind: Option<KeyKind>) -> Result<KeyPlace, Box<dyn Error>> {
    if !Uri::is_meant(written) {
        if may_be_secret(written) {
            return Err("--key is neither a file nor a pkcs11: URI; it may be a secret, and is not shown".into());
        }
        let path = Path::new(written);
        return Ok(KeyPlace::File(match kind {
            Some(_) if path.symlink_metadata().is_ok() => {
                return Err(format!(
                    "{written}: already exists and is not overwritten; name another file, or use --csr-only to make a request for the existing key"
                )
                .into());
            }
            Some(kind) => generate_file(kind, path)?,
            None => SoftwareKey::from_file(path)?,
        }));
    }
    let uri = Uri::parse(written).map_err(|error| format!("the URI {error}"))?;
    let here = std::env::current_dir()?;
    Ok(KeyPlace::Token(Box::new(match kind {
        Some(kind) => Pkcs11Token::generate(&uri, &here, kind)?,
        None => Pkcs11Token::existing(&uri, &here)?,
    })))
}

fn create_new(path: &Path) -> Result<File, String> {
    File::create_new(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{}: already exists and is not overwritten; name another file", path.display())
        }
        _ => cannot_be_written(path, &error),
    })
}

/// What to do with the request, as commands to copy.
fn next(key: &str, purpose: Purpose, csr: &Path) -> String {
    let certificate = csr.with_extension("pem");
    let (csr, certificate) = (csr.display().to_string(), certificate.display().to_string());
    let extensions = match purpose {
        Purpose::Ocsp => "extendedKeyUsage=OCSPSigning noCheck=ignored",
        Purpose::Tsa => "extendedKeyUsage=critical,timeStamping",
    };
    let issue = format!(
        "Have the CA issue the certificate, in the directory of its configuration (in bash):\n\n    openssl ca -config openssl.cnf -notext -in {} -out {} -extfile <(printf '%s\\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature {extensions} authorityKeyIdentifier=keyid)\n",
        shell_word(&csr),
        shell_word(&certificate),
    );
    match purpose {
        Purpose::Ocsp => format!(
            "{issue}\nThen name both in the configuration, under the issuer, and try them:\n\n    signer = {{ certificate = {certificate:?}, key = {key:?} }}\n\n    ostia-precompute keys check --config ostia.toml\n"
        ),
        Purpose::Tsa => issue,
    }
}
