//! The clock of time-stamps: it gives a time only while it is known to be right.
//!
//! A thread of its own ([`Keeper`]) asks a source four times per lease how wrong the clock may be: the kernel, or
//! chronyd. A [`History`] decides which clock the answer applies to, and [`judge()`] turns it into a [`Lease`] or a
//! refusal (both pure). The verdict is on a board where the serving threads read it without waiting; [`Monotone`] keeps
//! times from going back.
//!
//! Invariant: a [`Reading`] is within the promised accuracy of UTC if the source was right, and no earlier than any
//! reading before it. Whatever goes wrong with the source or its thread, leases end by themselves. It does not know who
//! asks for the time.
//!
//! It cannot detect: a source that is wrong about itself, a leap second that the source's own source smears, and, until
//! the source measures again, a machine that was stopped and resumed without its clocks being adjusted.

mod board;
mod chrony;
mod daemon;
mod history;
mod judge;
mod keeper;
mod kernel;
mod monotone;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use board::Board;
pub use history::{History, Span};
pub use judge::{Discipline, Leap, Lease, Moment, Policy, Reading, judge, unanswered};
pub use keeper::{Hook, Keeper, Transition};
pub use monotone::Monotone;

use crate::limits;

/// What knows how wrong the clock may be; `clock` in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ClockSource {
    /// `kernel`: what the time daemon tells the kernel, with any daemon.
    #[default]
    Kernel,
    /// `chrony`, or `chrony:ADDRESS:PORT`: chronyd itself, on this host.
    Chrony(SocketAddr),
    /// `unchecked`: nothing. For laptops and tests.
    Unchecked,
}

impl ClockSource {
    /// Where chronyd listens for its commands.
    pub const CHRONY: Self = Self::Chrony(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 323));

    /// Its name without the address.
    pub fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Chrony(_) => "chrony",
            Self::Unchecked => "unchecked",
        }
    }
}

impl FromStr for ClockSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kernel" => return Ok(Self::Kernel),
            "chrony" => return Ok(Self::CHRONY),
            "unchecked" => return Ok(Self::Unchecked),
            _ => {}
        }
        let address = text.strip_prefix("chrony:").and_then(|address| address.parse::<SocketAddr>().ok());
        // On another host, anybody could answer in its name.
        address.filter(|address| address.ip().is_loopback()).map(Self::Chrony).ok_or_else(|| {
            format!(
                "{text:?} is not a source for the clock: `kernel`, `chrony` (or `chrony:127.0.0.1:PORT`, on this host), or \
                 `unchecked`"
            )
        })
    }
}

/// In the form that it is parsed from.
impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chrony(address) if *self != Self::CHRONY => write!(f, "chrony:{address}"),
            _ => f.write_str(self.label()),
        }
    }
}

/// Why no time is given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u64)]
pub enum NotTrusted {
    /// The source has not been asked yet.
    Unread,
    /// It has not answered for longer than a lease.
    Silent,
    /// It says that it follows no source that knows UTC.
    Unsynchronised,
    /// The sum of offset, uncertainty and precision is more than the accuracy.
    Inaccurate,
    /// The clock was set.
    Stepped,
    /// The source has not measured since the clock is being watched: its earlier measurement may be about another clock
    /// setting.
    Unmeasured,
    /// A leap second is near.
    Leap,
    /// The clock was set back, and is behind the times given by more than a time may be ahead.
    Behind,
}

impl NotTrusted {
    /// Every reason, at the index of its number.
    pub const ALL: [Self; 8] = [
        Self::Unread,
        Self::Silent,
        Self::Unsynchronised,
        Self::Inaccurate,
        Self::Stepped,
        Self::Unmeasured,
        Self::Leap,
        Self::Behind,
    ];

    /// For metrics and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Silent => "silent",
            Self::Unsynchronised => "unsynchronised",
            Self::Inaccurate => "inaccurate",
            Self::Stepped => "stepped",
            Self::Unmeasured => "unmeasured",
            Self::Leap => "leap",
            Self::Behind => "behind",
        }
    }
}

/// What is wrong, for operators. The remedy depends on the time daemon: see [`Clock::explain`].
impl fmt::Display for NotTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unread => "the clock's source has not been asked yet",
            Self::Silent => "the clock's source does not answer",
            Self::Unsynchronised => "the clock is not synchronised",
            Self::Inaccurate => "the clock may be wrong by more than the accuracy that is promised",
            Self::Stepped => "the clock was set; it is trusted again once its source has measured it",
            Self::Unmeasured => {
                "the clock's source has not measured it since this service began to watch it, and it may have been set before; it is trusted from the next measurement on"
            }
            Self::Leap => "a leap second is near",
            Self::Behind => "the clock was set back before times that tokens already have",
        })
    }
}

/// What is wrong, and the remedy for the present time daemon.
fn explained(source: ClockSource, reason: NotTrusted, accuracy: Duration) -> String {
    let daemon = daemon::Daemon::seen(std::path::Path::new("/"));
    format!("{reason}{}", daemon.way_out(source, reason, accuracy))
}

impl std::error::Error for NotTrusted {}

