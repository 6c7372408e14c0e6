//! Sources that lie, stall or step back: what is in doubt waits, and no revocation does.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, run, until};

use crate::serving;

const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn turns(responder: &Responder, ca: &Ca, leaf: &Leaf, wanted: &Status) {
    let what = format!("{} turns {wanted:?}", leaf.serial);
    until(&what, PATIENCE, || (Ask::about(ca, leaf).at(responder.http(), "/").status == *wanted).then_some(()));
}

#[track_caller]
fn degraded(responder: &Responder, wanted: &str) {
    until(wanted, PATIENCE, || {
        let (status, text) = responder.readiness();
        (status == 200 && text.lines().any(|line| line.starts_with("degraded: ") && line.contains(wanted)))
            .then_some(())
    });
}

#[track_caller]
fn in_order(responder: &Responder) {
    until("all is in order", PATIENCE, || (responder.readiness().1 == "ready\n").then_some(()));
}

#[test]
fn an_error_page_in_the_place_of_the_crl_does_not_keep_the_index_from_revoking() {
    let ca = Ca::new("CA");
    let (leaf, held) = (ca.issue(), ca.issue());
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    let crl = ca.write_crl("ca.crl");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("index = {:?}\ncrl = {crl:?}", ca.index());
    let responder = Site::new(&[Tenant::new("both").issuer("ca", &ca, &sources, &signer.lines())]).start();
    fs::write(&crl, "<html>502 Bad Gateway</html>").unwrap();
    degraded(&responder, "ca.crl");
    ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    ca.release(&held);
    turns(&responder, &ca, &leaf, &Status::Revoked);
    Ask::about(&ca, &held).at(responder.http(), "/").expect(Status::Revoked);
    ca.write_crl("ca.crl");
    in_order(&responder);
    turns(&responder, &ca, &held, &Status::Good);
}

#[test]
fn an_operator_lets_a_list_shrink_while_the_service_runs() {
    let (ca, (leaf, gone), responder) = serving(|ca| {
        let leaf = ca.issue();
        let end = ca.index_fields(&leaf)[1].clone();
        let more = |number: u32| format!("V\t{end}\t\t{:X}\tunknown\t/CN=more\n", 0x50_0000 + number);
        let index = fs::read_to_string(ca.index()).unwrap();
        ca.replace_index(&(index + &(0..40).map(more).collect::<String>()));
        (leaf, Leaf { path: ca.file("none"), serial: "500001".into() })
    });
    turns(&responder, &ca, &gone, &Status::Good);
    let whole = fs::read_to_string(ca.index()).unwrap();
    ca.replace_index(&whole.lines().take(2).map(|line| format!("{line}\n")).collect::<String>());
    ca.revoke(&leaf, &[]);
    turns(&responder, &ca, &leaf, &Status::Revoked);
    degraded(&responder, "no longer lists 40 of the");
    Ask::about(&ca, &gone).at(responder.http(), "/").expect(Status::Good);
    let (_, text) = responder.readiness();
    let file = text.split("`touch ").nth(1).and_then(|rest| rest.split('`').next()).expect("the remedy names a file");
    fs::write(file, "").unwrap();
    in_order(&responder);
    Ask::about(&ca, &gone).at(responder.http(), "/").expect(Status::error("unauthorized"));
    turns(&responder, &ca, &leaf, &Status::Revoked);
}

