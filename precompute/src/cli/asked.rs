//! What `add`, `revoke`, `release` and `status` have in common: a service, an issuer, and certificates.
//!
//! Purpose: the options once, and the values that they give. It does not know the service.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{client::Reach, config_file::ConfigOption, end::Usage};
use crate::pki::{
    Certificate, Serial, certificates,
    written::{self, Radix},
};

/// The certificates, and of which issuer. Whoever has it says in a group which of them are needed.
#[derive(Args, Debug)]
pub(super) struct Asked {
    /// Of the running service: its [admin] section says where it listens and where the token is.
    #[command(flatten)]
    pub(super) config: ConfigOption,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// The issuer: `tenant:name`, its name where no other has it, or its id (64 or the first 8 digits). Pushes need
    /// it only where there are several and no certificate says it; `status` asks of all without it.
    #[arg(long, value_name = "ISSUER")]
    pub(super) issuer: Option<String>,
    /// Serial numbers are in decimal.
    #[arg(long)]
    pub(super) decimal: bool,
    /// Serial numbers in hexadecimal, as `openssl x509 -serial` prints them, also with 0x or colons.
    #[arg(value_name = "SERIAL")]
    pub(super) serials: Vec<String>,
    /// Files with a certificate each, PEM or DER.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) certificate: Vec<PathBuf>,
}

impl Asked {
    /// The serial numbers that stand there themselves.
    pub(super) fn serials(&self) -> Result<Vec<Serial>, Usage> {
        self.serials.iter().map(|text| read_serial(text, self.decimal)).collect()
    }

    /// The certificates of the files.
    pub(super) fn certificates(&self) -> Result<Vec<Certificate>, String> {
        self.certificate.iter().map(|path| read_certificate(path)).collect()
    }
}

/// A serial number as the command line has it.
pub(super) fn read_serial(text: &str, decimal: bool) -> Result<Serial, Usage> {
    let radix = if decimal { Radix::Decimal } else { Radix::Hexadecimal };
    written::serial(text, radix).map_err(|what| {
        let remedy = if Path::new(text).is_file() { "; name the file of a certificate with --certificate" } else { "" };
        Usage::new(format!("a serial number is {what}{remedy}"))
    })
}

/// The only certificate of a file.
fn read_certificate(path: &Path) -> Result<Certificate, String> {
    let mut read = certificates(path).map_err(|error| error.to_string())?;
    match read.len() {
        1 => Ok(read.remove(0)),
        count => Err(format!(
            "{}: holds {count} certificates; name a file that has only the one that is meant",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_place_of_a_serial_number_is_told_of_the_option_for_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = read_serial(file.path().to_str().unwrap(), false).unwrap_err().to_string();
        assert!(error.contains("no serial number") && error.ends_with("with --certificate"), "{error}");
        assert!(!read_serial("no such file", false).unwrap_err().to_string().contains("--certificate"));
    }
}
