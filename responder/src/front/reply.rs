//! Writes responses about certificates: signed answers with the fields that let caches keep them, errors, and the page
//! for people. It does not know how an answer is decided.

use std::sync::Arc;

use precompute::{
    ocsp::{
        Carried, Carrying, CertId, CertStatus, Content, HashAlgorithm, IssuerKey, OcspError, Policy, Single,
        error_response,
        profile::{Kept, Statement, Times, single},
    },
    pki::{Serial, UnixTime},
};

use crate::{
    metrics::RequestResult,
    net::{
        http::{
            conditions::Validators,
            response::{Refusal, Representation},
            status::Status,
        },
        service::Request,
    },
    ocsp::{
        exchange::{Inquiry, dated},
        store::{Answer, Etag},
    },
    site::Issuer,
    upstream::forwarded,
};

const OCSP_RESPONSE: &str = "application/ocsp-response";

/// Writes the response to one request to a tenant with this policy.
#[derive(Clone, Copy)]
pub(super) struct Reply<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) policy: &'a Policy,
}

/// The cache key of one certificate's answer: the issuer's key, and `-<serial in hexadecimal digits>`.
struct SurrogateKey {
    text: [u8; IssuerKey::WITH_SERIAL_MAX],
    length: usize,
}

impl SurrogateKey {
    /// The key, if the issuer's policy has such keys.
    fn of(issuer: &Issuer, serial: &Serial) -> Option<Self> {
        if !issuer.policy.surrogate_keys {
            return None;
        }
        let mut text = [0; IssuerKey::WITH_SERIAL_MAX];
        let length = issuer.cache_key().write_with_serial(serial, &mut text);
        Some(Self { text, length })
    }
}

