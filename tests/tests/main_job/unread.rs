//! What programs do when nobody reads what they say, as in `… | head -1`.

use std::{
    io,
    net::SocketAddr,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use ostia_tests::{
    free_port,
    http::{exchange, request},
    programs, until,
};

use crate::ca_and_site;

/// The writing end of a pipe whose reader has gone.
fn unread() -> io::PipeWriter {
    io::pipe().unwrap().1
}

/// Runs it to its end with nobody at its standard output, or also at its standard error; with what it said there.
fn run_unread(command: &mut Command, errors_too: bool) -> (ExitStatus, String) {
    command.stdin(Stdio::null()).stdout(unread()).stderr(Stdio::piped());
    if errors_too {
        command.stderr(unread());
    }
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

/// They panicked: "failed printing to stdout: Broken pipe", with exit status 101.
#[test]
fn no_program_panics_because_nobody_reads_on() {
    let (ca, site) = ca_and_site();
    let serial = ca.issue().serial;
    let (config, csr) = (site.config(), site.dir().join("new.csr"));
    let config = ["--config", config.to_str().unwrap()];
    let of = |program, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(site.dir());
        command
    };
    let programs = programs();
    let key = ["generate", "--key", "new.key", "--algorithm", "p256", "--purpose", "ocsp", "--subject", "CN=new"];
    std::fs::write(site.dir().join("serials"), format!("{serial}\n")).unwrap();
    let load = ["ocsp", "--url", "http://127.0.0.1:1/", "-n", "1", "-d", "1s", "--serials", "serials", "--issuer"];
    for (mut command, code) in [
        (of(&programs.responder, &[&["check"], &config[..]].concat()), 0),
        (of(&programs.precompute, &[&["sync"], &config[..]].concat()), 0),
        (of(&programs.precompute, &[&["show"], &config[..], &[&serial, "4711"]].concat()), 1),
        (of(&programs.precompute, &[&["presign"], &config[..]].concat()), 0),
        (of(&programs.precompute, &[&["keys", "check"], &config[..]].concat()), 0),
        (of(&programs.precompute, &[&["keys"], &key[..], &["--csr", csr.to_str().unwrap()]].concat()), 0),
        (of(&programs.responder, &["--help"]), 0),
        // Nobody answers there.
        (of(&programs.loadtest, &[&load[..], &[ca.certificate().to_str().unwrap()]].concat()), 5),
    ] {
        let (status, said) = run_unread(&mut command, false);
        assert!(status.code() == Some(code) && !said.contains("panicked"), "{command:?}: {status}\n{said}");
        assert!(!said.contains("Broken pipe"), "{command:?}: {said}");
    }
    assert!(csr.exists(), "the work is done all the same");
    // What is wrong finds no reader either.
    site.edit_config(|text| text.replace("[[tenant]]", "[[tenants]]"));
    for (program, arguments, code) in [
        (&programs.responder, ["check"], 78),
        (&programs.responder, ["serve"], 78),
        (&programs.precompute, ["sync"], 78),
    ] {
        let (status, _) = run_unread(&mut of(program, &[&arguments, &config[..]].concat()), true);
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn the_demo_serves_although_nobody_reads_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let [http, admin]: [SocketAddr; 2] = [(); 2].map(|()| free_port([127, 0, 0, 1].into()));
    let mut demo = Command::new(&programs().responder);
    demo.args(["demo", "--http", &http.to_string(), "--admin", &admin.to_string(), "--dir", "demo"]);
    demo.current_dir(dir.path()).stdin(Stdio::null()).stdout(unread()).stderr(unread());
    let mut child = demo.spawn().unwrap();
    let ready = || exchange(admin, &request("GET", "/readyz/ocsp", "")).ok().filter(|reply| reply.status == 200);
    until("it serves", Duration::from_secs(60), || child.try_wait().unwrap().map(Err).or_else(|| ready().map(Ok)))
        .expect("it runs on");
    child.kill().unwrap();
    child.wait().unwrap();
}
