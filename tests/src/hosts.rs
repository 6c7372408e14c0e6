//! Hosts of a test's own on a network of its own: network namespaces that a switch joins.
//!
//! What one machine cannot show is what happens between machines: a host that is cut off says nothing, refuses nothing and
//! resets nothing. Here each [`Host`] is a namespace with one link to a switch, which is a bridge in a namespace as well. The
//! switch loses what it is told to ([`Hosts::lose`]), by direction, without a word to either side. ARP still passes, as it
//! would with a router between, so that nobody is told that a host is unreachable. A link can be slow in rate
//! ([`Host::limit_rate`]) and in time ([`Hosts::distant`]).
//!
//! Invariants: names are those of this process, so that several may run at once; everything goes when it is dropped, also
//! after a panic, and what a run left that was killed is removed by the next one. The test itself stays outside, and reaches
//! what listens on a host's loopback by a [door](door), whatever the switch loses. It does not know what runs on a host.

mod door;
mod names;
mod seat;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

pub use self::seat::Seat;
use self::{
    door::{Door, Inside},
    names::Namespace,
};
use crate::{run, until};

/// For what the kernel does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Hosts of one network, by the last byte of their addresses.
const HOSTS_MAX: u8 = 250;
/// What joins the two halves of a link and forwards each frame later.
const DELAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/hosts/delay.py");
/// What the switch drops: pairs of its ports.
const RULES: &str = "table bridge lost {
    set pairs { typeof iifname . oifname; }
    chain forward { type filter hook forward priority 0; ether type ip iifname . oifname @pairs drop; }
}";

/// A network: a switch, and the hosts that were put on it.
#[derive(Clone, Debug)]
pub struct Hosts(Arc<Switch>);

#[derive(Debug)]
struct Switch {
    namespace: Namespace,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    /// By the names that hosts find each other by.
    names: Vec<(String, Ipv4Addr)>,
    /// Where that is told: a file of each host.
    files: Vec<PathBuf>,
    /// Ports from and to which frames are lost.
    lost: BTreeSet<(u8, u8)>,
}

/// A host. It goes when its last handle is dropped.
#[derive(Clone, Debug)]
pub struct Host(Arc<Machine>);

#[derive(Debug)]
struct Machine {
    number: u8,
    switch: Arc<Switch>,
    doors: Mutex<Vec<Door>>,
    inside: Inside,
    /// Of a link that takes its time.
    delay: Option<Child>,
    namespace: Namespace,
}

impl Hosts {
    /// A network without hosts. It panics where namespaces cannot be made, which takes root.
    #[expect(clippy::new_without_default, reason = "it makes something outside of this process")]
    pub fn new() -> Self {
        names::remove_what_was_left();
        let namespace = Namespace::new();
        namespace.ip(&["link", "add", "name", "switch", "type", "bridge", "stp_state", "0", "mcast_snooping", "0"]);
        namespace.ip(&["link", "set", "dev", "switch", "up"]);
        let switch = Switch { namespace, state: Mutex::default() };
        switch.filter(RULES);
        Self(Arc::new(switch))
    }

    /// As long as this is there, nobody removes what killed runs have left: not while it is still being made.
    pub fn keep_what_was_left() -> fs::File {
        names::lock()
    }

    /// One more host, which others find by this name.
    pub fn host(&self, name: &str) -> Host {
        self.join(name, None)
    }

    /// The same at a distance: whatever is sent to it or by it arrives so much later.
    pub fn distant(&self, name: &str, delay: Duration) -> Host {
        self.join(name, Some(delay))
    }

    fn join(&self, name: &str, delay: Option<Duration>) -> Host {
        let (switch, namespace) = (&self.0, Namespace::new());
        let number = u8::try_from(switch.state().files.len() + 1).ok().filter(|number| *number <= HOSTS_MAX);
        let number = number.expect("few hosts");
        let (port, other) = (port(number), namespace.name());
        let delay = match delay {
            None => {
                let ends = ["link", "add", "name", &port, "type", "veth", "peer", "name", "eth0", "netns", other];
                switch.namespace.ip(&ends);
                None
            }
            Some(delay) => Some(switch.join_slowly(&port, other, delay)),
        };
        switch.namespace.ip(&["link", "set", "dev", &port, "master", "switch", "up"]);
        let address = Ipv4Addr::new(10, 66, 0, number);
        namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "eth0"]);
        namespace.ip(&["link", "set", "dev", "eth0", "up"]);
        namespace.ip(&["link", "set", "dev", "lo", "up"]);
        switch.name(name, address, namespace.hosts_file());
        let inside = Inside::of(&namespace);
        let machine = Machine { number, switch: Arc::clone(switch), doors: Mutex::default(), inside, delay, namespace };
        Host(Arc::new(machine))
    }

    /// From now on nothing comes from any of `from` to any of `to`, and nobody is told.
    pub fn lose(&self, from: &[&Host], to: &[&Host]) {
        let mut state = self.0.state();
        for from in from {
            state.lost.extend(to.iter().map(|to| (from.0.number, to.0.number)).filter(|(from, to)| from != to));
        }
        self.0.apply(&state);
    }

    /// From now on nothing comes from either group to the other one.
    pub fn part(&self, one: &[&Host], other: &[&Host]) {
        self.lose(one, other);
        self.lose(other, one);
    }

    /// From now on hosts find this one by another name as well.
    pub fn call(&self, name: &str, host: &Host) {
        self.0.call(name, host.address());
    }

    /// Cuts these off from all other hosts, and not from each other.
    pub fn cut_off(&self, some: &[&Host]) {
        let mut state = self.0.state();
        let all = 1..=u8::try_from(state.files.len()).unwrap();
        let is_one = |number: u8| some.iter().any(|host| host.0.number == number);
        for other in all.filter(|number| !is_one(*number)) {
            state.lost.extend(some.iter().flat_map(|host| [(host.0.number, other), (other, host.0.number)]));
        }
        self.0.apply(&state);
    }

    /// From now on nothing is lost.
    pub fn heal(&self) {
        let mut state = self.0.state();
        state.lost.clear();
        self.0.apply(&state);
    }
}

