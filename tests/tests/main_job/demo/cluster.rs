//! The demo of a cluster: its commands are copied, its parts are killed, and nothing of it is left when it has ended.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    iter,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::Duration,
};

use ostia_tests::{bash, run, until};

use super::{Demo, END_LIMIT};

/// Seven processes start, and sign ahead, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(90);
const ARGUMENTS: [&str; 4] = ["demo", "--cluster", "--dir", "a cluster"];

/// A part as the last table shows it: its process, if it has one, its state, and all of the line.
#[derive(Clone, Debug)]
struct Part {
    process: Option<u32>,
    state: String,
    line: String,
}

impl Demo {
    fn cluster(dir: &Path, http: SocketAddr, admin: SocketAddr) -> Self {
        Self::spawn(dir, &ARGUMENTS, http, admin).until_said("\nafter ")
    }

    /// The last table, by the names of parts.
    fn parts(&self) -> BTreeMap<String, Part> {
        let said = self.said();
        let table = said.rsplit("\nafter ").next().unwrap();
        let part = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, process, state) = (words.next()?, words.next()?, words.next()?);
            if !["redis", "writer-", "replica-"].iter().any(|start| name.starts_with(start)) {
                return None;
            }
            let part = Part { process: process.parse().ok(), state: state.to_owned(), line: line.to_owned() };
            Some((name.to_owned(), part))
        };
        table.lines().filter_map(part).collect()
    }

    /// Waits until one writer leads, other than `not`, and all replicas hear it.
    #[track_caller]
    fn until_led(&self, not: Option<&str>) -> (String, BTreeMap<String, Part>) {
        until("a writer leads, and replicas hear it", PATIENCE, || {
            let parts = self.parts();
            let leads = parts.iter().filter(|(_, part)| part.state == "leading").map(|(name, _)| name.clone());
            let leaders: Vec<_> = leads.collect();
            let [leader] = &leaders[..] else { return None };
            let replicas: Vec<_> = parts.iter().filter(|(name, _)| name.starts_with("replica-")).collect();
            let hear = replicas.len() == 3 && replicas.iter().all(|(_, part)| part.state == "fresh");
            (hear && not != Some(leader)).then(|| (leader.clone(), parts))
        })
    }
}

/// Two addresses with as many free ports behind them as the demo uses.
fn free_ranges() -> [SocketAddr; 2] {
    const PORTS: u16 = 16;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the ports that the kernel gives away, and begun where other processes of tests do not.
    let begin = 10_000 + u16::try_from(std::process::id() % 1000).unwrap() * 16;
    let mut ranges = iter::repeat_with(|| begin + NEXT.fetch_add(PORTS, Relaxed)).take(100);
    let is_free = |first: &u16| {
        let listeners = (*first..first + PORTS).map(|port| TcpListener::bind(("127.0.0.1", port)));
        listeners.collect::<Result<Vec<_>, _>>().is_ok()
    };
    let first = ranges.find(is_free).expect("there are free ports");
    // Three replicas; the rest is for operators, and for Redis.
    [first, first + 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Processes that were told of this directory or work in it, by `/proc`. Those that are dead and not waited for do not count.
fn processes_of(dir: &Path) -> Vec<String> {
    let name = dir.to_str().unwrap();
    let of = |process: fs::DirEntry| {
        let path = process.path();
        let command = String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).replace('\0', " ");
        let works_in = fs::read_link(path.join("cwd")).ok()?;
        let is_process = process.file_name().to_string_lossy().parse::<u32>().is_ok() && !command.is_empty();
        (is_process && (command.contains(name) || works_in.starts_with(dir))).then_some(command)
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}

#[track_caller]
fn until_nothing_is_left(dir: &Path) {
    until("nothing is left", END_LIMIT, || processes_of(dir).is_empty().then_some(()));
}

fn kill(part: &Part) {
    let process = part.process.expect("it runs").to_string();
    assert!(run(Command::new("kill").args(["-9", &process])).status.success(), "{}", part.line);
}

#[test]
fn a_clusters_commands_work_as_printed_and_the_other_writer_leads_when_one_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    // As `/proc` names it.
    let dir = scratch.path().canonicalize().unwrap();
    let [http, admin] = free_ranges();
    let mut demo = Demo::cluster(&dir, http, admin);
    let said = demo.said();
    let commands: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("    ")).take(3).collect();
    let [first, revoke, last] = &commands[..] else { panic!("{said}") };
    let (leader, parts) = demo.until_led(None);
    assert_eq!(parts.len(), 6, "{parts:?}");

    let asked = |command: &str, status: &str| {
        until(status, PATIENCE, || {
            let ended = run(Command::new("bash").args(["-c", command]).current_dir(&dir));
            (ended.text.contains("Response verify OK") && ended.text.contains(status)).then_some(())
        });
    };
    asked(first, ": good");
    let told = bash(&dir, revoke);
    assert!(told.contains("revoked"), "{told}");
    [last, first].into_iter().for_each(|command| asked(command, ": revoked"));

    kill(&parts[&leader]);
    let (next, parts) = demo.until_led(Some(&leader));
    assert_ne!(next, leader);
    asked(last, ": revoked");
    // It is the one that takes pushes now.
    let index = fs::read_to_string(dir.join("a cluster/index.txt")).unwrap();
    let host = index.lines().find(|line| line.starts_with('V') && line.contains("/CN=host-")).unwrap();
    let about_it = |command: &str| {
        let serial = host.split('\t').nth(3).unwrap();
        command.replace("/good.pem", &format!("/newcerts/{serial}.pem"))
    };
    asked(&about_it(first), ": good");
    bash(&dir, &about_it(revoke));
    [last, first].into_iter().for_each(|command| asked(&about_it(command), ": revoked"));
    // The killed one is started again, and stands by.
    let again = until("it is started again", PATIENCE, || {
        demo.parts().remove(&leader).filter(|part| part.process.is_some() && part.state == "standing")
    });
    assert!(parts[&next].process.is_some() && again.process != parts[&leader].process, "{again:?}");

    let status = demo.end("INT");
    assert!(status.success(), "Ctrl-C ends it cleanly: {status}\n{}", demo.said());
    assert!(processes_of(&dir).is_empty(), "{:?}", processes_of(&dir));
}

