//! One thread for each issuer, so that a source that hangs does not delay the others.
//!
//! Purpose: controls that thread, from its first pass to its end. Invariant: a wait for a thread that hangs in a read
//! (a network file system that went away) always has a bound, and a thread that was replaced changes nothing any more.
//! It does not know what is read.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{debug, error, warn};

use super::{
    Accepted, EngineError, Faults, FollowedIssuer, Pass, handover::Handover, notifier::Notifier, progress::Progress,
    reader::SourceReader, stop::Stop,
};
use crate::{
    feeder::{Feed, Feeders},
    ledger::Ledger,
    limits::{self, fetch},
};

/// An issuer and the thread that follows its sources.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) issuer: Arc<FollowedIssuer>,
    pub(super) ledger: Ledger,
    pub(super) handover: Arc<Handover>,
    progress: Arc<Progress>,
    /// Whether anything was known of the issuer before its sources were read.
    known: bool,
    /// Until the thread takes it.
    pub(super) reader: Option<SourceReader>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
    /// Its sources that are fetched, once it is [fed](Follower::feed).
    feeds: Vec<Arc<Feed>>,
}

impl Follower {
    pub(super) fn new(reader: SourceReader) -> Self {
        Self {
            issuer: Arc::clone(&reader.issuer),
            ledger: reader.ledger.clone(),
            handover: Arc::clone(&reader.handover),
            progress: Arc::clone(&reader.progress),
            known: reader.is_known(),
            reader: Some(reader),
            stop: Arc::default(),
            thread: None,
            feeds: Vec::new(),
        }
    }

