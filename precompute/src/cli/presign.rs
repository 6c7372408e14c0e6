//! `ostia-precompute presign`: fills the answer store while no responder runs.

use std::{
    fmt,
    hash::RandomState,
    io::{IsTerminal as _, stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{
    answers::Answers,
    assemble::{AssembledIssuer, Assembly},
    config::Config,
    ending::take_signals,
    engine::{Engine, States},
    issuer::ActiveIssuer,
    limits,
    output::say,
    pki::UnixTime,
    presign::{End, Passed, PresignRunner, Progress, Report, StoreWriter, Subject},
    service::own_record,
};

/// How often the bar moves,
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// and how often a line is written without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Why not all answers are signed.
#[derive(Debug)]
struct Unfinished {
    end: End,
    left: u64,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = HumanCount(self.left);
        match self.end {
            End::Stopped => {
                write!(f, "stopped; the signed answers are stored, and the same command continues from there")
            }
            End::Full => write!(f, "no room for {left} answers; raise `cache.answers_octets`"),
            End::Faulty | End::Done => write!(
                f,
                "{left} answers could not be signed; the signed ones are stored, and the same command continues from there"
            ),
        }
    }
}

impl std::error::Error for Unfinished {}

pub(super) fn run(config: &Config, assembly: &Assembly) -> Result<(), Box<dyn std::error::Error>> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one does not wait.
        flag::register_conditional_default(signal, Arc::clone(&stopped))?;
        flag::register(signal, Arc::clone(&stopped))?;
    }
    take_signals();
    // Open for the whole run: no responder signs in the meantime.
    let mut engine = Engine::open(assembly)?;
    engine.read_all(|_, _, _| ()).map_err(|error| error.told(assembly, None))?;
    let subjects = subjects(assembly, &engine.states())?;
    if subjects.is_empty() {
        return Ok(say("nothing to sign ahead: every tenant has `presign = false`")?);
    }
    let progress = Arc::new(Progress::default());
    let octets = config.cache.answers_octets;
    let store_octets_max = octets.saturating_mul(limits::ANSWER_STORE_FACTOR);
    let writer = StoreWriter::open(config.state_dir.clone(), store_octets_max, &progress)?;
    let answers = Arc::new(Answers::new(octets));
    let runner = PresignRunner {
        answers,
        writer: Some(writer),
        progress: Arc::clone(&progress),
        heard_by: None,
        spread: RandomState::new(),
    };
    let stop = || stopped.load(Relaxed);
    let passed = std::thread::scope(|scope| {
        let (ended, until) = channel();
        scope.spawn(|| tell(&progress, until));
        let passed = sign(&runner, &subjects, &stop);
        drop(ended);
        passed
    });
    // This writes everything.
    drop(runner);
    let report = progress.report();
    say(format_args!(
        "{} answers signed, {} were already stored; {} are stored now",
        HumanCount(report.signed),
        HumanCount(report.restored),
        HumanCount(report.restored + report.stored)
    ))?;
    match passed.end {
        End::Done if !report.store_faulty => Ok(()),
        End::Done => Err("the answer store could not be written; the log says why".into()),
        end => Err(Unfinished { end, left: report.due }.into()),
    }
}

/// Loads the stored answers, and runs passes until nothing is due.
fn sign(runner: &PresignRunner, subjects: &[Arc<Subject>], stop: &(dyn Fn() -> bool + Sync)) -> Passed {
    let now = UnixTime::now();
    if let Some(writer) = &runner.writer {
        for subject in subjects {
            for forms in [subject.forms(now), subject.next_forms(now)] {
                writer.restore(subject, &forms, &runner.answers, now, stop);
            }
        }
    }
    loop {
        let passed = runner.pass(subjects, stop);
        if !passed.again {
            return passed;
        }
    }
}

fn subjects(assembly: &Assembly, states: &States) -> Result<Vec<Arc<Subject>>, Box<dyn std::error::Error>> {
    let mut subjects = Vec::new();
    for (tenant, issuer) in assembly.issuers().filter(|(tenant, _)| !tenant.presign.is_empty()) {
        let AssembledIssuer { id, name, policy, certificate, signers, .. } = issuer;
        let state = states.get(id)?.clone();
        let own = own_record(tenant, issuer, states)?;
        let active = ActiveIssuer::new(id, name, *policy, certificate, state, signers.clone())?
            .with_crl_urls(issuer.sources.crl_urls());
        let active = active.with_own_record(own);
        let subject = Subject { issuer: Arc::new(active), ahead: tenant.presign.clone() };
        if subject.is_stored() {
            subjects.push(Arc::new(subject));
        } else {
            let tenant = &tenant.name;
            tracing::info!(
                tenant,
                issuer = name,
                "its answers are replaced too often to be stored; the service signs them ahead once it runs"
            );
        }
    }
    Ok(subjects)
}

/// Shows the progress until the other end of `until` is dropped: a bar on a terminal, lines elsewhere.
fn tell(progress: &Progress, until: Receiver<()>) {
    let bar = stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {human_pos} of {human_len}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    });
    let interval = if bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL };
    while until.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let report = progress.report();
        let (due, done) = report.pass;
        match &bar {
            Some(bar) => {
                bar.set_length(due);
                bar.set_position(done);
                bar.set_message(pace(&report));
            }
            None if due > 0 => tracing::info!(
                done,
                due,
                a_second = report.rate as u64,
                seconds_left = report.left.map_or(0, |left| left.as_secs()),
                failed = report.failed,
                "signing"
            ),
            None => {}
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// The text beside the bar.
fn pace(report: &Report) -> String {
    let mut text = format!("{} a second", HumanCount(report.rate as u64));
    if let Some(left) = report.left {
        text += &format!(", {} left", in_words(left));
    }
    if report.failed > 0 {
        text += &format!(", {} failed", HumanCount(report.failed));
    }
    text
}

/// Hours, minutes and seconds.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_time_is_told_in_words() {
        for (seconds, words) in [(0, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3600 * 5 + 61, "5 h 01 min")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
        let report = Report { rate: 65_432.1, left: Some(Duration::from_secs(90)), failed: 3, ..Report::default() };
        assert_eq!(pace(&report), "65,432 a second, 1 min 30 s left, 3 failed");
    }
}
