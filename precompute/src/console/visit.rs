//! Who visits: signing in and out, and what stands before every page.
//!
//! Purpose: from a request to the principal who has signed in, or to the page that says what is missing. Invariants: a
//! session counts only while its principal is known as it was when it began, with the same rights and the same proof; a form
//! counts only with the secret of its session, from a page of this console; tokens are looked at a few at a time, wrong ones
//! slowly. It does not know what pages show.

use std::time::{Duration, Instant};

use axum::{
    extract::Request,
    http::{
        Extensions, HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, USER_AGENT},
    },
    response::{IntoResponse as _, Response},
};
use maud::Markup;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{
    Console,
    client::Whose,
    forms::Form,
    guard,
    page::{FORM_FIELD, Place, Reader, Trouble},
    pages::{SignIn, sign_in},
    session::SignedIn,
    view::Refused,
};
use crate::{
    admin::{
        gate::{By, Caller, Stranger, TooOften},
        listener::{Link, Peer, Stay},
    },
    journal::trail,
    limits::console::{SIGN_IN_WITHIN, WRONG_TOKEN_PAUSE},
    principals::{Action, Entry, Known, Object, Principal},
};

/// Who sits before the browser.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    entry: Entry,
    by: By,
}

/// A request of somebody who has signed in.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) reader: Reader,
    pub(super) whose: Whose,
    session: SignedIn<Seat>,
}

impl Visit {
    /// Who it is, with what is allowed.
    pub(super) fn principal(&self) -> &Principal {
        &self.whose.caller.principal
    }
}

/// By which the script says that nobody has asked.
const REFRESH: &str = "ostia-refresh";

/// A page as a response.
pub(super) fn html(status: StatusCode, page: Markup) -> Response {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (status, kind, guard::HEADERS, page.into_string()).into_response()
}

/// Sends the browser to a path of the console.
pub(super) fn go_to(path: &str) -> Response {
    // Paths are made here, of what fits into a header.
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/console/"));
    (StatusCode::SEE_OTHER, guard::HEADERS, [(LOCATION, location)]).into_response()
}

/// A page about what was refused.
pub(super) fn trouble(reader: Option<&Reader>, refused: &Refused, way_on: (&str, &str)) -> Response {
    let title = if refused.title.is_empty() { "Refused" } else { &refused.title };
    let page = Trouble { title, detail: &refused.detail, way_on: Some(way_on) }.page(reader);
    html(refused.code(), page)
}

fn link(extensions: &Extensions) -> Link {
    extensions.get::<Link>().cloned().unwrap_or_default()
}

/// Refuses who may not even sign in: reached by another's name, by a connection that others can listen to, or where
/// nobody is known.
fn check_way(extensions: &Extensions) -> Result<(), Response> {
    let (status, title, detail) = match extensions.get::<Stranger>() {
        Some(Stranger::Misdirected) => (
            StatusCode::MISDIRECTED_REQUEST,
            "This is not the address of the console",
            "Reach it by a loopback address or localhost, such as through an SSH tunnel, or by a name that `hosts` under [admin] lists.",
        ),
        Some(Stranger::NobodyIsKnown) => (
            StatusCode::NOT_FOUND,
            "The console is off",
            "Nobody is known who could sign in: name a file with a token as `token_file` under [admin], or a `[[admin.principal]]`, and reload.",
        ),
        Some(Stranger::Overheard) => (
            StatusCode::NOT_FOUND,
            "The console is off here",
            "Others can listen to this connection: give the listener TLS (`certificate` and `key` under [admin]), or reach it by a loopback address, such as through an SSH tunnel.",
        ),
        _ => return Ok(()),
    };
    Err(html(status, Trouble { title, detail, way_on: None }.page(None)))
}

/// Whether somebody is still known as then.
fn is_current(seat: &Seat, known: &Known, link: &Link) -> bool {
    let is_same = |entry: &Entry| entry.proof == seat.entry.proof && *entry.principal == *seat.entry.principal;
    let shown = || link.certificate.as_ref().and_then(|certificate| known.of_certificate(certificate));
    known.iter().any(is_same)
        && (seat.by == By::Token || shown().is_some_and(|shown| shown.name == seat.entry.principal.name))
}

