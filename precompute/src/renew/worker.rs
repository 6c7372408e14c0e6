//! Renews one signer, on a thread of its own.
//!
//! Each second it looks at the certificate's file, and whether the renewal is due. What is to be taken is asked for by
//! [`Ask`]; that it was taken shows in the next [`Renewing`]. It does not know who opens the configuration.

use std::{
    ffi::OsString,
    fs,
    hash::{BuildHasher as _, RandomState},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{
    Ask, Renewing, asking, begins, command, ends, is_late,
    plan::{Told, pause},
    post::Post,
    standing::{Chain, age, standing},
};
use crate::journal::trail;
use crate::{
    config::RenewBy,
    limits::renew as limits,
    pki::{Certificate, UnixTime, certificates, certificates_in},
    state_dir::write_whole,
};

/// What kind of failure it is: the log hears of another one at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The request could not be made or written.
    Request,
    /// The command did not do what it should.
    Command,
    /// What came does not suit.
    Certificate,
    /// It could not be kept.
    Keeping,
    /// It was not taken.
    Taking,
    /// The certificate's file is something else now.
    File,
    /// Nothing is wrong, and the certificate is waited for.
    Waiting,
}

type Failure = (Kind, String);

fn of_request(problem: String) -> Failure {
    (Kind::Request, format!("the request could not be made: {problem}"))
}

/// What tells a file from what it was before.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The thread's own.
#[derive(Debug)]
pub(super) struct Worker {
    post: Arc<Post>,
    ask: Ask,
    began: Instant,
    /// The file as it was read.
    read: Option<Stamp>,
    /// The file as it was at the last look.
    seen: Option<Stamp>,
    /// Those of the file and those that are kept, as far as they suit.
    candidates: Vec<Chain>,
    failures: u32,
    /// When it may be tried again, since it began.
    again: Duration,
    told: Told<Kind>,
    /// What was asked to be taken.
    wanted: Option<Certificate>,
}

impl Worker {
    pub(super) fn new(post: Arc<Post>, ask: Ask) -> Self {
        Self {
            post,
            ask,
            began: Instant::now(),
            read: None,
            seen: None,
            candidates: Vec::new(),
            failures: 0,
            again: Duration::ZERO,
            told: Told::nothing(),
            wanted: None,
        }
    }

    /// Looks again and again until it is told to stop.
    pub(super) fn run(mut self) {
        let first = self.post.signer();
        let mut present = first.present.first().cloned();
        (self.read, self.seen) = (stamp(&first.file), stamp(&first.file));
        self.read_all(&first, UnixTime::now());
        drop(first);
        while let Some((signer, refused, is_changed)) = self.post.wait() {
            let now = UnixTime::now();
            if let Some(problem) = refused.filter(|_| self.wanted.is_some()) {
                self.fail(
                    &signer,
                    now,
                    (Kind::Taking, format!("the new certificate is here and could not be taken: {problem}")),
                );
            }
            if signer.present.first() != present.as_ref() {
                present = signer.present.first().cloned();
                self.taken(&signer);
            } else if is_changed && self.wanted.is_some() {
                self.fail(
                    &signer,
                    now,
                    (Kind::Taking, "the new certificate is here and was not taken; the log says why".into()),
                );
            }
            self.look(&signer, now);
        }
    }

    fn look(&mut self, signer: &Renewing, now: UnixTime) {
        self.look_at_file(signer, now);
        let Some(present) = signer.present.first() else { return };
        let may_try = self.again <= self.began.elapsed();
        if let Some(newer) = self.newer(signer, now) {
            if may_try || self.wanted.as_ref() != newer.first() {
                self.wanted = newer.into_iter().next();
                self.postpone(present, now);
                (self.ask.0)();
            }
            return;
        }
        if now < begins(present, signer.is_kept, signer.config.before) || !may_try {
            return;
        }
        // Whoever shares the file may have renewed it since the last look.
        self.read_all(signer, now);
        // One that is not valid yet is waited for.
        if !self.candidates.iter().any(|chain| age(chain) > age(&signer.present)) {
            match self.renew(signer, now) {
                Ok(()) => {}
                Err(failure) => self.fail(signer, now, failure),
            }
        }
    }

