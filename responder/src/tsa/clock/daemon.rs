//! The time daemon that keeps the clock, as far as can be seen, and what its operator can do if the clock is not
//! trusted.
//!
//! For messages only: no decision depends on it. It does not know whether the daemon does its work.

use std::{path::Path, time::Duration};

use super::{ClockSource, NotTrusted};
use crate::limits;

/// A program that keeps a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Daemon {
    Chronyd,
    Timesyncd,
    Ntpd,
    /// None was found.
    Unseen,
}

/// The trace that each leaves while it runs.
const TRACES: [(&str, Daemon); 6] = [
    ("run/chrony/chronyd.pid", Daemon::Chronyd),
    ("run/chrony/chronyd.sock", Daemon::Chronyd),
    ("run/chronyd.pid", Daemon::Chronyd),
    ("run/ntpd.pid", Daemon::Ntpd),
    ("run/ntpsec/ntpd.pid", Daemon::Ntpd),
    ("run/systemd/timesync", Daemon::Timesyncd),
];

/// The longest that systemd-timesyncd is silent by default; PollIntervalMaxSec=.
const TIMESYNCD_SECONDS_MAX: u64 = 2048;
/// The smallest value that it accepts for that.
const TIMESYNCD_SECONDS_MIN: u64 = 32;

impl Daemon {
    /// The daemon on this machine, or below another root.
    pub(super) fn seen(root: &Path) -> Self {
        // A directory that may not be searched counts as there.
        let is_there = |trace: &str| root.join(trace).try_exists().unwrap_or(true);
        TRACES.into_iter().find(|(trace, _)| is_there(trace)).map_or(Self::Unseen, |(_, daemon)| daemon)
    }

    /// What to do if the clock is not trusted; empty if nothing is known to help.
    pub(super) fn way_out(self, source: ClockSource, reason: NotTrusted, accuracy: Duration) -> String {
        let asked = if matches!(source, ClockSource::Chrony(_)) { Self::Chronyd } else { self };
        match (reason, asked) {
            (NotTrusted::Unsynchronised, Self::Chronyd) => {
                "; `chronyc sources` shows which servers chronyd could follow and why it does not".to_owned()
                    + if source == ClockSource::Kernel { ", and `rtcsync` in chrony.conf has it tell the kernel" } else { "" }
            }
            (NotTrusted::Unsynchronised, Self::Timesyncd) => {
                "; `timedatectl timesync-status` shows what systemd-timesyncd follows".into()
            }
            (NotTrusted::Unsynchronised, Self::Ntpd) => "; `ntpq -p` shows which servers ntpd could follow".into(),
            (NotTrusted::Unsynchronised, Self::Unseen) => {
                "; no time daemon is seen on this machine: install chrony, or look at the one that keeps its clock".into()
            }
            (NotTrusted::Inaccurate, Self::Chronyd) => {
                "; `chronyc tracking` shows root delay and dispersion: follow nearer servers, have them asked more often (`maxpoll`), or set a larger `accuracy`".into()
            }
            (NotTrusted::Inaccurate, Self::Timesyncd) => timesyncd_is_silent(accuracy),
            (NotTrusted::Inaccurate, Self::Ntpd) => {
                "; `ntpq -c rv` shows rootdelay and rootdisp: follow nearer servers, have them asked more often (`maxpoll`), or set a larger `accuracy`".into()
            }
            (NotTrusted::Inaccurate, Self::Unseen) => {
                "; have the time daemon measure more often, or set a larger `accuracy`".into()
            }
            (NotTrusted::Stepped | NotTrusted::Unmeasured, Self::Chronyd) => {
                "; `chronyc 'burst 4/4'` has chronyd measure at once".into()
            }
            _ => String::new(),
        }
    }
}

/// It reports no error to the kernel at a measurement, and then nothing until the next one.
fn timesyncd_is_silent(accuracy: Duration) -> String {
    let ppm = u64::from(limits::CLOCK_DRIFT_PPM);
    // One tenth is left for everything else.
    let enough = accuracy.as_micros() as u64 * 9 / 10 / ppm;
    let cause = format!(
        "; systemd-timesyncd measures as rarely as every {TIMESYNCD_SECONDS_MAX} s, and the kernel adds {ppm} ppm of error meanwhile, up to {:.2} s: ",
        (TIMESYNCD_SECONDS_MAX * ppm) as f64 / 1e6
    );
    let way_out = if enough < TIMESYNCD_SECONDS_MIN {
        "set a larger `accuracy`, or use chrony".to_owned()
    } else {
        let seconds = (1 << enough.min(TIMESYNCD_SECONDS_MAX).ilog2()).min(TIMESYNCD_SECONDS_MAX / 2);
        format!("set PollIntervalMaxSec={seconds} in /etc/systemd/timesyncd.conf, or set a larger `accuracy`")
    };
    cause + &way_out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_daemon_is_known_by_what_it_leaves_while_it_runs() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Daemon::seen(root.path()), Daemon::Unseen);
        fs::create_dir_all(root.path().join("run/systemd/timesync")).unwrap();
        assert_eq!(Daemon::seen(root.path()), Daemon::Timesyncd);
        fs::create_dir_all(root.path().join("run/chrony")).unwrap();
        assert_eq!(Daemon::seen(root.path()), Daemon::Timesyncd, "a directory that is left alone");
        fs::write(root.path().join("run/chrony/chronyd.pid"), "1").unwrap();
        assert_eq!(Daemon::seen(root.path()), Daemon::Chronyd);
    }

    #[test]
    fn the_way_out_is_that_of_the_daemon_at_hand() {
        let (kernel, chrony, second) = (ClockSource::Kernel, ClockSource::CHRONY, Duration::from_secs(1));
        let (unsynchronised, inaccurate) = (NotTrusted::Unsynchronised, NotTrusted::Inaccurate);
        for (daemon, source, reason, accuracy, words) in [
            (
                Daemon::Timesyncd,
                kernel,
                inaccurate,
                second,
                "every 2048 s, and the kernel adds 500 ppm of error meanwhile, up to 1.02 s",
            ),
            (Daemon::Timesyncd, kernel, inaccurate, second, "set PollIntervalMaxSec=1024 in"),
            (Daemon::Timesyncd, kernel, inaccurate, second / 10, "set PollIntervalMaxSec=128 in"),
            (Daemon::Timesyncd, kernel, inaccurate, second / 100, "set a larger `accuracy`, or use chrony"),
            (Daemon::Timesyncd, kernel, unsynchronised, second, "timedatectl timesync-status"),
            (Daemon::Timesyncd, chrony, inaccurate, second, "chronyc tracking"),
            (Daemon::Chronyd, kernel, inaccurate, second, "chronyc tracking"),
            (Daemon::Chronyd, kernel, unsynchronised, second, "rtcsync"),
            (Daemon::Unseen, chrony, unsynchronised, second, "chronyc sources"),
            (Daemon::Unseen, chrony, NotTrusted::Unmeasured, second, "burst"),
            (Daemon::Ntpd, kernel, unsynchronised, second, "ntpq -p"),
            (Daemon::Unseen, kernel, unsynchronised, second, "install chrony"),
        ] {
            let way_out = daemon.way_out(source, reason, accuracy);
            assert!(way_out.starts_with("; ") && way_out.contains(words), "{daemon:?} {source} {reason:?}: {way_out}");
        }
        assert!(!Daemon::Chronyd.way_out(chrony, unsynchronised, second).contains("rtcsync"));
        assert_eq!(Daemon::Chronyd.way_out(kernel, NotTrusted::Leap, second), "");
    }
}
