//! Every system call that the service makes, held against those that its unit allows.
//!
//! What the kernel would refuse shows only under systemd, and there perhaps on the day on which it is first needed.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Query, Site, Status, Tenant, Tsa, TsaCertificate, bash, free_port, run, until,
    write_tls_pair,
};

use super::{
    super::renewal::{issuing, renewed_by},
    setting, settings,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Adds the system calls of one of systemd's sets, or the one of this name.
fn add_calls(name: &str, calls: &mut HashSet<String>) {
    if !name.starts_with('@') {
        calls.insert(name.to_owned());
        return;
    }
    let ended = run(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", name]));
    assert!(ended.status.success(), "{ended:?}");
    let lines = ended.text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.for_each(|line| add_calls(line, calls));
}

/// What the unit allows: by systemd.exec(5) each setting adds to those before or takes away, and @default is always there.
fn allowed() -> HashSet<String> {
    let mut allowed = HashSet::new();
    for value in settings("SystemCallFilter") {
        let (taken, names) = value.strip_prefix('~').map_or((false, &value[..]), |names| (true, names));
        let mut named = HashSet::new();
        names.split(' ').for_each(|name| add_calls(name, &mut named));
        if taken {
            allowed.retain(|call| !named.contains(call));
        } else {
            allowed.extend(named);
        }
    }
    add_calls("@default", &mut allowed);
    allowed
}

/// The system calls in what strace has written, and the families of sockets.
fn made(trace: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap()).into_owned();
    let (mut calls, mut families) = (BTreeSet::new(), BTreeSet::new());
    // `PID name(arguments…`, or `PID <… name resumed>…`, which has been begun before.
    for line in text.lines().filter_map(|line| line.trim_start().split_once(' ').map(|(_, call)| call.trim_start())) {
        let Some((name, arguments)) = line.split_once('(') else { continue };
        if name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            calls.insert(name.to_owned());
            if name.starts_with("socket") {
                families.extend(arguments.split(',').next().map(str::to_owned));
            }
        }
    }
    (calls, families)
}

#[test]
fn every_system_call_that_the_service_makes_is_one_that_its_unit_allows() {
    let ca = Ca::new("CA");
    let leaves = [ca.issue(), ca.issue()];
    // What signs on its pool and ahead, and what signs on the serving threads.
    let (slow, cheap) = (ca.delegate(Delegate::Proper, KeyKind::P384), ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    let mut site = Site::new(&[Tenant::of(&ca, &slow).presigned().tsa(&Tsa::of("stamps", &cheap))]);
    let (tls, dir) = (free_port(site.http.ip()), site.dir().to_owned());
    write_tls_pair(&dir, tls.ip(), &["-newkey", "rsa:2048"]);
    site.edit_config(|text| {
        let section =
            format!("\n[tls]\nlisten = [\"{tls}\"]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\n[admin]");
        let clock = "clock = \"kernel\"\nrecord = \"tokens.jsonl\"\nrecord_rotate_octets = 65536\nrecord_keep = 1";
        text.replacen("\n[admin]", &section, 1).replace("clock = \"unchecked\"", clock)
    });
    // And what a command needs that renews a signer.
    let command = issuing(&ca, "ocsp_signer");
    let renew = renewed_by(&command, "400d");
    site.edit_config(|text| {
        text.replacen("[tenant.issuer.signer]\n", &format!("[tenant.issuer.signer]\n{renew}\n"), 1)
    });
    let (allowed, families) = (allowed(), setting("RestrictAddressFamilies"));
    assert!(allowed.contains("io_uring_enter") && !allowed.contains("mount"), "{allowed:?}");

    // With io_uring, and where it is refused; the second time on what the first has left behind.
    for (leaf, inject) in leaves.iter().zip(["trace=all", "inject=io_uring_setup:error=EPERM"]) {
        let (trace, socket) = (dir.join("trace"), dir.join("notify"));
        let _ = fs::remove_file(&socket);
        let systemd = UnixDatagram::bind(&socket).unwrap();
        let serve = site.serve();
        let mut command = Command::new("strace");
        // -D: the service stays this process's child, so that signals reach it.
        command.args(["-D", "-f", "-q", "-e", "signal=none", "-e", inject, "-o"]).arg(&trace).arg("--");
        command.arg(serve.get_program()).args(serve.get_args()).env("NOTIFY_SOCKET", &socket);
        let mut responder = site.start_by(command);
        Ask::about(&ca, leaf).at(responder.http(), "/").expect(Status::Good);
        for number in 0..300 {
            // Whether the kernel's clock is good enough is this machine's affair.
            Query::new(number).at(responder.http(), "/tsa");
        }
        assert!(!responder.readiness_of("tsa").1.contains("adjtimex"), "{:?}", responder.readiness_of("tsa"));
        bash(&dir, &format!("curl -sS --noproxy '*' --cacert cert.pem https://{tls}/ >/dev/null"));
        ca.revoke(leaf, &[]);
        until("the revocation", PATIENCE, || {
            (Ask::about(&ca, leaf).at(responder.http(), "/").status == Status::Revoked).then_some(())
        });
        until("the signer is renewed", PATIENCE, || {
            // In the first process, and the second finds it so.
            let renewed = responder.metric("ostia_signer_renewals_total", "") == 1.0;
            (renewed || responder.metric("ostia_signer_renewal_due", "issuer=\"ca\"") == 0.0).then_some(())
        });
        responder.reload(|text| text + "\n# changed\n");
        let read_again = || responder.log().contains("the configuration was read again").then_some(());
        until("it is read again", PATIENCE, read_again);
        assert!(responder.end_by("TERM").success(), "{}", responder.log());
        drop(systemd);

        let (calls, sockets) = made(&trace);
        assert!(inject != "trace=all" || calls.contains("execve") && calls.contains("setpgid"), "{calls:?}");
        assert!(calls.len() > 40 && calls.contains("sendto") && sockets.contains("AF_UNIX"), "{calls:?} {sockets:?}");
        let refused: Vec<_> = calls.iter().filter(|call| !allowed.contains(*call)).collect();
        assert!(refused.is_empty(), "the unit refuses {refused:?} of {calls:?}");
        assert!(sockets.iter().all(|family| families.split(' ').any(|allowed| allowed == family)), "{sockets:?}");
        site = responder.into_site();
        fs::write(site.dir().join("log"), "").unwrap();
    }
}
