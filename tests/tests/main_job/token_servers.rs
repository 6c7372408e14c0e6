//! Both tokens of a signer behind servers of their own, which are killed and started again while certificates are
//! asked for: as network HSMs that restart.

use std::time::{Duration, Instant};

use ostia_tests::{Kept, SoftHsm, Status, TokenServer, until};

use super::token_loss::{House, PATIENCE, UNASKED};

/// A house whose tokens are `a` and `b`, each behind its server.
fn served() -> (House, [Option<TokenServer>; 2]) {
    let mut servers = [None, None];
    let keys = |hsm: &SoftHsm| format!("{:?}", ["a", "b"].map(|token| TokenServer::uri(hsm, token, "ocsp")));
    let house = House::new(keys, |site, hsm| {
        site.edit_config(|text| text.replacen("[admin]\n", "[journal]\n[admin]\n", 1));
        servers = ["a", "b"].map(|token| Some(TokenServer::start(hsm, token)));
        ["a", "b"].into_iter().fold(site, |site, token| {
            let (name, value) = TokenServer::environment(hsm, token);
            site.environment(&name, value)
        })
    });
    (house, servers)
}

#[test]
fn both_token_servers_killed_and_started_again_under_load_cost_no_answer() {
    let (house, mut servers) = served();
    let metric = |name: &str, token: &str| house.responder().metric(name, &format!("token=\"{token}\""));
    let logins = || ["a", "b"].map(|token| house.hsm.calls(&format!("C_Login token={token}")));
    let answered = || house.responder().metric("ostia_requests_total", "");
    house.expect_right(0..20);
    assert!(house.up("a") && house.up("b"));
    assert_eq!(logins(), [1, 1]);

    // One after the other, while the other signs. As slow as over a network, so that eight clients need both.
    house.hsm.order("C_Sign delay=4ms");
    for (place, token) in ["a", "b"].into_iter().enumerate() {
        let load = house.load(8, None);
        let before = answered();
        until("the load is there", PATIENCE, || (answered() > before + 50.0).then_some(()));
        drop(servers[place].take());
        house.until_up(token, false);
        house.expect_right(100 * (place as u32 + 1)..100 * (place as u32 + 1) + 40);
        let (status, said) = house.responder().readiness();
        assert!(status == 200 && said.contains(&format!("{token} has not signed")), "{said}");
        assert!(!said.contains("no key works"), "{said}");
        servers[place] = Some(TokenServer::start(&house.hsm, token));
        house.until_up(token, true);
        let kept = Kept::of(&house.responder().site);
        kept.expect("signer", &[("signer", "tests/ca"), ("token", token), ("what", "does not sign; others do")]);
        kept.expect("signer", &[("signer", "tests/ca"), ("token", token), ("what", "is at work again")]);
        kept.verifies();
        let before = metric("ostia_token_signatures_total", token);
        house.expect_no_errors(load);
        // However long that took.
        house.expect_no_errors(house.load(2, None));
        assert!(metric("ostia_token_signatures_total", token) > before + 10.0, "it signs again");
        // The PIN was given to the server of before and to that of now, once each.
        assert_eq!(logins(), if place == 0 { [2, 1] } else { [2, 2] });
    }

    // Both at once: what is kept is served, the rest is told to try later at once, and people are told.
    servers.iter_mut().for_each(|server| drop(server.take()));
    assert_eq!(house.ask(UNASKED), Err(3), "tryLater");
    ["a", "b"].iter().for_each(|token| house.until_up(token, false));
    let begin = Instant::now();
    (UNASKED + 1..UNASKED + 21).for_each(|number| assert_eq!(house.ask(number), Err(3), "tryLater"));
    house.expect_right(0..20);
    // One that waited would do so for 5 s.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let (status, said) = house.responder().readiness();
    assert!(status == 200 && said.contains("no key works"), "{said}");
    for told in ["does not sign; others do", "does not sign, and neither does any other"] {
        until(told, PATIENCE, || house.responder().log().contains(told).then_some(()));
    }
    assert_eq!(logins(), [2, 2]);

    let _servers = ["a", "b"].map(|token| TokenServer::start(&house.hsm, token));
    ["a", "b"].iter().for_each(|token| house.until_up(token, true));
    house.expect_right(UNASKED..UNASKED + 40);
    assert_eq!(house.verified(UNASKED + 30).status, Status::Good);
    assert_eq!(logins(), [3, 3]);
    for token in ["a", "b"] {
        assert_eq!((metric("ostia_token_threads_hanging", token), metric("ostia_token_locked", token)), (0.0, 0.0));
    }
}