#[test]
fn both_programs_know_the_same_sections() {
    // `ostia-precompute sync --accept-shrink`, which an error text names as the remedy, refused files with [tls] or [log].
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    let tls = format!("[tls]\nlisten = \"127.0.0.1:1\"\ncertificate = {:?}\nkey = {:?}", ca.certificate(), ca.key());
    site.edit_config(|text| {
        let sections = format!("{tls}\n[cache]\noctets = 1048576\n[log]\naccess_sample = 0\n[http]\nworkers = 1");
        text.replacen("[http]", &sections, 1)
    });
    let checked = site.check();
    assert!(checked.status.success(), "{checked:?}");
    let synced = site.precompute("sync", &[]);
    assert!(synced.status.success(), "{synced:?}");
    site.edit_config(|text| format!("nonsense = 1\n{text}"));
    let known = |said: &str| said.lines().find(|line| line.contains("known keys here:")).map(str::to_owned);
    let (responder, precompute) = (known(&site.check().text), known(&site.precompute("sync", &[]).text));
    assert!(responder.is_some(), "{}", site.check().text);
    let list = |line: Option<String>| line.and_then(|line| line.split("known keys here:").nth(1).map(str::to_owned));
    assert_eq!(list(responder), list(precompute));
}

#[test]
fn a_source_that_hangs_holds_up_nobody_else() {
    let (a, b, c) = (Ca::new("CA of A"), Ca::new("CA of B"), Ca::new("CA of C"));
    let (leaf_a, leaf_b, leaf_c) = (a.issue(), b.issue(), c.issue());
    let tenant = |name: &str, ca: &Ca, index: &Path| {
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
        tenant.issuer("ca", ca, &format!("index = {index:?}"), &signer.lines())
    };
    // Reads of the second version take 20 seconds each, as on a network file system whose server went away; longer ones
    // would keep strace, and with it the end of the process, from being done with the test.
    let (now, hangs) = (b.file("now.txt"), b.file("hangs.txt"));
    symlink(b.index(), &now).unwrap();
    fs::copy(b.index(), &hangs).unwrap();
    let site = Site::new(&[tenant("a", &a, &a.index()), tenant("b", &b, &now)]);
    let serve = site.serve();
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "-o", "/dev/null", "-P"]).arg(&hangs);
    command.args(["-e", "trace=read,pread64", "-e", "inject=read,pread64:delay_enter=20s", "--"]);
    command.arg(serve.get_program()).args(serve.get_args());
    let mut responder = site.start_by(command);
    symlink(&hangs, b.file("next.txt")).unwrap();
    fs::rename(b.file("next.txt"), &now).unwrap();
    degraded(&responder, "b/ca: the sources were last checked at");

    let revoked = |ca: &Ca, leaf: &Leaf, path: &str| {
        ca.revoke(leaf, &[]);
        until("the revocation", PATIENCE, || {
            (Ask::about(ca, leaf).at(responder.http(), path).status == Status::Revoked).then_some(())
        });
    };
    revoked(&a, &leaf_a, "/a");
    responder.reload(|text| text + &tenant("c", &c, &c.index()).text());
    let read_again = "the configuration was read again";
    until(read_again, PATIENCE, || responder.log().contains(read_again).then_some(()));
    revoked(&c, &leaf_c, "/c");
    Ask::about(&b, &leaf_b).at(responder.http(), "/b").expect(Status::Good);

    responder.signal("TERM");
    let stopped = || responder.log().contains("\"message\":\"stopped\"").then_some(());
    until("the service has stopped", Duration::from_secs(15), stopped);
    assert!(responder.log().contains("the program ends without waiting"), "{}", responder.log());
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
}

