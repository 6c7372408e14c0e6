//! The watchdog of systemd (`WatchdogSec=`): it hears of a service for as long as all of its threads that answer move.
//!
//! Purpose: a service whose threads hang is killed and started again, though its process is there. Invariant: nothing is
//! sent while one of them has not moved for half of the time that systemd allows, nor while the control thread, on which
//! this runs, does not move. It does not know what the threads do.

use std::{env, process, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::error;

use super::{ServiceState, notify};

/// A thread that has to move: its name, and how often it has moved.
pub struct Moving {
    /// For the log.
    pub name: String,
    /// Grows at least once a second while the thread does not hang.
    pub count: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for Moving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moving").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Tells systemd, if it asks for it, that the service moves, for as long as it does.
pub async fn watch(threads: Vec<Moving>) {
    let variable = |name: &str| env::var(name).ok();
    let Some(allowed) = allowed(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), process::id()) else { return };
    let mut pulse = Pulse::new(threads.len(), allowed / 2, Instant::now());
    let mut told = None;
    loop {
        let counts: Vec<_> = threads.iter().map(|thread| (thread.count)()).collect();
        let hangs = pulse.hangs(&counts, Instant::now());
        match hangs {
            None => notify(ServiceState::Moving),
            Some(place) if told != hangs => error!(
                thread = threads[place].name,
                "a thread hangs: systemd is no longer told that this service works, and starts it again after WatchdogSec="
            ),
            Some(_) => {}
        }
        told = hangs;
        sleep(allowed / 4).await;
    }
}

/// How long systemd waits for a message, sd_watchdog_enabled(3). `None` where it does not wait for one of this process.
fn allowed(microseconds: Option<String>, process: Option<String>, own: u32) -> Option<Duration> {
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    let is_ours = process.is_none_or(|process| process.parse() == Ok(own));
    is_ours.then(|| Duration::from_micros(microseconds))
}

/// When each thread has last moved.
struct Pulse {
    last: Vec<(u64, Instant)>,
    patience: Duration,
}

impl Pulse {
    fn new(threads: usize, patience: Duration, now: Instant) -> Self {
        Self { last: vec![(0, now); threads], patience }
    }

    /// The place of a thread that has not moved for too long.
    fn hangs(&mut self, counts: &[u64], now: Instant) -> Option<usize> {
        for (last, &count) in self.last.iter_mut().zip(counts) {
            if last.0 != count {
                *last = (count, now);
            }
        }
        self.last.iter().position(|(_, moved)| now.duration_since(*moved) > self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_or_none_is_not_served() {
        let text = |text: &str| Some(text.to_owned());
        let second = Some(Duration::from_secs(1));
        for (microseconds, process, wanted) in [
            (text("1000000"), None, second),
            (text("1000000"), text("7"), second),
            (text("1000000"), text("8"), None),
            (text("0"), None, None),
            (text("soon"), None, None),
            (None, text("7"), None),
        ] {
            assert_eq!(allowed(microseconds.clone(), process.clone(), 7), wanted, "{microseconds:?} {process:?}");
        }
    }

    #[test]
    fn a_thread_that_does_not_move_is_found_after_the_patience_and_forgiven_when_it_moves() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(2, Duration::from_secs(10), begin);
        for (seconds, counts, hangs) in [
            (0, [0, 0], None),
            (5, [5, 5], None),
            (15, [15, 5], None),
            (16, [16, 5], Some(1)),
            (27, [16, 5], Some(0)),
            (28, [17, 5], Some(1)),
            (29, [18, 6], None),
            (39, [18, 6], None),
        ] {
            assert_eq!(pulse.hangs(&counts, at(seconds)), hangs, "{seconds}");
        }
    }
}
