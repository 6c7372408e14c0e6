use super::*;
use crate::{
    ocsp::{About, IssuerKey},
    pki::Serial,
};

const NOW: UnixTime = UnixTime(1_395_430_461);
const SECRET: &str = "7391-secret";

fn keys(serials: &[&str]) -> Vec<CacheKey> {
    let issuer = IssuerKey::of_key_hash(&[0xab; 32]);
    let single =
        |serial: &&str| CacheKey { issuer, about: Serial::from_hex(serial).map_or(About::All, About::Certificate) };
    serials.iter().map(single).collect()
}

fn token() -> Token {
    Token(Zeroizing::new(SECRET.to_owned()))
}

fn akamai() -> EdgeGrid {
    EdgeGrid::read(&format!("client_token = akab-client\nclient_secret = {SECRET}\naccess_token = akab-access\n"))
        .unwrap()
}

fn template(credentials: Option<Token>) -> Template {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Template {
        method: "PURGE".to_owned(),
        headers: vec![header("X-Keys", "{keys}"), header("Authorization", "Basic {credentials}")],
        body: "tags={keys_by_comma};json={keys_as_json};{credentials}".to_owned(),
        credentials,
    }
}

/// A request as it is compared: its method, its headers line by line, and its body.
fn written(driver: &Driver, keys: &[CacheKey]) -> String {
    let url: SourceUrl = "https://purge.example/ccu/v3/invalidate/tag/production".parse().unwrap();
    let Request { method, headers, body } = driver.request(&url, keys, NOW, "nonce-1");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {}\n", **value)).collect();
    format!("{method}\n{headers}\n{}", String::from_utf8(body).unwrap())
}

#[test]
fn each_vendor_is_told_as_its_documents_say() {
    let two = keys(&["0A1B", ""]);
    let (one, all) = ("abababababababab-0a1b", "abababababababab");
    for (driver, wanted) in [
        (Driver::VarnishBan, format!("BAN\nSurrogate-Key: {one} {all}\n\n")),
        (Driver::VarnishXkey { is_soft: false }, format!("PURGE\nxkey-purge: {one} {all}\n\n")),
        (Driver::VarnishXkey { is_soft: true }, format!("PURGE\nxkey-softpurge: {one} {all}\n\n")),
        (
            Driver::Fastly { token: token(), is_soft: false },
            format!(
                "POST\nFastly-Key: {SECRET}\nAccept: application/json\nContent-Type: application/json\n\n{{\"surrogate_keys\":[\"{one}\",\"{all}\"]}}"
            ),
        ),
        (
            Driver::Fastly { token: token(), is_soft: true },
            format!(
                "POST\nFastly-Key: {SECRET}\nAccept: application/json\nContent-Type: application/json\nFastly-Soft-Purge: 1\n\n{{\"surrogate_keys\":[\"{one}\",\"{all}\"]}}"
            ),
        ),
        (
            Driver::Cloudflare { token: token() },
            format!(
                "POST\nAuthorization: Bearer {SECRET}\nContent-Type: application/json\n\n{{\"tags\":[\"{one}\",\"{all}\"]}}"
            ),
        ),
        (
            Driver::Template(template(Some(token()))),
            format!(
                "PURGE\nX-Keys: {one} {all}\nAuthorization: Basic {SECRET}\n\ntags={one},{all};json=[\"{one}\",\"{all}\"];{{credentials}}"
            ),
        ),
    ] {
        let digits = |text: String| text.to_lowercase();
        assert_eq!(digits(written(&driver, &two)), digits(wanted), "{driver:?}");
    }
    let of_akamai = written(&Driver::Akamai(akamai()), &two).to_lowercase();
    let begin = "post\nauthorization: eg1-hmac-sha256 client_token=akab-client;access_token=akab-access;timestamp=20140321t19:34:21+0000;nonce=nonce-1;signature=";
    let end = format!("\ncontent-type: application/json\n\n{{\"objects\":[\"{one}\",\"{all}\"]}}");
    assert!(of_akamai.starts_with(begin) && of_akamai.ends_with(&end), "{of_akamai}");
}

#[test]
fn the_largest_request_is_one_that_the_vendor_takes() {
    let longest = "7f".repeat(Serial::MAX_OCTETS);
    let most = |count: usize| keys(&vec![&*longest; count]);
    let length = |driver: &Driver, count: usize| written(driver, &most(count)).len();
    assert!(length(&Driver::VarnishBan, limits::VARNISH_KEYS_MAX) < 8 << 10);
    assert!(length(&Driver::Akamai(akamai()), limits::AKAMAI_KEYS_MAX) < 50_000);
    let xkey = Driver::VarnishXkey { is_soft: true };
    assert!(length(&xkey, limits::VARNISH_KEYS_MAX) < 8 << 10);
}

