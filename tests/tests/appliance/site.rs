//! A CA on the machine, and the service that the package brings, configured as its example says.

use std::fs;

use ostia_tests::{Ca, Leaf, openssl};

use crate::machine::{Machine, package};

/// The version of the package that is installed first.
pub(crate) const FIRST: &str = "0.1.0-1";
pub(crate) const CONFIG: &str = "/etc/ostia/ostia.toml";

/// The two lines that the example asks for.
const TWO_LINES: &str =
    r#"sed -i -e 's/^# certificate = .*/certificate = "ca.pem"/' -e 's/^# index = /index = /' /etc/ostia/ostia.toml"#;

pub(crate) struct Installed {
    pub(crate) machine: Machine,
    pub(crate) ca: Ca,
    pub(crate) leaf: Leaf,
}

impl Installed {
    /// The package on a bare machine, and nothing else done.
    pub(crate) fn bare() -> Self {
        let machine = Machine::boot();
        let ca = Ca::new("CA");
        let leaf = ca.issue();
        machine.put(&package(FIRST), "/root/ostia.deb");
        machine.sh("apt-get install --yes --no-install-recommends /root/ostia.deb");
        Self { machine, ca, leaf }
    }

    /// With a key, the certificates and the two lines; nothing is started.
    pub(crate) fn configured() -> Self {
        let this = Self::bare();
        this.configure();
        this
    }

    /// Configured and started.
    pub(crate) fn started() -> Self {
        let this = Self::configured();
        this.machine.sh("systemctl start ostia-responder");
        this
    }

    /// What the head of the example says, word for word where a machine can do it.
    pub(crate) fn configure(&self) {
        let machine = &self.machine;
        machine.sh("ostia-precompute keys generate --key /etc/ostia/keys/ocsp.key --algorithm p256 --purpose ocsp \
             --subject 'CN=OCSP signer' --csr /etc/ostia/ocsp.csr");
        fs::copy(machine.file("/etc/ostia/ocsp.csr"), self.ca.file("ocsp.csr")).unwrap();
        fs::write(
            self.ca.file("ocsp.ext"),
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=OCSPSigning\nnoCheck=ignored\n",
        )
        .unwrap();
        let sign = ["ca", "-config", "openssl.cnf", "-batch", "-notext", "-in", "ocsp.csr", "-out", "ocsp.pem"];
        openssl(self.ca.dir(), [&sign[..], &["-extfile", "ocsp.ext"]].concat());
        machine.put(&self.ca.file("ocsp.pem"), "/etc/ostia/ocsp.pem");
        machine.put(&self.ca.certificate(), "/etc/ostia/ca.pem");
        machine.put(&self.leaf.path, "/root/leaf.pem");
        // The directory of the CA is opened to the group of the service, and to nobody else.
        machine.sh("install -d -m 2750 -g ostia /srv/ca && umask 027 && touch /srv/ca/index.txt");
        self.publish_index();
        machine.sh(TWO_LINES);
    }

    /// Brings the CA's index to the machine.
    pub(crate) fn publish_index(&self) {
        self.machine.put(&self.ca.index(), "/srv/ca/index.new");
        self.machine.sh(
            "chgrp ostia /srv/ca/index.new && chmod 640 /srv/ca/index.new && mv /srv/ca/index.new /srv/ca/index.txt",
        );
    }

    /// What openssl says of the certificate: `good`, `revoked`, or why it got no answer.
    pub(crate) fn ask(&self) -> String {
        self.ask_at("127.0.0.1:8080")
    }

    pub(crate) fn ask_at(&self, address: &str) -> String {
        let asked = self.machine.try_sh(&format!(
            "openssl ocsp -issuer /etc/ostia/ca.pem -CAfile /etc/ostia/ca.pem -cert /root/leaf.pem -no_nonce \
             -url http://{address}/"
        ));
        let says = asked.text.lines().find_map(|line| line.strip_prefix("/root/leaf.pem: "));
        match says {
            Some(says) if asked.text.contains("Response verify OK") => says.to_owned(),
            _ => asked.text,
        }
    }

    /// Changes the configuration of the machine.
    pub(crate) fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let path = self.machine.file(CONFIG);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, edit(text)).unwrap();
    }

    /// A drop-in for a unit.
    pub(crate) fn drop_in(&self, unit: &str, text: &str) {
        self.machine.write(&format!("/etc/systemd/system/{unit}.d/test.conf"), text);
        self.machine.sh("systemctl daemon-reload");
    }

    pub(crate) fn main_pid(&self, unit: &str) -> String {
        self.machine.property(unit, "MainPID")
    }

    /// Asks until the answer is this.
    #[track_caller]
    pub(crate) fn until_said(&self, status: &str) {
        ostia_tests::until(&format!("it says {status}"), crate::machine::PATIENCE, || {
            (self.ask() == status).then_some(())
        });
    }
}

/// Whether a file is there on the machine.
pub(crate) fn is_there(machine: &Machine, path: &str) -> bool {
    fs::symlink_metadata(machine.file(path)).is_ok()
}
