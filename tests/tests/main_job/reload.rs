//! A configuration that changes while the responder runs.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Site, Status, Tenant,
    http::{Connection, get, ocsp_target, request},
    programs, run, until,
};

use crate::serving;

const PATIENCE: Duration = Duration::from_secs(20);

fn tenant(name: &str, ca: &Ca) -> Tenant {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
    tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines())
}

#[test]
fn tenants_come_and_go_and_connections_stay() {
    let (a, b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let (leaf_a, leaf_b) = (a.issue(), b.issue());
    b.revoke(&leaf_b, &[]);
    let (tenant_a, tenant_b) = (tenant("a", &a), tenant("b", &b));
    let responder = Site::new(&[tenant_a]).start();
    let (ask_a, ask_b) = (Ask::about(&a, &leaf_a), Ask::about(&b, &leaf_b));
    let mut connection = Connection::open(responder.http()).unwrap();
    let mut ask = |ask: &Ask, path: &str| {
        connection.send(&request("GET", &ocsp_target(path, &ask.request()), "")).unwrap();
        connection.receive(false).unwrap().expect("the connection stays")
    };
    ask_a.read(&ask(&ask_a, "/a").body).expect(Status::Good);
    assert_eq!(ask(&ask_b, "/b").status, 404);

    responder.reload(|text| text + &tenant_b.text());
    until("the new tenant", PATIENCE, || (ask(&ask_b, "/b").status == 200).then_some(()));
    ask_b.read(&ask(&ask_b, "/b").body).expect(Status::Revoked);
    ask_a.read(&ask(&ask_a, "/a").body).expect(Status::Good);

    responder.reload(|text| text.replacen("path = \"/a\"", "path = \"/moved\"", 1));
    until("the other path", PATIENCE, || (ask(&ask_a, "/a").status == 404).then_some(()));
    ask_a.read(&ask(&ask_a, "/moved").body).expect(Status::Good);

    responder.reload(|text| text.replacen(&tenant_b.text(), "", 1));
    until("the end of the tenant", PATIENCE, || (ask(&ask_b, "/b").status == 404).then_some(()));
    ask_a.read(&ask(&ask_a, "/moved").body).expect(Status::Good);

    // Sources of a tenant that came later are followed as any other's; nobody follows those of one that is gone.
    a.revoke(&leaf_a, &[]);
    until("the revocation", PATIENCE, || {
        (ask_a.read(&ask(&ask_a, "/moved").body).status == Status::Revoked).then_some(())
    });
}

#[test]
fn a_configuration_that_is_refused_changes_nothing_and_is_told_until_a_good_one_comes() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let ask = Ask::about(&ca, &leaf);
    for (what, broken, problem) in [
        ("no TOML", "version = = 1", "is not TOML"),
        ("an unknown key", "nonsense = true", "nonsense"),
        ("a certificate that is not there", "certificate = \"gone.pem\"", "gone.pem"),
    ] {
        let mut before = String::new();
        responder.reload(|text| {
            before = text.clone();
            match broken.split_once(" = ").unwrap().0 {
                "certificate" => text.replacen("certificate = ", &format!("{broken}\n#"), 1),
                _ => format!("{broken}\n{text}"),
            }
        });
        until(what, PATIENCE, || responder.readiness().1.contains(problem).then_some(()));
        let (status, text) = responder.readiness();
        assert!(status == 200 && text.contains("the configuration was refused"), "{what}: {status} {text}");
        assert!(responder.log().contains("the configuration stays as it was"), "{what}");
        assert_eq!(responder.metric("ostia_config_faulty", ""), 1.0, "{what}");
        ask.at(responder.http(), "/").expect(Status::Good);

        responder.reload(|_| before);
        until("a good one", PATIENCE, || (responder.metric("ostia_config_faulty", "") == 0.0).then_some(()));
        assert!(!responder.readiness().1.contains("refused"), "{what}");
    }
}

#[test]
fn what_has_not_changed_keeps_its_answers_and_what_has_is_signed_anew() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let ask = Ask::about(&ca, &leaf);
    let target = ocsp_target("/", &ask.request());
    let first = get(responder.http(), &target);
    let reload = |edit: &dyn Fn(String) -> String| {
        let last = responder.log().matches("the configuration was read again").count();
        responder.reload(edit);
        until("the reload", PATIENCE, || {
            (responder.log().matches("the configuration was read again").count() > last).then_some(())
        });
    };
    reload(&|text| text);
    assert_eq!(get(responder.http(), &target).body, first.body, "nothing was signed again");
    assert_eq!(responder.metric("ostia_requests_total", "result=\"hit\""), 1.0, "counters go on");

    reload(&|text| text.replacen("[[tenant]]", "[[tenant]]\nvalidity = \"8h\"", 1));
    until("the other validity", PATIENCE, || (get(responder.http(), &target).body != first.body).then_some(()));
    let answer = get(responder.http(), &target);
    ask.read(&answer.body).expect(Status::Good);
    assert!(answer.cache_control_seconds("max-age") <= 4 * 3600, "{answer:?}");

    reload(&|text| text.replacen("[http]", "[http]\nworkers = 3", 1));
    assert!(responder.log().contains("http.workers"), "{}", responder.log());
}

