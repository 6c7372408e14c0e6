//! Time by a real chronyd that follows a real NTP server, both on loopback; neither touches this machine's clock.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use ostia_tests::{Ca, FakeClock, KeyKind, Query, Responder, Site, Tenant, Tsa, TsaCertificate, run, until};
use responder::tsa::clock::{self, Clock, ClockSource, ClockStatus, Keeper, Monotone, NotTrusted, Policy, Transition};

const PATIENCE: Duration = Duration::from_secs(60);
const POLICY: Policy =
    Policy { accuracy: Duration::from_secs(1), precision: Duration::from_millis(1), lease: Duration::from_secs(1) };

fn free_udp_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A program of the chrony that `tests/run` has unpacked.
fn chrony(program: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root of the repository");
    root.join(".venv/chrony").join(program)
}

/// A chronyd of this test's own.
struct Chronyd {
    config: PathBuf,
    command_port: u16,
    child: Option<Child>,
}

impl Chronyd {
    fn start(dir: &Path, name: &str, lines: &str) -> Self {
        let (config, command_port) = (dir.join(format!("{name}.conf")), free_udp_port());
        // Without the usual socket in /run.
        let own = format!("cmdport {command_port}\nbindcmdaddress 127.0.0.1\nbindcmdaddress /\n");
        let own = format!("{own}pidfile {}\n", config.with_extension("pid").display());
        fs::write(&config, own + lines).unwrap();
        let mut chronyd = Self { config, command_port, child: None };
        chronyd.restart();
        chronyd
    }

    fn restart(&mut self) {
        self.kill();
        // -x: leaves the clock alone. -u root: stays who it is; -U: whoever that is.
        let mut command = Command::new(chrony("usr/sbin/chronyd"));
        command.args(["-x", "-d", "-U", "-u", "root", "-F", "0", "-f"]).arg(&self.config);
        let log = fs::File::create(self.config.with_extension("log")).unwrap();
        self.child =
            Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("chronyd, which tests/run installs"));
        until("chronyd answers", PATIENCE, || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert_eq!(ended, None, "{}", fs::read_to_string(self.config.with_extension("log")).unwrap());
            self.tracking()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().unwrap();
        assert!(run(Command::new("kill").args([signal, &child.id().to_string()])).status.success());
    }

    fn source(&self) -> ClockSource {
        ClockSource::Chrony(SocketAddr::from((Ipv4Addr::LOCALHOST, self.command_port)))
    }

    /// What chrony's own client says: the fields of `tracking`.
    fn tracking(&self) -> Option<Vec<String>> {
        let mut command = Command::new(chrony("usr/bin/chronyc"));
        let ended = run(command.args(["-h", "127.0.0.1", "-p", &self.command_port.to_string(), "-c", "tracking"]));
        ended.status.success().then(|| ended.text.trim().split(',').map(str::to_owned).collect())
    }