    /// Has its sources fetched from now on, as far as they are elsewhere.
    pub(super) fn feed(&mut self, feeders: &Feeders) -> io::Result<()> {
        if self.feeds.is_empty() {
            self.feeds = self.issuer.fetched().iter().map(|spec| feeders.subscribe(spec)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Goes on with what `former` has fetched, of the same issuer.
    pub(super) fn feed_as(&mut self, former: &Self) {
        self.feeds.clone_from(&former.feeds);
    }

    /// Has them fetched now.
    pub(super) fn fetch_now(&self) {
        self.feeds.iter().for_each(|feed| feed.ask_now());
    }

    /// Has the health of its issuer tell how they fare.
    pub(super) fn tell_of_feeds(&self) {
        let fetches = self.feeds.iter().map(|feed| Arc::clone(feed.fetching())).collect();
        self.ledger.state().health.set_fetches(fetches);
    }

    /// Starts the thread. It reports the outcome of its first pass with `place`, and continues if the outcome is good
    /// enough.
    fn start(&mut self, notifier: &Notifier, terms: Terms, place: usize, tell: &Tell) -> io::Result<()> {
        let Some(mut reader) = self.reader.take() else { return Ok(()) };
        let (stop, tell) = (Arc::clone(&self.stop), tell.clone());
        let (woken, feeds) = (Arc::clone(&stop), self.feeds.clone());
        let mut watching = notifier.watch(self.issuer.sources.paths(), move || woken.wake());
        // As the book says, not by what a refused pass has taken.
        let known = self.known || terms.goes_on;
        let thread = thread::Builder::new().name("source".into()).spawn(move || {
            // Reading millions of lines must not slow down answers; on a free core the lower priority costs nothing.
            if let Err(error) = rustix::process::setpriority_process(None, limits::SOURCE_PRIORITY) {
                debug!(%error, "the priority of reading sources cannot be lowered");
            }
            wait_for(&feeds, terms, &stop);
            watching.renew();
            let outcome = match reader.first_pass(terms, &stop) {
                Err(EngineError::Source(faults))
                    if terms.from_book && known || !terms.whole && are_awaited(&faults, &feeds) =>
                {
                    reader.refused(&faults);
                    // What others with its CA leave behind is not lost meanwhile.
                    reader.follow_predecessors(terms.accept, &mut Pass::default()).map(|()| None)
                }
                outcome => outcome.map(Some),
            };
            let taken = outcome.is_ok();
            let _ = tell.send((place, outcome));
            if taken {
                reader.follow(terms.accept, &stop, &mut watching);
            }
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Whether its thread has ended without being stopped.
    pub(super) fn is_lost(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    pub(super) fn stop(&self) {
        self.stop.stop();
    }

    /// Nothing can be fetched for it.
    pub(super) fn lost_feed(&self, error: &io::Error) -> EngineError {
        self.lost(format_args!("has none beside it that fetches them: {error}"))
    }

    fn lost(&self, problem: impl fmt::Display) -> EngineError {
        EngineError::Thread(self.issuer.to_string(), problem.to_string())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.handover.close();
        self.stop();
    }
}

/// Waits for what is fetched: what was never there, within a bound; where a pass has to be `whole`, what the origins say now.
fn wait_for(feeds: &[Arc<Feed>], terms: Terms, stop: &Stop) {
    let begun = Instant::now();
    let bound = if terms.whole { fetch::WHOLE_WITHIN } else { fetch::FIRST_WAIT };
    let is_awaited = |feed: &Arc<Feed>| (terms.whole || !feed.is_here()) && !feed.fetching().was_asked();
    while feeds.iter().any(is_awaited) && begun.elapsed() < bound && !stop.pause(fetch::FIRST_LOOK) {}
}

/// Whether the sources are refused because of nothing but mirrors that are not there yet: an issuer waits for these, and
/// stops nobody.
fn are_awaited(faults: &Faults, feeds: &[Arc<Feed>]) -> bool {
    let is_awaited = |path: &Path| feeds.iter().any(|feed| feed.mirror() == path && !feed.is_here());
    faults.0.iter().all(|fault| is_awaited(&fault.path))
}

type Tell = mpsc::Sender<(usize, Result<Option<Pass>, EngineError>)>;

/// Conditions of a first pass.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Terms {
    pub(super) accept: Accepted,
    /// Whether an issuer continues from what the book knows if its sources are refused or hang.
    pub(super) from_book: bool,
    /// Whether it continues from there even if the book knows nothing of it.
    pub(super) goes_on: bool,
    /// Whether to wait before unlisted records are removed.
    pub(super) whole: bool,
    /// How long all of them together may take.
    pub(super) patience: Option<Duration>,
}

/// Runs the first pass of each, as many at a time as there are cores. Slow ones do not count, because they may hang.
pub(super) fn start(
    followers: &mut [Follower],
    notifier: &Notifier,
    terms: Terms,
    mut each: impl FnMut(&Follower, Option<&Pass>),
) -> Result<(), EngineError> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (tell, told) = mpsc::channel();
    let (mut waiting, mut reading) = (0..followers.len(), Vec::<Reading>::new());
    loop {
        let busy = reading.iter().filter(|one| one.since.elapsed() < limits::FIRST_READ_QUICK).count();
        if busy < cores
            && let Some(place) = waiting.next()
        {
            let started = followers[place].start(notifier, terms, place, &tell);
            started.map_err(|error| followers[place].lost(format_args!("cannot be started: {error}")))?;
            reading.push(Reading::begin(place, Instant::now()));
            continue;
        }
        if reading.is_empty() {
            return Ok(());
        }
        if let Ok((place, outcome)) = told.recv_timeout(limits::SOURCE_POLL_INTERVAL) {
            reading.retain(|one| one.place != place);
            let pass = outcome?;
            each(&followers[place], pass.as_ref());
            continue;
        }
        if let Some(lost) = reading.iter().find(|one| followers[one.place].is_lost()) {
            return Err(followers[lost.place].lost("panicked"));
        }
        if let Some(patience) = terms.patience
            && let Some(slow) = reading.iter().find(|one| one.since.elapsed() > patience)
        {
            return Err(followers[slow.place].lost(format_args!("has not read them within {patience:?}")));
        }
        // What the book knows is better than nothing. The thread that still reads can finish later.
        reading.retain_mut(|one| {
            let follower = &followers[one.place];
            let goes_on = one.is_given_up(follower.progress.lines(), follower.known, terms, Instant::now());
            if goes_on {
                let fault = "the sources have not been read since the start: reading one of them takes long, or hangs";
                error!(issuer = %follower.issuer, "{fault}; answers come from the book");
                follower.ledger.state().health.refused(fault);
            }
            !goes_on
        });
    }
}

/// A first pass that is under way.
struct Reading {
    place: usize,
    since: Instant,
    /// Lines read when that changed last,
    lines: Option<u64>,
    /// and when that was.
    got_on: Instant,
}

impl Reading {
    fn begin(place: usize, now: Instant) -> Self {
        Self { place, since: now, lines: None, got_on: now }
    }

    /// Whether there is something else to go on from, and this takes too long. `lines`: how many were read by `now`; `None`
    /// while none is being read. Where nothing is `known`, a list is waited for as long as it is being read and saved,
    /// however long it is: what it says later is told row by row.
    fn is_given_up(&mut self, lines: Option<u64>, known: bool, terms: Terms, now: Instant) -> bool {
        if std::mem::replace(&mut self.lines, lines) != lines || lines.is_none() {
            self.got_on = now;
        }
        let begun = if known { self.since } else { self.got_on };
        terms.from_book && (known || terms.goes_on) && now.saturating_duration_since(begun) > limits::START_READ_MAX
    }
}

/// Stops all of them and waits, within a bound: one may be in the middle of a commit, and one may hang.
pub(super) fn end(followers: &[Follower]) {
    followers.iter().for_each(Follower::stop);
    let begun = Instant::now();
    let running = |follower: &&Follower| follower.thread.as_ref().is_some_and(|thread| !thread.is_finished());
    while followers.iter().any(|follower| running(&follower)) {
        if begun.elapsed() > limits::FOLLOWERS_END_MAX {
            for follower in followers.iter().filter(running) {
                warn!(issuer = %follower.issuer, "its sources are still being read; the program ends without waiting");
            }
            return;
        }
        thread::sleep(limits::FOLLOWERS_END_LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of a hundred million lines takes longer than a minute: a feed began without it, and each of its records was
    /// told one by one.
    #[test]
    fn a_long_list_is_waited_for_while_it_is_read_unless_there_is_something_else_to_go_on_from() {
        let leads = Terms { from_book: true, goes_on: true, ..Terms::default() };
        let starts = Terms { goes_on: false, ..leads };
        // Until when lines are read, until when nothing is being read after that, and when it is given up.
        for (what, terms, known, read_until, saved_until, given_up) in [
            ("a long list of nobody known", leads, false, 1000, 1000, None),
            ("a list that is long in the saving", leads, false, 10, 1000, None),
            ("a source that hangs from the beginning", leads, false, 0, 0, Some(62)),
            ("one that hangs in the middle", leads, false, 100, 100, Some(161)),
            ("one that hangs when it is read again", leads, false, 100, 200, Some(262)),
            ("a long list of somebody known", leads, true, 1000, 1000, Some(61)),
            ("a start that knows somebody", starts, true, 1000, 1000, Some(61)),
            ("a start that knows nobody", starts, false, 0, 0, None),
        ] {
            let begun = Instant::now();
            let mut reading = Reading::begin(0, begun);
            let is_given_up = |second: &u64| {
                let now = begun + Duration::from_secs(*second);
                let lines = (*second <= read_until || *second > saved_until).then(|| read_until.min(*second));
                reading.is_given_up(lines, known, terms, now)
            };
            assert_eq!((1..1000).find(is_given_up), given_up, "{what}");
        }
    }
}