#[test]
fn no_request_is_lost_while_the_configuration_is_read_again_and_again() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let ask = Ask::about(&ca, &leaf);
    let message = request("GET", &ocsp_target("/", &ask.request()), "");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(responder.http()).unwrap();
                    let mut answers = 0;
                    while !done.load(Relaxed) {
                        connection.send(&message).unwrap();
                        let reply = connection.receive(false).unwrap().expect("the connection stays");
                        assert_eq!(reply.status, 200);
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        for round in 0..10 {
            let text = format!("the reload {round}");
            responder.reload(|text| text.replacen("[[tenant]]", "# again\n[[tenant]]", 1));
            until(&text, PATIENCE, || {
                (responder.log().matches("the configuration was read again").count() > round).then_some(())
            });
        }
        done.store(true, Relaxed);
        let answers: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(answers > 100, "{answers}");
    });
    ask.at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn what_the_former_sources_revoke_while_others_are_read_in_their_place_stays_revoked() {
    let (ca, large) = (Ca::new("CA"), Ca::new("Large CA"));
    let leaf = ca.issue();
    let lagging = ca.file("lagging.txt");
    fs::copy(ca.index(), &lagging).unwrap();
    // Whose reading takes the reload some seconds.
    let lines = (0..400_000).map(|serial| format!("V\t491231235959Z\t\t{serial:08X}01\tunknown\t/CN={serial}\n"));
    large.replace_index(&lines.collect::<String>());
    let responder = Site::new(&[tenant("a", &ca)]).start();
    let ask = || Ask::about(&ca, &leaf).at(responder.http(), "/a").status;
    assert_eq!(ask(), Status::Good);
    let new_tenant = tenant("large", &large).text();
    responder.reload(|text| text.replace(ca.index().to_str().unwrap(), lagging.to_str().unwrap()) + &new_tenant);
    ca.revoke(&leaf, &[]);
    until("the revocation", PATIENCE, || (ask() == Status::Revoked).then_some(()));
    let is_over = || responder.log().contains("was read again");
    assert!(!is_over(), "the reload was over before; the large index is not large enough");
    until("the end of the reload", Duration::from_secs(60), || {
        assert_eq!(ask(), Status::Revoked);
        is_over().then_some(())
    });
    until("that the new source contradicts", PATIENCE, || {
        assert_eq!(ask(), Status::Revoked);
        (responder.metric("ostia_source_contradictions", "tenant=\"a\"") > 0.0).then_some(())
    });
    let again = responder.kill_and_start_again();
    assert_eq!(Ask::about(&ca, &leaf).at(again.http(), "/a").status, Status::Revoked);
}