/// Both clocks of this machine.
#[derive(Clone, Copy, Debug)]
struct Clocks;

impl Clocks {
    /// Time since the machine was started, without sleep: after a sleep the clock counts as another. It is the same in
    /// every process.
    fn monotonic(self) -> i64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
    }

    fn wall() -> i64 {
        // A time before 1970 becomes 1970: certainly wrong, as any source will say.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    /// One after the other: the thread may be interrupted in between.
    #[inline]
    fn read(self) -> Moment {
        let wall = Self::wall();
        Moment { wall, monotonic: self.monotonic() }
    }

    /// Read with almost nothing in between.
    fn read_together(self) -> Moment {
        let once = || {
            let before = self.monotonic();
            let wall = Self::wall();
            let took = self.monotonic() - before;
            (took, Moment { wall, monotonic: before + took / 2 })
        };
        let mut best = once();
        for _ in 1..limits::CLOCK_PAIRS_MAX {
            if best.0 <= limits::CLOCK_PAIR_WITHIN.as_nanos() as i64 {
                break;
            }
            let again = once();
            if again.0 < best.0 {
                best = again;
            }
        }
        best.1
    }
}

/// The clock that serving threads ask; one for each [`Policy`].
#[derive(Debug)]
pub struct Clock {
    board: Board,
    monotone: Arc<Monotone>,
    source: ClockSource,
    policy: Policy,
    /// Transitions to trust, then to each refusal.
    transitions: [AtomicU64; 1 + NotTrusted::ALL.len()],
    heard: Mutex<Heard>,
}

/// What the source last said.
#[derive(Clone, Default, Debug)]
struct Heard {
    discipline: Option<Discipline>,
    problem: Option<String>,
}

/// The condition of a clock, for health and metrics.
#[derive(Clone, Debug)]
pub struct ClockStatus {
    /// The source.
    pub source: ClockSource,
    /// The promise.
    pub policy: Policy,
    /// Whether the clock is trusted now.
    pub verdict: Result<(), NotTrusted>,
    /// How long the trust would last without further answers; `Duration::MAX` for ever.
    pub lease_left: Duration,
    /// What the source last said, if it answered.
    pub discipline: Option<Discipline>,
    /// Why it did not answer the last request.
    pub problem: Option<String>,
    /// How often trust was won (`trusted`) and lost, by reason.
    pub transitions: [(&'static str, u64); 1 + NotTrusted::ALL.len()],
}

impl Clock {
    fn new(source: ClockSource, policy: Policy, monotone: Arc<Monotone>) -> Self {
        let board = Board::new(NotTrusted::Unread);
        Self { board, monotone, source, policy, transitions: Default::default(), heard: Mutex::default() }
    }

    /// The time, if it may be given. Never before a time given earlier by any clock with the same [`Monotone`].
    #[inline]
    pub fn now(&self) -> Result<Reading, NotTrusted> {
        match self.at(Clocks.read()) {
            // This thread may have been interrupted between the two clocks.
            Err(NotTrusted::Stepped) => self.at(Clocks.read_together()),
            read => read,
        }
    }

    #[inline]
    fn at(&self, now: Moment) -> Result<Reading, NotTrusted> {
        self.board.read()?.read(now, |time| self.monotone.raise(time))
    }

    /// What is wrong and the remedy, for operators.
    pub fn explain(&self, reason: NotTrusted) -> String {
        explained(self.source, reason, self.policy.accuracy)
    }

    /// What it promises.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Its condition.
    pub fn state(&self) -> ClockStatus {
        let lease = self.board.read();
        let now = Clocks.read_together();
        let verdict = self.at(now).map(|_| ());
        let lease_left = lease.map_or(Duration::ZERO, |lease| match lease.until {
            i64::MAX => Duration::MAX,
            until => Duration::from_nanos(u64::try_from(until - now.monotonic).unwrap_or(0)),
        });
        let Heard { discipline, problem } = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let labels = std::iter::once("trusted").chain(NotTrusted::ALL.map(NotTrusted::label));
        let mut transitions = [("", 0); 1 + NotTrusted::ALL.len()];
        for ((place, label), count) in transitions.iter_mut().zip(labels).zip(&self.transitions) {
            *place = (label, count.load(Relaxed));
        }
        ClockStatus { source: self.source, policy: self.policy, verdict, lease_left, discipline, problem, transitions }
    }
}

/// A history shared by all clocks with one source.
pub type SharedHistory = Arc<Mutex<History>>;

/// Starts to watch the clock for each of the policies, and asks its source once before it returns. Watching ends when
/// the [`Keeper`] is dropped, and all leases end with it; `history` remains.
pub fn start(
    source: ClockSource,
    policies: &[Policy],
    monotone: &Arc<Monotone>,
    history: &SharedHistory,
    hook: Hook,
) -> io::Result<(Keeper, Vec<Arc<Clock>>)> {
    let watched: Vec<_> =
        policies.iter().map(|policy| Arc::new(Clock::new(source, *policy, Arc::clone(monotone)))).collect();
    let keeper = Keeper::start(source, watched.clone(), Arc::clone(history), hook)?;
    Ok((keeper, watched))
}

#[cfg(test)]
mod tests;
