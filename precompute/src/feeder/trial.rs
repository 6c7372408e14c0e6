//! Asks a source once, for who only wants to know.
//!
//! Invariant: nothing is kept in the state directory; what came is in a temporary file for as long as it is looked at. It
//! does not know what is done with it.

use std::path::{Path, PathBuf};

use super::{
    delta::Delta,
    http::CrlAtUrl,
    mirror::{Draft, Last, Mirror},
    origin::{Answer, Facts, Problem, Question, Spec},
    stop::Stop,
    url::SourceUrl,
};
use crate::{
    ledger::Fetching,
    limits::fetch as limits,
    pki::{Certificate, UnixTime},
};

/// What a source says now, as a file.
#[derive(Debug)]
pub struct Trial {
    content: Content,
    /// What there is to know of it beside, in lines.
    pub remarks: Vec<String>,
    /// Why it could not be had from its origin, and when that was last heard; `None` if it is what the origin says now.
    pub missed: Option<(Problem, Option<UnixTime>)>,
    /// The delta that it names, and where that is mirrored, if it is wanted and there is one.
    pub delta: Option<(PathBuf, Result<Box<Trial>, Problem>)>,
}

#[derive(Debug)]
enum Content {
    /// It is what the mirror has.
    Mirror(PathBuf),
    /// It is something else.
    New(Draft),
}

impl Trial {
    /// The file, which is gone when this is dropped, unless it is the mirror.
    pub fn path(&self) -> &Path {
        match &self.content {
            Content::Mirror(path) => path,
            Content::New(draft) => draft.path(),
        }
    }
}

/// Asks for a CRL that nobody has configured.
pub fn fetch_once(
    url: SourceUrl,
    (issuer, crl_issuers): (Certificate, Vec<Certificate>),
    tls_ca: Option<PathBuf>,
    now: UnixTime,
) -> Result<Trial, Problem> {
    let mirror = PathBuf::from(url.mirror_name(b""));
    // There are no mirrors.
    let delta = Some(PathBuf::from(url.mirror_name(b"delta")));
    let crl = CrlAtUrl { tls_ca, delta, ..CrlAtUrl::new(url, mirror, (issuer, crl_issuers)) };
    look(&Spec::Crl(crl), now)
}

/// Asks the origin; where it gives nothing, the mirror counts, if there is one.
pub fn look(spec: &Spec, now: UnixTime) -> Result<Trial, Problem> {
    let mirror = Mirror::new(spec.mirror());
    let last = mirror.last(None);
    let facts = || mirror.facts().unwrap_or_default();
    let kept = || Content::Mirror(spec.mirror().to_owned());
    let (content, facts, missed) = match ask(spec, last.as_ref(), now) {
        Ok(None) => (kept(), facts(), None),
        Ok(Some((draft, facts))) => (Content::New(draft), facts, None),
        Err(problem) if mirror.is_here() => (kept(), facts(), Some((problem, mirror.confirmed()))),
        Err(problem) => return Err(problem),
    };
    let delta = spec.delta().and_then(|delta| Some((delta.mirror().to_owned(), look_at_delta(&delta, &facts, now)?)));
    Ok(Trial { content, remarks: facts.remarks, missed, delta })
}

/// The same of the delta that a CRL with these facts names; `None` if it names none.
fn look_at_delta(spec: &Spec, complete: &Facts, now: UnixTime) -> Option<Result<Box<Trial>, Problem>> {
    let Spec::Delta(delta) = spec else { return None };
    let (mut draft, stop, fetching) = opened(spec);
    let question = Question { last: None, now, within: limits::TRIED_WITHIN, stop: &stop, fetching: &fetching };
    match Delta::new(delta.clone()).ask_of(complete, &question, &mut draft) {
        Ok(Answer::New(facts)) => {
            let (content, remarks) = (Content::New(draft), facts.remarks);
            Some(Ok(Box::new(Trial { content, remarks, missed: None, delta: None })))
        }
        Ok(_) => None,
        Err(problem) => Some(Err(problem)),
    }
}

fn opened(spec: &Spec) -> (Draft, Stop, Fetching) {
    let name = spec.mirror().file_name().unwrap_or_default().to_string_lossy();
    (Draft::temporary(&name), Stop::default(), Fetching::new(spec.kind(), spec.to_string(), None))
}

fn ask(spec: &Spec, last: Option<&Last>, now: UnixTime) -> Result<Option<(Draft, Facts)>, Problem> {
    let (mut draft, stop, fetching) = opened(spec);
    // All of a database or a directory, also if the mirror has most of it.
    let last = last.filter(|last| !last.facts.is_appended_to());
    let question = Question { last, now, within: limits::TRIED_WITHIN, stop: &stop, fetching: &fetching };
    Ok(match spec.origin().ask(&question, &mut draft)? {
        Answer::Same(_) | Answer::More(..) | Answer::Nothing => None,
        Answer::New(facts) => Some((draft, *facts)),
    })
}