    /// Reads the file once it has changed and holds still.
    fn look_at_file(&mut self, signer: &Renewing, now: UnixTime) {
        let seen = stamp(&signer.file);
        let holds_still = seen == self.seen;
        self.seen = seen;
        if seen.is_none() || !holds_still || seen == self.read {
            return;
        }
        self.read = seen;
        // Another file is other news.
        self.told.forget();
        match certificates(&signer.file).map_err(|error| error.to_string()) {
            Ok(chain) => {
                if let Err(problem) = signer.judge.judge(&chain, now) {
                    let text = format!("{} has changed, and its certificate {problem}", signer.file.display());
                    self.fail(signer, now, (Kind::File, text));
                } else if signer.present.first() != chain.first() && age(&chain) > age(&signer.present) {
                    // Its predecessor is in no file any more, and signs beside it for a while.
                    self.keep(signer, &signer.present, now);
                    self.keep(signer, &chain, now);
                }
            }
            Err(problem) => self.fail(signer, now, (Kind::File, format!("its file has changed: {problem}"))),
        }
        self.read_all(signer, now);
    }

    /// Keeps one without which things go on.
    fn keep(&self, signer: &Renewing, chain: &[Certificate], now: UnixTime) {
        if let Err(error) = signer.kept.add(chain, now) {
            warn!(%signer, directory = %signer.kept.directory().display(), %error, "the certificate before the present one could not be kept");
        }
    }

    fn read_all(&mut self, signer: &Renewing, now: UnixTime) {
        let mut all = signer.kept.read();
        all.extend(certificates(&signer.file).ok());
        all.retain(|chain| signer.judge.judge(chain, now).is_ok());
        self.candidates = all;
    }

    /// The certificate that should sign, if that is newer than the one that does.
    fn newer(&self, signer: &Renewing, now: UnixTime) -> Option<Chain> {
        let mut stand = standing(self.candidates.clone(), now);
        if signer.is_tsa {
            // Only one signs, and nothing is signed ahead for the next one.
            stand.retain(|chain| chain.first().is_some_and(|leaf| leaf.not_before() <= now));
        }
        stand.pop().filter(|chain| age(chain) > age(&signer.present))
    }

    fn renew(&mut self, signer: &Renewing, now: UnixTime) -> Result<(), Failure> {
        match &signer.config.by {
            RenewBy::Command(program, arguments, deadline) => {
                let request = asking::request(&self.post, signer).map_err(of_request)?;
                let environment = [
                    ("OSTIA_SIGNER", OsString::from(signer.to_string())),
                    ("OSTIA_CERTIFICATE", signer.file.clone().into()),
                ];
                let input = request.as_bytes();
                let order =
                    command::Order { program, arguments, environment: &environment, input, deadline: *deadline };
                let outcome = command::run(&order, &|| self.post.stops());
                if !outcome.words.is_empty() {
                    info!(%signer, said = outcome.words, "the command that renews this signer said something");
                }
                let shown = program.display();
                let output = outcome.output.map_err(|fault| {
                    let said =
                        if outcome.words.is_empty() { String::new() } else { format!("; it said: {}", outcome.words) };
                    (Kind::Command, format!("the command {shown} {fault}{said}"))
                })?;
                let given = certificates_in(&output, Path::new("its output"));
                let given = given
                    .map_err(|problem| (Kind::Certificate, format!("the command {shown} ended well, but {problem}")))?;
                self.accept(signer, signer.judge.in_order(given), now)
            }
            RenewBy::Request(file) => {
                let request = asking::request_unless_in(&self.post, signer, file).map_err(of_request)?;
                if let Some(request) = request {
                    let written = write_whole(file, request.as_bytes(), 0o644);
                    written.map_err(|error| {
                        (Kind::Request, format!("the request {} cannot be written: {error}", file.display()))
                    })?;
                }
                self.waits(
                    signer,
                    now,
                    &format!(
                        "the request is in {}, and the CA's certificate is waited for in {}",
                        file.display(),
                        signer.file.display()
                    ),
                );
                Ok(())
            }
            RenewBy::Nobody => {
                self.waits(signer, now, &format!("the next one is waited for in {}", signer.file.display()));
                Ok(())
            }
        }
    }

