//! What a request was refused for, as RFC 9457 writes it.
//!
//! Purpose: one closed set of problems, each with its name, HTTP status and title, and the one place where the ledger's
//! refusals become problems. Invariant: a problem says in `detail` what is wrong and what would be right, without the
//! value of a secret. It does not know HTTP beyond the numbers of the status codes.

use std::time::Duration;

use serde::{
    Serialize,
    ser::{SerializeMap as _, Serializer},
};
use serde_json::Value;

use crate::{
    ledger::{PushError, Refusal},
    service::NotTold,
};

/// The kinds of problems.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The request, or a member of it, is not of the expected form.
    BadRequest,
    /// Nothing that proves who asks, or something unknown.
    Unauthorized,
    /// Whoever asks may look, and not do this.
    Forbidden,
    /// Sent by a page in a browser.
    FromBrowser,
    /// No such resource.
    NotFound,
    /// No issuer by that name or id.
    UnknownIssuer,
    /// Nobody has listed the certificate.
    NotListed,
    /// The resource has no such method.
    MethodNotAllowed,
    /// It is revoked, and stays so as it is.
    AlreadyRevoked,
    /// A revocation is never taken back.
    UnRevoking,
    /// There is no hold to end.
    NotOnHold,
    /// A source holds it.
    HeldBySource,
    /// The body or a line is too long.
    TooLarge,
    /// The body is of another media type.
    UnsupportedMediaType,
    /// The Host is no name of this service.
    MisdirectedRequest,
    /// The certificate was issued by another CA.
    WrongIssuer,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// A defect of this program.
    Internal,
    /// The book cannot be written now.
    NotDurable,
    /// It is durable here, and not told to the feed yet.
    NotTold,
    /// This writer stands by.
    StandsBy,
    /// As many uploads as there may be are under way.
    TooManyUploads,
    /// The principal, or its tenant, has done so too often.
    TooManyRequests,
    /// This writer cannot do now what an operator asks of it.
    NotDone,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 24] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::FromBrowser,
        Self::NotFound,
        Self::UnknownIssuer,
        Self::NotListed,
        Self::MethodNotAllowed,
        Self::AlreadyRevoked,
        Self::UnRevoking,
        Self::NotOnHold,
        Self::HeldBySource,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
        Self::WrongIssuer,
        Self::IdempotencyKeyReused,
        Self::Internal,
        Self::NotDurable,
        Self::NotTold,
        Self::StandsBy,
        Self::TooManyUploads,
        Self::TooManyRequests,
        Self::NotDone,
    ];

    /// Its name, behind [`TYPE_PREFIX`] in `type`; its HTTP status; its `title`.
    const fn told(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadRequest => ("bad-request", 400, "The request is not of the expected form"),
            Self::Unauthorized => ("unauthorized", 401, "A valid token is needed"),
            Self::Forbidden => ("forbidden", 403, "The principal may not do this"),
            Self::FromBrowser => ("from-browser", 403, "Pages in a browser have no access"),
            Self::NotFound => ("not-found", 404, "There is nothing at this path"),
            Self::UnknownIssuer => ("unknown-issuer", 404, "There is no such issuer"),
            Self::NotListed => ("not-listed", 404, "The certificate is not listed"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "This path has another method"),
            Self::AlreadyRevoked => ("already-revoked", 409, "The certificate is revoked already"),
            Self::UnRevoking => ("un-revoking", 409, "A revocation is never taken back"),
            Self::NotOnHold => ("not-on-hold", 409, "The certificate is not on hold"),
            Self::HeldBySource => ("held-by-source", 409, "A source has the certificate on hold"),
            Self::TooLarge => ("too-large", 413, "The request is too large"),
            Self::UnsupportedMediaType => ("unsupported-media-type", 415, "The body is of another media type"),
            Self::MisdirectedRequest => ("misdirected-request", 421, "The Host is another one"),
            Self::WrongIssuer => ("wrong-issuer", 422, "The certificate is of another issuer"),
            Self::IdempotencyKeyReused => {
                ("idempotency-key-reused", 422, "The idempotency key was used for another request")
            }
            Self::Internal => ("internal", 500, "This program has a defect"),
            Self::NotDurable => ("not-durable", 503, "Nothing can be made durable now"),
            Self::NotTold => ("not-told", 503, "It is durable here, and the replicas could not be told yet"),
            Self::StandsBy => ("stands-by", 503, "Another writer takes pushes"),
            Self::TooManyUploads => ("too-many-uploads", 503, "Too many uploads are under way"),
            Self::TooManyRequests => ("too-many-requests", 429, "That was too often"),
            Self::NotDone => ("not-done", 409, "This writer cannot do that now"),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.told().0
    }

    /// Its HTTP status.
    pub const fn status(self) -> u16 {
        self.told().1
    }

    /// The kind of a `type`.
    pub fn of_type(uri: &str) -> Option<Self> {
        let name = uri.strip_prefix(TYPE_PREFIX)?;
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What every `type` begins with.
pub const TYPE_PREFIX: &str = "urn:ostia:problem:";

/// The member that says so in seconds.
const RETRY_AFTER: &str = "retry_after";

/// A problem with its details.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    /// Its kind.
    pub kind: Kind,
    /// What is wrong here, and what would be right.
    pub detail: String,
    /// More for programs to read.
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// A problem of `kind`.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), members: Vec::new() }
    }

    /// A member of a request that is not as expected; `text` is what follows its name.
    pub(super) fn of_member(member: &'static str, text: impl std::fmt::Display) -> Self {
        Self::new(Kind::BadRequest, format!("`{member}` {text}")).with("member", member)
    }

    /// Too much of `what` was asked for; again after `wait`.
    pub(super) fn too_often(what: &str, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!("{what}; come again in {seconds} s");
        Self::new(Kind::TooManyRequests, detail).with(RETRY_AFTER, seconds)
    }

    /// Seconds after which it may have passed, if it says so itself.
    pub(super) fn retry_after(&self) -> Option<u64> {
        self.members.iter().find(|(name, _)| *name == RETRY_AFTER)?.1.as_u64()
    }

    /// With one more member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, status, title) = self.kind.told();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("{TYPE_PREFIX}{name}"))?;
        map.serialize_entry("title", title)?;
        map.serialize_entry("status", &status)?;
        map.serialize_entry("detail", &self.detail)?;
        for (name, value) in &self.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let since = |kind, time: crate::pki::UnixTime, reason: crate::pki::Reason| {
            Self::new(kind, &*detail).with("revoked_since", time.to_string()).with("reason", reason.name())
        };
        match refusal {
            Refusal::NotListed => Self::new(Kind::NotListed, detail),
            Refusal::AlreadyRevoked { time, reason } => since(Kind::AlreadyRevoked, time, reason),
            Refusal::Unrevoking { time, reason } => since(Kind::UnRevoking, time, reason),
            Refusal::NotOnHold => Self::new(Kind::NotOnHold, detail),
            Refusal::HeldBySource => Self::new(Kind::HeldBySource, detail),
            Refusal::InTheFuture { .. } => Self::new(Kind::BadRequest, detail).with("member", "time"),
        }
    }
}

