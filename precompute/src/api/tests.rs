//! The API over a real connection, with real ledgers.

mod auditing;
mod description;
mod rights;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

use super::{testing::Issuers, *};
use crate::{
    admin::{
        gate::Gate,
        listener::{Bounds, serve},
    },
    assemble::AssembledAdmin,
    principals::{Entry, Known, Principal, Proof, Rates, TokenHash},
    source::openssl::{Ca, KEYS},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const NDJSON: &str = "application/x-ndjson";
const BULK: &str = "/v1/issuers/Root/bulk";

struct Served {
    address: SocketAddr,
    api: Arc<Api>,
    gate: Arc<Gate>,
    issuers: Issuers,
    /// The id of its first issuer.
    id: String,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn served_with(uploads: usize, idle_max: Duration) -> Served {
    let administrator = entry(TOKEN, &["administrator:*"], &[]);
    served_to(vec![administrator], &[("t", 1, "Root"), ("t", 2, "Sub")], uploads, idle_max)
}

/// Somebody with a token.
fn entry(token: &str, allow: &[&str], deny: &[&str]) -> Entry {
    let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
    let deny = deny.iter().map(|text| text.parse().unwrap()).collect();
    let principal = Arc::new(Principal { name: token.to_owned(), allow, deny });
    Entry { principal, proof: Proof::Token(TokenHash::of(token.as_bytes())) }
}

/// Issuers of a tenant's name, a CA and a name each.
fn served_to(known: Vec<Entry>, issuers: &[(&str, u8, &str)], uploads: usize, idle_max: Duration) -> Served {
    let issuers = Issuers::of(issuers);
    let tenants = watch::channel(Arc::default()).1;
    let api = Api::with_bounds(issuers.ledgers.clone(), tenants, None, uploads, idle_max);
    let gate = Gate::new(AssembledAdmin { known: Arc::new(Known::new(known)), ..AssembledAdmin::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let router = gate.guard(Arc::clone(&api).router());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve(listener, router, Bounds::default()).await;
        });
    });
    let id = crate::pki::hex::text(issuers.first().id().fingerprint());
    Served { address, api, gate, issuers, id }
}

fn served() -> Served {
    served_with(2, Duration::from_secs(10))
}

impl Served {
    /// Sends a header section, behind which so many bytes are to come.
    fn begin(&self, head: &str, length: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{head}Connection: close\r\nContent-Length: {length}\r\n\r\n").unwrap();
        stream
    }

    /// What an honest client sends.
    fn head(&self, method: &str, path: &str, media_type: &str, more: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {media_type}\r\n{more}",
            self.address
        )
    }

    fn send(&self, head: &str, body: &[u8]) -> Reply {
        let mut stream = self.begin(head, body.len());
        // The answer may come, and the connection end, before everything is sent.
        let _ = stream.write_all(body);
        finish(stream)
    }

    fn ask(&self, method: &str, path: &str, media_type: &str, more: &str, body: &str) -> Reply {
        self.send(&self.head(method, path, media_type, more), body.as_bytes())
    }

    /// The beginning of an upload of so many bytes.
    fn upload(&self, length: usize) -> TcpStream {
        self.begin(&self.head("POST", BULK, NDJSON, ""), length)
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "text/plain", "", "")
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, "application/json", "", body)
    }

    fn bulk(&self, body: &str) -> Reply {
        self.ask("POST", BULK, NDJSON, "", body)
    }
}

fn finish(mut stream: TcpStream) -> Reply {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let lower = head.to_ascii_lowercase();
    let body = if lower.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Reply { status, head: lower, body }
}

fn unchunked(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &rest[..size];
        text = &rest[(size + 2).min(rest.len())..];
    }
    body
}

