//! Who is admitted, and how much it gets.

use precompute::config::Place;

use super::*;

const NOW: UnixTime = UnixTime(1_795_953_600);

fn client(name: &str, networks: &[&str], keys: &[&str], quota: Quota) -> ClientConfig {
    ClientConfig {
        place: Place::default(),
        name: name.into(),
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        keys: keys.iter().map(|key| TokenHash::of(key.as_bytes())).collect(),
        certificates: Vec::new(),
        quota,
    }
}

fn clients(clients: Vec<ClientConfig>, is_open: bool) -> (tempfile::TempDir, Clients) {
    let dir = tempfile::tempdir().unwrap();
    let usage = Usage::open(dir.path(), "s", NOW).unwrap();
    let config = ClientsConfig { is_open: is_open || clients.is_empty(), clients, client_ca: None };
    let clients = Clients::new("acme", "tsa", (&config, None), &usage, Instant::now());
    (dir, clients)
}

/// The name of who is admitted; `open` for others.
fn admitted(clients: &Clients, address: &str, authorization: Option<&str>) -> Result<String, Denied> {
    let authorization = authorization.map_or(Credential::None, |value| Credential::Value(value.as_bytes()));
    let asking = Asking { address: address.parse().unwrap(), authorization, shown: None, now: NOW };
    clients.admit(&asking).map(|client| client.name.as_deref().unwrap_or("open").to_owned())
}

/// `user:password`.
fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

#[test]
fn only_who_is_recognised_by_all_that_is_stated_is_admitted() {
    let quota = Quota::default();
    let some = || {
        vec![
            client("net", &["10.1.0.0/16", "2001:db8::/32"], &[], quota),
            client("both", &["10.0.0.0/8"], &["k-both"], quota),
            client("key", &[], &["k1", "k2"], quota),
        ]
    };
    let (_dir, closed) = clients(some(), false);
    let (_dir, open) = clients(some(), true);
    let (_dir, nobody) = clients(Vec::new(), false);
    let (_dir, by_network) = clients(vec![client("net", &["10.1.0.0/16"], &[], quota)], false);
    for (address, authorization, expected) in [
        ("10.1.2.3", None, Ok("net")),
        ("::ffff:10.1.2.3", None, Ok("net")),
        ("2001:db8::7", None, Ok("net")),
        ("10.2.0.1", None, Err(Denied::KeyNeeded)),
        ("10.2.0.1", Some("Bearer k-both".to_owned()), Ok("both")),
        ("192.0.2.1", Some("Bearer k-both".to_owned()), Err(Denied::KeyNeeded)),
        // Who sends its key is that client, wherever it is.
        ("10.1.2.3", Some("bearer  k2".to_owned()), Ok("key")),
        ("192.0.2.1", Some(basic("anybody:k1")), Ok("key")),
        ("192.0.2.1", Some(basic(":k2")), Ok("key")),
        ("192.0.2.1", Some(basic("k1")), Err(Denied::KeyNeeded)),
        ("192.0.2.1", Some(basic("a:b:k1")), Err(Denied::KeyNeeded)),
        ("192.0.2.1", Some(format!("Basic {}", "A".repeat(4000))), Err(Denied::KeyNeeded)),
        ("192.0.2.1", Some("Digest k1".to_owned()), Err(Denied::KeyNeeded)),
        ("192.0.2.1", Some("k1".to_owned()), Err(Denied::KeyNeeded)),
        // A wrong key is told as one even where the network alone would do.
        ("10.1.2.3", Some("Bearer k3".to_owned()), Err(Denied::KeyNeeded)),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(admitted(&closed, address, authorization.as_deref()), expected, "{address} {authorization:?}");
        let of_open = match (&expected, &authorization) {
            (Err(_), None) => Ok("open".to_owned()),
            _ => expected.clone(),
        };
        assert_eq!(admitted(&open, address, authorization.as_deref()), of_open, "{address} {authorization:?}");
        assert_eq!(admitted(&nobody, address, authorization.as_deref()), Ok("open".into()));
    }
    assert_eq!(admitted(&by_network, "10.2.0.1", None), Err(Denied::Forbidden));
    assert_eq!(admitted(&by_network, "10.1.0.1", Some("Bearer of another gate")), Ok("net".into()));
    let twice =
        Asking { address: "192.0.2.1".parse().unwrap(), authorization: Credential::Ambiguous, shown: None, now: NOW };
    assert_eq!(closed.admit(&twice).unwrap_err(), Denied::KeyNeeded);
}

#[test]
fn a_client_gets_what_its_quota_says_and_what_is_refused_takes_nothing_of_it() {
    let quota = Quota { per_second: Some(2), per_day: Some(3), per_month: Some(4) };
    let (_dir, clients) = clients(vec![client("net", &["10.0.0.0/8"], &[], quota)], false);
    let asking =
        Asking { address: "10.1.1.1".parse().unwrap(), authorization: Credential::None, shown: None, now: NOW };
    let client = clients.admit(&asking).unwrap();
    let now = Instant::now();
    client.begin(now).unwrap().granted();
    client.begin(now).unwrap().granted();
    assert_eq!(client.begin(now).unwrap_err(), Rejection::QUOTA_OF_SECOND);
    let later = now + std::time::Duration::from_secs(1);
    drop(client.begin(later).unwrap());
    client.begin(later).unwrap().granted();
    let later = later + std::time::Duration::from_secs(1);
    assert_eq!(client.begin(later).unwrap_err(), Rejection::QUOTA_OF_DAY);
}

#[test]
fn no_message_has_a_key() {
    let secret = Credential::Value(b"Bearer s3cret");
    assert!(!format!("{secret:?}").contains("s3cret"));
    let config = client("key", &[], &["s3cret"], Quota::default());
    let hash = TokenHash::of(b"s3cret").to_hex();
    assert!(!format!("{config:?}").contains(&hash), "{config:?}");
}