    /// Takes what came into what is kept.
    fn accept(&mut self, signer: &Renewing, chain: Chain, now: UnixTime) -> Result<(), Failure> {
        let refuse = |problem: String| (Kind::Certificate, format!("the certificate that came {problem}"));
        signer.judge.judge(&chain, now).map_err(refuse)?;
        let (Some(leaf), Some(present)) = (chain.first(), signer.present.first()) else { return Ok(()) };
        if age(&chain) <= age(&signer.present) || leaf.not_after() <= present.not_after() {
            return Err(refuse(format!(
                "is no newer than the present one: it is valid from {} to {}, and that one from {} to {}",
                leaf.not_before(),
                leaf.not_after(),
                present.not_before(),
                present.not_after()
            )));
        }
        signer.kept.add(&chain, now).map_err(|error| {
            (
                Kind::Keeping,
                format!(
                    "the certificate that came could not be kept in {}: {error}",
                    signer.kept.directory().display()
                ),
            )
        })?;
        info!(%signer, not_before = %leaf.not_before(), not_after = %leaf.not_after(), directory = %signer.kept.directory().display(), "a new certificate has come");
        if begins(leaf, true, signer.config.before) > begins(leaf, false, signer.config.before) {
            warn!(%signer, not_after = %leaf.not_after(), "the new certificate lasts less than twice `before`; the next one is asked for once half of its time is over");
        }
        self.read_all(signer, now);
        (self.failures, self.again) = (0, Duration::ZERO);
        // It is taken at once, or once it is valid.
        if let Some(newer) = self.newer(signer, now) {
            self.wanted = newer.into_iter().next();
            self.postpone(present, now);
            (self.ask.0)();
        }
        Ok(())
    }

    /// The present one is another: the renewal is over.
    fn taken(&mut self, signer: &Renewing) {
        self.told.forget();
        (self.failures, self.again, self.wanted) = (0, Duration::ZERO, None);
        self.post.renewed();
        let Some(leaf) = signer.present.first() else { return };
        trail::tell("certificate", |event| {
            event.text("signer", signer).text("not_after", leaf.not_after()).text("what", "renewed")
        });
        info!(%signer, not_after = %leaf.not_after(), "the new certificate is in use");
        if let RenewBy::Request(file) = &signer.config.by {
            // Whoever finds it there later need not have a certificate issued.
            if asking::is_in(signer, file) {
                let _ = fs::remove_file(file);
            }
        }
    }

    /// It is somebody else's turn, which is said daily.
    fn waits(&mut self, signer: &Renewing, now: UnixTime, what: &str) {
        let Some(present) = signer.present.first() else { return };
        self.again = self.began.elapsed() + limits::RETRY_FIRST;
        self.post.waits(what);
        if self.told.is_news(Kind::Waiting, self.began.elapsed()) {
            let ends = ends(present);
            if is_late(begins(present, signer.is_kept, signer.config.before), ends, now) {
                error!(%signer, %ends, "the signer's certificate ends soon and is not renewed yet: {what}");
            } else {
                warn!(%signer, %ends, "the signer's certificate is to be renewed: {what}");
            }
        }
    }

    fn fail(&mut self, signer: &Renewing, now: UnixTime, (kind, problem): Failure) {
        if self.post.stops() {
            return;
        }
        let Some(present) = signer.present.first() else { return };
        self.postpone(present, now);
        self.post.failed(&problem);
        if self.told.is_news(kind, self.began.elapsed()) {
            let ends = ends(present);
            error!(%signer, %ends, "the signer's certificate could not be renewed, which is tried again and told daily: {problem}");
        }
    }

    fn postpone(&mut self, present: &Certificate, now: UnixTime) {
        self.failures = self.failures.saturating_add(1);
        let jitter = (RandomState::new().hash_one(0) >> 40) as f32 / (1u64 << 24) as f32;
        self.again = self.began.elapsed() + pause(self.failures, ends(present).since(now), jitter);
    }
}
