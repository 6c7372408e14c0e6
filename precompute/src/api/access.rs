//! Who may use the API, and for what.
//!
//! Purpose: from who asks, as the [gate](crate::admin::gate) knows it, to a refusal in words. Invariants: strangers are told
//! nothing of what there is; to a principal a tenant in which it may nothing is not there; who may look but not act
//! learns which right is missing. A page in a browser has no access even if the browser could be led here by a form
//! (CSRF). It does not know verbs.

use axum::http::{
    Extensions, HeaderMap,
    header::{HeaderName, ORIGIN},
};

use super::problem::{Kind, Problem};
use crate::{
    admin::gate::{Caller, Stranger, TooOften},
    principals::{Action, Object, Principal},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Admits a request, or says why not.
pub(super) fn admit(headers: &HeaderMap, extensions: &Extensions) -> Result<(), Problem> {
    let stranger = extensions.get::<Stranger>().copied();
    if stranger != Some(Stranger::Misdirected) && is_from_browser(headers) {
        let detail =
            "the request comes from a browser (it has an Origin or Sec-Fetch-Site); use `ostia-precompute` or curl";
        return Err(Problem::new(Kind::FromBrowser, detail));
    }
    if let Some(TooOften(wait)) = extensions.get() {
        return Err(Problem::too_often("this principal asks more often than its `requests_per_second`", *wait));
    }
    match stranger {
        None if extensions.get::<Caller>().is_some() => Ok(()),
        None => Err(refusal(Stranger::NobodyIsKnown)),
        Some(stranger) => Err(refusal(stranger)),
    }
}

/// Whether a browser sends it, for a page.
fn is_from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

/// What a stranger is told.
fn refusal(stranger: Stranger) -> Problem {
    let (kind, detail) = match stranger {
        Stranger::Misdirected => (
            Kind::MisdirectedRequest,
            "the Host of the request is neither a loopback address or `localhost` nor among `hosts` under [admin], under which alone the API is reached",
        ),
        Stranger::NobodyIsKnown => (
            Kind::NotFound,
            "the API is off: name a file with a token as `token_file` under [admin], or a `[[admin.principal]]`, and reload",
        ),
        Stranger::Overheard => (
            Kind::NotFound,
            "the API is off here, where others can listen: this listener needs TLS (`certificate` and `key` under [admin]) or a loopback address",
        ),
        Stranger::NothingShown => (
            Kind::Unauthorized,
            "send one header `Authorization: Bearer TOKEN` with the token of a principal, such as that of the file that `admin.token_file` names, or a client certificate",
        ),
        Stranger::Malformed => {
            (Kind::Unauthorized, "send one header `Authorization: Bearer TOKEN`, with the token of a principal")
        }
        Stranger::UnknownToken => (
            Kind::Unauthorized,
            "no principal under [admin] has this token (`token_file`, `token_sha256`); a changed file counts after a reload",
        ),
        Stranger::UnknownCertificate => (
            Kind::Unauthorized,
            "no principal under [admin] has this client certificate (`certificate`); a changed file counts after a reload",
        ),
    };
    Problem::new(kind, detail)
}

/// Refuses what the principal may not do to a tenant that it sees, or to the service.
pub(super) fn allow(principal: &Principal, action: Action, object: Object<'_>) -> Result<(), Problem> {
    if principal.may(action, object) {
        return Ok(());
    }
    Err(forbidden(principal, action, object))
}

/// What it may not do, in words.
pub(super) fn forbidden(principal: &Principal, action: Action, object: Object<'_>) -> Problem {
    let (name, action) = (&principal.name, action.name());
    let tenant = if let Object::Tenant(tenant) = object { Some(tenant) } else { None };
    let place = tenant.map_or("the whole service".to_owned(), |tenant| format!("the tenant `{tenant}`"));
    let detail = format!(
        "`{name}` has no right to `{action}` in {place}; `allow` and `deny` of its [[admin.principal]] say what it may do"
    );
    let problem = Problem::new(Kind::Forbidden, detail).with("action", action);
    match tenant {
        Some(tenant) => problem.with("tenant", tenant),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderValue;

    use super::*;
    use crate::admin::gate::By;

    #[test]
    fn strangers_and_pages_in_browsers_are_refused_each_in_its_own_words() {
        use Stranger::*;
        let known = || {
            let mut extensions = Extensions::new();
            extensions.insert(Caller { principal: Arc::new(Principal::administrator("a")), by: By::Token });
            extensions
        };
        let of_stranger = |stranger: Stranger| {
            let mut extensions = Extensions::new();
            extensions.insert(stranger);
            extensions
        };
        let none = HeaderMap::new();
        assert_eq!(admit(&none, &known()), Ok(()));
        for (stranger, kind) in [
            (Misdirected, Kind::MisdirectedRequest),
            (NobodyIsKnown, Kind::NotFound),
            (Overheard, Kind::NotFound),
            (NothingShown, Kind::Unauthorized),
            (Malformed, Kind::Unauthorized),
            (UnknownToken, Kind::Unauthorized),
            (UnknownCertificate, Kind::Unauthorized),
        ] {
            assert_eq!(admit(&none, &of_stranger(stranger)).unwrap_err().kind, kind, "{stranger:?}");
        }
        for name in ["origin", "sec-fetch-site"] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("null"));
            assert_eq!(admit(&headers, &known()).unwrap_err().kind, Kind::FromBrowser, "{name}");
            assert_eq!(admit(&headers, &of_stranger(NothingShown)).unwrap_err().kind, Kind::FromBrowser, "{name}");
        }
        // Without a gate nobody is known.
        assert_eq!(admit(&none, &Extensions::new()).unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn who_may_look_but_not_act_learns_which_right_is_missing() {
        let viewer = Principal { name: "watch".into(), allow: vec!["viewer:acme".parse().unwrap()], deny: Vec::new() };
        assert_eq!(allow(&viewer, Action::View, Object::Tenant("acme")), Ok(()));
        let problem = allow(&viewer, Action::Revoke, Object::Tenant("acme")).unwrap_err();
        assert_eq!(problem.kind, Kind::Forbidden);
        let text = serde_json::to_string(&problem).unwrap();
        for words in ["`watch` has no right to `revoke` in the tenant `acme`", r#""action":"revoke","tenant":"acme""#] {
            assert!(text.contains(words), "{text}");
        }
        let problem = allow(&viewer, Action::BackUp, Object::Service).unwrap_err();
        assert!(problem.detail.contains("`backup` in the whole service"), "{}", problem.detail);
    }
}
