//! A line a second while the run lasts.
//!
//! Invariant: written to standard error and only if that is a terminal, so that scripts see nothing of it; a terminal
//! that cannot be written to never stops a run.

use crate::engine::stats::Second;
use crate::expect::Micros;
use crate::proof::Live;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) struct Progress {
    shown: bool,
    live: Arc<Live>,
}

impl Progress {
    pub(crate) fn new(quiet: bool, live: Arc<Live>) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), live }
    }

    pub(crate) fn show(&self, second: &Second) {
        if self.shown {
            let _ = writeln!(std::io::stderr(), "{}", line(second, self.live.bad.load(Ordering::Relaxed)));
        }
    }
}

fn line(second: &Second, badly_signed: u64) -> String {
    let mut line = format!(
        "{:>5} s {:>9}/s   p50 {:>9}   p99 {:>9}   max {:>9}   errors {}",
        second.second + 1,
        second.answered,
        Micros(second.p50_us),
        Micros(second.p99_us),
        Micros(second.max_us),
        second.errors
    );
    if second.wrong > 0 {
        line.push_str(&format!("   WRONG {}", second.wrong));
    }
    if badly_signed > 0 {
        line.push_str(&format!("   BAD SIGNATURES SO FAR {badly_signed}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rate_percentiles_and_errors_and_shouts_about_wrong_answers() {
        let mut second =
            Second { second: 2, answered: 51_234, errors: 7, wrong: 0, p50_us: 80.0, p99_us: 1_500.0, max_us: 2e6 };
        let quiet = line(&second, 0);
        for part in ["3 s", "51234/s", "80.0 µs", "1.50 ms", "2.00 s", "errors 7"] {
            assert!(quiet.contains(part), "{part} in {quiet}");
        }
        assert!(!quiet.contains("WRONG"));
        second.wrong = 1;
        assert!(line(&second, 2).contains("WRONG 1   BAD SIGNATURES SO FAR 2"));
    }
}
