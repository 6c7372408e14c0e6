//! Who is let in, by every header and every kind of connection.

use proptest::prelude::*;

use super::*;
use crate::principals::{Entry, Known, Mark, Proof, TokenHash};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn admin(hosts: &[&str]) -> AssembledAdmin {
    let entry = |name: &str, proof| Entry { principal: Arc::new(Principal::administrator(name)), proof };
    let known = Known::new(vec![
        entry("by_token", Proof::Token(TokenHash::of(TOKEN.as_bytes()))),
        entry("by_certificate", Proof::Certificate(Mark::Dns("deploy.example".into()))),
    ]);
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    AssembledAdmin { known: Arc::new(known), hosts, ..AssembledAdmin::default() }
}

fn link(local: &str, is_tls: bool) -> Link {
    Link { local: local.parse().ok(), is_tls, certificate: None }
}

#[test]
fn only_a_program_that_has_a_token_and_reaches_the_service_by_its_own_name_is_admitted() {
    use Stranger::*;
    let right = format!("Bearer {TOKEN}");
    let right: &str = &right;
    let wrong = right.replace("0123", "1123");
    let loopback = link("127.0.0.1", false);
    for (pairs, expected) in [
        (&[("host", "127.0.0.1:9090"), ("authorization", right)][..], None),
        (&[("host", "[::1]:9090"), ("authorization", right)], None),
        (&[("host", "LOCALHOST"), ("authorization", &right.replace("Bearer", "bearer"))], None),
        (&[("host", "127.1.2.3"), ("authorization", right)], None),
        (&[("host", "Writer.example:9090"), ("authorization", right)], None),
        (&[("host", "192.0.2.7"), ("authorization", right)], None),
        (&[("host", "rebound.example:9090"), ("authorization", right)], Some(Misdirected)),
        (&[("host", "localhost.example"), ("authorization", right)], Some(Misdirected)),
        (&[("host", "writer.example.evil"), ("authorization", right)], Some(Misdirected)),
        (&[("host", "10.0.0.1"), ("authorization", right)], Some(Misdirected)),
        (&[("host", ""), ("authorization", right)], Some(Misdirected)),
        (&[("host", "[::1"), ("authorization", right)], Some(Misdirected)),
        (&[("host", "[::1]evil"), ("authorization", right)], Some(Misdirected)),
        (&[("authorization", right)], Some(Misdirected)),
        (&[("host", "[::1]"), ("host", "evil"), ("authorization", right)], Some(Misdirected)),
        (&[("host", "localhost")], Some(NothingShown)),
        (&[("host", "localhost"), ("authorization", &wrong)], Some(UnknownToken)),
        (&[("host", "localhost"), ("authorization", "Bearer")], Some(Malformed)),
        (&[("host", "localhost"), ("authorization", "Bearer ")], Some(UnknownToken)),
        (&[("host", "localhost"), ("authorization", TOKEN)], Some(Malformed)),
        (&[("host", "localhost"), ("authorization", &right[..20])], Some(UnknownToken)),
        (&[("host", "localhost"), ("authorization", &format!("{right}0"))], Some(UnknownToken)),
        (&[("host", "localhost"), ("authorization", &right.replace("Bearer", "Basic "))], Some(Malformed)),
        (&[("host", "localhost"), ("authorization", right), ("authorization", right)], Some(Malformed)),
    ] {
        let asks = admit(&headers(pairs), &loopback, &admin(&["writer.example", "192.0.2.7"]));
        assert_eq!(asks.as_ref().err().copied(), expected, "{pairs:?}");
        assert!(asks.is_err() || asks.is_ok_and(|caller| caller.principal.name == "by_token"));
    }
    let nobody =
        admit(&headers(&[("host", "localhost"), ("authorization", right)]), &loopback, &AssembledAdmin::default());
    assert_eq!(nobody.unwrap_err(), NobodyIsKnown);
}

/// A reload may take TLS away from a listener that others reach.
#[test]
fn a_token_counts_only_where_nobody_can_listen() {
    let right = format!("Bearer {TOKEN}");
    let asks = |link: &Link, host: &str| {
        let headers = headers(&[("host", host), ("authorization", &right)]);
        admit(&headers, link, &admin(&["writer.example"])).err()
    };
    assert_eq!(asks(&link("10.0.0.1", true), "10.0.0.1:9090"), None, "the address that it came to");
    assert_eq!(asks(&link("10.0.0.1", true), "writer.example"), None);
    assert_eq!(asks(&link("10.0.0.1", true), "10.0.0.2"), Some(Stranger::Misdirected));
    assert_eq!(asks(&link("10.0.0.1", false), "writer.example"), Some(Stranger::Overheard));
    assert_eq!(asks(&link("10.0.0.1", false), "localhost"), Some(Stranger::Overheard));
    assert_eq!(asks(&Link::default(), "localhost"), Some(Stranger::Overheard));
    assert_eq!(asks(&link("127.0.0.1", false), "localhost"), None);
}

#[test]
fn metrics_are_for_everybody_where_nobody_has_a_role_and_nobody_asks_from_afar_and_else_for_who_may_look() {
    let token = Entry {
        principal: Arc::new(Principal::administrator(OF_TOKEN_FILE)),
        proof: Proof::Token(TokenHash::of(TOKEN.as_bytes())),
    };
    let (alone, nobody) =
        (AssembledAdmin { known: Arc::new(Known::new(vec![token])), ..admin(&[]) }, AssembledAdmin::default());
    let roles = admin(&[]);
    let [shut, open] = [false, true].map(|open| AssembledAdmin { open_metrics: Some(open), ..roles.clone() });
    for (local, is_tls, admin, expected) in [
        ("127.0.0.1", false, &nobody, true),
        ("10.0.0.1", true, &nobody, true),
        ("127.0.0.1", false, &alone, true),
        ("127.0.0.1", true, &alone, true),
        ("10.0.0.1", true, &alone, false),
        // Somebody with an account on the machine has no role by that.
        ("127.0.0.1", false, &roles, false),
        ("127.0.0.1", true, &roles, false),
        ("10.0.0.1", true, &roles, false),
        ("10.0.0.1", true, &open, true),
        ("127.0.0.1", false, &open, true),
        ("127.0.0.1", false, &shut, false),
    ] {
        assert_eq!(is_open(&link(local, is_tls), admin), expected, "{local} {is_tls} {admin:?}");
    }
}

proptest! {
    #[test]
    fn no_header_but_the_right_one_is_admitted(value in "[ -~]{0,60}") {
        let (admin, loopback) = (admin(&[]), link("127.0.0.1", false));
        let shown = headers(&[("host", "localhost"), ("authorization", &value)]);
        prop_assert!(admit(&shown, &loopback, &admin).is_err());
        let host = headers(&[("host", &value), ("authorization", &format!("Bearer {TOKEN}"))]);
        if admit(&host, &loopback, &admin).is_ok() {
            let name = name_of(&value).unwrap();
            let is_loopback = name.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
            prop_assert!(is_loopback || name.eq_ignore_ascii_case("localhost"));
        }
    }
}
