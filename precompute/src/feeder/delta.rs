//! The delta CRL that a complete CRL at a URL names (freshestCRL, RFC 5280 section 5.2.6).
//!
//! Purpose: who names the complete CRL has its deltas as well, as Microsoft's CA publishes them. Invariants: only what a CRL
//! that the CA has signed names is asked; what comes counts only if it is a delta of the same part of the certificates; one
//! that does not come changes nothing. It does not know when the complete CRL is fetched: it reads the notes on that.

use std::{fmt, path::PathBuf};

use tracing::warn;

use super::{
    http::CrlAtUrl,
    mirror::{Draft, Mirror},
    origin::{Answer, CrlFacts, Facts, Origin, Problem, Question, of_file},
    url::SourceUrl,
};

/// The delta to a CRL at a URL.
#[derive(Clone, PartialEq, Debug)]
pub struct DeltaCrl {
    /// The complete CRL.
    pub(super) of: CrlAtUrl,
    /// The file that mirrors the delta.
    pub(super) mirror: PathBuf,
}

impl fmt::Display for DeltaCrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the delta CRL that {} names", self.of.url)
    }
}

/// A [`DeltaCrl`] as it is being asked for.
#[derive(Debug)]
pub(super) struct Delta {
    delta: DeltaCrl,
    has_told: bool,
}

impl Delta {
    pub(super) fn new(delta: DeltaCrl) -> Self {
        Self { delta, has_told: false }
    }

    /// Asks for what `complete` names.
    pub(super) fn ask_of(
        &mut self,
        complete: &Facts,
        question: &Question<'_>,
        draft: &mut Draft,
    ) -> Result<Answer, Problem> {
        let named = complete.freshest.as_deref().unwrap_or_default();
        // A delta has none itself (RFC 5280 section 5.2.6).
        let Some(of) = complete.crl.as_ref().filter(|crl| !crl.is_delta && !named.is_empty()) else {
            return Ok(Answer::Nothing);
        };
        let urls: Vec<SourceUrl> = named.iter().filter_map(|url| url.parse().ok()).collect();
        if urls.is_empty() {
            if !std::mem::replace(&mut self.has_told, true) {
                warn!(
                    "{}: is not followed: it is at `{}`, and none is fetched but by HTTP; have the CA publish it so as well",
                    self.delta,
                    named[0].escape_debug()
                );
            }
            return Ok(Answer::Nothing);
        }
        let mut problem = None;
        for url in urls {
            // What another place gave is not to be in it.
            draft.clear().map_err(|error| of_file(draft.path(), "cannot be written", &error))?;
            match self.at(url, of).ask(question, draft) {
                Ok(answer) => return Ok(answer),
                Err(other) => problem = problem.or(Some(other)),
            }
        }
        let problem = problem.unwrap_or_else(|| Problem::new("was not asked"));
        Err(Problem { text: format!("{} (which {} names as its delta)", problem.text, self.delta.of.url), ..problem })
    }

    fn at(&self, url: SourceUrl, of: &CrlFacts) -> CrlAtUrl {
        let mirror = self.delta.mirror.clone();
        CrlAtUrl { url, mirror, delta: None, delta_of: Some(of.clone()), ..self.delta.of.clone() }
    }
}

impl Origin for Delta {
    fn ask(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        match Mirror::new(&self.delta.of.mirror).facts() {
            Some(complete) => self.ask_of(&complete, question, draft),
            None => Ok(Answer::Nothing),
        }
    }
}
