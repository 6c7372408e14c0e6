//! The recipes of `systemd/recipes.md`, copied from the page: real rsync, curl, sshfs and Varnish; and what its manifest for
//! Kubernetes relies on.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Launched, Responder, Site, Status, Tenant, Varnish, bash, free_port,
    http::{self, get, ocsp_target},
    python_module, run, until,
};

use crate::readme::{blocks_of, page};

const PATIENCE: Duration = Duration::from_secs(60);

/// The commands under a heading of the page.
fn commands(section: &str) -> Vec<String> {
    let blocks = blocks_of(&page("systemd/recipes.md"), section);
    blocks.into_iter().filter(|(kind, _)| kind == "sh").map(|(_, text)| text).collect()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("systemd").join(name)
}

/// A service whose index is a copy in its directory.
fn following(ca: &Ca, copy: &Path) -> Responder {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    Site::new(&[Tenant::new("tests").issuer("ca", ca, &format!("index = {copy:?}"), &signer.lines())]).start()
}

fn says(responder: &Responder, ca: &Ca, serial: &str, status: &Status) {
    until("it is said", PATIENCE, || {
        (Ask::serial(ca, serial).at(responder.http(), "/").status == *status).then_some(())
    });
}

#[test]
fn an_index_on_another_machine_comes_by_rsync_or_by_url() {
    const PAGE: &str = "## A CA whose index.txt is on another machine";
    let [rsync, pull] = &commands(PAGE)[..] else { panic!("{:?}", commands(PAGE)) };
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let here = tempfile::tempdir().unwrap();
    // The machines are directories.
    let rsync = rsync.replace("/etc/pki/index.txt", ca.index().to_str().unwrap());
    let rsync = rsync.replace("ocsp.example:/var/lib/ca-copy", here.path().to_str().unwrap());
    bash(here.path(), &rsync);
    let mode = fs::metadata(here.path().join("index.txt")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644);
    let responder = following(&ca, &here.path().join("index.txt"));
    says(&responder, &ca, &leaf.serial, &Status::Good);
    ca.revoke(&leaf, &[]);
    bash(here.path(), &rsync);
    says(&responder, &ca, &leaf.serial, &Status::Revoked);

    let web = free_port([127, 0, 0, 1].into());
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr; user root; events {{}}\nhttp {{ access_log {0}/access; server {{ listen {web}; root {1}; }} }}\n",
        dir.path().display(),
        ca.dir().display()
    );
    fs::write(dir.path().join("nginx.conf"), text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(dir.path().join("nginx.conf")).args(["-p", "/tmp"]);
    let server = Launched::start(command, &dir.path().join("log"));
    until("the web server answers", PATIENCE, || http::exchange(web, &http::request("GET", "/", "")).ok());
    let pull = pull.replace("https://ca.example", &format!("http://{web}"));
    let next = ca.issue();
    bash(here.path(), &pull);
    says(&responder, &ca, &next.serial, &Status::Good);
    // Also what changes within the same second.
    ca.revoke(&next, &[]);
    bash(here.path(), &pull);
    says(&responder, &ca, &next.serial, &Status::Revoked);
    // What has not changed is not fetched, and what cannot be fetched changes nothing.
    bash(here.path(), &pull);
    let log = fs::read_to_string(dir.path().join("access")).unwrap();
    assert!(log.lines().last().unwrap().contains("\" 304 "), "{log}");
    // One that was lost comes back.
    fs::remove_file(here.path().join("index.txt")).unwrap();
    bash(here.path(), &pull);
    let before = fs::metadata(here.path().join("index.txt")).unwrap();
    drop(server);
    assert!(!run(Command::new("bash").args(["-c", &pull]).current_dir(here.path())).status.success());
    let after = fs::metadata(here.path().join("index.txt")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&before), std::os::unix::fs::MetadataExt::ino(&after));
    says(&responder, &ca, &next.serial, &Status::Revoked);
}

/// Unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `dir` by sshfs, without a machine between: the server of sftp answers through a pipe.
    fn new(dir: &Path, at: &Path) -> Self {
        fs::create_dir(at).unwrap();
        let server = at.with_extension("sh");
        fs::write(&server, "#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n").unwrap();
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
        let mut sshfs = Command::new("sshfs");
        sshfs.arg("-o").arg(format!("ssh_command={}", server.display()));
        let mounted = run(sshfs.arg(format!("ca.example:{}", dir.display())).arg(at));
        assert!(mounted.status.success(), "{}", mounted.text);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

#[test]
fn a_source_by_sshfs_is_warned_of_and_a_copy_is_not() {
    let ca = Ca::new("CA");
    ca.issue();
    let here = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(ca.dir(), &here.path().join("ca"));
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = |index: &Path| {
        let tenant = Tenant::new("tests").issuer("ca", &ca, &format!("index = {index:?}"), &signer.lines());
        Site::new(&[tenant]).check()
    };
    let by_sshfs = site(&mounted.0.join("index.txt"));
    let words = "is on a network file system (fuse.sshfs): reading hangs when the other machine is away";
    assert!(by_sshfs.status.success() && by_sshfs.text.contains(words), "{}", by_sshfs.text);
    let copied = site(&ca.index());
    assert!(copied.status.success() && !copied.text.contains("network file system"), "{}", copied.text);
}

#[test]
fn varnish_keeps_answers_and_is_told_of_a_revocation() {
    let ca = Ca::new("CA");
    let (leaf, other) = (ca.issue(), ca.issue());
    let responder = following(&ca, &ca.index());
    let front = free_port([127, 0, 0, 1].into());
    let _varnish = Varnish::start("varnish.vcl", front, responder.http());
    let [about, about_other] = [&leaf, &other].map(|leaf| Ask::about(&ca, leaf));
    let ask = |about: &Ask| get(front, &ocsp_target("/", &about.request()));
    until("varnish answers", PATIENCE, || {
        let request = http::request("GET", &ocsp_target("/", &about.request()), "");
        http::exchange(front, &request).ok().filter(|reply| reply.status == 200)
    });
    let age = |reply: &http::Reply| reply.header("x-varnish").map(|ids| ids.split(' ').count());
    // A hit has the number of the request that fetched it as well.
    let kept = ask(&about);
    about.read(&kept.body).expect(Status::Good);
    assert_eq!(age(&kept), Some(2), "{kept:?}");
    ask(&about_other);
    ca.revoke(&leaf, &[]);
    says(&responder, &ca, &leaf.serial, &Status::Revoked);
    about.read(&ask(&about).body).expect(Status::Good);
    let keys = kept.header("surrogate-key").unwrap().to_owned();
    let (_, key) = keys.split_once(' ').unwrap();
    let ban = |key: &str| {
        let request = http::request("BAN", "/", &format!("Surrogate-Key: {key}\r\n"));
        http::exchange(front, &request).unwrap().status
    };
    assert_eq!((ban("x)|.*"), ban(key)), (400, 200));
    about.read(&ask(&about).body).expect(Status::Revoked);
    assert_eq!(age(&ask(&about_other)), Some(2), "the other one is kept");
    // POST is passed on.
    let posted = http::post(front, "/", &about.request());
    about.read(&posted.body).expect(Status::Revoked);
    assert_eq!(age(&posted), Some(1));
    // While no backend answers, what is kept is given out.
    drop(responder);
    about_other.read(&ask(&about_other).body).expect(Status::Good);
}

#[test]
fn the_manifest_for_kubernetes_is_valid_and_what_it_relies_on_works() {
    let checked = python_module("kubernetes_validate", &["--strict", file("kubernetes.yaml").to_str().unwrap()]);
    assert!(checked.status.success(), "{}", checked.text);
    // A volume as kubelet makes it: links to what is behind a link that is turned over.
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let volume = tempfile::tempdir().unwrap();
    let signers = [(); 2].map(|()| ca.delegate(Delegate::Proper, KeyKind::P256));
    let fill = |version: &str, signer: &ostia_tests::Signer| {
        let dir = volume.path().join(version);
        fs::create_dir(&dir).unwrap();
        for (name, from) in [("ocsp.key", &signer.key), ("ocsp.pem", &signer.certificate), ("index.txt", &ca.index())] {
            fs::copy(from, dir.join(name)).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o440)).unwrap();
        }
        symlink(version, volume.path().join("..data_tmp")).unwrap();
        fs::rename(volume.path().join("..data_tmp"), volume.path().join("..data")).unwrap();
    };
    fill("..1", &signers[0]);
    for name in ["ocsp.key", "ocsp.pem", "index.txt"] {
        symlink(Path::new("..data").join(name), volume.path().join(name)).unwrap();
    }
    let at = |name: &str| volume.path().join(name);
    let lines = format!("certificate = {:?}\nkey = {:?}", at("ocsp.pem"), at("ocsp.key"));
    let tenant = Tenant::new("tests").issuer("ca", &ca, &format!("index = {:?}", at("index.txt")), &lines);
    let site = Site::new(&[tenant]);
    let checked = site.check();
    assert!(checked.status.success(), "{}", checked.text);
    let responder = site.start();
    let carries = |signer: &ostia_tests::Signer| {
        let der =
            bash(ca.dir(), &format!("openssl x509 -in {:?} -outform DER | xxd -p | tr -d '\\n'", signer.certificate));
        let body = http::post(responder.http(), "/", &Ask::about(&ca, &leaf).request()).body;
        let hex: String = body.iter().map(|octet| format!("{octet:02x}")).collect();
        hex.contains(der.trim())
    };
    says(&responder, &ca, &leaf.serial, &Status::Good);
    assert!(carries(&signers[0]));
    // The index is followed by itself, the key after a SIGHUP.
    ca.revoke(&leaf, &[]);
    fill("..2", &signers[1]);
    says(&responder, &ca, &leaf.serial, &Status::Revoked);
    responder.signal("HUP");
    until("the new key signs", PATIENCE, || carries(&signers[1]).then_some(()));
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);
}
