//! Requests to the admin listener, behind its gate.
//!
//! - Nothing of the API is told or done without the token, whatever else a request has.
//! - Every refusal of the API is a problem of RFC 9457 that names its own status. It has the token in it only where the request has
//!   that elsewhere as well, such as in its path.

use std::sync::{Arc, LazyLock};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use precompute::{
    admin::{gate::Gate, listener::Link},
    api::Api,
    assemble::AssembledAdmin,
    ledger::Ledgers,
    principals::{Entry, Known, Principal, Proof, TokenHash},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

static ADMIN: LazyLock<(Runtime, TowerToHyperService<Router>)> = LazyLock::new(|| {
    let proof = Proof::Token(TokenHash::of(TOKEN.as_bytes()));
    let known = Known::new(vec![Entry { principal: Arc::new(Principal::administrator("a")), proof }]);
    let gate = Gate::new(AssembledAdmin { known: Arc::new(known), ..AssembledAdmin::default() });
    let api = Api::new(Ledgers::default(), watch::channel(Arc::default()).1, None);
    let link = Link { local: "127.0.0.1".parse().ok(), ..Link::default() };
    let router = gate.guard(api.router()).layer(Extension(link));
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    (runtime, TowerToHyperService::new(router))
});

/// Reads the input as a request: `METHOD PATH`, a header each line, and a body behind an empty one.
pub fn admin(input: &[u8]) -> bool {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    let Ok(head) = std::str::from_utf8(head) else { return false };
    let mut lines = head.lines();
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else { return false };
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return false };
    let shown: Vec<_> = request.headers().get_all(header::AUTHORIZATION).iter().cloned().collect();
    let has_token = shown.len() == 1 && shown[0].as_bytes().ends_with(TOKEN.as_bytes())
        || shown.len() == 1 && shown[0].to_str().is_ok_and(|value| value.trim_end().ends_with(TOKEN));
    let is_of_api = request.uri().path() == "/v1" || request.uri().path().starts_with("/v1/");
    let (runtime, router) = &*ADMIN;
    let (head, body) = runtime.block_on(async {
        let response = router.call(request).await.expect("it cannot fail");
        let (head, body) = response.into_parts();
        (head, to_bytes(body, 16 << 20).await.expect("a body"))
    });
    let status = head.status;
    let is_told_once = input.windows(TOKEN.len()).filter(|text| *text == TOKEN.as_bytes()).count() == 1;
    assert!(has_token || !status.is_success(), "{path}: {status} without the token");
    let is_problem = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if is_of_api && !status.is_success() && is_problem {
        let text = std::str::from_utf8(&body).expect("UTF-8");
        assert!(text.contains(&format!("\"status\":{}", status.as_u16())), "{text}");
        assert!(!is_told_once || !text.contains(TOKEN), "{text}");
    }
    assert!(!is_of_api || status.is_success() || is_problem, "{path}: {status} is no problem");
    status.is_success()
}