impl Console {
    /// Who has signed in; else where to do that.
    pub(super) fn visit(&self, request: &Request) -> Result<Visit, Response> {
        let (headers, extensions) = (request.headers(), request.extensions());
        check_way(extensions)?;
        let link = link(extensions);
        let found = guard::secret_of(headers, link.is_tls).and_then(|secret| self.find(secret, headers, &link));
        let Some(session) = found else {
            let next = request.uri().path_and_query().map_or("/console/", |path| path.as_str());
            let is_page = request.method() == axum::http::Method::GET;
            let next: String =
                form_urlencoded::byte_serialize(if is_page { next } else { "/console/" }.as_bytes()).collect();
            return Err(go_to(&format!("/console/sign-in?next={next}")));
        };
        let principal = &session.who.entry.principal;
        extensions.get::<Stay>().into_iter().for_each(Stay::recognise);
        let wait = match extensions.get::<Caller>() {
            Some(_) => extensions.get::<TooOften>().map(|TooOften(wait)| *wait),
            None => self.gate.count_request(principal).err(),
        };
        if let Some(wait) = wait {
            return Err(too_often(wait));
        }
        let caller = Caller { principal: std::sync::Arc::clone(principal), by: session.who.by };
        let whose = Whose { caller, peer: extensions.get::<Peer>().copied(), agent: headers.get(USER_AGENT).cloned() };
        let form = session.form.text().to_owned();
        let reader = Reader { name: principal.name.clone(), form, places: self.places_of(principal) };
        Ok(Visit { reader, whose, session })
    }

    fn find(&self, secret: &str, headers: &HeaderMap, link: &Link) -> Option<SignedIn<Seat>> {
        let mut sessions = self.sessions();
        let session = sessions.find(secret, !headers.contains_key(REFRESH), Instant::now())?;
        if is_current(&session.who, &self.gate.settings().known, link) {
            return Some(session);
        }
        sessions.end(secret);
        None
    }

    /// Where it has something to look at.
    fn places_of(&self, principal: &Principal) -> Vec<Place> {
        let tenants = self.parts.status.tenants();
        let audits = principal.may(Action::Audit, Object::Service)
            || tenants.iter().any(|tenant| principal.may(Action::Audit, Object::Tenant(&tenant.name)));
        let has = |place: &Place| match place {
            Place::Overview | Place::LookUp => true,
            Place::Charts => principal.may(Action::View, Object::Service),
            Place::Clocks => self.parts.clocks.is_some(),
            Place::Audit => audits,
        };
        Place::ALL.into_iter().filter(has).collect()
    }

    /// Who has sent a form, and the form: one of a page of this console, for this session.
    pub(super) async fn form(&self, request: Request) -> Result<(Visit, Form), Response> {
        check_way(request.extensions())?;
        let is_tls = link(request.extensions()).is_tls;
        if !guard::is_own_form(request.headers(), is_tls) {
            return Err(foreign_form(None));
        }
        let visit = self.visit(&request)?;
        let form = Form::read(request).await;
        let form = form.map_err(|refused| trouble(Some(&visit.reader), &refused, ("/console/", "To the overview")))?;
        if !visit.session.form.is(&form.text(FORM_FIELD)) {
            return Err(foreign_form(Some(&visit.reader)));
        }
        Ok((visit, form))
    }

    /// The page where somebody signs in.
    pub(super) fn sign_in_page(&self, request: &Request) -> Response {
        if let Err(refused) = check_way(request.extensions()) {
            return refused;
        }
        let form = Form::of_query(request.uri().query());
        self.sign_in_again(request.extensions(), StatusCode::OK, None, &own_path(&form.text("next")))
    }

