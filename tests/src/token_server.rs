//! Tokens that can be killed: each behind a `p11-kit server` of its own, reached by a client module of its own.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{SoftHsm, programs, run, until};

/// Where p11-kit's client finds its server.
const VARIABLE: &str = "P11_KIT_SERVER_ADDRESS";

/// One token behind a process of its own. Killed when dropped, with what it has for its clients.
#[derive(Debug)]
pub struct TokenServer(Child);

impl TokenServer {
    /// Starts it for the token with this label. What its clients call is counted as by the shim ([`SoftHsm::calls`]),
    /// which takes orders, too.
    pub fn start(hsm: &SoftHsm, label: &str) -> Self {
        let socket = socket(hsm, label);
        let _ = fs::remove_file(&socket);
        let mut server = Command::new("p11-kit");
        server.args(["server", "--foreground", "--name"]).arg(&socket);
        server.arg("--provider").arg(&programs().pkcs11_shim).arg(format!("pkcs11:token={label}"));
        // It has a process for each client, and all of them are to go at once.
        server.process_group(0).envs(hsm.shim_environment());
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(server.spawn().unwrap_or_else(|error| panic!("{server:?}: {error}")));
        until("the token's server listens", Duration::from_secs(30), || UnixStream::connect(&socket).ok());
        server
    }

    /// The URI of a key on the token with this label, by a module that reaches its server.
    ///
    /// p11-kit's client takes one address for a process from the environment. So each token has a copy of the module
    /// in which the last letter of the variable's name is another: another file is another library, with a state of
    /// its own, and all of its code is p11-kit's.
    pub fn uri(hsm: &SoftHsm, label: &str, object: &str) -> String {
        let mut module = fs::read(client_module()).unwrap();
        let places: Vec<_> =
            (0..module.len()).filter(|place| module[*place..].starts_with(VARIABLE.as_bytes())).collect();
        let [place] = places[..] else { panic!("{VARIABLE} stands in p11-kit-client.so at {places:?}") };
        module[place..place + VARIABLE.len()].copy_from_slice(variable(label).as_bytes());
        let copy = hsm.dir().join(format!("client-{label}.so"));
        fs::write(&copy, module).unwrap();
        hsm.uri_with(label, object, &copy)
    }

    /// What has to stand in the environment of whoever uses that URI.
    pub fn environment(hsm: &SoftHsm, label: &str) -> (String, PathBuf) {
        let address = [b"unix:path=", socket(hsm, label).as_os_str().as_bytes()].concat();
        (variable(label), PathBuf::from(std::ffi::OsStr::from_bytes(&address)))
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        run(Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.0.id())]));
        let _ = self.0.wait();
    }
}

fn socket(hsm: &SoftHsm, label: &str) -> PathBuf {
    hsm.dir().join(format!("server-{label}"))
}

/// The variable of the token's copy: as long as the real one.
fn variable(label: &str) -> String {
    assert_eq!(label.len(), 1, "a letter names the variable");
    VARIABLE[..VARIABLE.len() - 1].to_owned() + label
}

/// Where distributions put p11-kit's client.
fn client_module() -> PathBuf {
    let by_architecture = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let places = [by_architecture.as_str(), "/usr/lib64", "/usr/lib", "/usr/local/lib"]
        .map(|place| Path::new(place).join("pkcs11/p11-kit-client.so"));
    let found = places.iter().find(|place| place.exists());
    found
        .unwrap_or_else(|| panic!("p11-kit's client is in none of {places:?}; apt-get install p11-kit-modules"))
        .clone()
}
