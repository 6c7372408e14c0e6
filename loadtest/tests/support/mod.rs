//! An authority made with `openssl`, and the program under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory with keys and certificates.
pub(crate) struct Authority {
    pub(crate) directory: tempfile::TempDir,
}

impl Authority {
    /// A CA with a P-256 key.
    pub(crate) fn new() -> Self {
        let authority = Self { directory: tempfile::tempdir().unwrap() };
        authority.key("ca", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        authority.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "ca.key",
            "-subj",
            "/CN=Test CA",
            "-days",
            "30",
            "-out",
            "ca.pem",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
        authority
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Makes a key, by the arguments of `openssl genpkey`.
    pub(crate) fn key(&self, name: &str, arguments: &[&str]) {
        let out = format!("{name}.key");
        self.openssl(&[&["genpkey"], arguments, &["-out", &out]].concat());
    }

    /// Certifies a key with these extensions, one on each line.
    pub(crate) fn certify(&self, name: &str, serial: &str, extensions: &str) {
        let (key, csr, pem, ext) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"), format!("{name}.ext"));
        self.write(&ext, extensions);
        self.openssl(&["req", "-new", "-key", &key, "-subj", &format!("/CN={name}"), "-out", &csr]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-set_serial",
            serial,
            "-days",
            "10",
            "-extfile",
            &ext,
            "-out",
            &pem,
        ]);
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(self.directory.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {}: {said}", arguments.join(" "));
        output.stdout
    }
}

/// Runs the program; gives its exit status, its output, and its JSON report if it wrote one.
pub(crate) fn loadtest(directory: &Path, arguments: &[&str]) -> (i32, String, serde_json::Value) {
    let json = directory.join("report.json");
    let _ = std::fs::remove_file(&json);
    // A server that stops answering must not hold the tests up for minutes.
    let bounded = arguments[0] == "lag" || arguments.contains(&"-d");
    let output: Output = Command::new(env!("CARGO_BIN_EXE_ostia-loadtest"))
        .args(arguments)
        .args(if bounded { &[][..] } else { &["-d", "20s"] })
        .args(["--json", json.to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read(&json).map_or(serde_json::Value::Null, |b| serde_json::from_slice(&b).unwrap());
    (output.status.code().unwrap(), text, report)
}
