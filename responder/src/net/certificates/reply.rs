//! What is written: signed answers with what lets caches keep them, errors, and the page for people.

use std::{sync::Arc, time::SystemTime};

use precompute::{
    ocsp::{
        CertId, CertStatus, Content, OcspError,
        profile::{Kept, Statement, single},
    },
    pki::{Serial, UnixTime},
    sign::OcspSigner,
};

use super::{
    super::{
        head::{self, Context, Fields, Surrogate},
        http::{Method, none_match_names},
        respond,
    },
    Exchange,
};
use crate::{
    metrics::Result as Counted,
    ocsp::store::{Answer, Etag},
    site::Issuer,
};

fn surrogate<'s>(issuer: &'s Issuer, serial: Option<&'s Serial>) -> Option<Surrogate<'s>> {
    let serial = serial.filter(|_| issuer.policy.surrogate_keys)?;
    Some(Surrogate { issuer: issuer.surrogate(), serial })
}

/// Whether a date can vouch for a copy of an answer. It names a second, in which a certificate can be good and revoked,
/// and replicas differ: so it never does for one other than *good*. Nor while a signer is revoked, which another one
/// replaces: both may have signed in that second.
fn dated(issuer: &Issuer, statement: &Statement) -> bool {
    statement.status == CertStatus::Good && !issuer.signers.some_revoked()
}

impl Exchange<'_> {
    pub(super) fn context(&self, now: UnixTime) -> Context {
        respond::context(self.worker, self.head, self.keep_alive, now)
    }

    /// Writes a kept answer anew from its values, around its signature.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn assemble(
        &self,
        issuer: &Issuer,
        id: &CertId<'_>,
        signer: &OcspSigner,
        kept: &Kept,
        signature: &[u8],
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> Counted {
        let Kept { statement, times } = kept;
        let template = signer.template();
        let single = single(*id, &issuer.policy, issuer.not_before, statement, times);
        let content = Content {
            produced_at: times.this_update,
            singles: &[single],
            extended_revoke: statement.extended_revoke,
            nonce: None,
        };
        let layout = template.lay_out(&content, signature.len());
        let etag = Etag::of(template, signature);
        let serial = id.serial().ok();
        let dated = dated(issuer, statement);
        let fields = Fields { times, etag: &etag, dated, surrogate: surrogate(issuer, serial.as_ref()) };
        self.write_kept(&fields, Counted::Hit, layout.length(), now, out, |out| layout.write(out, signature))
    }

    /// Writes an answer that is there whole. One for a single certificate may be kept by caches, if what it says may.
    pub(super) fn write(
        &self,
        only: Option<(&Arc<Issuer>, CertId<'_>)>,
        answer: &Answer,
        counted: Counted,
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> Counted {
        let Answer { statements, times, etag, body } = answer;
        if let Some((issuer, id)) = only
            && statements.iter().all(Statement::may_be_kept)
        {
            let serial = id.serial().ok();
            let dated = statements.iter().all(|statement| dated(issuer, statement));
            let fields = Fields { times, etag, dated, surrogate: surrogate(issuer, serial.as_ref()) };
            return self.write_kept(&fields, counted, body.len(), now, out, |out| out.extend_from_slice(body));
        }
        head::unkept(out, "application/ocsp-response", body.len(), &self.context(now));
        if self.head.method != Method::Head {
            out.extend_from_slice(body);
        }
        counted
    }

    /// Writes an answer that caches may keep, or that the client's copy of it is good.
    pub(super) fn write_kept(
        &self,
        fields: &Fields<'_>,
        counted: Counted,
        length: usize,
        now: UnixTime,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Counted {
        let context = self.context(now);
        // Caches take no POST; a condition on it means nothing (RFC 9110 section 13).
        if self.is_current(fields) {
            head::not_modified(out, fields, now, &context);
            return Counted::NotModified;
        }
        head::answer(out, fields, length, now, &context);
        if !context.head_only {
            body(out);
        }
        counted
    }

    /// Whether the client's copy is this answer.
    fn is_current(&self, fields: &Fields<'_>) -> bool {
        if self.head.method == Method::Post {
            return false;
        }
        if let Some(field) = self.head.if_none_match {
            // RFC 9110 section 13.1.3: then If-Modified-Since does not count.
            return none_match_names(field, fields.etag.text());
        }
        // And only for one of that very second: what is fresh must not be said of a *good* that has been overtaken.
        let since = self.head.if_modified_since.and_then(|field| std::str::from_utf8(field).ok());
        let since = since.and_then(|field| httpdate::parse_http_date(field).ok());
        fields.dated && since == Some(SystemTime::from(fields.times.this_update))
    }

    pub(super) fn error(&self, error: OcspError, out: &mut Vec<u8>) -> Counted {
        let unavailable = error == OcspError::InternalError && self.tenant.policy.internal_error_503;
        head::ocsp_error(out, error, unavailable, &self.context(UnixTime::now()));
        error.into()
    }

    pub(super) fn page(&self, out: &mut Vec<u8>) -> Counted {
        head::text(out, "200 OK", "", &self.tenant.page, &self.context(UnixTime::now()));
        Counted::Page
    }
}
