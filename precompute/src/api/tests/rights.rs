//! Who may do what over the API, with every role, verb and tenant; and what nobody learns.

use super::*;

/// Of two tenants, one of which has an issuer by the name that both have.
fn two_tenants(known: Vec<Entry>) -> Served {
    let issuers = [("acme", 1, "Root"), ("acme", 2, "Sub"), ("other", 3, "Root"), ("other", 4, "Secret")];
    served_to(known, &issuers, 2, Duration::from_secs(10))
}

impl Served {
    fn id_of(&self, tenant: &str, name: &str) -> String {
        let all = self.issuers.ledgers.all();
        let issuer = all.iter().find(|one| one.id().tenant() == tenant && one.name() == name);
        crate::pki::hex::text(issuer.unwrap().id().fingerprint())
    }

    fn as_who(&self, token: &str, method: &str, path: &str, body: &str) -> Reply {
        let media_type = if path.ends_with("/bulk") { NDJSON } else { "application/json" };
        self.send(&self.head(method, path, media_type, "").replace(TOKEN, token), body.as_bytes())
    }
}

/// What is asked of an issuer: a method, a path behind its id, and a body; with the action that it is.
const ASKED: [(&str, &str, &str, &str); 5] = [
    ("view", "GET", "/certificates/0A", ""),
    ("add", "POST", "/add", r#"{"serial":"0A"}"#),
    ("revoke", "POST", "/revoke", r#"{"serial":"0A","even_unlisted":true,"reason":"certificateHold"}"#),
    ("release", "POST", "/release", r#"{"serial":"0A"}"#),
    ("revoke", "POST", "/bulk", "{\"do\":\"revoke\",\"serial\":\"0A\",\"even_unlisted\":true}\n"),
];

#[test]
fn each_role_may_do_in_its_tenant_what_the_matrix_says_and_in_another_nothing() {
    let roles = ["viewer", "auditor", "operator", "administrator"];
    let mut known: Vec<_> = roles.iter().map(|role| entry(role, &[&format!("{role}:acme")], &[])).collect();
    known.push(entry("everywhere", &["viewer:*", "operator:acme"], &[]));
    known.push(entry("no revocations", &["administrator:*"], &["revoke:acme"]));
    known.push(entry("all but other", &["administrator:*"], &["*:other"]));
    let served = two_tenants(known);
    let acts = ["add", "revoke", "release"];
    for (who, in_acme, in_other) in [
        ("viewer", &["view"][..], None),
        ("auditor", &["view"], None),
        ("operator", &["view", "add", "revoke", "release"], None),
        ("administrator", &["view", "add", "revoke", "release"], None),
        ("everywhere", &["view", "add", "revoke", "release"], Some(&["view"][..])),
        ("no revocations", &["view", "add", "release"], Some(&["view", "add", "revoke", "release"])),
        ("all but other", &["view", "add", "revoke", "release"], None),
    ] {
        for (tenant, may) in [("acme", Some(in_acme)), ("other", in_other)] {
            let id = served.id_of(tenant, "Root");
            for (action, method, path, body) in ASKED {
                let reply = served.as_who(who, method, &format!("/v1/issuers/{id}{path}"), body);
                let kind = if reply.status == 200 { String::new() } else { reply.json()["type"].to_string() };
                let case = format!("{who} {tenant} {action} {path}: {} {}", reply.status, reply.body);
                match may {
                    None => assert!(reply.status == 404 && kind.contains("unknown-issuer"), "{case}"),
                    // A list is taken from who may do something; each of its lines is looked at.
                    Some(may) if path == "/bulk" && acts.iter().any(|act| may.contains(act)) => {
                        let is_refused = reply.body.contains("urn:ostia:problem:forbidden");
                        assert_eq!((reply.status, is_refused), (200, !may.contains(&action)), "{case}");
                    }
                    // A push may be refused for what it is.
                    Some(may) if may.contains(&action) => assert!(!kind.contains("forbidden"), "{case}"),
                    Some(_) => {
                        assert!(reply.status == 403 && kind.contains("forbidden"), "{case}");
                        assert_eq!(reply.json()["action"], action, "{case}");
                        assert_eq!(reply.json()["tenant"], tenant, "{case}");
                    }
                }
            }
        }
    }
    assert_eq!(served.as_who("viewer", "GET", "/v1/servers", "").status, 403, "it sees one tenant");
    for (who, status) in
        [("viewer", 403), ("administrator", 403), ("everywhere", 403), ("all but other", 403), ("no revocations", 200)]
    {
        let head = served.head("GET", "/v1/snapshot", "text/plain", "").replace(TOKEN, who);
        let mut begin = [0; 12];
        served.begin(&head, 0).read_exact(&mut begin).unwrap();
        assert_eq!(begin, *format!("HTTP/1.1 {status}").as_bytes(), "{who}");
        let reply = served.as_who(who, "POST", "/v1/feed/promote", "");
        assert_eq!(reply.status, if status == 200 { 404 } else { 403 }, "{who}: there is no feed, which is not told");
        for (method, path) in [
            ("POST", "/v1/servers/0a1b2c3d/decommission"),
            ("GET", "/v1/configurations"),
            ("POST", "/v1/configurations"),
            ("GET", "/v1/configurations/1"),
            ("GET", "/v1/configurations/1/difference/2"),
            ("POST", "/v1/configurations/1/rollback"),
        ] {
            let reply = served.as_who(who, method, path, "");
            assert_eq!(reply.status, if status == 200 { 404 } else { 403 }, "{who} {method} {path}: {}", reply.body);
        }
    }
}

/// A tenant's credential learns nothing of another.
#[test]
fn what_is_of_another_tenant_is_answered_as_what_is_not_there() {
    let served = two_tenants(vec![entry("acme", &["operator:acme"], &[]), entry(TOKEN, &["administrator:*"], &[])]);
    let secret = served.id_of("other", "Secret");
    for name in ["other:Secret", "other:Root"] {
        let body = r#"{"serial":"BEEF","even_unlisted":true,"reason":"keyCompromise"}"#;
        assert_eq!(served.post(&format!("/v1/issuers/{name}/revoke"), body).status, 200);
    }
    let absent = "f".repeat(64);
    for (there, not_there) in [
        (secret.clone(), absent.clone()),
        (secret[..8].to_owned(), absent[..8].to_owned()),
        ("Secret".into(), "Sacred".into()),
        ("other:Secret".into(), "other:Sacred".into()),
    ] {
        for (_, method, path, body) in ASKED {
            for body in [body, "", "[", "{\"serial\":1}"] {
                let [found, missing] = [&there, &not_there].map(|id| {
                    let reply = served.as_who("acme", method, &format!("/v1/issuers/{id}{path}"), body);
                    let head: Vec<_> = reply.head.lines().filter(|line| !line.starts_with("date:")).collect();
                    (reply.status, head.join("\n"), reply.body.replace(id, "ID"))
                });
                assert_eq!(found, missing, "{there} {method} {path} {body}");
                assert!(!found.2.contains("other") || there.contains("other"), "{}", found.2);
            }
        }
    }
    // The name that both tenants have means the one that it sees.
    assert_eq!(served.as_who("acme", "POST", "/v1/issuers/Root/add", r#"{"serial":"0A"}"#).status, 200);
    let everywhere = [served.as_who("acme", "GET", "/v1/certificates/BEEF", ""), {
        let reply = served.as_who("acme", "GET", "/v1/certificates/BEE0", "");
        Reply { body: reply.body.replace("BEE0", "BEEF"), ..reply }
    }];
    assert_eq!((everywhere[0].status, &everywhere[0].body), (404, &everywhere[1].body));
    let listed = served.as_who("acme", "GET", "/v1/issuers", "").body;
    assert!(listed.contains("acme") && !listed.contains("other") && !listed.contains(&secret), "{listed}");
    let unknown = served.as_who("acme", "GET", "/v1/issuers/nobody/certificates/0A", "").body;
    assert!(unknown.contains("acme:Sub") && !unknown.contains("other"), "{unknown}");
}

#[test]
fn the_lines_of_a_list_are_refused_one_by_one_by_what_they_do() {
    let served = two_tenants(vec![entry("acme", &["operator:acme"], &["revoke:acme"])]);
    let list = "{\"do\":\"add\",\"serial\":\"0A\"}\n{\"do\":\"revoke\",\"serial\":\"0A\"}\n{\"do\":\"add\",\"serial\":\"0B\"}\n";
    let reply = served.as_who("acme", "POST", "/v1/issuers/Root/bulk", list);
    let lines = reply.lines();
    assert_eq!(lines[0]["line"], 2, "{}", reply.body);
    assert_eq!(lines[0]["problem"]["type"], "urn:ostia:problem:forbidden");
    assert_eq!(lines[1]["total"]["done"], 2, "{}", reply.body);
    assert!(served.as_who("acme", "GET", "/v1/certificates/0A", "").body.contains("\"good\""));
}

/// Whatever is added to the API asks for a right, or tells nothing.
#[test]
fn every_path_refuses_strangers_and_who_has_no_right_there() {
    let served = two_tenants(vec![entry("nobody", &["viewer:nowhere"], &[]), entry(TOKEN, &["administrator:*"], &[])]);
    let id = served.id_of("other", "Secret");
    // What is said to everybody who is known, and is about nobody.
    let general = ["/v1", "/v1/openapi.json"];
    for (method, path, what) in handlers::PATHS {
        let full =
            path.replace("/issuers/ID", &format!("/issuers/{id}")).replace("SERIAL", "0A").replace("ID", "0a1b2c3d");
        let reply = served.as_who("nobody", method, &full, r#"{"serial":"0A"}"#);
        let kind = if reply.status < 400 { "done".to_owned() } else { reply.json()["type"].to_string() };
        match reply.status {
            200 => assert!(general.contains(&path) || lists_nothing(&reply.json()), "{path}: {}", reply.body),
            403 | 404 => assert!(!kind.contains("not-found"), "{path} ({what}): there is no such path: {}", reply.body),
            status => panic!("{method} {path}: {status} {}", reply.body),
        }
        let is_told = |tenant: &&&str| reply.body.contains(**tenant) && !general.contains(&path);
        assert_eq!(["other", "acme"].iter().find(is_told), None, "{path}: {}", reply.body);
        for authorization in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic bm9ib2R5\r\n"] {
            let head = format!("{method} {full} HTTP/1.1\r\nHost: localhost\r\n{authorization}");
            let reply = served.send(&head, b"");
            assert!(reply.status == 401 && !reply.body.contains("acme"), "{method} {full}: {}", reply.body);
        }
    }
}

/// Whether there is a list in an answer, and nothing in any.
fn lists_nothing(answer: &Value) -> bool {
    let mut lists = answer.as_object().unwrap().values().filter_map(Value::as_array).peekable();
    lists.peek().is_some() && lists.all(Vec::is_empty)
}

/// One that asks without a pause is told to wait, and nobody else is.
#[test]
fn requests_and_pushes_beyond_the_rate_wait_and_those_of_others_do_not() {
    let served = two_tenants(vec![entry("noisy", &["operator:acme"], &[]), entry(TOKEN, &["administrator:*"], &[])]);
    let known = Arc::clone(&served.gate.settings().known);
    let limit = |requests: Option<u32>, pushes: Option<u32>, of_tenant: Option<u32>| {
        let rates = [("noisy".to_owned(), Rates { requests, pushes })].into();
        let tenant_pushes = of_tenant.map(|rate| ("acme".to_owned(), rate)).into_iter().collect();
        served.gate.change(AssembledAdmin {
            known: Arc::clone(&known),
            rates,
            tenant_pushes,
            ..AssembledAdmin::default()
        });
    };
    let asks = |who: &str| served.as_who(who, "GET", "/v1/issuers", "");
    limit(Some(1), None, None);
    let replies: Vec<_> = (0..20).map(|_| asks("noisy")).collect();
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(replies[0].status == 200 && refused.len() > 10, "{}", refused.len());
    assert!(refused[0].head.contains("\nretry-after: 1"), "{}", refused[0].head);
    assert_eq!(refused[0].json()["type"], "urn:ostia:problem:too-many-requests");
    assert!((0..20).all(|_| asks(TOKEN).status == 200), "another is not slowed down");
    let pushes = |who: &str, serial: &str| {
        served.as_who(who, "POST", "/v1/issuers/acme:Root/add", &format!("{{\"serial\":\"{serial}\"}}")).status
    };
    limit(None, Some(1), None);
    let statuses: Vec<_> = (0..20).map(|number| pushes("noisy", &format!("1{number:02}"))).collect();
    assert!(statuses[0] == 200 && statuses.iter().filter(|status| **status == 429).count() > 10, "{statuses:?}");
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(
        served.issuers.ledgers.all()[0].state().records.counts().good,
        taken as u64,
        "what is refused is not done"
    );
    assert_eq!(pushes(TOKEN, "AAAA"), 200);
    // A tenant's limit is for all who push for it.
    limit(None, None, Some(1));
    let statuses: Vec<_> = (0..20).map(|number| pushes(TOKEN, &format!("2{number:02}"))).collect();
    assert!(statuses[0] == 200 && statuses.contains(&429), "{statuses:?}");
    // A list is slowed down, and nothing of it refused.
    limit(None, Some(20), None);
    let list: String = (0..60).map(|number| format!("{{\"do\":\"add\",\"serial\":\"3{number:02}\"}}\n")).collect();
    let begun = std::time::Instant::now();
    let reply = served.as_who("noisy", "POST", "/v1/issuers/acme:Root/bulk", &list);
    let last = reply.lines().pop().unwrap();
    assert_eq!((&last["total"]["done"], &last["total"]["refused"]), (&json!(60), &json!(0)), "{}", reply.body);
    assert!(begun.elapsed() > Duration::from_millis(1900), "{:?}", begun.elapsed());
}

/// The fastest of many tells the work, however busy the machine is.
#[test]
fn a_foreign_issuer_takes_as_long_as_one_that_is_not_there() {
    let issuers: Vec<_> = (0..200).map(|ca| ("other", ca, format!("CA {ca}"))).collect();
    let mut issuers: Vec<_> = issuers.iter().map(|(tenant, ca, name)| (*tenant, *ca, &**name)).collect();
    issuers.push(("acme", 255, "Root"));
    let served = served_to(vec![entry("acme", &["operator:acme"], &[])], &issuers, 2, Duration::from_secs(10));
    let (there, absent) = (served.id_of("other", "CA 0"), "f".repeat(64));
    let took = |id: &str| {
        let begun = std::time::Instant::now();
        assert_eq!(served.as_who("acme", "GET", &format!("/v1/issuers/{id}/certificates/0A"), "").status, 404);
        begun.elapsed()
    };
    let pairs: Vec<_> = (0..150).map(|_| (took(&there), took(&absent))).collect();
    let (there, absent) =
        (pairs.iter().map(|pair| pair.0).min().unwrap(), pairs.iter().map(|pair| pair.1).min().unwrap());
    let ratio = there.as_secs_f64() / absent.as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "{there:?} and {absent:?}");
}

/// One with a list that never ends has no more than its half of the places.
#[test]
fn lists_of_one_principal_leave_places_to_others() {
    let served = two_tenants(vec![entry("slow", &["operator:acme"], &[]), entry(TOKEN, &["administrator:*"], &[])]);
    let list = "{\"do\":\"add\",\"serial\":\"0A\"}\n";
    let begin = served.head("POST", "/v1/issuers/acme:Root/bulk", NDJSON, "").replace(TOKEN, "slow");
    let unfinished = served.begin(&begin, 100);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let refused = loop {
        let reply = served.as_who("slow", "POST", "/v1/issuers/acme:Root/bulk", list);
        if reply.status != 200 {
            break reply;
        }
        assert!(std::time::Instant::now() < deadline, "the list is being taken");
    };
    assert_eq!((refused.status, &refused.json()["type"]), (503, &json!("urn:ostia:problem:too-many-uploads")));
    assert!(refused.body.contains("`slow` has 1 lists and backups under way"), "{}", refused.body);
    assert_eq!(served.as_who(TOKEN, "POST", "/v1/issuers/acme:Root/bulk", list).status, 200);
    drop(unfinished);
}
