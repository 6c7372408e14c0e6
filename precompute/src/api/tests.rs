//! The API over a real connection, with ledgers in memory.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};

use serde_json::{Value, json};

use super::{testing::FakeDirectory, *};
use crate::source::openssl::{Ca, KEYS};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Served {
    address: SocketAddr,
    api: Arc<Api>,
    directory: FakeDirectory,
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
    let directory = FakeDirectory::of(&[("t", 1, "Root"), ("t", 2, "Sub")]);
    let api = Api::with_bounds(directory.clone(), uploads, idle_max);
    let token = Some(ApiToken::of(TOKEN.as_bytes()));
    api.change(ApiSettings { token, ..ApiSettings::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Arc::clone(&api).router();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    let id = crate::pki::hex::text(directory.issuers()[0].id().fingerprint());
    Served { address, api, directory, id }
}

fn served() -> Served {
    served_with(2, Duration::from_secs(10))
}

impl Served {
    fn send(&self, head: &str, body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        write!(stream, "{head}Connection: close\r\nContent-Length: {length}\r\n\r\n").unwrap();
        // The answer may come, and the connection end, before everything is sent.
        let _ = stream.write_all(body);
        finish(stream)
    }

    /// With everything that an honest client sends.
    fn ask(&self, method: &str, path: &str, media_type: &str, more: &str, body: &str) -> Reply {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {media_type}\r\n{more}",
            self.address
        );
        self.send(&head, body.as_bytes())
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "text/plain", "", "")
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, "application/json", "", body)
    }

    fn bulk(&self, body: &str) -> Reply {
        self.ask("POST", &format!("/v1/issuers/{}/bulk", self.id), "application/x-ndjson", "", body)
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
    let (revoke, bulk) = (format!("/v1/issuers/{}/revoke", served.id), format!("/v1/issuers/{}/bulk", served.id));
    let body = vec![b'['; 8 << 20];
    for (path, token, content_type, more, status) in [
        (&revoke, TOKEN, "application/json", "", 413),
        (&bulk, TOKEN, "application/json", "", 415),
        (&bulk, "another", "application/x-ndjson", "", 401),
        (&bulk, TOKEN, "application/x-ndjson", "Content-Encoding: gzip\r\n", 415),
    ] {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: {content_type}\r\n{more}Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(&body).unwrap();
        assert_eq!(finish(stream).status, status, "{path} {token} {content_type}");
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
    assert_eq!(root["digest"], "00000000000000000000000000000007");
    assert_eq!(
        (&root["sources"]["in_order"], &root["sources"]["fault"]),
        (&json!(false), &json!("index.txt:3: is odd"))
    );
}

#[test]
fn every_problem_has_its_status_its_type_and_its_members() {
    let served = served();
    served.directory.0[0].hold_by_source("0B");
    assert_eq!(served.post("/v1/issuers/Root/add", r#"{"serial":"0C"}"#).status, 200);
    let revoked = r#"{"serial":"0D","reason":"superseded","time":1700000000,"even_unlisted":true}"#;
    assert_eq!(served.post("/v1/issuers/Root/revoke", revoked).status, 200);
    let big = format!("{{\"serial\":\"{}\"}}", "0".repeat(limits::API_BODY_OCTETS_MAX));
    let since = json!("2023-11-14T22:13:20Z");
    for (method, path, media_type, body, status, kind, members) in [
        ("GET", "/v1/nothing", "", "", 404, "not-found", json!({})),
        ("GET", "/v1", "", "", 404, "not-found", json!({})),
        ("POST", "/v1/issuers/Root/shred", "application/json", "{}", 404, "not-found", json!({})),
        ("GET", "/v1/issuers/Root/revoke", "", "", 405, "method-not-allowed", json!({})),
        ("DELETE", "/v1/issuers", "", "", 405, "method-not-allowed", json!({})),
        ("GET", "/v1/issuers/Other/certificates/0C", "", "", 404, "unknown-issuer", json!({})),
        ("POST", "/v1/issuers/Other/revoke", "application/json", "{}", 404, "unknown-issuer", json!({})),
        ("POST", "/v1/issuers/Other/bulk", "application/x-ndjson", "", 404, "unknown-issuer", json!({})),
        ("GET", "/v1/issuers/Root/certificates/0E", "", "", 404, "not-listed", json!({ "serial": "0E" })),
        ("GET", "/v1/issuers/Sub/certificates/0C", "", "", 404, "not-listed", json!({ "serial": "0C" })),
        ("GET", "/v1/certificates/0E", "", "", 404, "not-listed", json!({ "serial": "0E" })),
        ("GET", "/v1/certificates/xyz", "", "", 400, "bad-request", json!({ "member": "serial" })),
        ("GET", "/v1/certificates/0C?decimal=2", "", "", 400, "bad-request", json!({})),
        (
            "POST",
            "/v1/issuers/Root/revoke",
            "application/json",
            r#"{"serial":"0E"}"#,
            404,
            "not-listed",
            json!({ "serial": "0E" }),
        ),
        (
            "POST",
            "/v1/issuers/Root/revoke",
            "application/json",
            r#"{"serial":"0D"}"#,
            409,
            "already-revoked",
            json!({ "serial": "0D", "revoked_since": since, "reason": "superseded" }),
        ),
        (
            "POST",
            "/v1/issuers/Root/release",
            "application/json",
            r#"{"serial":"0D"}"#,
            409,
            "un-revoking",
            json!({ "serial": "0D", "revoked_since": since, "reason": "superseded" }),
        ),
        ("POST", "/v1/issuers/Root/add", "application/json", r#"{"serial":"0D"}"#, 409, "already-revoked", json!({})),
        ("POST", "/v1/issuers/Root/release", "application/json", r#"{"serial":"0C"}"#, 409, "not-on-hold", json!({})),
        (
            "POST",
            "/v1/issuers/Root/release",
            "application/json",
            r#"{"serial":"0B"}"#,
            409,
            "held-by-source",
            json!({}),
        ),
        (
            "POST",
            "/v1/issuers/Root/revoke",
            "application/json",
            r#"{"serial":"0C","time":4000000000}"#,
            400,
            "bad-request",
            json!({ "member": "time" }),
        ),
        (
            "POST",
            "/v1/issuers/Root/revoke",
            "application/json",
            r#"{"serial":"0C","raeson":"x"}"#,
            400,
            "bad-request",
            json!({ "member": "raeson" }),
        ),
        (
            "POST",
            "/v1/issuers/Root/revoke",
            "text/plain",
            r#"{"serial":"0C"}"#,
            415,
            "unsupported-media-type",
            json!({}),
        ),
        (
            "POST",
            "/v1/issuers/Root/revoke",
            "application/x-www-form-urlencoded",
            "serial=0C",
            415,
            "unsupported-media-type",
            json!({}),
        ),
        ("POST", "/v1/issuers/Root/bulk", "application/json", "", 415, "unsupported-media-type", json!({})),
        ("POST", "/v1/issuers/Root/revoke", "application/json", &big, 413, "too-large", json!({})),
    ] {
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
    }
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
    served.api.change(ApiSettings::default());
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
    served.directory.0[0].room.store(0, SeqCst);
    let reply = served.post("/v1/issuers/Root/add", r#"{"serial":"0A"}"#);
    assert_eq!((reply.status, &reply.json()["type"]), (503, &json!("urn:ostia:problem:not-durable")));
    assert!(reply.head.contains("retry-after: 2"), "{}", reply.head);
    assert!(reply.json()["detail"].as_str().unwrap().contains("No space left on device"), "{}", reply.body);
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
    let certificates = [(served.directory.issuers()[0].id().clone(), Arc::new(ca.certificate()))].into();
    let token = served.api.settings().token.clone();
    served.api.change(ApiSettings { token, certificates });
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
    assert_eq!(served.directory.issuers()[0].counts().good, 30_000);
}

#[test]
fn a_disk_that_fills_up_ends_a_list_with_the_number_of_lines_that_are_durable() {
    let served = served();
    served.directory.0[0].room.store(2, SeqCst);
    let list: String = (1..=5000).map(|serial| format!("{{\"do\":\"add\",\"serial\":\"{serial:x}\"}}\n")).collect();
    let reply = served.bulk(&list).lines();
    let last = reply.last().unwrap();
    let lines = last["total"]["lines"].as_u64().unwrap();
    assert_eq!(last["problem"]["type"], "urn:ostia:problem:not-durable");
    assert_eq!(last["total"]["done"], lines);
    assert_eq!(served.directory.issuers()[0].counts().good, lines);
    assert!((1..=2000).contains(&lines), "two batches: {last}");
    // The client goes on behind them.
    served.directory.0[0].room.store(usize::MAX, SeqCst);
    let rest: String = list.lines().skip(lines as usize).map(|line| format!("{line}\n")).collect();
    assert_eq!(served.bulk(&rest).lines().last().unwrap()["total"]["done"], 5000 - lines);
}

#[test]
fn lines_count_as_they_come_and_a_list_that_stops_coming_is_ended() {
    let served = served_with(1, Duration::from_secs(1));
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "POST /v1/issuers/Root/bulk HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{{\"do\":\"add\",\"serial\":\"0A\"}}\n{{\"do\":"
    )
    .unwrap();
    let begin = std::time::Instant::now();
    while served.get("/v1/certificates/0A").status != 200 {
        assert!(begin.elapsed() < Duration::from_millis(900), "the first line counts before the second is there");
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = served.bulk("");
    assert_eq!((second.status, &second.json()["type"]), (503, &json!("urn:ostia:problem:too-many-uploads")));
    let reply = finish(stream).lines();
    let last = reply.last().unwrap();
    assert_eq!(last["total"]["lines"], 1);
    assert!(last["problem"]["detail"].as_str().unwrap().contains("nothing arrived for 1 s"), "{last}");
    assert_eq!(served.bulk("").status, 200, "its place is free again");
}

#[test]
fn an_upload_tells_how_far_it_is_each_second() {
    let served = served();
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let line = "{\"do\":\"add\",\"serial\":\"0A\"}\n";
    write!(
        stream,
        "POST /v1/issuers/Root/bulk HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        3 * line.len()
    )
    .unwrap();
    for _ in 0..3 {
        stream.write_all(line.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(800));
    }
    let reply = finish(stream).lines();
    assert!(reply.iter().any(|line| line["progress"]["lines"].as_u64().is_some_and(|lines| lines > 0)), "{reply:?}");
}