/// A source that would be read in 72 seconds: each piece of it after two, as on a network that is all but down. Much of that
/// time this test sleeps, beside others.
#[test]
fn a_source_that_is_not_read_within_a_minute_holds_up_neither_a_start_that_knows_it_nor_a_reload() {
    const MINUTE: Duration = Duration::from_secs(60);
    /// Bytes of a piece, as the index is read; and how many there are.
    const PIECE: usize = 128 << 10;
    const PIECES: usize = 36;
    let (quick, slow) = (Ca::new("Quick CA"), Ca::new("Slow CA"));
    let (quick_leaf, old_leaf) = (quick.issue(), slow.issue());
    let tenant = |name: &str, ca: &Ca, index: &Path| {
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
        tenant.issuer("ca", ca, &format!("index = {index:?}"), &signer.lines())
    };
    let (now, dripping) = (slow.file("now.txt"), slow.file("dripping.txt"));
    symlink(slow.index(), &now).unwrap();
    let knowing = Site::new(&[tenant("quick", &quick, &quick.index()), tenant("slow", &slow, &now)]);
    let mut knowing = knowing.start();
    assert!(knowing.end_by("TERM").success());
    // The same certificates and another, and much that nobody asks about.
    let new_leaf = slow.issue();
    let mut index = fs::read_to_string(slow.index()).unwrap();
    for number in 0.. {
        if index.len() > PIECE * (PIECES - 1) {
            break;
        }
        let subject = "a name that is long ".repeat(400);
        index += &format!("V\t351231235959Z\t\t{:08X}\tunknown\t/CN={subject}\n", 0x7000_0000 + number);
    }
    fs::write(&dripping, index).unwrap();
    symlink(&dripping, slow.file("next.txt")).unwrap();
    fs::rename(slow.file("next.txt"), &now).unwrap();
    let start = |site: Site| {
        let serve = site.serve();
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-q", "-o", "/dev/null", "-P"]).arg(&dripping);
        command.args(["-e", "trace=read,pread64", "-e", "inject=read,pread64:delay_enter=2s", "--"]);
        command.arg(serve.get_program()).args(serve.get_args());
        site.start_within(MINUTE + PATIENCE, command, Stdio::null())
    };
    let ask_quick = Ask::about(&quick, &quick_leaf);
    let [ask_old, ask_new] = [&old_leaf, &new_leaf].map(|leaf| Ask::about(&slow, leaf));
    let good = |ask: &Ask, responder: &Responder, path: &str| _ = ask.at(responder.http(), path).expect(Status::Good);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            let responder = start(knowing.into_site());
            assert!(begin.elapsed() > MINUTE, "it is waited for: {:?}", begin.elapsed());
            degraded(&responder, "slow/ca: the sources have not been read since the start");
            // What the book knows is answered.
            good(&ask_quick, &responder, "/quick");
            good(&ask_old, &responder, "/slow");
            ask_new.at(responder.http(), "/slow").expect(Status::error("unauthorized"));
            // And the source once it has been read.
            until("it has been read", MINUTE, || (responder.readiness().1 == "ready\n").then_some(()));
            good(&ask_new, &responder, "/slow");
        });
        let responder = start(Site::new(&[tenant("quick", &quick, &quick.index())]));
        let begin = Instant::now();
        responder.reload(|text| text + &tenant("slow", &slow, &now).text());
        good(&ask_quick, &responder, "/quick");
        let refused = || responder.log().contains("the configuration stays as it was").then_some(());
        until("the reload is refused", MINUTE + PATIENCE, refused);
        assert!(begin.elapsed() > MINUTE, "{:?}", begin.elapsed());
        let (status, said) = responder.readiness();
        assert!(status == 200 && said.contains("slow/ca") && said.contains("has not read them within 60s"), "{said}");
        assert_eq!(responder.metric("ostia_config_faulty", ""), 1.0);
        good(&ask_quick, &responder, "/quick");
    });
}

#[test]
fn check_reads_the_sources() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    let said = site.check();
    assert!(said.status.success() && said.text.contains("1 certificates from"), "{said:?}");
    fs::write(ca.index(), "garbage\n").unwrap();
    site.is_refused(&["index.txt:1: "]);
    let said = site.check_with(&["--without-sources"]);
    assert!(said.status.success(), "{said:?}");
    fs::remove_file(ca.index()).unwrap();
    site.is_refused(&["index.txt: cannot be read"]);
}

