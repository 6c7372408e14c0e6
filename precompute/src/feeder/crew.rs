//! Asks origins when they are due, each question on a thread of its own.
//!
//! Invariants: one thread sleeps until the next origin is due, so origins that have nothing to say cost nothing, however
//! many there are; a question has a thread for as long as it takes, at most so many at once and so many of one host, and
//! the rest waits its turn; a source that nobody has a [`Feed`] of is not asked, and what is still under way for it changes
//! nothing. Nobody waits for a question, not even the end. It does not know what an origin is.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{debug, info, warn};

use super::{
    mirror::{self, Last, Mirror},
    origin::{Answer, Origin, Problem, Question, Spec},
    schedule,
    stop::Stop,
};
use crate::{
    ledger::Fetching,
    limits::{SOURCE_PRIORITY, fetch as limits},
    log::remarks::{Lasting, News},
    pki::UnixTime,
};

/// Fetches sources for whoever has subscribed to them. Dropped, it ends at once.
#[derive(Debug)]
pub struct Feeders {
    crew: Arc<Crew>,
    /// Started with the first source.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A source that is fetched until this is dropped.
#[derive(Debug)]
pub struct Feed {
    number: u64,
    mirror: PathBuf,
    origin: String,
    fetching: Arc<Fetching>,
    crew: Weak<Crew>,
}

#[derive(Debug)]
struct Crew {
    began: Instant,
    state: Mutex<State>,
    /// Something may be due earlier, or there is room for another question.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_ending: bool,
    next: u64,
    posts: BTreeMap<u64, Post>,
    /// The hosts that are being asked, once for each question, also of sources that nobody wants any more.
    asked: Vec<String>,
}

/// What there is for one source.
#[derive(Debug)]
struct Post {
    spec: Spec,
    feed: Weak<Feed>,
    fetching: Arc<Fetching>,
    /// `None` while it is being asked.
    origin: Option<Box<dyn Origin>>,
    last: Option<Last>,
    due: Duration,
    /// Whether it is to be asked at once after the present question.
    is_urgent: bool,
    failures: u32,
    trouble: Lasting,
    /// Of the present question.
    stop: Arc<Stop>,
}

/// One question and what it needs.
struct Task {
    number: u64,
    spec: Spec,
    host: String,
    origin: Box<dyn Origin>,
    last: Option<Last>,
    stop: Arc<Stop>,
    fetching: Arc<Fetching>,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    last: Option<Last>,
    answer: Result<Came, Problem>,
}

/// What came of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Came {
    /// Something new.
    New,
    /// What is here still holds.
    Same,
    /// There is nothing to be fetched.
    Nothing,
}

impl Default for Feeders {
    fn default() -> Self {
        let crew = Crew { began: Instant::now(), state: Mutex::default(), changed: Condvar::new() };
        Self { crew: Arc::new(crew), thread: Mutex::default() }
    }
}

impl Feeders {
    /// Removes from `directory` what no source of `wanted` has use for, before the first one is subscribed to.
    pub fn tidy(directory: &Path, wanted: &[Spec]) {
        mirror::tidy(directory, &wanted.iter().map(Spec::mirror).collect::<Vec<_>>());
    }

    /// Fetches a source from now on, at first at once. Of two that are equal there is one.
    pub fn subscribe(&self, spec: &Spec) -> io::Result<Arc<Feed>> {
        self.run()?;
        let mut state = self.crew.state();
        let known = state.posts.values().filter(|post| post.spec == *spec).find_map(|post| post.feed.upgrade());
        if let Some(feed) = known {
            return Ok(feed);
        }
        let number = state.next;
        state.next += 1;
        let fetching = Arc::new(Fetching::new(spec.kind(), spec.to_string(), Mirror::new(spec.mirror()).confirmed()));
        let feed = Arc::new(Feed {
            number,
            mirror: spec.mirror().to_owned(),
            origin: spec.to_string(),
            fetching: Arc::clone(&fetching),
            crew: Arc::downgrade(&self.crew),
        });
        let post = Post {
            spec: spec.clone(),
            feed: Arc::downgrade(&feed),
            fetching,
            origin: Some(spec.origin()),
            last: None,
            due: if spec.waits() { limits::WAITS_AT_MOST } else { Duration::ZERO },
            is_urgent: false,
            failures: 0,
            trouble: Lasting::default(),
            stop: Arc::default(),
        };
        state.posts.insert(number, post);
        drop(state);
        self.crew.changed.notify_all();
        Ok(feed)
    }