    /// An NTP server that knows the time, as far as anybody here, and a client whose clock it finds behind by `offset`.
    fn pair(dir: &Path, offset: f64) -> (Self, Self) {
        let port = free_udp_port();
        let server = Self::start(
            dir,
            "server",
            &format!("local stratum 1\nallow 127.0.0.1\nport {port}\nbindaddress 127.0.0.1\n"),
        );
        // Measured several times a second.
        let client = Self::start(
            dir,
            "client",
            &format!("port 0\nserver 127.0.0.1 port {port} iburst minpoll -4 maxpoll -4 offset {offset}\n"),
        );
        (server, client)
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A clock watched, with what was told of it.
struct Watched {
    clock: Arc<Clock>,
    told: mpsc::Receiver<&'static str>,
    _keeper: Keeper,
}

impl Watched {
    fn start(source: ClockSource) -> Self {
        let (tell, told) = mpsc::channel();
        let hook = Box::new(move |transition: &Transition| tell.send(Transition::label(transition.to)).unwrap());
        let (keeper, clocks) =
            clock::start(source, &[POLICY], &Arc::new(Monotone::default()), &Arc::default(), hook).unwrap();
        Self { clock: Arc::clone(&clocks[0]), told, _keeper: keeper }
    }

    fn until(&self, verdict: Result<(), NotTrusted>) -> ClockStatus {
        let mut last = None;
        until(&format!("{verdict:?}"), PATIENCE, || {
            let state = self.clock.state();
            let found = state.verdict == verdict;
            last = Some(state);
            found.then_some(())
        });
        last.unwrap()
    }

    fn told(&self) -> Vec<&'static str> {
        self.told.try_iter().collect()
    }
}

#[test]
fn a_chronyd_that_follows_nobody_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    for (name, lines) in [("alone", "port 0\n"), ("local", "port 0\nlocal stratum 10\n")] {
        let chronyd = Chronyd::start(dir.path(), name, lines);
        let watched = Watched::start(chronyd.source());
        let state = watched.clock.state();
        assert_eq!(state.verdict, Err(NotTrusted::Unsynchronised), "{name}: {state:?}");
        assert_eq!(watched.clock.now(), Err(NotTrusted::Unsynchronised));
        // Its own client: 127.127.1.1 is its own clock, which `local` declares to be right.
        let tracking = chronyd.tracking().unwrap();
        assert_eq!(
            (tracking[0].as_str(), tracking[13].as_str()),
            if name == "local" { ("7F7F0101", "Normal") } else { ("00000000", "Not synchronised") }
        );
    }
}

#[test]
fn a_chronyd_that_follows_a_server_is_trusted_as_far_as_its_own_client_says() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = Chronyd::pair(dir.path(), 0.25);
    let watched = Watched::start(client.source());
    watched.until(Ok(()));
    // The offset settles while chronyd measures.
    until("the same is said twice", PATIENCE, || {
        let tracking = client.tracking()?;
        let seconds = |field: usize| tracking[field].parse::<f64>().unwrap();
        // chronyc's list has the correction: positive for a clock that is behind.
        let (offset, uncertainty) = (-seconds(4), seconds(11) + seconds(10) / 2.0);
        let reading = watched.clock.now().ok()?;
        let said = (reading.offset_nanos as f64 / 1e9, reading.uncertainty_nanos as f64 / 1e9);
        let near = (offset - said.0).abs() < 0.001 && (uncertainty - said.1).abs() < 0.001;
        (near && (said.0 + 0.25).abs() < 0.01).then_some(())
    });
    let reading = until("time is told", PATIENCE, || watched.clock.now().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(now.abs_diff(Duration::from_nanos(reading.unix_nanos)) < Duration::from_secs(5));

    // Wrong by more than is promised.
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = Chronyd::pair(dir.path(), -1.5);
    let watched = Watched::start(client.source());
    let state = watched.until(Err(NotTrusted::Inaccurate));
    assert!(state.discipline.is_some_and(|said| said.synchronised && said.offset > 1_000_000_000), "{state:?}");
}

#[test]
fn a_chronyd_that_hangs_or_is_killed_is_trusted_no_longer_than_a_lease_and_again_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = Chronyd::pair(dir.path(), 0.0);
    let watched = Watched::start(client.source());
    watched.until(Ok(()));
    client.signal("-STOP");
    let state = watched.until(Err(NotTrusted::Silent));
    assert_eq!(state.lease_left, Duration::ZERO);
    until("it says why", PATIENCE, || watched.clock.state().problem.filter(|why| why.contains("no answer in time")));
    client.signal("-CONT");
    watched.until(Ok(()));
    client.kill();
    watched.until(Err(NotTrusted::Silent));
    until("it says why", PATIENCE, || watched.clock.state().problem.filter(|why| why.contains("is chronyd running")));
    client.restart();
    watched.until(Ok(()));
    // Where the keeper has to wait for a core for as long as a lease, there is more silence than was made.
    // What chronyd measures just after it was stopped counts the stop as a delay of the network.
    let others = ["unsynchronised", "unmeasured", "inaccurate"];
    let told: Vec<_> = watched.told().into_iter().filter(|label| !others.contains(label)).collect();
    assert!(told.len() >= 5 && told.len() % 2 == 1, "{told:?}");
    assert!(told.iter().zip(["trusted", "silent"].iter().cycle()).all(|(told, expected)| told == expected), "{told:?}");
}