impl From<PushError> for Problem {
    fn from(error: PushError) -> Self {
        let kind = match error {
            PushError::NotDurable(_) => Kind::NotDurable,
            PushError::KeyReused => Kind::IdempotencyKeyReused,
            PushError::NotServed => Kind::UnknownIssuer,
            PushError::StandsBy => Kind::StandsBy,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<NotTold> for Problem {
    fn from(error: NotTold) -> Self {
        let kind = match error {
            NotTold::StandsBy(_) | NotTold::Begins => Kind::StandsBy,
            NotTold::Deposed(_) | NotTold::Late(_) | NotTold::AtFew { .. } | NotTold::Book(_) => Kind::NotTold,
        };
        let problem = Self::new(kind, error.to_string());
        match error {
            NotTold::StandsBy(Some(leader)) | NotTold::Deposed(Some(leader)) => problem.with("leader", leader),
            _ => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pki::{Reason, UnixTime};

    #[test]
    fn each_kind_has_a_name_of_its_own_by_which_it_is_found() {
        let names: BTreeSet<_> = Kind::ALL.map(Kind::name).into();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(Kind::of_type(&format!("{TYPE_PREFIX}{}", kind.name())), Some(kind));
            assert!((400..600).contains(&kind.status()));
        }
        assert_eq!(Kind::of_type("about:blank"), None);
    }

    #[test]
    fn a_problem_is_written_as_rfc_9457_has_it() {
        let refusal = Refusal::AlreadyRevoked { time: UnixTime(0), reason: Reason::KeyCompromise };
        let problem = Problem::from(refusal).with("serial", "0A");
        let text = serde_json::to_string(&problem).unwrap();
        let begin = r#"{"type":"urn:ostia:problem:already-revoked","title":"The certificate is revoked already","status":409,"detail":"it has been revoked since 1970-01-01T00:00:00Z (keyCompromise), which stays as it is","#;
        let end = r#""revoked_since":"1970-01-01T00:00:00Z","reason":"keyCompromise","serial":"0A"}"#;
        assert_eq!(text, format!("{begin}{end}"));
    }
}