impl Switch {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Has `nft` do this.
    fn filter(&self, rules: &str) {
        let mut nft = self.namespace.command("nft");
        let mut child = nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "nft (package nftables): {}", String::from_utf8_lossy(&ended.stderr));
    }

    /// Drops what is to be lost, and nothing else.
    fn apply(&self, state: &State) {
        let pairs: Vec<_> = state.lost.iter().map(|(from, to)| format!("{} . {}", port(*from), port(*to))).collect();
        let add = match &*pairs.join(", ") {
            "" => String::new(),
            pairs => format!("add element bridge lost pairs {{ {pairs} }}\n"),
        };
        self.filter(&format!("flush set bridge lost pairs\n{add}"));
    }

    /// Makes both ends of a link that forwards each frame later.
    fn join_slowly(&self, port: &str, other: &str, delay: Duration) -> Child {
        let far = format!("{port}-far");
        let mut command = self.namespace.command("python3");
        command.args(["-I", DELAY, port, &far, &delay.as_secs_f64().to_string()]).stdin(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        until("both ends of a slow link are there", PATIENCE, || {
            let show = ["ip", "-n", self.namespace.name(), "link", "show", "dev", &far];
            run(Command::new(show[0]).args(&show[1..])).status.success().then_some(())
        });
        self.namespace.ip(&["link", "set", "dev", &far, "netns", other, "name", "eth0"]);
        child
    }

    /// Tells every host what this one is called.
    fn name(&self, name: &str, address: Ipv4Addr, file: PathBuf) {
        self.state().files.push(file);
        self.call(name, address);
    }

    fn call(&self, name: &str, address: Ipv4Addr) {
        let mut state = self.state();
        state.names.push((name.to_owned(), address));
        let lines: String = state.names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        for file in &state.files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            // In place: who runs there has this file, and would keep a former one.
            fs::write(file, format!("127.0.0.1 localhost\n{lines}")).unwrap();
        }
    }
}

impl Host {
    /// Its address on the network.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 66, 0, self.0.number)
    }

    /// A program that runs on it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.0.namespace.command(program)
    }

    /// What a command is run by to run on it.
    pub fn prefix(&self) -> Vec<String> {
        self.0.namespace.prefix()
    }

    /// From now on what listens at this address of loopback there is reached at the same address here.
    pub fn open_door(&self, address: SocketAddr) {
        self.0.doors.lock().unwrap().push(Door::open(address, &self.0.inside));
    }

    /// Connects from the host itself.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.0.inside.connect(address)
    }

    /// Whoever is started on it from now on asks this host for names that it does not find in `/etc/hosts`, once, and for as
    /// long as the system does at most: half a minute.
    pub fn ask_for_names(&self, server: &Host) {
        let text = format!("nameserver {}\noptions timeout:30 attempts:1\n", server.address());
        fs::write(self.0.namespace.file("resolv.conf"), text).unwrap();
    }

    /// From now on no more goes through its link in either direction than this, such as `1mbit`.
    pub fn limit_rate(&self, rate: &str) {
        let port = port(self.0.number);
        for (namespace, device) in [(&self.0.switch.namespace, &*port), (&self.0.namespace, "eth0")] {
            let mut tc = Command::new("tc");
            tc.args(["-n", namespace.name(), "qdisc", "replace", "dev", device, "root", "tbf"]);
            let ended = run(tc.args(["rate", rate, "burst", "8kb", "latency", "500ms"]));
            assert!(ended.status.success(), "{tc:?}: {}", ended.text);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut delay) = self.delay.take() {
            let _ = delay.kill();
            let _ = delay.wait();
        }
    }
}

/// The port of the switch that a host is at.
fn port(number: u8) -> String {
    format!("port{number}")
}
