//! TimeStampReq.
//!
//! - What is taken lies in the input itself; nothing may stand behind it, and nothing of it may be missing.
//! - Of what `x509-tsp` takes as DER, all is taken but lists of extensions that are empty or too long, with the same
//!   values.
//! - What a policy then says of it depends on its values alone, in the order of the checks.

use der::{Decode as _, Encode as _, asn1::Int};
use precompute::tsp::{ImprintHash, Oid, TsaPolicy};
use responder::{
    limits,
    tsa::{failure::Failure, request::Request},
};
use x509_tsp::TimeStampReq;

/// Reads the input as the body of a POST.
pub fn query(der: &[u8]) -> bool {
    let verdict = Request::decode(der);
    if let Ok(request) = &verdict {
        let slices = [Some(request.imprint), Some(request.digest), request.policy, request.nonce];
        let inside = |slice: &[u8]| {
            let (outer, inner) = (der.as_ptr_range(), slice.as_ptr_range());
            outer.start <= inner.start && inner.end <= outer.end
        };
        assert!(slices.into_iter().flatten().all(inside), "in place");
        let more = [der, &[0]].concat();
        assert_eq!(Request::decode(&more), Err(Failure::BadDataFormat), "something behind it");
        for cut in [der.len() - 1, der.len() / 2] {
            assert_eq!(Request::decode(&der[..cut]), Err(Failure::BadDataFormat), "cut at {cut}");
        }
        if request.check_version().is_ok() {
            checked(request);
        }
    }
    if let Ok(oracle) = TimeStampReq::from_der(der)
        && oracle.to_der().is_ok_and(|written| written == der)
    {
        agree(&verdict, &oracle);
    }
    verdict.is_ok()
}

fn checked(request: &Request<'_>) {
    let policy = |hashes: &[ImprintHash]| TsaPolicy { hashes: hashes.to_vec(), ..TsaPolicy::of(Vec::new()) };
    match request.check(&policy(&ImprintHash::ALL), true) {
        Ok(hash) => {
            assert_eq!(hash.len(), request.digest.len());
            assert!(request.nonce.is_none_or(|nonce| nonce.len() <= limits::TSA_NONCE_BYTES_MAX + 1));
            assert_eq!(request.check(&policy(&[hash]), false), Err(Failure::UnacceptedPolicy));
            assert_eq!(request.check(&policy(&[]), false), Err(Failure::BadAlg), "the imprint comes first");
        }
        Err(failure) => {
            let possible = [Failure::BadAlg, Failure::BadDataFormat, Failure::UnacceptedExtension, Failure::BadRequest];
            assert!(possible.contains(&failure), "{failure}");
        }
    }
}

/// `verdict` has the values of `oracle`.
fn agree(verdict: &Result<Request<'_>, Failure>, oracle: &TimeStampReq) {
    let extensions = oracle.extensions.as_ref().map(Vec::len);
    match verdict {
        Ok(request) => {
            assert_eq!(request.imprint, oracle.message_imprint.to_der().expect("it was read"));
            assert_eq!(request.digest, oracle.message_imprint.hashed_message.as_bytes());
            assert_eq!(request.policy, oracle.req_policy.as_ref().map(|policy| policy.as_bytes()));
            assert_eq!(request.nonce, oracle.nonce.as_ref().map(Int::as_bytes));
            assert_eq!(request.cert_req, oracle.cert_req);
            assert_eq!(request.check_version(), Ok(()), "others know no version but 1");
        }
        Err(failure) => {
            assert_eq!(*failure, Failure::BadDataFormat);
            let allowed = 1..=limits::EXTENSIONS_MAX;
            let wrong_count = extensions.is_some_and(|count| !allowed.contains(&count));
            // Others take arcs with zeros in front, which X.690 section 8.19.2 forbids.
            let of_extensions = oracle.extensions.iter().flatten().map(|extension| extension.extn_id);
            let hash = oracle.message_imprint.hash_algorithm.oid;
            let mut oids = of_extensions.chain(oracle.req_policy).chain([hash]);
            let padded = oids.any(|oid| !Oid::is_content(oid.as_bytes()));
            assert!(wrong_count || padded, "refused: {oracle:?}");
        }
    }
}
