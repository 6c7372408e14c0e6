//! Asks a source once, for who only wants to know.
//!
//! Invariant: nothing is kept in the state directory; what came is in a temporary file for as long as it is looked at. It
//! does not know what is done with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    http::CrlAtUrl,
    mirror::{Draft, Last, Mirror},
    origin::{Answer, Problem, Question, Spec},
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
    let spec = Spec::Crl(CrlAtUrl { url, mirror, issuer, crl_issuers, tls_ca, every: None });
    let unasked = || Problem::new(format!("{spec}: says that nothing has changed, and nothing of it is here"));
    let (draft, remarks) = ask(&spec, None, now, limits::TRIED_WITHIN)?.ok_or_else(unasked)?;
    Ok(Trial { content: Content::New(draft), remarks, missed: None })
}

/// Asks the origin; where it gives nothing, the mirror counts, if there is one.
pub fn look(spec: &Spec, now: UnixTime) -> Result<Trial, Problem> {
    let mirror = Mirror::new(spec.mirror());
    let last = mirror.last(None);
    let kept = |missed| Trial { content: Content::Mirror(spec.mirror().to_owned()), remarks: Vec::new(), missed };
    match ask(spec, last.as_ref(), now, limits::TRIED_WITHIN) {
        Ok(None) => Ok(kept(None)),
        Ok(Some((draft, remarks))) => Ok(Trial { content: Content::New(draft), remarks, missed: None }),
        Err(problem) if mirror.is_here() => Ok(kept(Some((problem, mirror.confirmed())))),
        Err(problem) => Err(problem),
    }
}

fn ask(
    spec: &Spec,
    last: Option<&Last>,
    now: UnixTime,
    within: Duration,
) -> Result<Option<(Draft, Vec<String>)>, Problem> {
    let name = spec.mirror().file_name().unwrap_or_default().to_string_lossy();
    let (mut draft, stop) = (Draft::temporary(&name), Stop::default());
    // All of a database or a directory, also if the mirror has most of it.
    let last = last.filter(|last| !last.facts.is_appended_to());
    let fetching = Fetching::new(spec.kind(), spec.to_string(), None);
    let question = Question { last, now, within, stop: &stop, fetching: &fetching };
    Ok(match spec.origin().ask(&question, &mut draft)? {
        Answer::Same(_) | Answer::More(..) => None,
        Answer::New(facts) => Some((draft, facts.remarks)),
    })
}
