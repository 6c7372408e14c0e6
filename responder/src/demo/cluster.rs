//! Two writers, three replicas and a Redis on one machine: `ostia-responder demo --cluster`.
//!
//! Purpose: to see what a cluster does when its parts are killed, before there is one. Invariant: each part is a process
//! with a configuration file like any other, in a directory of its own beside the demo's CA; whatever is started here ends
//! with this program, and a part that ends by itself is started again. It does not know the feed: what it shows is what
//! the parts tell on their admin listeners.

mod files;
mod processes;
mod view;

use std::{
    error::Error,
    fmt::Write as _,
    io::IsTerminal as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use precompute::{output::say, service::Control};
use ureq::Agent;

use self::{
    files::{Layout, Part},
    processes::Processes,
    view::Seen,
};
use super::{DemoError, ca, prepare, text::quoted};

/// Writers of the cluster,
const WRITERS: usize = 2;
/// and replicas.
const REPLICAS: usize = 3;
/// How often the view is drawn anew.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the cluster, and shows how it fares until SIGTERM, SIGINT, or SIGHUP of a terminal that is closed. `http` and
/// `admin`: the first of the ports that it uses.
pub fn run(dir: &Path, http: SocketAddr, admin: SocketAddr) -> Result<(), Box<dyn Error>> {
    // What cannot be is told before anything is made.
    let layout = Layout::new(dir, http, admin)?;
    let control = Control::new()?;
    let redis = processes::find_redis()?;
    let demo = prepare(dir, http, admin, &mut |line| _ = say(line))?;
    let _lock = files::lock(&layout)?;
    layout.try_addresses()?;
    files::write(&layout)?;
    // From here on no signal ends this program without an end of its parts.
    control.run(async |mut signals| {
        let processes = Processes::start(&layout, &redis)?;
        say(instructions(&layout, &demo.asked, processes::find_precompute().as_deref()))?;
        let mut shown = Shown::new(layout, processes);
        let (go_on, stop) = mpsc::channel::<()>();
        // One thread for as long as the program runs: parts end with the thread that has started them.
        let looking = thread::Builder::new().name("cluster".into()).spawn(move || shown.look_until(&stop))?;
        tokio::select! {
            () = signals.end.recv() => {}
            _ = signals.hangup.recv() => {}
        }
        drop(go_on);
        looking.join().map_err(|_| "what looks after the cluster has panicked".into())
    })
}

/// What stands on the terminal.
struct Shown {
    layout: Layout,
    processes: Processes,
    agent: Agent,
    begun: Instant,
    /// Lines of the view that is there, to be written over; on a terminal alone.
    lines: usize,
    last: String,
}

impl Shown {
    fn new(layout: Layout, processes: Processes) -> Self {
        Self { layout, processes, agent: view::agent(), begun: Instant::now(), lines: 0, last: String::new() }
    }

    /// Looks every second, until the other end of `stop` is gone.
    fn look_until(&mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            self.look();
        }
    }

    fn look(&mut self) {
        self.processes.keep();
        let seen = |part: &Part| view::see(&self.agent, part, self.processes.id(&part.name));
        let seen: Vec<Seen> = self.layout.parts().map(seen).collect();
        let table = view::table(&seen, self.processes.id("redis"), &self.layout);
        let mut text = String::new();
        if std::io::stdout().is_terminal() {
            if self.lines > 0 {
                let _ = write!(text, "\x1b[{}A\x1b[J", self.lines);
            }
        } else if view::same(&table, &self.last) {
            // Into a pipe goes what changes.
            return;
        } else {
            let _ = writeln!(text, "after {} s:", self.begun.elapsed().as_secs());
        }
        if std::io::stdout().is_terminal() {
            // A line that is wrapped would be two to go up; it is cut at the edge instead.
            let _ = write!(text, "\x1b[?7l{}\x1b[?7h", table.trim_end());
        } else {
            text.push_str(table.trim_end());
        }
        self.lines = table.lines().count();
        self.last = table;
        let _ = say(text);
    }
}

/// What to try. `precompute`: the program that pushes, if it is there; without it the CA revokes.
fn instructions(layout: &Layout, asked: &Path, precompute: Option<&Path>) -> String {
    let path = |path: &Path| quoted(&path.to_string_lossy()).into_owned();
    let (ca, asked) = (path(&layout.dir.join("ca.pem")), path(asked));
    let ask = |replica: usize| {
        let url = ca::url(layout.replicas[replica].http.unwrap_or(layout.replicas[replica].admin));
        format!("openssl ocsp -issuer {ca} -cert {asked} -no_nonce -url {url} -CAfile {ca}")
    };
    let (how, revoke) = match precompute.map(path) {
        Some(program) => {
            let push = |config: &Path| format!("{program} revoke --config {} --certificate {asked}", path(config));
            let pushes: Vec<_> = layout.writers.iter().map(|writer| push(&writer.config)).collect();
            ("revoke at the writer that leads (the other one says so)", pushes.join(" || "))
        }
        None => {
            let config = path(&layout.dir.join("openssl.cnf"));
            let by_the_ca = format!("openssl ca -config {config} -revoke {asked} -crl_reason superseded && sleep 1");
            ("revoke as the CA would (`ostia-precompute`, which pushes, is not in PATH)", by_the_ca)
        }
    };
    format!(
        r"
Two writers follow the demo CA; the one that leads tells three replicas over Redis. They run until Ctrl-C; what they say
is in {logs}. The commands below are for another terminal in the same directory.

Ask a replica, {how}, and ask another replica:

    {first}
    {revoke}
    {last}

Then take something away: `kill -9` the writer that leads, a replica, or Redis, by the numbers below. Each is started again
after some seconds.
",
        logs = path(&layout.root.join("logs")),
        first = ask(0),
        last = ask(2),
    )
}

/// What went wrong with a file of the cluster.
fn at(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> DemoError {
    let path = PathBuf::from(path);
    move |error| DemoError::Io { path, doing, error }
}