impl Reply<'_> {
    /// Rebuilds a kept answer from its values, its signature, and what stands behind that where it is kept.
    pub(super) fn assemble(
        &self,
        inquiry: &Inquiry<'_, '_>,
        kept: &Kept,
        (signature, tail): (&[u8], &[u8]),
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> RequestResult {
        let Inquiry { issuer, id, .. } = inquiry;
        let Kept { statement, times } = kept;
        let carried = (!tail.is_empty()).then(|| Carried::of_tail(issuer.policy.carries, tail));
        let carrying = carried.as_ref().filter(|carried| !carried.is_empty());
        let carrying = carrying.map(|carried| Carrying { carried, urls: &issuer.crl_urls });
        let of = |id| Single { carrying, ..single(id, &issuer.policy, issuer.not_before, statement, times) };
        let together = issuer.policy.together;
        if !together.is_alone(id.hash) {
            let mut set = together.of(id.hash);
            let count = set.clone().count();
            let singles = [(); HashAlgorithm::ALL.len()]
                .map(|()| of(set.next().map_or(*id, |hash| issuer.hashes.cert_id(hash, id.serial))));
            return self.laid_out(inquiry, kept, (signature, &singles[..count]), now, out);
        }
        self.laid_out(inquiry, kept, (signature, &[of(*id)]), now, out)
    }

    /// Writes a kept answer from its values.
    fn laid_out(
        &self,
        inquiry: &Inquiry<'_, '_>,
        kept: &Kept,
        (signature, singles): (&[u8], &[Single<'_>]),
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> RequestResult {
        let Inquiry { issuer, serial, signer, .. } = inquiry;
        let Kept { statement, times } = kept;
        let template = signer.template();
        let content =
            Content { produced_at: times.signed_at, singles, extended_revoke: statement.extended_revoke, nonce: None };
        let layout = template.lay_out(&content, signature.len());
        let etag = Etag::of(template, signature);
        let surrogate = SurrogateKey::of(issuer, serial);
        let representation =
            representation(issuer, layout.length(), &etag, times, dated(issuer, statement), surrogate.as_ref(), now);
        self.cacheable(&representation, RequestResult::Hit, now, out, |out| layout.write(out, signature))
    }

    /// Writes an answer that is kept whole. Caches may keep an answer for a single certificate, if its statement may be
    /// kept.
    pub(super) fn whole(
        &self,
        only: Option<(&Arc<Issuer>, CertId<'_>)>,
        answer: &Answer,
        counted: RequestResult,
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> RequestResult {
        let Answer { statements, times, etag, body, .. } = answer;
        if let Some((issuer, id)) = only
            && statements.iter().all(Statement::may_be_kept)
        {
            let dated = statements.iter().all(|statement| dated(issuer, statement));
            let surrogate = id.serial().ok().and_then(|serial| SurrogateKey::of(issuer, &serial));
            let representation = representation(issuer, body.len(), etag, times, dated, surrogate.as_ref(), now);
            return self.cacheable(&representation, counted, now, out, |out| out.extend_from_slice(body));
        }
        let context = self.request.context(now);
        context.uncacheable(out, OCSP_RESPONSE, body.len(), |out| out.extend_from_slice(body));
        counted
    }

    /// Writes what another responder has answered, if it still counts.
    pub(super) fn forwarded(
        &self,
        outcome: forwarded::Outcome,
        counted: RequestResult,
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> RequestResult {
        let answer = match outcome {
            Ok(answer) if answer.counts(now) => answer,
            Ok(_) => return self.error(OcspError::TryLater, out),
            Err(error) => return self.error(error, out),
        };
        let body = |out: &mut Vec<u8>| out.extend_from_slice(&answer.body);
        let Some(until) = answer.kept_until.filter(|until| now < *until) else {
            self.request.context(now).uncacheable(out, OCSP_RESPONSE, answer.body.len(), body);
            return counted;
        };
        let representation = Representation {
            media_type: OCSP_RESPONSE,
            length: answer.body.len(),
            validators: Validators {
                etag: &answer.tag,
                modified: Some(answer.signed_at),
                dated: answer.status == CertStatus::Good,
            },
            max_age: until.since(now),
            expires: Some(until),
            may_be_transformed: false,
            surrogate_keys: None,
        };
        self.cacheable(&representation, counted, now, out, body)
    }

    /// Writes an answer that caches may keep, or the result of the client's conditions.
    fn cacheable(
        &self,
        representation: &Representation<'_>,
        counted: RequestResult,
        now: UnixTime,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> RequestResult {
        match self.request.context(now).cacheable(out, self.request.head, representation, body) {
            Status::Ok => counted,
            Status::NotModified => RequestResult::NotModified,
            _ => RequestResult::Refused,
        }
    }

    /// Writes an unsigned error, which must not be kept.
    pub(super) fn error(&self, error: OcspError, out: &mut Vec<u8>) -> RequestResult {
        let context = self.request.context(UnixTime::now());
        let response = error_response(error);
        let body = |out: &mut Vec<u8>| out.extend_from_slice(&response);
        // For balancers that look only at the status.
        if error == OcspError::InternalError && self.policy.internal_error_503 {
            context.unavailable(out, OCSP_RESPONSE, response.len(), body);
        } else {
            context.uncacheable(out, OCSP_RESPONSE, response.len(), body);
        }
        error.into()
    }

    pub(super) fn page(&self, page: &str, out: &mut Vec<u8>) -> RequestResult {
        self.request.context(UnixTime::now()).text(out, page);
        RequestResult::Page
    }

    pub(super) fn refuse(&self, refusal: &Refusal, out: &mut Vec<u8>) -> RequestResult {
        self.request.context(UnixTime::now()).refuse(out, refusal);
        RequestResult::Refused
    }
}

/// The data for caches about an answer for one certificate.
fn representation<'a>(
    issuer: &'a Issuer,
    length: usize,
    etag: &'a Etag,
    times: &Times,
    dated: bool,
    surrogate: Option<&'a SurrogateKey>,
    now: UnixTime,
) -> Representation<'a> {
    let max_age = times.max_age(&issuer.policy, now);
    Representation {
        media_type: OCSP_RESPONSE,
        length,
        // The clock of who signed it may be ahead (RFC 9110 section 8.8.2.1: never later than Date).
        validators: Validators { etag: etag.text(), modified: Some(times.signed_at.min(now)), dated },
        max_age,
        // Date + max-age.
        expires: Some(now.after(max_age)),
        may_be_transformed: false,
        surrogate_keys: surrogate.map(|key| [issuer.cache_key().as_bytes(), &key.text[..key.length]]),
    }
}