#[test]
fn a_cluster_whose_demo_is_killed_or_loses_its_terminal_ends_and_two_do_not_mix() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().canonicalize().unwrap();
    let [http, admin] = free_ranges();
    let mut demo = Demo::cluster(&dir, http, admin);
    demo.until_led(None);
    assert!(processes_of(&dir).len() >= 7, "{:?}", processes_of(&dir));

    // Another in the same directory, and another at the same ports.
    let refused = |arguments: &[&str], expected: &str| {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut command = Command::new(&ostia_tests::programs().responder);
        command.args(arguments).args(["--http", &http.to_string(), "--admin", &admin.to_string()]);
        let within: &Path = if arguments == ARGUMENTS { &dir } else { elsewhere.path() };
        let ended = run(command.current_dir(within));
        assert!(ended.status.code() == Some(1) && ended.text.contains(expected), "{ended:?}");
    };
    refused(&ARGUMENTS, "its cluster is run by another process; choose another directory with --dir");
    refused(&["demo", "--cluster"], "choose other ports with --http (it uses 3) and --admin");

    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    until_nothing_is_left(&dir);

    // What is left on the disk is begun with again; a terminal that is closed ends it.
    let mut demo = Demo::cluster(&dir, http, admin);
    demo.until_led(None);
    let status = demo.end("HUP");
    assert!(status.success(), "{status}\n{}", demo.said());
    assert!(processes_of(&dir).is_empty(), "{:?}", processes_of(&dir));
}

#[test]
fn parts_of_a_cluster_that_are_killed_are_shown_as_gone_and_come_back() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().canonicalize().unwrap();
    let [http, admin] = free_ranges();
    let mut demo = Demo::cluster(&dir, http, admin);
    let (leader, before) = demo.until_led(None);
    for part in ["replica-2", "redis"] {
        kill(&before[part]);
        until("it is gone", PATIENCE, || (demo.parts()[part].state == "gone").then_some(()));
    }
    let others = ["replica-1", "replica-3", &leader];
    until("all of it is there again", PATIENCE, || {
        let parts = demo.parts();
        let is_back = |name: &str, state: &str| parts[name].process.is_some() && parts[name].state == state;
        (is_back("redis", "runs") && (1..=3).all(|replica| is_back(&format!("replica-{replica}"), "fresh")))
            .then_some(())
    });
    let after = demo.parts();
    for part in ["replica-2", "redis"] {
        assert_ne!(after[part].process, before[part].process, "{part}");
    }
    assert!(others.iter().all(|part| after[*part].process == before[*part].process), "{after:?}");
    assert!(demo.end("INT").success());
    assert!(processes_of(&dir).is_empty(), "{:?}", processes_of(&dir));
}

#[test]
fn on_a_terminal_the_view_is_written_over_and_ctrl_c_ends_the_cluster() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().canonicalize().unwrap();
    let [http, admin] = free_ranges();
    let program = ostia_tests::programs().responder.display();
    // `exec`: a shell that waits for the demo would be ended by Ctrl-C itself, and its status be told.
    let demo = format!("exec {program} demo --cluster --dir demo --http {http} --admin {admin}");
    let screen = dir.join("screen");
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command", &demo])
        .arg(&screen)
        .current_dir(&dir)
        // One that can be written over.
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let shown = || String::from_utf8_lossy(&fs::read(&screen).unwrap_or_default()).into_owned();
    // What is still being written is none of it.
    let views = |text: String| text.rsplit_once("\x1b[?7h").map(|(whole, _)| whole.to_owned());
    let (text, view) = until("a writer leads, and replicas hear it", PATIENCE, || {
        let text = views(shown())?;
        let view = text.rsplit("\x1b[?7l").next()?.to_owned();
        let is_so = text.contains("\x1b[J") && view.contains(" leading ") && view.matches(" fresh ").count() == 3;
        is_so.then_some((text, view))
    });
    // A head, Redis, two writers and three replicas; each view goes over the one before.
    assert_eq!(view.lines().count(), 7, "{view}");
    let views = text.matches("\x1b[?7l").count();
    assert!(views > 1 && text.matches("\x1b[7A\x1b[J").count() == views - 1, "{text}");
    // Ctrl-C, as the terminal passes it on.
    terminal.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let status = until("the demo ends", END_LIMIT, || terminal.try_wait().unwrap());
    assert!(status.success(), "{status}\n{}", shown());
    let parts: Vec<_> = processes_of(&dir.join("demo"));
    assert!(parts.is_empty(), "{parts:?}");
}

#[test]
fn a_cluster_says_what_to_install_when_redis_is_missing_and_makes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(&ostia_tests::programs().responder);
    command.args(["demo", "--cluster"]).env("PATH", scratch.path()).current_dir(scratch.path());
    let ended = run(&mut command);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for said in ["redis-server", "apt-get install", "or leave out --cluster"] {
        assert!(ended.text.contains(said), "{}", ended.text);
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}