/// Where this very program finds the directory with its clock, and the port of its chronyd.
const CLOCK: &str = "OSTIA_TEST_CLOCK_DIR";
const PORT: &str = "OSTIA_TEST_CHRONYD_PORT";

#[test]
fn when_the_clock_is_set_no_time_is_told_until_chronyd_has_measured_again() {
    if let Some(port) = env::var_os(PORT) {
        return under_a_clock_of_its_own(port.to_str().unwrap().parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = Chronyd::pair(dir.path(), 0.0);
    let clock = FakeClock::new(dir.path());
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "when_the_clock_is_set_no_time_is_told_until_chronyd_has_measured_again"]);
    command.env(PORT, client.command_port.to_string()).env(CLOCK, dir.path());
    command.envs(clock.environment());
    let ended = run(&mut command);
    assert!(ended.status.success() && ended.text.contains("1 passed"), "{}", ended.text);
}

/// In a process whose wall clock shows what it writes to a file, and which looks there once a second.
fn under_a_clock_of_its_own(port: u16) {
    let watched = Watched::start(ClockSource::Chrony(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    watched.until(Ok(()));
    let before = SystemTime::now();
    FakeClock::new(env::var_os(CLOCK).unwrap().as_ref()).set("+1h");
    // Not until now has been told does any time of the new clock get out.
    let reason = until("the step is noticed", PATIENCE, || match watched.clock.now() {
        Err(NotTrusted::Silent) => None,
        Err(reason) => Some(reason),
        Ok(reading) => {
            let told = SystemTime::UNIX_EPOCH + Duration::from_nanos(reading.unix_nanos);
            assert!(told.duration_since(before).unwrap() < PATIENCE, "an hour ahead");
            None
        }
    });
    assert_eq!(reason, NotTrusted::Stepped);
    // chronyd, whose clock is another, measures on, and its word counts again.
    watched.until(Ok(()));
    assert!(SystemTime::now().duration_since(before).unwrap() > Duration::from_secs(3500));
    let told: Vec<_> = watched
        .told()
        .into_iter()
        .filter(|label| !["unsynchronised", "unmeasured", "silent"].contains(label))
        .collect();
    assert_eq!(told.iter().filter(|label| **label == "stepped").count(), 1, "{told:?}");
    assert_eq!(told.last(), Some(&"trusted"));
}

/// Asks for some time: that long no token may come.
#[track_caller]
fn expect_no_token(responder: &Responder, when: &str) {
    // Four looks of the keeper, and more.
    for number in 0..15 {
        let stamped = Query::new(number).at(responder.http(), "/tsa");
        assert_eq!(
            stamped.status,
            2,
            "{when}: a token that tells {:?}",
            stamped.token.map(|token| token.info.gen_time)
        );
        stamped.expect_rejection("timeNotAvailable");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (status, said) = responder.readiness_of("tsa");
    assert_eq!(status, 503, "{when}: {said}");
}

/// Waits until readiness says all of this. In between there may be silence: the keeper waits for a core as others do.
#[track_caller]
fn until_said(responder: &Responder, words: &[&str]) {
    until(&format!("readiness says {words:?}"), PATIENCE, || {
        let (_, said) = responder.readiness_of("tsa");
        words.iter().all(|word| said.contains(word)).then_some(())
    });
}

#[track_caller]
fn until_granted(responder: &Responder) {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let (asked, stamped) = until("there are tokens", PATIENCE, || {
        Some((now(), Query::new(1).at(responder.http(), "/tsa"))).filter(|(_, stamped)| stamped.status == 0)
    });
    let (told, answered) = (Duration::from_micros(stamped.granted().info.micros()), now());
    // It was set by 5 s.
    let off = Duration::from_secs(2);
    assert!(asked - off < told && told < answered + off, "{told:?} from {asked:?} to {answered:?}");
}

/// The clock is set by 5 s, which chronyd does not notice: a reload with another accuracy, and kill -9 and a start, each
/// made tokens again that were 4.999 s off.
#[test]
fn what_chronyd_measured_before_the_clock_was_set_counts_neither_after_a_reload_nor_after_kill_9() {
    let ca = Ca::new("Time-stamping CA");
    let tsa = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256)).set("accuracy = \"1s\"");
    let site = Site::new(&[Tenant::new("tests").tsa(&tsa)]);
    let (mut server, client) = Chronyd::pair(site.dir(), 0.0);
    let source = format!("clock = \"chrony:127.0.0.1:{}\"", client.command_port);
    site.edit_config(|text| text.replace("clock = \"unchecked\"", &source));
    let clock = FakeClock::new(site.dir());
    let site = clock.environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value));
    let responder = site.start();
    until_granted(&responder);
    // From now on chronyd goes on telling what it measured last, and a start knows that from the note.
    server.kill();
    let note = responder.site.dir().join("state/clock");
    until("it is noted", PATIENCE, || {
        let measured = client.tracking()?[3].replace('.', "");
        fs::read_to_string(&note).ok().filter(|note| note.contains(&format!("measurement {measured} ")))
    });
    let responder = responder.kill_and_start_again();
    until_granted(&responder);

    clock.set("+5s");
    until_said(&responder, &["the clock was set"]);
    expect_no_token(&responder, "the clock was set");
    let mut accuracy = "accuracy = \"1s\"".to_owned();
    let mut reload = |responder: &Responder, lines: &str| {
        let reads = || responder.log().matches("was read again").count();
        let before = reads();
        responder.reload(|text| text.replace(&accuracy, lines));
        until("it is read again", PATIENCE, || (reads() > before).then_some(()));
        accuracy = lines.to_owned();
    };
    for lines in ["accuracy = \"2s\"", "accuracy = \"500ms\"", "accuracy = \"1s\"\nprecision = \"microseconds\""] {
        reload(&responder, lines);
        expect_no_token(&responder, lines);
    }
    let responder = responder.kill_and_start_again();
    expect_no_token(&responder, "after kill -9");
    until_said(&responder, &["the clock was set", "burst"]);
    reload(&responder, "accuracy = \"2s\"");
    expect_no_token(&responder, "and a reload");
    // Neither where the note is lost, says nothing, or cannot be made.
    let mut responder = responder;
    for case in ["lost", "damaged", "a directory"] {
        responder.end_by("KILL");
        fs::remove_file(&note).unwrap();
        match case {
            "damaged" => fs::write(&note, "nonsense").unwrap(),
            "a directory" => fs::create_dir(&note).unwrap(),
            _ => {}
        }
        responder = responder.into_site().start();
        expect_no_token(&responder, case);
        until_said(&responder, &["has not measured it since", "burst"]);
        if case == "a directory" {
            let cannot = || responder.log().contains("the state of the clock cannot be written there").then_some(());
            until("it says that it cannot be noted", PATIENCE, cannot);
            reload(&responder, "accuracy = \"3s\"");
            expect_no_token(&responder, "and a reload");
        } else {
            until("it is noted anew", PATIENCE, || fs::read(&note).ok().filter(|note| note.starts_with(b"#")));
        }
    }

    // Somebody sets it right; it counts once chronyd has measured.
    clock.set("+0");
    expect_no_token(&responder, "set right");
    server.restart();
    until_granted(&responder);
}
