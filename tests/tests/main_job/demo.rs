//! What a newcomer does first: start the demo and copy the commands it prints.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ostia_tests::{bash, programs, run, until};

mod cluster;

/// Making the CA takes some seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A cluster ends part after part.
const END_LIMIT: Duration = Duration::from_secs(60);

/// A running demo, killed when dropped.
pub(crate) struct Demo {
    child: Child,
    output: std::path::PathBuf,
}

impl Demo {
    /// Starts it in `dir` as a person would, and waits until it has said all it has to say.
    fn start(dir: &Path, name: &str, http: SocketAddr, admin: SocketAddr) -> Self {
        Self::start_by(dir, &["demo", "--dir", name], http, admin)
    }

    /// The same by these arguments, but on addresses of its own.
    pub(crate) fn start_by(dir: &Path, arguments: &[&str], http: SocketAddr, admin: SocketAddr) -> Self {
        let demo = Self::spawn(dir, arguments, http, admin);
        demo.until_said("/metrics")
    }

    fn spawn(dir: &Path, arguments: &[&str], http: SocketAddr, admin: SocketAddr) -> Self {
        let output = dir.join("output");
        let out = fs::File::create(&output).unwrap();
        let mut command = Command::new(&programs().responder);
        command.args(arguments).args(["--http", &http.to_string(), "--admin", &admin.to_string()]);
        command.current_dir(dir).stdin(Stdio::null()).stderr(out.try_clone().unwrap()).stdout(out);
        Self { child: command.spawn().unwrap(), output }
    }

    fn until_said(mut self, what: &str) -> Self {
        until("the demo has started", START_LIMIT, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the demo ended: {status}\n{}", self.said());
            }
            self.said().contains(what).then_some(())
        });
        self
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// The printed commands: the lines indented by four.
    fn commands(&self) -> Vec<String> {
        let said = self.said();
        let commands = said.lines().filter_map(|line| line.strip_prefix("    "));
        commands.filter(|line| line.starts_with("openssl ") || line.starts_with("curl ")).map(str::to_owned).collect()
    }

    fn end(&mut self, signal: &str) -> std::process::ExitStatus {
        assert!(run(Command::new("kill").args(["-s", signal, &self.child.id().to_string()])).status.success());
        until("the demo ends", END_LIMIT, || self.child.try_wait().unwrap())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two addresses that nobody listens on, for relying parties and for operators.
pub(crate) fn free_addresses() -> [SocketAddr; 2] {
    // Both held before either is given up, so that they differ.
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

#[test]
fn every_command_that_the_demo_prints_does_what_it_says() {
    let scratch = tempfile::tempdir().unwrap();
    let [http, admin] = free_addresses();
    let mut demo = Demo::start(scratch.path(), "ostia-demo", http, admin);
    let commands = demo.commands();
    let [good, revoked, by_get, revoke, again, query, stamp, verify, health, health_tsa, metrics] = &commands[..]
    else {
        panic!("{}", demo.said())
    };
    let ask = |command: &str| bash(scratch.path(), command);
    // Health first: it says when the rest can be asked.
    until("ready", START_LIMIT, || {
        let ended = run(Command::new("bash").args(["-c", &format!("{health} --fail")]));
        ended.status.success().then_some(())
    });
    for (command, wanted) in [(good, ": good"), (revoked, ": revoked"), (by_get, ": good")] {
        let said = ask(command);
        assert!(said.contains("Response verify OK") && said.contains(wanted), "{command}\n{said}");
    }
    assert!(ask(revoked).contains("keyCompromise"));
    let sha256 = good.replacen("openssl ocsp", "openssl ocsp -sha256", 1);
    assert!(ask(&sha256).contains(": good"));

    ask(revoke);
    let begin = Instant::now();
    // As it was pasted, in one go with the line before it.
    assert!(ask(again).contains(": revoked"), "what was printed is true");
    // The line before it has slept for a second. An answer that waits for its signature does so for up to 5 s.
    assert!(begin.elapsed() < Duration::from_millis(4500), "{:?}", begin.elapsed());
    assert!(ask(again).contains("superseded"));
    assert!(ask(by_get).contains(": revoked"), "the GET form turns with it");
    [query, stamp].into_iter().for_each(|command| drop(ask(command)));
    assert!(ask(verify).contains("Verification: OK"));
    assert!(ask(health_tsa).starts_with("ready"), "{}", ask(health_tsa));
    assert!(ask(metrics).contains("# HELP"), "Prometheus text");

    let status = demo.end("INT");
    assert!(status.success(), "Ctrl-C ends it cleanly: {status}\n{}", demo.said());

    // Started again: reused, at another address, and with another certificate to ask for.
    let made = fs::read(scratch.path().join("ostia-demo/ca.pem")).unwrap();
    let [http, admin] = free_addresses();
    let mut demo = Demo::start(scratch.path(), "ostia-demo", http, admin);
    assert_eq!(fs::read(scratch.path().join("ostia-demo/ca.pem")).unwrap(), made);
    let said = demo.said();
    assert!(said.contains("no longer good") && said.contains("still names"), "{said}");
    let commands = demo.commands();
    assert!(commands[0].contains(&http.to_string()), "{said}");
    until("good again", START_LIMIT, || {
        let ended = run(Command::new("bash").args(["-c", &commands[0]]).current_dir(scratch.path()));
        ended.text.contains(": good").then_some(())
    });
    assert!(
        ask(again
            .replace(again.split("-url ").nth(1).unwrap().split(' ').next().unwrap(), &format!("http://{http}/"))
            .as_str())
        .contains(": revoked")
    );
    assert!(demo.end("TERM").success());
}

#[test]
fn the_demo_leaves_a_directory_alone_that_is_not_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir(scratch.path().join("mine")).unwrap();
    fs::write(scratch.path().join("mine/thesis.tex"), "").unwrap();
    let ended = run(Command::new(&programs().responder).args(["demo", "--dir", "mine"]).current_dir(scratch.path()));
    assert!(ended.status.code().is_some_and(|code| code != 0 && code != 101), "{ended:?}");
    assert!(ended.text.contains("mine") && ended.text.contains("--dir"), "{}", ended.text);
    assert_eq!(fs::read_dir(scratch.path().join("mine")).unwrap().count(), 1);
}

#[test]
fn the_demo_says_what_to_install_when_openssl_is_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(&programs().responder);
    let ended = run(command.args(["demo"]).env("PATH", scratch.path()).current_dir(scratch.path()));
    assert!(ended.status.code().is_some_and(|code| code != 0 && code != 101), "{ended:?}");
    assert!(ended.text.contains("install") && ended.text.contains("openssl"), "{}", ended.text);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn help_names_the_commands() {
    for program in [&programs().responder, &programs().precompute] {
        let help = run(Command::new(program).arg("--help"));
        assert!(help.status.success(), "{help:?}");
        for command in
            if program.ends_with("ostia-responder") { ["serve", "demo", "check"] } else { ["sync", "show", "keys"] }
        {
            assert!(help.text.contains(command), "{command}: {}", help.text);
        }
    }
}