#[test]
fn a_crl_of_a_part_is_refused_where_unlisted_serials_are_good() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let config = fs::read_to_string(ca.file("openssl.cnf")).unwrap();
    let part = "[ crl ]\nissuingDistributionPoint = critical, @part\n";
    let config = config.replace("[ crl ]\n", part) + "\n[ part ]\nfullname = URI:http://ca.example/1.crl\n";
    fs::write(ca.file("openssl.cnf"), config).unwrap();
    let crl = ca.write_crl("ca.crl");
    let tenant = |policy: &str| {
        let tenant = Tenant::new("part").set(policy);
        Site::new(&[tenant.issuer("ca", &ca, &format!("crl = {crl:?}"), &signer.lines())])
    };
    tenant("unlisted = \"good\"\naccept_unlisted_as_good = true")
        .is_refused(&["ca.crl: ", "would vouch for all others"]);
    assert!(tenant("unlisted = \"unauthorized\"").check().status.success());
}

#[test]
fn what_is_older_than_the_tenant_allows_is_told_to_nobody_new() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let script = "openssl ca -config openssl.cnf -gencrl -crl_lastupdate 250101000000Z -crl_nextupdate 250201000000Z -out old.crl";
    let ended = run(Command::new("bash").args(["-c", script]).current_dir(ca.dir()));
    assert!(ended.status.success(), "{ended:?}");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("index = {:?}\ncrl = {:?}", ca.index(), ca.file("old.crl"));
    let tenant = |settings: &str| Tenant::new("old").set(settings).issuer("ca", &ca, &sources, &signer.lines());
    // What was last said counts for as long as the tenant allows.
    let responder = Site::new(&[tenant("stale_after = \"3650d\"")]).start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    degraded(&responder, "the CRL has been out of date");

    // By default that is a week.
    let site = Site::new(&[tenant("")]);
    let checked = site.check();
    let told = checked.text.contains("old.crl: the CRL has been out of date since 2025-02-01T00:00:00Z");
    assert!(!checked.status.success() && told, "{checked:?}");
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Error("trylater".into()));

    let responder = Site::new(&[tenant("stale_after = \"2h\"")]).start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Error("trylater".into()));
    degraded(&responder, "nothing new is signed");
    // A CRL of today mends it.
    ca.write_crl("old.crl");
    turns(&responder, &ca, &leaf, &Status::Good);
}

/// An expired CRL went on giving good with four days of validity from now.
#[test]
fn what_a_crl_alone_says_ends_with_that_crl_or_so_much_later_as_is_allowed() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let crl = |next_update: &str| {
        let script = format!(
            "openssl ca -config openssl.cnf -gencrl -crl_lastupdate $(date -u -d '-2 hours' +%Y%m%d%H%M%SZ) \
             -crl_nextupdate $(date -u -d '{next_update}' +%Y%m%d%H%M%SZ) -out new.crl && mv new.crl ca.crl"
        );
        let ended = run(Command::new("bash").args(["-c", &script]).current_dir(ca.dir()));
        assert!(ended.status.success(), "{ended:?}");
    };
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("crl = {:?}", ca.file("ca.crl"));
    let policy = "unlisted = \"good\"\naccept_unlisted_as_good = true";
    crl("+1 hour");
    let site = Site::new(&[Tenant::new("alone").set(policy).issuer("ca", &ca, &sources, &signer.lines())]);
    assert!(site.check().status.success());
    let responder = site.start();
    let left = |responder: &Responder, what: &str, wanted: std::ops::RangeInclusive<u64>| {
        let answer = Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        let script = format!("echo $(( $(date -d '{}' +%s) - $(date +%s) ))", answer.next_update.as_ref().unwrap());
        let left: u64 = run(Command::new("bash").args(["-c", &script])).text.trim().parse().unwrap();
        assert!(wanted.contains(&left), "{what}: {left} s");
    };
    left(&responder, "the hour that the CRL has left", 3600 - 120..=3600);
    // What it says counts until its end, also where it cannot be read at a start.
    let hidden = ca.file("hidden.crl");
    fs::rename(ca.file("ca.crl"), &hidden).unwrap();
    let responder = responder.kill_and_start_again();
    left(&responder, "what is left of the hour, as the book knows", 3600 - 240..=3600);
    fs::rename(&hidden, ca.file("ca.crl")).unwrap();
    // Its end comes while nobody reads it again.
    crl("+3 seconds");
    until("the end is told", PATIENCE, || responder.log().contains("the CRL is out of date").then_some(()));
    degraded(&responder, "the CRL has been out of date");
    let checked = responder.site.check();
    assert!(
        !checked.status.success() && checked.text.contains("ca.crl: the CRL has been out of date since"),
        "{checked:?}"
    );
    let later = Status::error("trylater");
    turns(&responder, &ca, &leaf, &later);
    degraded(&responder, "nothing is signed: the CRL is the only source");
    // What was revoked by it is no exception: a newer CRL may say something else.
    let responder = responder.kill_and_start_again();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(later);
    responder.reload(|text| text.replacen("crl = ", "crl_grace = \"3h\"\ncrl = ", 1));
    turns(&responder, &ca, &leaf, &Status::Good);
    left(&responder, "three hours after the CRL's end", 3 * 3600 - 240..=3 * 3600);
    degraded(&responder, "the CRL has been out of date");
    // A new CRL ends all of that.
    crl("+1 hour");
    until("it is in order", PATIENCE, || (responder.readiness().1 == "ready\n").then_some(()));
}