    fn run(&self) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let crew = Arc::clone(&self.crew);
            *thread = Some(thread::Builder::new().name("feeders".to_owned()).spawn(move || crew.run())?);
        }
        Ok(())
    }
}

impl Drop for Feeders {
    fn drop(&mut self) {
        let stops: Vec<_> = {
            let mut state = self.crew.state();
            state.is_ending = true;
            std::mem::take(&mut state.posts).into_values().map(|post| post.stop).collect()
        };
        self.crew.changed.notify_all();
        stops.iter().for_each(|stop| stop.stop());
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It starts questions and waits for none. A panic there has been told where it happened.
            let _ = thread.join();
        }
    }
}

impl Feed {
    /// The file that mirrors it.
    pub fn mirror(&self) -> &Path {
        &self.mirror
    }

    /// Where it is from, without secrets.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How it fares.
    pub fn fetching(&self) -> &Arc<Fetching> {
        &self.fetching
    }

    /// Whether there is something to read.
    pub fn is_here(&self) -> bool {
        self.mirror.is_file()
    }

    /// Has its origin asked now.
    pub fn ask_now(&self) {
        let Some(crew) = self.crew.upgrade() else { return };
        if let Some(post) = crew.state().posts.get_mut(&self.number) {
            (post.due, post.is_urgent) = (Duration::ZERO, post.origin.is_none());
        }
        crew.changed.notify_all();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Some(crew) = self.crew.upgrade() else { return };
        let post = crew.state().posts.remove(&self.number);
        if let Some(post) = post {
            post.stop.stop();
        }
    }
}

impl State {
    /// What is due and has room, if anything.
    fn task(&mut self, now: Duration) -> Option<Task> {
        if self.asked.len() >= limits::ASKED_AT_ONCE {
            return None;
        }
        let asked = &self.asked;
        let has_room =
            |host: &String| asked.iter().filter(|asked| *asked == host).count() < limits::ASKED_AT_ONCE_OF_HOST;
        let due = |post: &&mut Post| post.due <= now && post.origin.is_some() && has_room(&post.spec.host());
        // Those that wait longest come first.
        let post = self.posts.iter_mut().map(|(number, post)| (*number, post));
        let (number, post) = post.filter(|(_, post)| due(post)).min_by_key(|(_, post)| post.due)?;
        let (origin, host) = (post.origin.take()?, post.spec.host());
        self.asked.push(host.clone());
        let (stop, fetching) = (Arc::clone(&post.stop), Arc::clone(&post.fetching));
        Some(Task { number, spec: post.spec.clone(), host, origin, last: post.last.take(), stop, fetching })
    }

    /// When the next one is due; `None` if none is, or all that are have to wait for others.
    fn next_due(&self, now: Duration) -> Option<Duration> {
        let waiting = self.posts.values().filter(|post| post.origin.is_some() && post.due > now);
        waiting.map(|post| post.due - now).min()
    }
}