/// A list that went to the path of a single push, or with a token that was replaced: the client was told that the pipe was
/// broken.
#[test]
fn who_sends_much_learns_why_it_is_refused() {
    let served = served();
    let body = vec![b'['; 8 << 20];
    for (path, token, media_type, more, status) in [
        ("/v1/issuers/Root/revoke", TOKEN, "application/json", "", 413),
        (BULK, TOKEN, "application/json", "", 415),
        (BULK, "another", NDJSON, "", 401),
        (BULK, TOKEN, NDJSON, "Content-Encoding: gzip\r\n", 415),
    ] {
        let head = served.head("POST", path, media_type, more).replace(TOKEN, token);
        let mut stream = served.begin(&head, body.len());
        stream.write_all(&body).unwrap();
        assert_eq!(finish(stream).status, status, "{path} {token} {media_type}");
    }
}

#[test]
fn what_is_pushed_is_acknowledged_and_found() {
    let served = served();
    let id = &served.id;
    for (path, body, outcome) in [
        (format!("/v1/issuers/{id}/add"), r#"{"serial":"0a1b","not_after":4000000000}"#, "done"),
        (format!("/v1/issuers/{}/add", &id[..8]), r#"{"serial":"0x0A1B"}"#, "unchanged"),
        (
            "/v1/issuers/t:Root/revoke".into(),
            r#"{"serial":"0a:1b","reason":"certificatehold","time":1700000000}"#,
            "done",
        ),
        ("/v1/issuers/Root/release".into(), r#"{"serial":"0A1B"}"#, "done"),
        ("/v1/issuers/Root/revoke".into(), r#"{"serial":"0A1B","reason":"keyCompromise","time":1700000000}"#, "done"),
        ("/v1/issuers/Root/revoke".into(), r#"{"serial":"0A1B","reason":"keyCompromise"}"#, "unchanged"),
    ] {
        let reply = served.post(&path, body);
        assert_eq!(reply.status, 200, "{path} {body}: {}", reply.body);
        assert!(reply.head.contains("content-type: application/json"));
        let issuer = json!({ "id": id, "tenant": "t", "name": "Root" });
        assert_eq!(reply.json(), json!({ "outcome": outcome, "serial": "0A1B", "issuer": issuer }));
    }
    let record = json!({
        "issuer": { "id": id, "tenant": "t", "name": "Root" },
        "serial": "0A1B",
        "status": "revoked",
        "reason": "keyCompromise",
        "revoked_since": "2023-11-14T22:13:20Z",
        "not_after": "2096-10-02T07:06:40Z",
        "origin": "push",
    });
    assert_eq!(served.get(&format!("/v1/issuers/{id}/certificates/0x0a1b")).json(), record);
    let everywhere = json!({ "serial": "0A1B", "certificates": [record] });
    assert_eq!(served.get("/v1/certificates/2587?decimal=1").json(), everywhere);
    let listed = served.get("/v1/issuers").json();
    let root = &listed["issuers"][0];
    assert_eq!(root["counts"], json!({ "good": 0, "revoked": 1 }));
    assert_eq!((&root["id"], &root["short_id"]), (&json!(id), &json!(&id[..8])));
    let digest = crate::pki::hex::text(&served.issuers.first().state().records.digest().to_bytes());
    assert_eq!(root["digest"], digest);
    assert_eq!((&root["sources"]["in_order"], &root["sources"]["fault"]), (&json!(true), &Value::Null));
    served.issuers.first().state().health.refused("index.txt:3: is odd");
    let root = &served.get("/v1/issuers").json()["issuers"][0];
    assert_eq!(
        (&root["sources"]["in_order"], &root["sources"]["fault"]),
        (&json!(false), &json!("index.txt:3: is odd"))
    );
}

#[test]
fn every_problem_has_its_status_its_type_and_its_members() {
    let served = served();
    served.issuers.hold_by_source("0B");
    assert_eq!(served.post("/v1/issuers/Root/add", r#"{"serial":"0C"}"#).status, 200);
    let revoked = r#"{"serial":"0D","reason":"superseded","time":1700000000,"even_unlisted":true}"#;
    assert_eq!(served.post("/v1/issuers/Root/revoke", revoked).status, 200);
    let big = format!("{{\"serial\":\"{}\"}}", "0".repeat(limits::API_BODY_OCTETS_MAX));
    let since = json!("2023-11-14T22:13:20Z");
    let is = |method: &str, path: &str, media_type: &str, body: &str, status: u16, kind: &str, members: Value| {
        let reply = served.ask(method, path, media_type, "", body);
        let problem = reply.json();
        assert_eq!(reply.status, status, "{method} {path} {body}: {problem}");
        assert_eq!(problem["type"], format!("urn:ostia:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
        assert!(reply.head.contains("content-type: application/problem+json"), "{}", reply.head);
        for (name, value) in members.as_object().unwrap() {
            assert_eq!(problem[name], *value, "{problem}");
        }
    };
    for (path, status, kind, members) in [
        ("/v1/issuers/Other/certificates/0C", 404, "unknown-issuer", json!({})),
        ("/v1/issuers/Root/certificates/0E", 404, "not-listed", json!({ "serial": "0E" })),
        ("/v1/issuers/Sub/certificates/0C", 404, "not-listed", json!({ "serial": "0C" })),
        ("/v1/certificates/0E", 404, "not-listed", json!({ "serial": "0E" })),
        ("/v1/certificates/xyz", 400, "bad-request", json!({ "member": "serial" })),
        ("/v1/certificates/0C?decimal=2", 400, "bad-request", json!({})),
    ] {
        is("GET", path, "", "", status, kind, members);
    }
    let revoked = json!({ "serial": "0D", "revoked_since": since, "reason": "superseded" });
    for (verb, body, status, kind, members) in [
        ("revoke", r#"{"serial":"0E"}"#, 404, "not-listed", json!({ "serial": "0E" })),
        ("revoke", r#"{"serial":"0D"}"#, 409, "already-revoked", revoked.clone()),
        ("release", r#"{"serial":"0D"}"#, 409, "un-revoking", revoked),
        ("add", r#"{"serial":"0D"}"#, 409, "already-revoked", json!({})),
        ("release", r#"{"serial":"0C"}"#, 409, "not-on-hold", json!({})),
        ("release", r#"{"serial":"0B"}"#, 409, "held-by-source", json!({})),
        ("revoke", r#"{"serial":"0C","time":4000000000}"#, 400, "bad-request", json!({ "member": "time" })),
        ("revoke", r#"{"serial":"0C","raeson":"x"}"#, 400, "bad-request", json!({ "member": "raeson" })),
        ("revoke", &big, 413, "too-large", json!({})),
    ] {
        is("POST", &format!("/v1/issuers/Root/{verb}"), "application/json", body, status, kind, members);
    }
    for (path, media_type, status, kind) in [
        ("/v1/issuers/Other/revoke", "application/json", 404, "unknown-issuer"),
        ("/v1/issuers/Other/bulk", NDJSON, 404, "unknown-issuer"),
        ("/v1/issuers/Root/revoke", "text/plain", 415, "unsupported-media-type"),
        ("/v1/issuers/Root/revoke", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (BULK, "application/json", 415, "unsupported-media-type"),
    ] {
        is("POST", path, media_type, r#"{"serial":"0C"}"#, status, kind, json!({}));
    }
}

/// The path that ends in a slash was answered with 404 and nothing else.
#[test]
fn whoever_asks_the_wrong_path_or_by_the_wrong_method_is_told_the_right_one() {
    let served = served();
    for path in ["/v1", "/v1/"] {
        let index = served.get(path);
        assert_eq!(index.status, 200, "{path}");
        let paths: Vec<_> = index.json()["paths"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect();
        assert!(paths.contains(&json!("/v1/issuers")) && paths.contains(&json!("/v1/issuers/ID/bulk")), "{paths:?}");
        let head = served.ask("HEAD", path, "", "", "");
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
    }
    assert_eq!(served.ask("HEAD", "/v1/issuers", "", "", "").status, 200);
    let [get, post] = ["get,head", "post"].map(|allow| (405, format!("allow: {allow}")));
    let nothing = (404, "content-type: application/problem+json".to_owned());
    for (method, path, (status, header)) in [
        ("POST", "/v1", &get),
        ("POST", "/v1/", &get),
        ("DELETE", "/v1/issuers", &get),
        ("POST", "/v1/certificates/0A", &get),
        ("PUT", "/v1/issuers/Root/certificates/0A", &get),
        ("GET", "/v1/issuers/Root/add", &post),
        ("GET", "/v1/issuers/Root/revoke", &post),
        ("PUT", "/v1/issuers/Root/release", &post),
        ("GET", "/v1/issuers/Root/bulk", &post),
        ("GET", "/v1/nothing", &nothing),
        ("GET", "/v1//", &nothing),
        ("GET", "/v1/issuers/", &nothing),
        ("GET", "/v1/issuers/Root", &nothing),
        ("GET", "/v1/issuers/Root/revoke/", &nothing),
        ("GET", "/v1/issuers/Root/shred", &nothing),
        ("POST", "/v1/issuers/Root/shred", &nothing),
        ("POST", "/v1/certificates/", &nothing),
    ] {
        let reply = served.ask(method, path, "application/json", "", "{}");
        assert!(reply.status == *status && reply.head.contains(header), "{method} {path}: {}", reply.head);
        let (problem, what) = (reply.json(), if *status == 405 { "use GET to look up" } else { "the paths are /v1/" });
        assert!(problem["detail"].as_str().unwrap().contains(what), "{method} {path}: {problem}");
        let names_the_slash = problem["detail"].as_str().unwrap().contains("does not end in a slash");
        assert_eq!(names_the_slash, *status == 404 && path.ends_with('/'), "{method} {path}: {problem}");
    }
    for path in ["/v1/issuers/%ca/revoke", "/v1/certificates/%C3%28", "/v1/issuers/a%ff/certificates/0A"] {
        let reply =
            served.ask(if path.ends_with("revoke") { "POST" } else { "GET" }, path, "application/json", "", "{}");
        assert!(
            reply.status == 400 && reply.json()["type"] == "urn:ostia:problem:bad-request",
            "{path}: {}",
            reply.body
        );
    }
    // What a stranger calls a method is told in part.
    let reply = served.ask(&"X".repeat(300), "/v1/issuers", "", "", "");
    assert!(reply.status == 405 && !reply.body.contains(&"X".repeat(100)), "{}", reply.body);
}

#[test]
fn nothing_works_without_the_token_and_a_new_one_counts_from_its_change_on() {
    let served = served();
    let id = &served.id;
    let paths = [
        ("GET", "/v1/issuers".to_owned()),
        ("GET", "/v1/certificates/0A".into()),
        ("GET", format!("/v1/issuers/{id}/certificates/0A")),
        ("POST", format!("/v1/issuers/{id}/add")),
        ("POST", format!("/v1/issuers/{id}/revoke")),
        ("POST", format!("/v1/issuers/{id}/release")),
        ("POST", format!("/v1/issuers/{id}/bulk")),
        ("GET", "/v1".into()),
        ("GET", "/v1/".into()),
        ("POST", "/v1/".into()),
        ("GET", "/v1/nothing".into()),
        ("PUT", "/v1/issuers".into()),
    ];
    let wrong = format!("Authorization: Bearer {}\r\n", TOKEN.replace('0', "1"));
    for (method, path) in &paths {
        for authorization in ["", &wrong] {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}");
            let reply = served.send(&head, b"");
            assert_eq!(reply.status, 401, "{method} {path}");
            assert!(reply.head.contains("www-authenticate: bearer realm=\"ostia\""), "{}", reply.head);
            assert_eq!(reply.json()["type"], "urn:ostia:problem:unauthorized");
        }
    }
    let rebound = format!("GET /v1/issuers HTTP/1.1\r\nHost: rebound.example\r\nAuthorization: Bearer {TOKEN}\r\n");
    assert_eq!(served.send(&rebound, b"").status, 421);
    assert_eq!(served.ask("GET", "/v1/issuers", "", "Origin: http://evil.example\r\n", "").status, 403);
    assert_eq!(served.get("/v1/issuers").status, 200);
    served.gate.change(AssembledAdmin::default());
    let off = served.get("/v1/issuers");
    assert_eq!(off.status, 404);
    assert!(off.body.contains("the API is off"), "{}", off.body);
}

#[test]
fn a_repeated_request_with_its_key_gets_the_same_answer_and_another_is_refused() {
    let served = served();
    let post = |verb: &str, key: &str, body: &str| {
        let key = format!("Idempotency-Key: {key}\r\n");
        served.ask("POST", &format!("/v1/issuers/Root/{verb}"), "application/json", &key, body)
    };
    let (first, body) = ("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", r#"{"serial":"0A","even_unlisted":true}"#);
    let replies = [post("revoke", first, body), post("revoke", first.trim_matches('"'), body)];
    assert_eq!(replies[0].json()["outcome"], "done");
    assert_eq!(replies[1].body, replies[0].body);
    assert_eq!(post("revoke", "another", body).json()["outcome"], "unchanged");
    let reused = post("add", first, r#"{"serial":"0B"}"#);
    assert_eq!((reused.status, &reused.json()["type"]), (422, &json!("urn:ostia:problem:idempotency-key-reused")));
    for key in ["", "\"\"", "a b", &"k".repeat(256), "a\r\nIdempotency-Key: b"] {
        let refused = post("add", key, r#"{"serial":"0C"}"#);
        assert_eq!(refused.status, 400, "{key}: {}", refused.body);
        assert_eq!(refused.json()["member"], "Idempotency-Key");
    }
}

#[test]
fn what_cannot_be_made_durable_is_not_acknowledged_and_tried_later() {
    let served = served();
    served.issuers.fill_disk_after(0);
    let reply = served.post("/v1/issuers/Root/add", r#"{"serial":"0A"}"#);
    assert_eq!((reply.status, &reply.json()["type"]), (503, &json!("urn:ostia:problem:not-durable")));
    assert!(reply.head.contains("retry-after: 2"), "{}", reply.head);
    assert!(reply.json()["detail"].as_str().unwrap().contains("absent/book.redb"), "{}", reply.body);
    assert_eq!(served.get("/v1/certificates/0A").status, 404, "nothing is shown");
}

#[test]
fn a_certificate_is_taken_from_its_issuer_alone() {
    let served = served();
    let ca = Ca::new("Upload", KEYS[1]);
    ca.openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ed25519",
        "-nodes",
        "-keyout",
        "l.key",
        "-subj",
        "/CN=l",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-set_serial",
        "0x0A1B",
        "-out",
        "l.pem",
    ]);
    let body = json!({ "certificate": std::fs::read_to_string(ca.path("l.pem")).unwrap() }).to_string();
    let refused = served.post("/v1/issuers/Root/add", &body);
    assert_eq!((refused.status, &refused.json()["type"]), (422, &json!("urn:ostia:problem:wrong-issuer")));
    let configured = ConfiguredIssuer { certificate: ca.certificate(), sources: Sources::default() };
    let issuers = [(served.issuers.first().id().clone(), Arc::new(configured))].into();
    served.api.change(ApiSettings { issuers, ..ApiSettings::default() });
    assert_eq!(served.post("/v1/issuers/Root/add", &body).json()["serial"], "0A1B");
    assert_eq!(served.post("/v1/issuers/Sub/add", &body).status, 422);
    let subject = served.get("/v1/issuers").json()["issuers"][0]["subject"].clone();
    assert_eq!(subject, "CN=Upload");
}

#[test]
fn of_a_list_every_refused_line_is_told_and_the_others_are_done() {
    let served = served();
    let list = [
        r#"{"do":"add","serial":"0A"}"#,
        "",
        r#"{"do":"revoke","serial":"0A","reason":"keyCompromise"}"#,
        "not json",
        r#"{"do":"revoke","serial":"0B"}"#,
        r#"{"do":"add","serial":"0A"}"#,
        "  \r",
        r#"{"do":"add","serial":"0C"}"#,
        r#"{"do":"add","serial":"0C"}"#,
    ];
    let mut reply = served.bulk(&list.join("\n")).lines();
    let total = reply.pop().unwrap();
    assert_eq!(total, json!({ "total": { "lines": 9, "done": 3, "unchanged": 1, "still_held": 0, "refused": 3 } }));
    let told: Vec<_> =
        reply.iter().map(|line| (line["line"].as_u64().unwrap(), line["problem"]["type"].clone())).collect();
    let kinds = [(4, "bad-request"), (5, "not-listed"), (6, "already-revoked")];
    assert_eq!(told, kinds.map(|(line, kind)| (line, json!(format!("urn:ostia:problem:{kind}")))));
    assert_eq!(reply[1]["problem"]["serial"], "0B");
    let empty = served.bulk("").lines();
    assert_eq!(empty, [json!({ "total": { "lines": 0, "done": 0, "unchanged": 0, "still_held": 0, "refused": 0 } })]);
}

#[test]
fn a_long_list_is_taken_in_batches_and_its_refusals_are_told_up_to_a_bound() {
    let served = served();
    let wrong = limits::API_REFUSED_TOLD_MAX + 500;
    let good: String = (1..=30_000).map(|serial| format!("{{\"do\":\"add\",\"serial\":\"{serial:x}\"}}\n")).collect();
    let reply = served.bulk(&(good + &"nonsense\n".repeat(wrong))).lines();
    let total = reply.last().unwrap();
    assert_eq!(total["total"]["done"], 30_000);
    assert_eq!((&total["total"]["refused"], &total["refused_not_told"]), (&json!(wrong), &json!(500)));
    let told = reply.iter().filter(|line| line.get("line").is_some()).count();
    assert_eq!(told, limits::API_REFUSED_TOLD_MAX);
    assert_eq!(served.issuers.first().state().records.counts().good, 30_000);
}

#[test]
fn a_disk_that_fills_up_ends_a_list_with_the_number_of_lines_that_are_durable() {
    let served = served();
    let book = served.issuers.fill_disk_after(2);
    let list: String = (1..=5000).map(|serial| format!("{{\"do\":\"add\",\"serial\":\"{serial:x}\"}}\n")).collect();
    let reply = served.bulk(&list).lines();
    let last = reply.last().unwrap();
    let lines = last["total"]["lines"].as_u64().unwrap();
    assert_eq!(last["problem"]["type"], "urn:ostia:problem:not-durable");
    assert_eq!(last["total"]["done"], lines);
    assert_eq!(served.issuers.first().state().records.counts().good, lines);
    assert!((1..=2000).contains(&lines), "two batches: {last}");
    // The client goes on behind them.
    served.issuers.make_room(&book);
    let rest: String = list.lines().skip(lines as usize).map(|line| format!("{line}\n")).collect();
    assert_eq!(served.bulk(&rest).lines().last().unwrap()["total"]["done"], 5000 - lines);
}

#[test]
fn lines_count_as_they_come_and_a_list_that_stops_coming_is_ended() {
    let served = served_with(1, Duration::from_secs(5));
    let mut stream = served.upload(1000);
    stream.write_all(b"{\"do\":\"add\",\"serial\":\"0A\"}\n{\"do\":").unwrap();
    let begin = std::time::Instant::now();
    while served.get("/v1/certificates/0A").status != 200 {
        assert!(begin.elapsed() < Duration::from_millis(4500), "the first line counts before the second is there");
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = served.bulk("");
    assert_eq!((second.status, &second.json()["type"]), (503, &json!("urn:ostia:problem:too-many-uploads")));
    let reply = finish(stream).lines();
    let last = reply.last().unwrap();
    assert_eq!(last["total"]["lines"], 1);
    assert!(last["problem"]["detail"].as_str().unwrap().contains("nothing arrived for 5 s"), "{last}");
    assert_eq!(served.bulk("").status, 200, "its place is free again");
}

/// curl sends what it is piped like that, and waited a second for every list.
#[test]
fn who_expects_to_be_told_to_send_a_list_is_told_before_the_answer_begins() {
    let served = served();
    let line = "{\"do\":\"add\",\"serial\":\"0A\"}\n";
    let head = served.head("POST", BULK, NDJSON, "Expect: 100-continue\r\n");
    let mut stream = served.begin(&head, line.len());
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(String::from_utf8_lossy(&told), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(line.as_bytes()).unwrap();
    let reply = finish(stream);
    assert_eq!((reply.status, &reply.lines().last().unwrap()["total"]["done"]), (200, &json!(1)));
    // Who says so and sends nothing at first has the answer begun all the same, and the list taken.
    let mut stream = served.begin(&head, line.len());
    std::thread::sleep(limits::API_CONTINUE_WITHIN + Duration::from_millis(300));
    stream.write_all(line.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 100 ") && text.contains("HTTP/1.1 200 ") && text.contains("\"lines\":1"),
        "{text}"
    );
}

#[test]
fn eight_lists_go_up_at_once_and_the_ninth_is_told_when_to_come_again() {
    let served = served_with(limits::API_UPLOADS_MAX, Duration::from_secs(20));
    let line = |serial: usize| format!("{{\"do\":\"add\",\"serial\":\"{serial:02x}\"}}\n");
    let mut lists: Vec<TcpStream> = (1..=8)
        .map(|serial| {
            let mut list = served.upload(2 * line(0).len());
            list.write_all(line(serial).as_bytes()).unwrap();
            list
        })
        .collect();
    // All of them are under way.
    let begin = std::time::Instant::now();
    while served.issuers.first().state().records.counts().good < 8 {
        assert!(begin.elapsed() < Duration::from_secs(18), "{:?}", served.issuers.first().state().records.counts());
        std::thread::sleep(Duration::from_millis(10));
    }
    let ninth = served.bulk(&line(99));
    assert_eq!((ninth.status, &ninth.json()["type"]), (503, &json!("urn:ostia:problem:too-many-uploads")));
    assert!(ninth.head.contains("retry-after: 2"), "{}", ninth.head);
    // Single pushes and look-ups go on beside them.
    assert_eq!(served.post("/v1/issuers/Root/add", r#"{"serial":"AA"}"#).status, 200);
    let mut first = lists.remove(0);
    first.write_all(line(50).as_bytes()).unwrap();
    assert_eq!(finish(first).lines().last().unwrap()["total"]["done"], 2);
    assert_eq!(served.bulk(&line(99)).status, 200, "its place is free");
    for (serial, mut list) in (60..).zip(lists) {
        list.write_all(line(serial).as_bytes()).unwrap();
        assert_eq!(finish(list).lines().last().unwrap()["total"]["done"], 2);
    }
}

#[test]
fn an_upload_tells_how_far_it_is_each_second() {
    let served = served();
    let line = "{\"do\":\"add\",\"serial\":\"0A\"}\n";
    let mut stream = served.upload(3 * line.len());
    for _ in 0..3 {
        stream.write_all(line.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(800));
    }
    let reply = finish(stream).lines();
    assert!(reply.iter().any(|line| line["progress"]["lines"].as_u64().is_some_and(|lines| lines > 0)), "{reply:?}");
}
