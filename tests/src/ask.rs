//! Asking with `openssl ocsp`, and understanding what it says.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command};

use crate::{Ca, Leaf, run};

/// What a certificate's status is said to be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
    /// An unsigned error, by its name in RFC 6960.
    Error(String),
}

/// What `openssl ocsp` made of the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: Status,
    /// The signature was verified down to the CA given as trusted.
    pub verified: bool,
    /// thisUpdate, as openssl prints times: `Nov  3 09:05:00 2026 GMT`.
    pub this_update: Option<String>,
    /// nextUpdate.
    pub next_update: Option<String>,
    /// revocationReason, where the answer has one.
    pub reason: Option<String>,
    /// revocationTime.
    pub revocation_time: Option<String>,
    /// All that it printed.
    pub text: String,
}

/// A question for `openssl ocsp`.
#[derive(Clone, Debug)]
pub struct Ask {
    issuer: PathBuf,
    certificate: Vec<String>,
    hash: String,
    nonce: bool,
    whenever: bool,
    trusted: PathBuf,
}

impl Ask {
    /// About a certificate of this CA.
    pub fn about(ca: &Ca, leaf: &Leaf) -> Self {
        Self::serial(ca, &leaf.serial)
    }

    /// About a serial number (hexadecimal) of this CA.
    pub fn serial(ca: &Ca, serial: &str) -> Self {
        Self {
            issuer: ca.certificate(),
            certificate: vec!["-serial".into(), format!("0x{serial}")],
            hash: "-sha1".into(),
            nonce: false,
            whenever: false,
            trusted: ca.certificate(),
        }
    }

    /// With this hash in the CertID; SHA-1 is what clients send by default.
    #[must_use]
    pub fn hash(mut self, hash: &str) -> Self {
        self.hash = format!("-{hash}");
        self
    }

    /// With a nonce.
    #[must_use]
    pub fn nonce(mut self) -> Self {
        self.nonce = true;
        self
    }

    /// Of a responder with another clock: answers of yesterday and tomorrow count as well.
    #[must_use]
    pub fn whenever(mut self) -> Self {
        self.whenever = true;
        self
    }

    /// Trusting another CA.
    #[must_use]
    pub fn trusting(mut self, ca: &Ca) -> Self {
        self.trusted = ca.certificate();
        self
    }

    /// Trusting the CAs in this file.
    #[must_use]
    pub fn trusting_file(mut self, file: PathBuf) -> Self {
        self.trusted = file;
        self
    }

    fn openssl(&self) -> Command {
        let mut command = Command::new("openssl");
        // The hash first: it holds for what follows it.
        command.arg("ocsp").arg(&self.hash).arg("-issuer").arg(&self.issuer).args(&self.certificate);
        if !self.nonce {
            command.arg("-no_nonce");
        }
        if self.whenever {
            command.args(["-validity_period", "172800"]);
        }
        command
    }

    /// Asks the responder at an address and path by POST.
    pub fn at(&self, http: SocketAddr, path: &str) -> Answer {
        let url = format!("http://{http}{path}");
        self.answer(self.openssl().arg("-CAfile").arg(&self.trusted).args(["-url", &url]))
    }

    /// Reads a response that came another way.
    pub fn read(&self, response: &[u8]) -> Answer {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("response");
        fs::write(&file, response).unwrap();
        self.answer(self.openssl().arg("-CAfile").arg(&self.trusted).arg("-respin").arg(&file))
    }

    /// The request in DER.
    pub fn request(&self) -> Vec<u8> {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("request");
        let command = &mut self.openssl();
        let ended = run(command.arg("-reqout").arg(&file));
        assert!(ended.status.success(), "{command:?}: {}", ended.text);
        fs::read(file).unwrap()
    }

    fn answer(&self, command: &mut Command) -> Answer {
        let text = run(command).text;
        let line = |name: &str| {
            text.lines().find_map(|line| line.trim_start().strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let said = |word: &str| text.lines().any(|line| line.ends_with(&format!(": {word}")));
        let status = if let Some(error) = line("Responder Error:") {
            Status::Error(error.split(' ').next().unwrap_or_default().to_owned())
        } else if said("good") {
            Status::Good
        } else if said("revoked") {
            Status::Revoked
        } else if said("unknown") {
            Status::Unknown
        } else {
            panic!("{command:?} gave no answer: {text}")
        };
        Answer {
            verified: text.contains("Response verify OK"),
            this_update: line("This Update:"),
            next_update: line("Next Update:"),
            reason: line("Reason:"),
            revocation_time: line("Revocation Time:"),
            status,
            text,
        }
    }
}

impl Status {
    /// The error with this name.
    pub fn error(name: &str) -> Self {
        Self::Error(name.to_owned())
    }
}

impl Answer {
    /// Signed by whom the CA authorised, and of this status.
    #[track_caller]
    pub fn expect(self, status: Status) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.verified || matches!(status, Status::Error(_)), "{}", self.text);
        self
    }
}