/// Three CAs of three tenants and one that two of them share; certificates of all have the same serial numbers, and differ
/// in who is revoked.
#[test]
fn each_issuer_keeps_its_own_records_when_a_reload_changes_the_order_and_removes_one_in_the_middle() {
    let cas = ["A", "B", "C"].map(|name| Ca::new(&format!("CA {name}")));
    let leaves = cas.each_ref().map(|ca| [(); 3].map(|()| ca.issue()));
    let serials = leaves.each_ref().map(|leaves| leaves.each_ref().map(|leaf| leaf.serial.clone()));
    assert_eq!(serials[0], serials[1]);
    assert_eq!(serials[0], serials[2]);
    let index_before = fs::read(cas[0].index()).unwrap();
    for (place, (ca, leaves)) in cas.iter().zip(&leaves).enumerate() {
        ca.revoke(&leaves[place], &[]);
    }
    let signers = cas.each_ref().map(|ca| ca.delegate(Delegate::Proper, KeyKind::P256).lines());
    // The second tenant knows the first CA as it was before it revoked anybody.
    let before = cas[0].file("before.txt");
    fs::write(&before, index_before).unwrap();
    let issuer = |tenant: Tenant, place: usize, index: &Path| {
        tenant.issuer(&format!("ca{place}"), &cas[place], &format!("index = {index:?}"), &signers[place])
    };
    let tenant = |name: &str, issuers: &[usize]| {
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
        issuers.iter().fold(tenant, |tenant, &place| {
            issuer(tenant, place, &if (name, place) == ("b", 0) { before.clone() } else { cas[place].index() })
        })
    };
    let responder = Site::new(&[tenant("a", &[0, 1, 2]), tenant("b", &[0, 1]), tenant("c", &[1, 2])]).start();
    let check = |tenants: &[(&str, &[usize])]| {
        for (tenant, issuers) in tenants {
            for (&place, number) in issuers.iter().flat_map(|place| (0..3).map(move |number| (place, number))) {
                let revoked = number == place && (*tenant, place) != ("b", 0);
                let wanted = if revoked { Status::Revoked } else { Status::Good };
                // By `openssl ocsp`, which takes an answer for this CA's only if it names and is signed for it.
                Ask::about(&cas[place], &leaves[place][number])
                    .at(responder.http(), &format!("/{tenant}"))
                    .expect(wanted);
            }
        }
    };
    check(&[("a", &[0, 1, 2]), ("b", &[0, 1]), ("c", &[1, 2])]);
    let mut reloads = 0;
    let mut reload = |tenants: &[Tenant]| {
        reloads += 1;
        responder.reload(|text| {
            let head = text.find("\n[[tenant]]").unwrap();
            text[..head].to_owned() + &tenants.iter().map(Tenant::text).collect::<String>()
        });
        until("the reload", PATIENCE, || {
            (responder.log().matches("the configuration was read again").count() == reloads).then_some(())
        });
    };
    // Another order of tenants and issuers, without the issuer and then without the tenant in the middle.
    reload(&[tenant("c", &[2, 1]), tenant("b", &[1, 0]), tenant("a", &[2, 0])]);
    check(&[("c", &[2, 1]), ("b", &[1, 0]), ("a", &[2, 0])]);
    assert!(Ask::about(&cas[1], &leaves[1][0]).at(responder.http(), "/a").status == Status::error("unauthorized"));
    reload(&[tenant("a", &[0, 2]), tenant("c", &[1, 2])]);
    check(&[("a", &[0, 2]), ("c", &[1, 2])]);
    // One that comes back finds its own in the book.
    reload(&[tenant("b", &[0, 1]), tenant("c", &[2]), tenant("a", &[1, 2, 0])]);
    check(&[("b", &[0, 1]), ("c", &[2]), ("a", &[1, 2, 0])]);
}

#[test]
fn a_key_that_waits_for_a_restart_is_told_with_both_values() {
    let ca = Ca::new("CA");
    let responder = Site::new(&[tenant("a", &ca)]).start();
    responder.reload(|text| text.replacen("[http]", "[http]\nidle_deadline = \"7m\"", 1));
    let told =
        || responder.log().lines().find(|line| line.contains("takes effect at the next start")).map(str::to_owned);
    let line = until("it is told", PATIENCE, told);
    assert!(line.contains("http.idle_deadline") && line.contains("7m") && line.contains("in_use"), "{line}");
}

/// The service is found by its state directory, which any file may name. A deployment that named another file was told that it
/// had been read.
#[test]
fn a_reload_that_names_another_file_than_the_service_reads_fails_and_warnings_are_told() {
    let (ca, _, responder) = serving(Ca::issue);
    let (site, programs) = (&responder.site, programs());
    let path = |name: &str| site.dir().join(name);
    let reload = |program: &Path, file: &Path| run(Command::new(program).args(["reload", "--config"]).arg(file));
    let text = fs::read_to_string(site.config()).unwrap();
    fs::write(path("other.toml"), text.replacen("certificate = ", "certificate = \"nope.pem\"\n#", 1)).unwrap();
    std::os::unix::fs::symlink("ostia.toml", path("link.toml")).unwrap();
    for program in [&programs.responder, &programs.precompute] {
        let ended = reload(program, &path("other.toml"));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        for words in ["other.toml: the service does not read this file", &site.config().display().to_string()] {
            assert!(ended.text.contains(words), "no `{words}` in: {ended:?}");
        }
        for name in ["ostia.toml", "link.toml"] {
            let ended = reload(program, &path(name));
            assert!(ended.status.success() && ended.text.contains("read it again"), "{ended:?}");
            assert!(!ended.text.contains("warning"), "{ended:?}");
        }
    }
    // What waits for the next start, and what cannot be read.
    fs::write(site.config(), text.replacen("[http]\n", "[http]\nworkers = 3\n", 1)).unwrap();
    fs::rename(ca.index(), ca.file("away.txt")).unwrap();
    until("it is told", PATIENCE, || responder.readiness().1.contains("degraded").then_some(()));
    let ended = reload(&programs.precompute, &site.config());
    assert!(ended.status.success(), "{ended:?}");
    for words in ["warning: http.workers: this key has changed", "in the file is 3", "warning: tests/ca: ", "index.txt"]
    {
        assert!(ended.text.contains(words), "no `{words}` in: {ended:?}");
    }
}