#[test]
fn an_answer_counts_if_it_says_that_it_was_done() {
    let fastly = Driver::Fastly { token: token(), is_soft: false };
    let cloudflare = Driver::Cloudflare { token: token() };
    let (akamai, template) = (Driver::Akamai(akamai()), Driver::Template(template(None)));
    let (ban, xkey) = (Driver::VarnishBan, Driver::VarnishXkey { is_soft: false });
    for (driver, status, body, refused) in [
        (&ban, 200, "<html>Banned</html>", None),
        (&ban, 403, "", Some("answered 403: its acl `purgers` has to name this server")),
        (&ban, 405, "", Some("answered 405: its VCL has to take BAN with several keys")),
        (&xkey, 200, "Invalidated 3 objects", None),
        (&xkey, 501, "", Some("as systemd/varnish-xkey.vcl does")),
        (&fastly, 200, "{\"key\":\"108-1391560174-974124\"}", None),
        (
            &fastly,
            401,
            "{\"msg\":\"Provided credentials are missing or invalid\"}",
            Some("it does not accept `credentials_file`"),
        ),
        (&fastly, 404, "{\"msg\":\"Record not found\"}", Some("nothing is at `url`")),
        (&fastly, 302, "", Some("answered 302: it leads elsewhere, which is not followed")),
        (
            &cloudflare,
            200,
            "{\"success\":true,\"errors\":[],\"result\":{\"id\":\"9a7806061c88ada191ed06f989cc3dac\"}}",
            None,
        ),
        (
            &cloudflare,
            200,
            "{\"success\":false,\"errors\":[{\"code\":1134,\"message\":\"Unable to purge\"}]}",
            Some("Unable to purge"),
        ),
        (&cloudflare, 200, "<html>a captive portal</html>", Some("answered 200; it said: <html>a captive portal")),
        (&cloudflare, 429, "", Some("answered 429: too many requests; `per_minute` sets fewer")),
        (&akamai, 201, "{\"httpStatus\":201,\"detail\":\"Request accepted\",\"estimatedSeconds\":5}", None),
        (
            &akamai,
            403,
            "{\"title\":\"Forbidden\"}",
            Some("give them the right to purge; it said: {\"title\":\"Forbidden\"}"),
        ),
        (&akamai, 507, "", Some("answered 507")),
        (&template, 204, "", None),
        (&template, 500, "broken\r\n\u{7}", Some("answered 500; it said: broken")),
    ] {
        let answer = Answer { status, retry_after: None, body: body.as_bytes() };
        match (driver.judge(&answer, NOW), refused) {
            (Ok(()), None) => {}
            (Err(Refused { why, .. }), Some(wanted)) if why.contains(wanted) => {}
            (judged, wanted) => panic!("{driver:?} {status} {body}: {judged:?}, {wanted:?}"),
        }
    }
}

#[test]
fn an_answer_may_say_when_to_come_again() {
    let date = String::from_utf8(NOW.after(Duration::from_secs(90)).imf_fixdate().to_vec()).unwrap();
    for (text, wanted) in [
        ("5", Some(5)),
        (" 120 ", Some(120)),
        (&*date, Some(90)),
        ("Fri, 21 Mar 2014 19:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
    ] {
        let answer = Answer { status: 503, retry_after: Some(text), body: b"" };
        let refused = Driver::VarnishBan.judge(&answer, NOW).unwrap_err();
        assert_eq!(refused.retry_after, wanted.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn no_secret_is_shown_even_if_the_answer_quotes_it() {
    let mut plain = template(Some(token()));
    plain.body = String::new();
    for driver in [
        Driver::Fastly { token: token(), is_soft: true },
        Driver::Cloudflare { token: token() },
        Driver::Akamai(akamai()),
        Driver::Template(plain),
    ] {
        let body = format!("who is {SECRET}?");
        let answer = Answer { status: 401, retry_after: None, body: body.as_bytes() };
        let refused = driver.judge(&answer, NOW).unwrap_err();
        assert!(refused.why.contains("it said: who is …?"), "{refused:?}");
        assert!(!format!("{driver:?}").contains("7391"), "{driver:?}");
    }
}
