//! What is written: signed answers with what lets caches keep them, errors, and the page for people.

use std::sync::Arc;

use precompute::{
    ocsp::{
        CertId, CertStatus, Content, OcspError,
        profile::{Kept, Statement, single},
    },
    pki::{Serial, UnixTime},
    signers::OcspSigner,
};

use super::{super::respond, Exchange};
use crate::{
    metrics::Result as Counted,
    net::http::{
        Method,
        conditions::{Validators, Verdict, evaluate},
        response::{self, Context, Fields, Surrogate},
    },
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
    pub(crate) fn context(&self, now: UnixTime) -> Context {
        respond::context(self.worker, self.head, self.keep_alive, now)
    }

    /// Writes a kept answer anew from its values, around its signature.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn assemble(
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
    pub(crate) fn write(
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
        response::unkept(out, "application/ocsp-response", body.len(), &self.context(now));
        if self.head.method != Method::Head {
            out.extend_from_slice(body);
        }
        counted
    }

    /// Writes an answer that caches may keep, or what the client's conditions make of it.
    pub(crate) fn write_kept(
        &self,
        fields: &Fields<'_>,
        counted: Counted,
        length: usize,
        now: UnixTime,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Counted {
        let context = self.context(now);
        let Fields { times, etag, dated, .. } = *fields;
        let validators = Validators { etag: etag.text(), modified: Some(times.this_update), dated };
        match evaluate(self.head, &validators) {
            Verdict::Whole => {}
            Verdict::NotModified => {
                response::not_modified(out, fields, now, &context);
                return Counted::NotModified;
            }
            Verdict::Failed => {
                response::precondition_failed(out, &context);
                return Counted::Refused;
            }
        }
        response::answer(out, fields, length, now, &context);
        if !context.head_only {
            body(out);
        }
        counted
    }

    pub(crate) fn error(&self, error: OcspError, out: &mut Vec<u8>) -> Counted {
        let unavailable = error == OcspError::InternalError && self.tenant.policy.internal_error_503;
        response::ocsp_error(out, error, unavailable, &self.context(UnixTime::now()));
        error.into()
    }

    pub(crate) fn page(&self, out: &mut Vec<u8>) -> Counted {
        response::text(out, "200 OK", "", &self.tenant.page, &self.context(UnixTime::now()));
        Counted::Page
    }
}
