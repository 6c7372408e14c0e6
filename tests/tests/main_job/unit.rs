//! The units of systemd: that systemd understands them, and that the service lives with what they give and take.
//!
//! Here is no systemd that runs; in `tests/appliance` is one. Its own checker reads the units, and what the service unit says of
//! user, limits and files is done by `setpriv` and `prlimit`; that it lets the service do all it does is in `calls`. What a
//! watchdog hears is in `watchdog`.

mod calls;
mod watchdog;

use std::{
    fs,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ostia_tests::{
    Ask, Ca, Delegate, Ended, KeyKind, Query, Site, Status, Tenant, Tsa, TsaCertificate, http::get, programs, run,
};

/// Who the service is where the test may choose: nobody who is there.
const USER: u32 = 61_200;

const SERVICES: [&str; 2] = ["ostia-responder.service", "ostia-precompute.service"];

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("systemd")
}

/// What `systemd-analyze` says of all units, which name the built programs, after a change to the services.
fn verified(change: impl Fn(String) -> String) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let own = |text: String| {
        let text = text.replace("/usr/bin/ostia-responder", programs().responder.to_str().unwrap());
        text.replace("/usr/bin/ostia-precompute", programs().precompute.to_str().unwrap())
    };
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    for unit in ["ostia-responder.service", "ostia-precompute.service", "ostia-responder.socket"] {
        let text = own(fs::read_to_string(units().join(unit)).unwrap());
        let copy = dir.path().join(unit);
        fs::write(&copy, if unit.ends_with("service") { change(text) } else { text }).unwrap();
        verify.arg(copy);
    }
    run(&mut verify)
}

#[test]
fn systemd_understands_its_units() {
    let ended = verified(|text| text);
    assert!(ended.status.success() && !ended.text.contains("ostia-"), "{ended:?}");
    // And would say so if it did not.
    for (line, wrong) in [("ProtectHome=yes", "ProtectHom=yes"), ("RestartSec=5s", "RestartSec=5 apples")] {
        let ended = verified(|text| text.replace(line, wrong));
        for unit in SERVICES {
            assert!(ended.text.contains(unit), "{wrong}: {ended:?}");
        }
    }
}

#[test]
fn the_unit_leaves_the_service_little_that_it_could_do() {
    for unit in SERVICES {
        let mut analyze = Command::new("systemd-analyze");
        // 1.5 of 10; a service without any protection gets 9.6.
        analyze.args(["security", "--no-pager", "--offline=yes", "--threshold=15"]);
        let ended = run(analyze.arg(units().join(unit)));
        assert!(ended.status.success(), "{unit}: {}", ended.text);
    }
}

/// The values of a setting of the service unit, in their order.
fn settings(name: &str) -> Vec<String> {
    let unit = fs::read_to_string(units().join("ostia-responder.service")).unwrap();
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned).collect()
}

/// The value of one that is set once.
#[track_caller]
fn setting(name: &str) -> String {
    let values = settings(name);
    assert_eq!(values.len(), 1, "{name}= {values:?}");
    values.concat()
}

/// A line of `/proc/PID/limits` or `/proc/PID/status`, split at its spaces.
fn of_process(file: &str, begin: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_else(|| panic!("no {begin} in {text}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_service_lives_as_a_user_with_nothing_but_its_socket_its_state_and_its_credentials() {
    let ca = Ca::new("CA");
    let (leaf, signer) = (ca.issue(), ca.delegate(Delegate::Proper, KeyKind::P256));
    let stamps = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::of(&ca, &signer).tsa(&Tsa::of("stamps", &stamps))]);
    let dir = site.dir().to_owned();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let own = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        if is_root {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
    };
    // ConfigurationDirectory= and what lies elsewhere may be read by everybody; keys may not.
    for dir in [&dir, ca.dir()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // StateDirectory= and LoadCredential= are the service's, and credentials are never written.
    let (state, credentials) = (dir.join("state"), dir.join("credentials"));
    fs::create_dir(&state).unwrap();
    own(&state, u32::from_str_radix(&setting("StateDirectoryMode"), 8).unwrap());
    fs::create_dir(&credentials).unwrap();
    for (name, signer) in [("ocsp.key", &signer), ("tsa.key", &stamps)] {
        let credential = credentials.join(name);
        fs::rename(&signer.key, &credential).unwrap();
        own(&credential, 0o400);
        site.edit_config(|text| text.replace(signer.key.to_str().unwrap(), credential.to_str().unwrap()));
    }
    own(&credentials, 0o500);
    // The program where everybody may run it, wherever it was built.
    let program = dir.join("ostia-responder");
    fs::hard_link(&programs().responder, &program)
        .or_else(|_| fs::copy(&programs().responder, &program).map(|_| ()))
        .unwrap();

    let listener = TcpListener::bind((site.http.ip(), 0)).unwrap();
    site.edit_config(|config| config.replacen(&format!("\"{}\"", site.http), "\"systemd\"", 1));
    // No more files than whoever runs the tests may give away.
    let hard: u64 = of_process("/proc/self/limits", "Max open files")[1].parse().unwrap();
    let files = hard.min(setting("LimitNOFILE").parse().unwrap());
    let umask = setting("UMask");
    let line = format!(
        "umask {umask}; exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES=http LISTEN_PID=$$; exec \"$@\""
    );
    let mut service = Command::new("bash");
    service.args([
        "-c",
        &line,
        "bash",
        "prlimit",
        &format!("--nofile={files}"),
        "--core=0",
        "setpriv",
        "--no-new-privs",
    ]);
    if is_root {
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}")];
        service.args(ids).args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    }
    service.arg(&program).args(["serve", "--config"]).arg(site.config());
    let (variable, value) = setting("Environment").split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    service.env(variable, value).env("CREDENTIALS_DIRECTORY", &credentials);
    let address = listener.local_addr().unwrap();
    let mut responder = site.start_with(service, Stdio::from(OwnedFd::from(listener)));

    let process = format!("/proc/{}", responder.pid());
    let status = |begin: &str| of_process(&format!("{process}/status"), begin);
    assert_eq!(status("NoNewPrivs:"), ["1"]);
    if is_root {
        assert_eq!((status("Uid:"), status("CapEff:")), (vec![USER.to_string(); 4], vec!["0".repeat(16)]));
    }
    let limit = of_process(&format!("{process}/limits"), "Max open files");
    assert_eq!(limit[..2], [files.to_string(), files.to_string()]);
    assert_eq!(get(address, "/").status, 200);
    Ask::about(&ca, &leaf).at(address, "/").expect(Status::Good);
    Query::new(1).at(address, "/tsa").granted();
    // A changed configuration is read again by the same user.
    responder.reload(|text| text + "\n# changed\n");
    ostia_tests::until("it is read again", std::time::Duration::from_secs(20), || {
        responder.log().contains("the configuration was read again").then_some(())
    });
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    assert!(!responder.log().to_lowercase().contains("denied"), "{}", responder.log());
    let book = fs::metadata(state.join("book.redb")).unwrap();
    assert_eq!(book.permissions().mode() & 0o077, 0, "UMask=");
    assert_eq!(book.uid(), if is_root { USER } else { fs::metadata("/proc/self").unwrap().uid() });
}
