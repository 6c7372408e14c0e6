//! SoftHSM tokens in a directory that vanishes, with keys imported from files.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{programs, run};

/// Tokens of one SoftHSM, all with the same PIN.
#[derive(Debug)]
pub struct SoftHsm {
    dir: TempDir,
}

/// The PIN of every token.
pub const PIN: &str = "4711-secret";

impl SoftHsm {
    /// With a token for each label.
    pub fn new(labels: &[&str]) -> Self {
        let hsm = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(hsm.dir().join("tokens")).unwrap();
        let tokens = hsm.dir().join("tokens");
        fs::write(hsm.config(), format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())).unwrap();
        hsm.write_pin(PIN);
        labels.iter().for_each(|label| hsm.add_token(label));
        hsm
    }

    /// Where all of it lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What `SOFTHSM2_CONF` has to name.
    pub fn config(&self) -> PathBuf {
        self.dir().join("softhsm2.conf")
    }

    /// The file with the PIN.
    pub fn pin_file(&self) -> PathBuf {
        self.dir().join("pin")
    }

    /// Writes another PIN into that file.
    pub fn write_pin(&self, pin: &str) {
        fs::write(self.pin_file(), format!("{pin}\n")).unwrap();
        fs::set_permissions(self.pin_file(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[track_caller]
    fn util(&self, arguments: &[&str]) {
        let ended = run(Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", self.config()));
        assert!(ended.status.success(), "softhsm2-util {arguments:?}: {}", ended.text);
    }

    /// Makes a token; two may have the same label.
    pub fn add_token(&self, label: &str) {
        self.util(&["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", PIN]);
    }

    /// Puts the key of a PEM file (PKCS#8) on a token; `id` in hexadecimal.
    pub fn import(&self, token: &str, key: &Path, label: &str, id: &str) {
        let key = key.to_str().unwrap();
        self.util(&["--import", key, "--token", token, "--label", label, "--id", id, "--pin", PIN, "--force"]);
    }

    /// The URI of a key, with this module.
    pub fn uri_with(&self, token: &str, object: &str, module: &Path) -> String {
        format!(
            "pkcs11:token={token};object={object}?module-path={}&pin-source={}",
            module.display(),
            self.pin_file().display()
        )
    }

    /// The URI of a key.
    pub fn uri(&self, token: &str, object: &str) -> String {
        self.uri_with(token, object, softhsm_module())
    }

    /// The environment of a program that uses the tokens by the shim ([`Programs::pkcs11_shim`](crate::Programs)).
    pub fn shim_environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("SOFTHSM2_CONF", self.config()),
            ("OSTIA_SHIM_MODULE", softhsm_module().to_owned()),
            ("OSTIA_SHIM_CONTROL", self.dir().join("control")),
            ("OSTIA_SHIM_CALLS", self.dir().join("calls")),
        ]
    }

    /// The URI of a key, by the shim.
    pub fn shim_uri(&self, token: &str, object: &str) -> String {
        self.uri_with(token, object, &programs().pkcs11_shim)
    }

    /// Orders for the shim; see its documentation.
    pub fn order(&self, orders: &str) {
        order(self.dir(), orders);
    }

    /// How many calls the shim has seen end that begin so, such as `C_Login token=a`.
    pub fn calls(&self, begin: &str) -> usize {
        calls(self.dir(), begin)
    }
}

/// Orders for the shim of the tokens in `dir`.
pub fn order(dir: &Path, orders: &str) {
    fs::write(dir.join("control.new"), orders).unwrap();
    fs::rename(dir.join("control.new"), dir.join("control")).unwrap();
}

/// How many calls the shim of the tokens in `dir` has seen end that begin so.
pub fn calls(dir: &Path, begin: &str) -> usize {
    let text = fs::read_to_string(dir.join("calls")).unwrap_or_default();
    text.lines()
        .filter(|line| line.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
        .count()
}

/// Where distributions put SoftHSM.
pub fn softhsm_module() -> &'static Path {
    const PLACES: [&str; 4] = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/lib/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    let found = PLACES.iter().map(Path::new).find(|place| place.exists());
    found.unwrap_or_else(|| panic!("SoftHSM is in none of {PLACES:?}; apt-get install softhsm2"))
}
