//! The disk that boots: a machine of qemu, from its firmware to an answer, with settings that were put onto the disk before.
//!
//! It takes no KVM: a processor that is imitated is slow, and the same everywhere.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Launched, Status, bash, free_port, http, run, run_for, until};

use crate::{
    machine::{built_by, package, script},
    site::FIRST,
};

/// For a boot and what follows.
const PATIENCE: Duration = Duration::from_secs(400);
/// Where the first partition begins, in bytes.
const BOOT_PARTITION: u64 = 1 << 20;

/// Puts a directory of settings onto the disk, as anybody does who mounts its first partition.
fn put_settings(image: &Path, settings: &Path) {
    let place = format!("{}@@{BOOT_PARTITION}", image.display());
    let copied = run(Command::new("mcopy").args(["-s", "-o", "-Q", "-i", &place]).arg(settings).arg("::"));
    assert!(copied.status.success(), "{}", copied.text);
}

#[test]
fn a_disk_boots_and_answers_with_the_settings_that_were_put_onto_it() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("CA");
    let (leaf, signer) = (ca.issue(), ca.delegate(Delegate::Proper, KeyKind::P256));
    let settings = dir.path().join("ostia");
    fs::create_dir_all(settings.join("etc/keys")).unwrap();
    for (from, to) in [
        (ca.certificate(), "etc/ca.pem"),
        (ca.index(), "etc/index.txt"),
        (signer.certificate, "etc/ocsp.pem"),
        (signer.key, "etc/keys/ocsp.key"),
    ] {
        fs::copy(from, settings.join(to)).unwrap();
    }
    let config = "version = 1\nstate_dir = \"/var/lib/ostia\"\n[http]\nlisten = [\"0.0.0.0:8080\"]\n[[issuer]]\n\
                  certificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = { certificate = \"ocsp.pem\", key = \"ocsp.key\" }\n";
    fs::write(settings.join("etc/ostia.toml"), config).unwrap();
    // As an editor of another system ends a line.
    fs::write(settings.join("hostname"), "ocsp-1\r\n").unwrap();
    bash(dir.path(), "ssh-keygen -q -t ed25519 -N '' -f login && cp login.pub ostia/authorized_keys");

    let image = built_by(script("image-disk").args(["--cached", "--size", "3G", "--package"]).arg(package(FIRST)));
    put_settings(&image, &settings);
    let [http, ssh] = [(); 2].map(|()| free_port(Ipv4Addr::LOCALHOST.into()));
    let serial = dir.path().join("serial");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "768",
        "-display",
        "none",
        "-no-reboot",
    ]);
    qemu.arg("-serial").arg(format!("file:{}", serial.display()));
    qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", image.display()));
    qemu.arg("-nic").arg(format!("user,model=virtio,restrict=on,hostfwd=tcp:{http}-:8080,hostfwd=tcp:{ssh}-:22"));
    let machine = Launched::start(qemu, &dir.path().join("qemu"));
    let told =
        || [serial.clone(), dir.path().join("qemu")].map(|file| fs::read_to_string(file).unwrap_or_default()).concat();
    until_answered(http, told);
    Ask::about(&ca, &leaf).at(http, "/").expect(Status::Good);

    let sh = |line: &str| {
        let mut command = Command::new("ssh");
        command.current_dir(dir.path()).args(["-i", "login", "-p", &ssh.port().to_string()]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        run_for(PATIENCE, command.args(["-o", "BatchMode=yes", "root@127.0.0.1", line]))
    };
    until("somebody may log in", PATIENCE, || sh("true").status.success().then_some(()));
    let says = |line: &str| {
        let ended = sh(line);
        assert!(ended.status.success(), "{line}: {ended:?}\n{}", told());
        ended.text.trim().to_owned()
    };
    assert_eq!(says("hostname"), "ocsp-1");
    assert_eq!(says("stat -c '%a %U:%G' /etc/ostia/keys/ocsp.key"), "640 root:ostia");
    assert_eq!(says("ls /boot/efi"), "EFI\ninitrd.img\nldlinux.c32\nldlinux.sys\nloader\nsyslinux.cfg\nvmlinuz");
    assert_eq!(says("systemctl is-enabled ostia-responder"), "enabled");
    until("its boot is over", PATIENCE, || (says("systemctl is-system-running || true") != "starting").then_some(()));
    assert_eq!(says("systemctl --failed --quiet --no-legend"), "");
    let size: u64 = says("df --output=size --block-size=1M / | tail -1").parse().unwrap();
    assert!(size > 2000, "the root takes the whole disk: {size} MiB");
    drop(machine);
    fs::remove_file(image).unwrap();
}

/// Waits until somebody answers.
fn until_answered(http: SocketAddr, told: impl Fn() -> String) {
    let begin = std::time::Instant::now();
    // qemu takes the connection at once, and ends it while there is nobody in the machine.
    while !http::exchange(http, &http::request("GET", "/", "")).is_ok_and(|reply| reply.status == 200) {
        assert!(begin.elapsed() < PATIENCE, "{}", told());
        std::thread::sleep(Duration::from_millis(500));
    }
}