impl Crew {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn run(self: &Arc<Self>) {
        let mut state = self.state();
        while !state.is_ending {
            let now = self.began.elapsed();
            if let Some(task) = state.task(now) {
                drop(state);
                self.start(task);
                state = self.state();
                continue;
            }
            state = match state.next_due(now) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn start(self: &Arc<Self>, task: Task) {
        let (crew, number, spec, host) = (Arc::clone(self), task.number, task.spec.clone(), task.host.clone());
        let started = thread::Builder::new().name("fetch".to_owned()).spawn(move || {
            // Checking a large CRL must not slow down answers.
            let _ = rustix::process::setpriority_process(None, SOURCE_PRIORITY);
            let Task { number, spec, host, mut origin, last, stop, fetching } = task;
            let asked = catch_unwind(AssertUnwindSafe(|| ask(&spec, &mut *origin, last, &stop, &fetching)));
            // A client keeps its connections, and the certificates that it trusts.
            stop.forget();
            let (origin, outcome) = match asked {
                Ok(outcome) => (origin, outcome),
                Err(_) => {
                    let problem =
                        Problem::new(format!("{spec}: the thread that asks panicked: a defect of this program"));
                    (spec.origin(), Outcome { last: None, answer: Err(problem) })
                }
            };
            crew.finish(number, &host, origin, outcome);
        });
        if let Err(error) = started {
            let problem =
                Problem::new(format!("{spec}: no thread can be started to ask it: {error}; free memory or threads"));
            self.finish(number, &host, spec.origin(), Outcome { last: None, answer: Err(problem) });
        }
    }

    /// After a question: what is told, and when the next one is.
    fn finish(&self, number: u64, host: &String, origin: Box<dyn Origin>, outcome: Outcome) {
        let (now, wall, random) = (self.began.elapsed(), UnixTime::now(), random());
        let mut state = self.state();
        if let Some(place) = state.asked.iter().position(|asked| asked == host) {
            state.asked.swap_remove(place);
        }
        if let Some(post) = state.posts.get_mut(&number) {
            let is_known = !matches!(outcome.answer, Ok(Came::Same));
            post.finish(origin, outcome, now, wall, random);
            let spec = post.spec.clone();
            // Whatever came of it: its delta has been waiting to know.
            let deltas = state.posts.values_mut().filter(|other| is_known && other.spec.is_delta_of(&spec));
            deltas.for_each(|delta| (delta.due, delta.is_urgent) = (now, delta.origin.is_none()));
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Post {
    fn finish(&mut self, origin: Box<dyn Origin>, outcome: Outcome, now: Duration, wall: UnixTime, random: f64) {
        let Outcome { last, answer } = outcome;
        self.origin = Some(origin);
        self.last = last;
        let rhythm = self.spec.rhythm(self.last.as_ref());
        let pause = match &answer {
            Ok(_) => {
                self.failures = 0;
                let known = self.last.as_ref().map(Last::known).unwrap_or_default();
                rhythm.map_or_else(|| schedule::after_answer(&known, wall, random), |(pause, _)| pause)
            }
            Err(problem) => {
                self.failures = self.failures.saturating_add(1);
                let pause = schedule::after_failure(self.failures, problem.wait, random);
                rhythm.map_or(pause, |(_, most)| pause.min(most))
            }
        };
        self.due = if std::mem::take(&mut self.is_urgent) { now } else { now + pause };
        self.tell(&answer, now);
        match answer {
            Ok(Came::Nothing) => self.fetching.has_nothing(),
            Ok(_) => self.fetching.confirmed(wall),
            Err(problem) => self.fetching.failed(problem.text, Mirror::new(self.spec.mirror()).is_here()),
        }
    }

    fn tell(&mut self, answer: &Result<Came, Problem>, now: Duration) {
        let source = &self.spec;
        match self.trouble.news(answer.is_err(), now) {
            Some(News::Begins) => {
                let kept =
                    if self.last.is_some() { "what it said last stays in use" } else { "nothing of it is here yet" };
                let problem = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
                warn!("{problem}; {kept}, and it is asked again");
            }
            Some(News::Lasts(lasted)) => {
                let problem = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
                warn!(hours = lasted.as_secs() / 3600, "{problem}; so it has been since then");
            }
            Some(News::Over(lasted)) => info!(%source, seconds = lasted.as_secs(), "the source can be fetched again"),
            None => {}
        }
        if let (Ok(Came::New), Some(last)) = (answer, &self.last) {
            info!(%source, octets = last.octets, "the source has something new, which was fetched");
        }
    }
}

/// Asks once, and keeps what came.
fn ask(spec: &Spec, origin: &mut dyn Origin, known: Option<Last>, stop: &Stop, fetching: &Fetching) -> Outcome {
    let (mirror, now) = (Mirror::new(spec.mirror()), UnixTime::now());
    let mut last = mirror.last(known);
    let answer = (|| {
        let mut draft = mirror.draft()?;
        let question = Question { last: last.as_ref(), now, within: limits::WHOLE_WITHIN, stop, fetching };
        let answer = origin.ask(&question, &mut draft)?;
        if stop.is_stopped() {
            return Err(Problem::new(format!("{spec}: nobody wants it any more")));
        }
        match (answer, &mut last) {
            (Answer::New(facts), _) => {
                last = Some(mirror.replace(draft, *facts, &spec.to_string(), now, last.as_ref())?);
                Ok(Came::New)
            }
            (Answer::Same(validators), Some(last)) => {
                let asked_often = validators.is_none();
                last.confirm(now, validators);
                if !asked_often || last.is_to_be_noted() {
                    mirror.note(last)?;
                }
                Ok(Came::Same)
            }
            (Answer::More(lines, facts), Some(last)) => {
                mirror.extend(last, &lines, *facts, now)?;
                debug!(source = %spec, octets = lines.len(), "the source has changes, which were fetched");
                Ok(Came::Same)
            }
            (Answer::Nothing, _) => {
                mirror.remove();
                last = None;
                Ok(Came::Nothing)
            }
            (Answer::Same(_) | Answer::More(..), None) => {
                Err(Problem::new(format!("{spec}: says that nothing has changed, and nothing of it is here")))
            }
        }
    })();
    Outcome { last, answer }
}

/// A number from 0 to 1.
fn random() -> f64 {
    // Each state has new keys; the number need not be unpredictable.
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}