/// Beside an index a CRL vouches for nobody, so its end ends nothing at once, and what it revoked stays.
#[test]
fn the_end_of_a_crl_beside_an_index_ends_no_answer_and_takes_nothing_back() {
    let ca = Ca::new("CA");
    let (leaf, revoked) = (ca.issue(), ca.issue());
    let index = fs::read_to_string(ca.index()).unwrap();
    ca.revoke(&revoked, &[]);
    let script = "openssl ca -config openssl.cnf -gencrl -crl_lastupdate $(date -u -d '-2 hours' +%Y%m%d%H%M%SZ) \
         -crl_nextupdate $(date -u -d '-1 hour' +%Y%m%d%H%M%SZ) -out ca.crl";
    let ended = run(Command::new("bash").args(["-c", script]).current_dir(ca.dir()));
    assert!(ended.status.success(), "{ended:?}");
    ca.replace_index(&index);
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("index = {:?}\ncrl = {:?}", ca.index(), ca.file("ca.crl"));
    let site = Site::new(&[Tenant::new("both").issuer("ca", &ca, &sources, &signer.lines())]);
    let checked = site.check();
    assert!(!checked.status.success() && checked.text.contains("the CRL has been out of date since"), "{checked:?}");
    let responder = site.start();
    let answer = Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    let script = format!("echo $(( $(date -d '{}' +%s) - $(date +%s) ))", answer.next_update.as_ref().unwrap());
    let left: u64 = run(Command::new("bash").args(["-c", &script])).text.trim().parse().unwrap();
    assert!(left > 95 * 3600, "the whole validity: {left} s");
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
    degraded(&responder, "the CRL has been out of date");
}

/// Both files were named, so that the wrong one was fetched anew.
#[test]
fn of_a_crl_and_its_delta_the_one_that_is_out_of_date_is_named() {
    let ca = Ca::new("CA");
    let crl = ca.write_crl("ca.crl");
    let script = "sed 's/@BASE@/1/' delta.cnf > old.cnf && openssl ca -config old.cnf -gencrl -crlexts delta_crl -crl_lastupdate 250101000000Z -crl_nextupdate 250201000000Z -out delta.crl";
    ca.write_delta_crl(1, "", "delta.crl");
    let ended = run(Command::new("bash").args(["-c", script]).current_dir(ca.dir()));
    assert!(ended.status.success(), "{ended:?}");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("crl = {crl:?}\ndelta_crl = {:?}", ca.file("delta.crl"));
    let tenant = Tenant::new("tests").set("unlisted = \"unknown\"").issuer("ca", &ca, &sources, &signer.lines());
    let checked = Site::new(&[tenant]).check();
    let told = "delta.crl: the CRL has been out of date";
    assert!(
        !checked.status.success() && checked.text.contains(told) && !checked.text.contains("ca.crl,"),
        "{checked:?}"
    );
}
