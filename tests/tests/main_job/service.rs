//! `ostia-precompute run`, which does everything but serve, and the state directory, which belongs to one process.

use std::{fs, net::TcpStream, time::Duration};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Responder, Site, Status, Tenant, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn site(ca: &Ca) -> Site {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("index = {:?}", ca.index());
    Site::new(&[Tenant::new("tests").presigned().issuer("ca", ca, &sources, &signer.lines())])
}

fn start_alone(site: Site) -> Responder {
    let command = site.run_alone();
    site.start_by(command)
}

/// Waits until nothing is left to sign.
#[track_caller]
fn wait_for_all(running: &Responder) {
    let records = || running.metric("ostia_records", "");
    until("all is signed ahead", PATIENCE, || (running.metric("ostia_answers", "") >= records()).then_some(()));
}

#[test]
fn what_runs_without_serving_follows_the_ca_and_signs_what_a_server_finds_later() {
    let ca = Ca::new("CA");
    let (good, revoked) = (ca.issue(), ca.issue());
    let mut running = start_alone(site(&ca));
    let known = running.metric("ostia_records", "");
    assert!(known >= 2.0);
    TcpStream::connect(running.http()).unwrap_err();
    wait_for_all(&running);
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    let revocations = || running.metric("ostia_records", "status=\"revoked\"");
    until("the revocation is known", PATIENCE, || (revocations() == 1.0).then_some(()));
    // All certificates, and one of them again.
    let signed = || running.metric("ostia_presign_signed_total", "");
    until("it is signed for", PATIENCE, || (signed() > known).then_some(()));

    // What the responder alone reads is left alone, and told by nobody.
    running.reload(|text| text.replace("[http]\n", "[http]\nidle_deadline = \"77s\"\n"));
    until("the reload", PATIENCE, || running.log().contains("the configuration was read again").then_some(()));
    assert!(!running.log().contains("idle_deadline"), "{}", running.log());
    running.reload(|text| text.replace("state_dir = ", "state_dri = "));
    until("a refusal", PATIENCE, || (running.metric("ostia_config_faulty", "") == 1.0).then_some(()));
    assert!(running.readiness().1.contains("state_dri"), "{:?}", running.readiness());
    running.site.edit_config(|text| text.replace("state_dri = ", "state_dir = "));

    assert!(running.end_by("TERM").success(), "{}", running.log());
    let serving = running.into_site().start();
    for (leaf, status) in [(&good, Status::Good), (&revoked, Status::Revoked)] {
        until("the stored answers are loaded", PATIENCE, || {
            (serving.metric("ostia_presign_restored_total", "") == known).then_some(())
        });
        Ask::about(&ca, leaf).at(serving.http(), "/").expect(status);
    }
    assert_eq!(serving.metric("ostia_requests_total", "result=\"hit\""), 2.0);
    assert_eq!(serving.metric("ostia_presign_signed_total", ""), 0.0);
}

/// `ostia-responder serve` beside another process, refused: what it says, and what commands say.
#[track_caller]
fn refused(running: &Responder, command: &str) {
    let who = format!("belongs to `{command}`, process {} on ", running.pid());
    let (site, begun) = (&running.site, "since 20");
    let of_service = site.refuses_to_start();
    let wanted = ["state/lock: ", &who, begun, "stop it first, or set another `state_dir`"];
    assert!(wanted.iter().all(|wanted| of_service.contains(wanted)), "{of_service}");
    for command in ["sync", "presign"] {
        let ended = site.precompute(command, &[]);
        let wanted = ["state/lock: ", &who, begun, "ask it with `ostia-precompute status`"];
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(wanted.iter().all(|wanted| ended.text.contains(wanted)), "{command}: {}", ended.text);
    }
    assert!(site.check().status.success());
}

#[test]
fn a_second_process_learns_who_has_the_state_directory() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let mut running = start_alone(site(&ca));
    refused(&running, "ostia-precompute run");
    // What a killed process leaves behind means nothing.
    running.end_by("KILL");
    let site = running.into_site();
    assert!(fs::read_to_string(site.dir().join("state/lock")).unwrap().contains("command ostia-precompute run"));
    for arguments in [&["sync"][..], &["presign"], &["show", &leaf.serial]] {
        let ended = site.precompute(arguments[0], &arguments[1..]);
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    }
    let serving = site.start();
    refused(&serving, "ostia-responder serve");
    Ask::about(&ca, &leaf).at(serving.http(), "/").expect(Status::Good);
}

#[test]
fn what_stands_in_the_way_of_running_alone_is_told_before_sources_are_read() {
    let ca = Ca::new("CA");
    let site = site(&ca);
    let taken = std::net::TcpListener::bind(site.admin).unwrap();
    let ended = ostia_tests::run(&mut site.run_alone());
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.text.contains("admin.listen: cannot listen on") && ended.text.contains("ss -ltnp"), "{}", ended.text);
    assert!(!site.dir().join("state/book.redb").exists());
    drop(taken);
    // What is refused stays so, and a unit does not try it again.
    site.edit_config(|text| text.replace("version = 1", "version = 1\nversio = 1"));
    assert_eq!(ostia_tests::run(&mut site.run_alone()).status.code(), Some(78));
}

#[test]
fn a_state_directory_in_memory_is_a_warning() {
    let ca = Ca::new("CA");
    let site = site(&ca);
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return };
    site.edit_config(|text| text.replace("\"state\"", &format!("{:?}", memory.path().join("state"))));
    let checked = site.check();
    assert!(checked.status.success() && checked.text.contains("is on tmpfs"), "{checked:?}");
    assert!(checked.text.contains("state_dir"), "{checked:?}");
    assert!(!memory.path().join("state").exists());
}