    fn sign_in_again(
        &self,
        extensions: &Extensions,
        status: StatusCode,
        trouble: Option<&str>,
        next: &str,
    ) -> Response {
        let link = link(extensions);
        let shown = link.certificate.as_ref().and_then(|shown| self.gate.settings().known.of_certificate(shown));
        let by_certificate = shown.as_ref().map(|principal| principal.name.as_str());
        html(status, sign_in(SignIn { trouble, by_certificate, next }))
    }

    /// Signs somebody in, by the token of the form or by the certificate of the connection.
    pub(super) async fn sign_in(&self, by: By, request: Request) -> Response {
        if let Err(refused) = check_way(request.extensions()) {
            return refused;
        }
        let (headers, extensions) = (request.headers().clone(), request.extensions().clone());
        let link = link(&extensions);
        if !guard::is_own_form(&headers, link.is_tls) {
            return foreign_form(None);
        }
        let form = match Form::read(request).await {
            Ok(form) => form,
            Err(refused) => return trouble(None, &refused, ("/console/sign-in", "Sign in")),
        };
        let next = own_path(&form.text("next"));
        let again = |status, told: &str| self.sign_in_again(&extensions, status, Some(told), &next);
        let known = std::sync::Arc::clone(&self.gate.settings().known);
        let principal = match by {
            By::Token => known.of_token(form.text("token").as_bytes()),
            By::Certificate => link.certificate.as_ref().and_then(|shown| known.of_certificate(shown)),
        };
        let entry = principal.and_then(|principal| {
            known.iter().find(|entry| std::sync::Arc::ptr_eq(&entry.principal, &principal)).cloned()
        });
        let Some(entry) = entry else {
            // A few at a time, and each keeps its place for a while. Who is known waits for none of them.
            let Ok(Ok(place)) = timeout(SIGN_IN_WITHIN, self.wrong_sign_ins.acquire()).await else {
                return again(StatusCode::TOO_MANY_REQUESTS, "Too many sign in at once. Try again in a minute.");
            };
            told(&extensions, by, None);
            sleep(WRONG_TOKEN_PAUSE).await;
            drop(place);
            let told = match by {
                By::Token => "Nobody has this token. A changed file counts after a reload.",
                By::Certificate => "The browser has shown no certificate of somebody who is known here.",
            };
            return again(StatusCode::UNAUTHORIZED, told);
        };
        told(&extensions, by, Some(&entry.principal.name));
        let name = entry.principal.name.clone();
        let Ok(secret) = self.sessions().begin(&name, Seat { entry, by }, Instant::now()) else {
            return again(StatusCode::INTERNAL_SERVER_ERROR, "No random number could be had.");
        };
        with_cookie(go_to(&next), Some(secret.text()), link.is_tls)
    }

    /// Ends a session.
    pub(super) async fn sign_out(&self, request: Request) -> Response {
        let (headers, extensions) = (request.headers().clone(), request.extensions().clone());
        let is_tls = link(&extensions).is_tls;
        let visit = match self.form(request).await {
            Ok((visit, _)) => visit,
            Err(refused) => return refused,
        };
        guard::secret_of(&headers, is_tls).into_iter().for_each(|secret| self.sessions().end(secret));
        let name = &visit.reader.name;
        trail::tell("sign_out", |event| event.text("principal", name).optional("from", from(&extensions)));
        with_cookie(go_to("/console/sign-in"), None, is_tls)
    }
}

