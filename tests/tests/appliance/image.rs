//! The OCI image, unpacked by one program that knows the format and run by another.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use ostia_tests::{Ca, Delegate, Ended, KeyKind, run, run_for, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    machine::{PATIENCE, built_by, in_own_mounts, package, project, script},
    site::FIRST,
};

/// The layout of the image, built once.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| built_by(script("image-oci").arg("--package").arg(package(FIRST))))
}

/// A container from the image: what it may write is its volume alone, and it has no capability.
struct Container {
    dir: TempDir,
    crun: Option<Child>,
    ca: Ca,
}

impl Container {
    /// As `user`; the image's own for `None`.
    fn start(user: Option<u32>) -> Self {
        let dir = tempfile::tempdir_in(project().join("target")).unwrap();
        let at = |name: &str| dir.path().join(name);
        let source = format!("{}:{FIRST}", image().display());
        let unpacked = run(Command::new("umoci").args(["unpack", "--image", &source]).arg(at("bundle")));
        assert!(unpacked.status.success(), "{}", unpacked.text);

        let ca = Ca::new("CA");
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        fs::create_dir_all(at("etc/keys")).unwrap();
        for (from, to) in [
            (ca.certificate(), "etc/ca.pem"),
            (ca.index(), "etc/index.txt"),
            (signer.certificate, "etc/ocsp.pem"),
            (signer.key, "etc/keys/ocsp.key"),
        ] {
            fs::copy(from, at(to)).unwrap();
        }
        fs::set_permissions(at("etc/keys/ocsp.key"), Permissions::from_mode(0o640)).unwrap();
        let config = "version = 1\nstate_dir = \"/var/lib/ostia\"\n[http]\nlisten = [\"0.0.0.0:8080\"]\n[[issuer]]\n\
                      certificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = { certificate = \"ocsp.pem\", key = \"ocsp.key\" }\n";
        fs::write(at("etc/ostia.toml"), config).unwrap();
        // A volume begins as what the image has there.
        let (volume, of_image) = (at("state"), at("bundle/rootfs/var/lib/ostia"));
        fs::create_dir(&volume).unwrap();
        let metadata = fs::metadata(&of_image).unwrap();
        chown(&volume, Some(metadata.uid()), Some(metadata.gid())).unwrap();
        fs::set_permissions(&volume, metadata.permissions()).unwrap();

        let path = at("bundle/config.json");
        let mut spec: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        spec["root"]["readonly"] = json!(true);
        spec["process"]["terminal"] = json!(false);
        spec["process"]["capabilities"] = json!({});
        if let Some(user) = user {
            spec["process"]["user"]["uid"] = json!(user);
        }
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| {
            !["/sys", "/sys/fs/cgroup", "/var/lib/ostia"].contains(&mount["destination"].as_str().unwrap())
        });
        for (source, destination, how) in [(at("etc"), "/etc/ostia", "ro"), (volume, "/var/lib/ostia", "rw")] {
            mounts
                .push(json!({"destination": destination, "source": source, "type": "bind", "options": ["bind", how]}));
        }
        fs::write(&path, spec.to_string()).unwrap();

        let log = fs::File::create(at("log")).unwrap();
        let mut this = Self { dir, crun: None, ca };
        let mut command = this.crun("run");
        command.arg("--bundle").arg(this.dir.path().join("bundle")).arg("ostia");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        this.crun = Some(command.spawn().unwrap());
        until("it is healthy", PATIENCE, || {
            let ended = this.crun.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{}", this.log());
            this.exec("health").status.success().then_some(())
        });
        this
    }

    fn crun(&self, verb: &str) -> Command {
        let mut command = in_own_mounts();
        command.args(["crun", "--cgroup-manager", "disabled", "--root"]).arg(self.dir.path().join("crun")).arg(verb);
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Runs the program of the image within the container, as its health check does.
    fn exec(&self, verb: &str) -> Ended {
        let command = ["ostia", "/usr/bin/ostia-responder", verb, "--config", "/etc/ostia/ostia.toml"];
        run_for(PATIENCE, self.crun("exec").args(command))
    }

    /// The process in it, as the host counts.
    fn process(&self) -> String {
        let state: Value = serde_json::from_str(&run(self.crun("state").arg("ostia")).text).unwrap();
        state["pid"].to_string()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = run(self.crun("delete").args(["--force", "ostia"]));
        if let Some(crun) = &mut self.crun {
            let _ = crun.kill();
            let _ = crun.wait();
        }
    }
}

#[test]
fn a_container_answers_without_root_shell_and_a_file_system_that_it_could_write() {
    let mut container = Container::start(None);
    let process = container.process();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    assert!(status.contains("\nUid:\t65532\t65532\t65532\t65532\n"), "{status}");
    assert!(status.contains("\nCapEff:\t0000000000000000\n"), "{status}");
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(root.split(' ').nth(5).unwrap().split(',').any(|option| option == "ro"), "{root}");
    let programs = fs::read_dir(container.dir.path().join("bundle/rootfs/usr/bin")).unwrap();
    let mut programs: Vec<_> = programs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    programs.sort();
    assert_eq!(programs, ["ostia-loadtest", "ostia-precompute", "ostia-responder"]);

    let leaf = container.ca.issue();
    let index = container.dir.path().join("etc/index.txt");
    fs::copy(container.ca.index(), &index).unwrap();
    let ask = || {
        let mut ask = Command::new("nsenter");
        ask.args(["--target", &process, "--net", "openssl", "ocsp", "-no_nonce", "-url", "http://127.0.0.1:8080/"]);
        ask.arg("-issuer").arg(container.ca.certificate()).arg("-CAfile").arg(container.ca.certificate());
        run(ask.arg("-cert").arg(&leaf.path)).text
    };
    until("it says good", PATIENCE, || ask().contains(": good").then_some(()));

    // Its health is what readiness says.
    let drained = container.exec("drain");
    assert!(drained.status.success(), "{drained:?}");
    let health = container.exec("health");
    assert!(health.status.code() == Some(1) && health.text.contains("drained"), "{health:?}");

    // An engine stops it by the signal that the image names.
    let mut stop = container.crun("kill");
    assert!(run(stop.args(["ostia", "TERM"])).status.success());
    let ended = container.crun.take().unwrap().wait().unwrap();
    assert!(ended.success(), "{ended} {}", container.log());
}

#[test]
fn a_container_runs_as_any_user_of_the_group_of_root() {
    let container = Container::start(Some(1_000_720_000));
    let book = container.dir.path().join("state/book.redb");
    assert_eq!(fs::metadata(book).unwrap().uid(), 1_000_720_000, "{}", container.log());
}