/// Whoever asks more often than `requests_per_second` allows.
fn too_often(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = format!("More is asked for than requests_per_second of the principal allows. Wait for {seconds} s.");
    let refused = Refused::of(StatusCode::TOO_MANY_REQUESTS, &detail);
    let mut response = trouble(None, &refused, ("/console/", "Try again"));
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

/// A form that some other page has sent, or one of a session that is over.
fn foreign_form(reader: Option<&Reader>) -> Response {
    let detail = "The form was not sent by a page of this console that belongs to your session. Nothing was done. Open the page again, and send it from there.";
    let refused = Refused { title: "Not done".into(), ..Refused::of(StatusCode::FORBIDDEN, detail) };
    trouble(reader, &refused, ("/console/", "To the overview"))
}

fn with_cookie(mut response: Response, secret: Option<&str>, is_tls: bool) -> Response {
    // Hexadecimal digits, and what stands around them.
    if let Ok(cookie) = HeaderValue::from_str(&guard::cookie(secret, is_tls)) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn from(extensions: &Extensions) -> Option<std::net::SocketAddr> {
    extensions.get::<Peer>().map(|Peer(address)| *address)
}

/// Tells the log and the journal who has signed in, or that nobody has.
fn told(extensions: &Extensions, by: By, name: Option<&str>) {
    let by = if by == By::Token { "token" } else { "certificate" };
    let from = from(extensions);
    let shown = from.map(|from| from.to_string()).unwrap_or_default();
    match name {
        Some(principal) => info!(principal, by, from = shown, "signed in to the console"),
        None => warn!(by, from = shown, "a sign-in to the console was refused: nobody is known by what was shown"),
    }
    trail::tell("sign_in", |event| {
        let outcome = if name.is_some() { "done" } else { "refused" };
        event.text("outcome", outcome).text("by", by).optional("principal", name).optional("from", from)
    });
}

/// A path of the console to go to; the overview for whatever else is asked for.
fn own_path(next: &str) -> String {
    let is_plain = next.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\');
    // A browser takes `..` and `%2e` for the way up; no page has either in its path.
    let path = next.split('?').next().unwrap_or_default();
    let stays = !path.contains(['.', '%']) && !next.contains("//");
    let is_own = next.starts_with("/console/") && !next.starts_with("/console/sign") && is_plain && stays;
    if is_own { next.to_owned() } else { "/console/".to_owned() }
}

/// Longer than a sign-in takes.
const _: () = assert!(WRONG_TOKEN_PAUSE.as_nanos() < Duration::from_secs(10).as_nanos());

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::principals::{Proof, TokenHash};

    #[test]
    fn one_is_sent_on_to_pages_of_the_console_alone() {
        for (next, path) in [
            ("/console/charts?range=1h", "/console/charts?range=1h"),
            ("/console/certificates/00/0A", "/console/certificates/00/0A"),
            ("", "/console/"),
            ("/console/sign-out", "/console/"),
            ("/console/../v1/snapshot", "/console/"),
            ("/console/%2E%2e/v1/snapshot", "/console/"),
            ("/console/look-up?text=a.b%2F", "/console/look-up?text=a.b%2F"),
            ("//evil.example/console/", "/console/"),
            ("/console//evil.example", "/console/"),
            ("/console/\\evil.example", "/console/"),
            ("https://evil.example/console/", "/console/"),
            ("/v1/snapshot", "/console/"),
            ("/console/\r\nSet-Cookie: a=b", "/console/"),
        ] {
            assert_eq!(own_path(next), path, "{next}");
        }
    }

    #[test]
    fn a_session_ends_when_a_reload_changes_who_somebody_is() {
        let entry = |name: &str, allow: &str, token: &str| Entry {
            principal: Arc::new(Principal { name: name.into(), allow: vec![allow.parse().unwrap()], deny: Vec::new() }),
            proof: Proof::Token(TokenHash::of(token.as_bytes())),
        };
        let seat = Seat { entry: entry("ann", "viewer:*", "1"), by: By::Token };
        let is_current =
            |entries: Vec<Entry>, seat: &Seat| super::is_current(seat, &Known::new(entries), &Link::default());
        assert!(is_current(vec![entry("bob", "viewer:*", "2"), entry("ann", "viewer:*", "1")], &seat));
        for other in [
            vec![],
            vec![entry("ann", "operator:*", "1")],
            vec![entry("ann", "viewer:acme", "1")],
            vec![entry("ann", "viewer:*", "2")],
            vec![entry("bob", "viewer:*", "1")],
        ] {
            assert!(!is_current(other.clone(), &seat), "{other:?}");
        }
        // Who has signed in by certificate shows it with each request.
        let by_certificate = Seat { by: By::Certificate, ..seat };
        assert!(!is_current(vec![entry("ann", "viewer:*", "1")], &by_certificate));
    }
}
