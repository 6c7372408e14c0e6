//! Sources that are refused, step back or lose what they listed.

use super::*;

#[test]
fn certificates_that_expired_may_be_pruned_at_any_number() {
    // A CA pruned what had expired long ago, and revoked one in the same write: nothing of it was taken.
    let mut world = World::with_index();
    let expired = |serials: std::ops::Range<u32>| list(serials).replace("350101000000Z", "240101000000Z");
    world.index(&(list(1..4) + &expired(10..50)));
    world.pass().unwrap();
    world.index(&(revoked(1, ",keyCompromise") + &list(2..5)));
    world.pass().unwrap();
    assert_eq!((world.status(1), world.status(4), world.status(10)), (Some(FINAL), Some(Status::Good), None));
    // All of them gone, and new ones in their place.
    world.index(&expired(10..50));
    world.pass_accepting(SHRINK).unwrap();
    world.index(&list(100..110));
    assert_eq!(world.pass().unwrap().counts.good, 10);
}

#[test]
fn a_list_that_shrank_revokes_and_adds_while_its_removals_wait_for_a_person() {
    let mut world = World::with_index();
    world.index(&(list(1..100) + &revoked(100, ",certificateHold")));
    world.pass().unwrap();
    world.index(&(revoked(1, ",keyCompromise") + &good(2) + &good(100) + &good(200)));
    world.look();
    let found: Vec<_> = [1, 50, 100, 200].map(|serial| world.status(serial)).into();
    assert_eq!(found, [Some(FINAL), Some(Status::Good), Some(HOLD), Some(Status::Good)]);
    let fault = world.report().fault.unwrap();
    let file = fault.split("touch ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    assert!(file.starts_with(world.state.path().to_str().unwrap()), "{fault}");
    fs::write(file, "").unwrap();
    world.watched.read_again_at = Some(Instant::now());
    world.look();
    assert_eq!((world.report().fault, world.status(50), world.status(100)), (None, None, Some(Status::Good)));
    assert!(!fs::exists(file).unwrap(), "it counts once");
}

/// Index, CRL and delta CRL, all in order: 1 to 9 are good, 7 and 8 on hold.
fn three_sources() -> World {
    let mut world =
        World::new(|ca| Sources { listings: vec![ListingFile::database(ca.path("listed.txt"))], ..crl_and_delta(ca) });
    world.index(&list(1..10));
    world.crl(&(revoked(7, ",certificateHold") + &revoked(8, ",certificateHold")), "ca.crl", COMPLETE);
    world.crl("", "delta.crl", &["-crlexts", "delta"]);
    world.pass().unwrap();
    assert_eq!((world.status(1), world.status(7), world.status(8)), (Some(Status::Good), Some(HOLD), Some(HOLD)));
    world
}

#[test]
fn a_refused_source_does_not_keep_the_revocations_of_the_others_waiting() {
    // An HTML page in the place of the CRL once froze the index's revocations, and any other fault likewise.
    let html = |world: &World, file: &str| fs::write(world.ca.path(file), "<html>404</html>").unwrap();
    let older = |world: &World| {
        fs::write(world.ca.path("crlnumber"), "00\n").unwrap();
        world.crl(&revoked(1, ",certificateHold"), "ca.crl", COMPLETE);
    };
    for (what, breaks, problem) in [
        ("no CRL", &(|world: &World| html(world, "ca.crl")) as &dyn Fn(&World), "ca.crl: "),
        ("no delta CRL", &|world| html(world, "delta.crl"), "delta.crl: "),
        ("an older CRL", &older, "older than the CRL taken before"),
    ] {
        let mut world = three_sources();
        breaks(&world);
        // Of the index: a revocation, a hold, a hold made final, a new certificate; and what is not safe: releases and removals.
        let index = revoked(1, ",keyCompromise")
            + &revoked(2, ",certificateHold")
            + &revoked(7, ",keyCompromise")
            + &list(3..7)
            + &good(8)
            + &good(10);
        world.index(&index);
        let error = world.pass().unwrap_err();
        assert!(error.contains(problem), "{what}: {error}");
        let found: Vec<_> = [1, 2, 7, 8, 9, 10].map(|serial| world.status(serial)).into();
        let good = Some(Status::Good);
        assert_eq!(found, [Some(FINAL), Some(HOLD), Some(FINAL), Some(HOLD), good, good], "{what}");
        assert_eq!(world.restart().status(1), Some(FINAL), "{what}: it is in the book");
    }
}

#[test]
fn a_refused_index_does_not_keep_the_revocations_of_the_crls_waiting() {
    let mut world = three_sources();
    world.index("garbage\n");
    world.crl(&revoked(1, ",keyCompromise"), "ca.crl", COMPLETE);
    world.crl(&revoked(2, ",keyCompromise"), "delta.crl", &["-crlexts", "delta"]);
    let error = world.pass().unwrap_err();
    assert!(error.contains("listed.txt:1: ") && !error.contains("delta.crl"), "{error}");
    let found: Vec<_> = [1, 2, 7, 9].map(|serial| world.status(serial)).into();
    assert_eq!(found, [Some(FINAL), Some(FINAL), Some(HOLD), Some(Status::Good)]);
    world.index(&list(1..10));
    world.pass().unwrap();
    assert_eq!(world.status(7), Some(Status::Good), "releases wait until all is in order");
}

#[test]
fn a_delta_crl_before_its_complete_crl_revokes_and_releases_nobody() {
    let mut world = World::new(crl_and_delta);
    // The base of the delta CRL is 1.
    fs::write(world.ca.path("crlnumber"), "00\n").unwrap();
    world.crl(&revoked(7, ",certificateHold"), "ca.crl", COMPLETE);
    world.crl(&(revoked(2, ",keyCompromise") + &revoked(7, ",removeFromCRL")), "delta.crl", &["-crlexts", "delta"]);
    let error = world.pass().unwrap_err();
    assert!(
        error.contains("delta.crl: holds changes since CRL 0x01, and the complete CRL is the older 0x00"),
        "{error}"
    );
    assert_eq!((world.status(2), world.status(7)), (Some(FINAL), None));
}

#[test]
fn a_pipe_in_the_place_of_a_source_is_refused_at_once() {
    // Opening one waits for a writer: the engine stood still for ever, and with it every revocation.
    let mut world =
        World::new(|ca| Sources { listings: vec![ListingFile::database(ca.path("listed.txt"))], ..crl_sources(ca) });
    for file in ["listed.txt", "ca.crl"] {
        assert!(std::process::Command::new("mkfifo").arg(world.ca.path(file)).status().unwrap().success());
    }
    world.refuses("not a regular file");
}

#[test]
fn while_the_book_is_being_written_sources_are_looked_at_and_saved_later() {
    let mut world = World::with_index();
    world.index(&list(1..5));
    world.look();
    let book = Arc::clone(&world.book);
    let writing = book.lock();
    world.index(&(list(1..4) + &revoked(4, ",keyCompromise")));
    world.watched.look(Accepted::default());
    assert!(world.status(4) == Some(FINAL) && !world.watched.ledger.is_saved());
    drop(writing);
    drop(book);
    world.watched.ledger.save().unwrap();
    assert!(world.watched.ledger.is_saved());
    assert_eq!(world.restart().status(4), Some(FINAL));
}

#[test]
fn an_older_crl_or_delta_put_back_releases_nobody() {
    // The fault froze the number only: a CRL without one, or a delta CRL that steps back, released holds.
    let mut world = World::new(crl_and_delta);
    let held = |serial| revoked(serial, ",certificateHold");
    let bytes = |world: &World, file: &str| fs::read(world.ca.path(file)).unwrap();
    let put = |world: &World, file: &str, content: &[u8]| fs::write(world.ca.path(file), content).unwrap();
    world.crl(&held(1), "ca.crl", COMPLETE);
    world.crl("", "delta.crl", &["-crlexts", "delta"]);
    let old_delta = bytes(&world, "delta.crl");
    world.pass().unwrap();
    world.crl(&held(2), "delta.crl", &["-crlexts", "delta"]);
    world.pass().unwrap();
    let (complete, delta) = (bytes(&world, "ca.crl"), bytes(&world, "delta.crl"));
    put(&world, "delta.crl", &old_delta);
    world.refuses("delta.crl: is older than the CRL taken before (its cRLNumber is lower");
    let mut world = world.restart();
    world.refuses("delta.crl: is older than the CRL taken before");
    put(&world, "delta.crl", &delta);
    world.pass().unwrap();

    // The same number once more, with other content; then a final revocation, which counts however odd its CRL is.
    let again = |world: &World, index: &str| {
        put(world, "crlnumber", b"01\n");
        world.crl(index, "ca.crl", COMPLETE);
    };
    again(&world, &held(5));
    world.refuses("has the cRLNumber 0x01 of the CRL taken before, and says something else");
    again(&world, &revoked(5, ",keyCompromise"));
    assert!(world.pass().unwrap_err().contains("says something else"));
    assert_eq!((world.status(1), world.status(2), world.status(5)), (Some(HOLD), Some(HOLD), Some(FINAL)));

    // Without a number, and without the extensions that would have it.
    put(&world, "ca.crl", &complete);
    world.pass().unwrap();
    let config = String::from_utf8(bytes(&world, "ca.cnf")).unwrap();
    put(&world, "ca.cnf", config.replace("crlnumber = crlnumber\n", "").as_bytes());
    world.crl("", "ca.crl", &[]);
    let error = world.pass().unwrap_err();
    assert!(error.contains("has no cRLNumber, and that of the CRL taken before was 0x01"), "{error}");
    assert_eq!((world.status(1), world.status(2)), (Some(HOLD), Some(HOLD)));

    // A CA that had to start again: the operator confirms it.
    fs::remove_file(world.ca.path("delta.crl")).unwrap();
    world.pass_accepting(Accepted { older: true, ..Accepted::default() }).unwrap_err();
    put(&world, "delta.crl", &old_delta);
    put(&world, "ca.crl", &complete);
    let mut world = world.restart();
    world.pass_accepting(Accepted { older: true, ..Accepted::default() }).unwrap();
    assert_eq!((world.status(1), world.status(2)), (Some(HOLD), None));
    world.pass().unwrap();
}

#[test]
fn of_several_entries_of_one_serial_the_strictest_counts() {
    // openssl lists none twice.
    const HELD: u8 = 6;
    const LOST: u8 = 1;
    let entries = |entries: &[(u8, u8)]| {
        draft::sequence(
            &entries.iter().map(|(serial, code)| draft::entry(*serial, &[draft::reason(*code)])).collect::<Vec<_>>(),
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, numbers: &[Vec<u8>], list: &[(u8, u8)]| {
        let crl = draft::Draft { entries: entries(list), ..draft::Draft::extensions(numbers) };
        fs::write(dir.path().join(file), crl.der()).unwrap();
    };
    write("ca.crl", &[draft::number(1)], &[(1, HELD), (1, LOST), (2, LOST), (2, HELD)]);
    write(
        "delta.crl",
        &[draft::number(2), draft::delta(1)],
        &[(3, HELD), (3, LOST), (4, LOST), (4, HELD), (5, 8), (5, HELD)],
    );
    let book = open_book(dir.path());
    let crls = ["ca.crl", "delta.crl"].map(|file| dir.path().join(file)).into();
    let sources = Sources { crls, ..Sources::default() };
    let mut watched = open(&book, issuer("tenant", draft::issuer(), sources));
    watched.pass(Accepted::default()).unwrap();
    let reason =
        |serial: u8| match watched.ledger.state().records.get(&Serial::from_magnitude(&[serial]).unwrap())?.status {
            Status::Revoked { reason, .. } => Some(reason.code()),
            Status::Good => None,
        };
    assert_eq!([1, 2, 3, 4, 5].map(reason), [LOST, LOST, LOST, LOST, HELD].map(Some));
}

#[test]
fn an_index_that_is_being_rewritten_loses_nobody_between_two_lines() {
    let mut world = World::with_index();
    world.index(&(list(1..100) + &revoked(100, ",keyCompromise")));
    world.look();
    world.watched.removal_delay = Duration::from_secs(3600);
    for half in [String::new(), list(1..3), revoked(1, ",keyCompromise") + &list(2..60) + &good(200)] {
        world.index(&half);
        world.look();
        assert_eq!((world.report().fault, world.status(99)), (None, Some(Status::Good)));
    }
    assert_eq!(
        (world.status(1), world.status(200)),
        (Some(FINAL), Some(Status::Good)),
        "revocations and additions at once"
    );
    assert!(world.contradictions() == 0 && world.watched.read_again_at.is_some(), "looked at again");
    world.watched.removal_delay = Duration::ZERO;
    world.watched.read_again_at = Some(Instant::now());
    world.look();
    assert_eq!((world.status(99), world.status(59)), (None, Some(Status::Good)), "it is still");
}

#[test]
fn an_end_of_validity_is_corrected_whatever_it_becomes() {
    // One after 2106 never corrected an earlier one: the certificate stayed expired.
    let mut world = World::with_index();
    let until = |end: &str| good(1).replace("350101000000Z", end);
    let serial = Serial::from_magnitude(&[1]).unwrap();
    for (end, wanted) in [
        ("240101000000Z", Some(UnixTime(1_704_067_200))),
        ("99991231235959Z", None),
        ("491231235959Z", Some(UnixTime(2_524_607_999))),
        ("21060207062815Z", None),
    ] {
        world.index(&until(end));
        assert_eq!(world.pass().unwrap().changed, 1, "{end}");
        assert_eq!(world.watched.ledger.state().records.get(&serial).unwrap().not_after, wanted, "{end}");
        assert_eq!(world.pass().unwrap().changed, 0, "{end}");
        world = world.restart();
        assert_eq!(world.pass().unwrap().changed, 0, "{end}");
    }
}

#[test]
fn a_serial_number_that_nobody_can_have_keeps_no_revocation_waiting() {
    // One such line refused the whole file, and with it every later revocation.
    let mut world =
        World::new(|ca| Sources { listings: vec![ListingFile::database(ca.path("listed.txt"))], ..crl_sources(ca) });
    world.crl("", "ca.crl", COMPLETE);
    let odd = |serial: &str| good(1).replace("\t0001\t", &format!("\t{serial}\t"));
    world.index(&(odd("00") + &good(1) + &odd("-01") + &odd(&"F".repeat(42)) + &revoked(2, ",keyCompromise")));
    assert_eq!(world.pass().unwrap().listed, 2);
    assert_eq!((world.status(1), world.status(2)), (Some(Status::Good), Some(FINAL)));
    assert_eq!(world.report().passed_over, 3);
}

#[test]
fn an_odd_line_keeps_no_revocation_waiting_and_is_told_until_it_is_mended() {
    // One certificate that ends in 2055, written with two digits, refused the whole file.
    let mut world = World::with_index();
    let line = |becomes: &str| good(1).replace("350101000000Z", becomes);
    world.index(&(line("550101000000Z") + &revoked(2, ",keyCompromise") + &revoked(3, ",removeFromCRL") + "\n"));
    world.pass().unwrap();
    assert_eq!([1, 2, 3].map(|serial| world.status(serial)), [Status::Good, FINAL, HOLD].map(Some));
    let warnings = world.report().warnings;
    assert!(
        matches!(&warnings[..], [one] if one.contains("listed.txt: line 1 expires `550101000000Z`") && one.contains("1 more")),
        "{warnings:?}"
    );
    assert_eq!(world.pass().unwrap().changed, 0);
    world.index(&(line("350101000000Z") + &revoked(2, ",keyCompromise") + &good(3)));
    world.pass().unwrap();
    assert_eq!((world.report().warnings.len(), world.status(3)), (0, Some(Status::Good)));
}

#[test]
fn a_crl_of_a_part_cannot_vouch_for_all_others() {
    let mut world = World::new(crl_sources);
    let mut issuer = followed("vouching", &world.ca, &world.watched.issuer.sources);
    issuer.unlisted_good = true;
    world.watched = open(&world.book, issuer);
    world.crl(&revoked(1, ",keyCompromise"), "ca.crl", &["-crlexts", "users"]);
    let error = world.pass().unwrap_err();
    assert!(error.contains("(issuingDistributionPoint distributionPoint onlyContainsUserCerts)"), "{error}");
    assert_eq!(world.status(1), Some(FINAL), "what it revokes counts");
    world.crl(&revoked(1, ",keyCompromise"), "ca.crl", COMPLETE);
    world.pass().unwrap();
}

/// A start that finds the file as it was does not read it at once: what it takes back was forgotten for some seconds, and with
/// it the alert.
#[test]
fn what_the_sources_take_back_is_known_from_the_start() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut world = World::with_index();
    let stamps = |world: &World| {
        let mut book = world.book.lock();
        book.reader().unwrap().load(&world.watched.issuer.id, |_, _, _| ()).unwrap().stamps
    };
    world.index(&(revoked(1, ",keyCompromise") + &good(2)));
    let begun = Instant::now();
    while stamps(&world).is_none() {
        assert!(begun.elapsed() < PATIENCE, "the book never notes what the index looks like");
        world.look();
        std::thread::sleep(Duration::from_millis(50));
    }
    // As long again, and more, for the index that takes a revocation back.
    let as_long = 2 * begun.elapsed() + Duration::from_secs(1);
    world.index(&(good(1) + &good(2)));
    let begun = Instant::now();
    while begun.elapsed() < as_long {
        world.look();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.contradictions(), 1);
    let mut world = world.restart();
    let terms = Terms { from_book: true, ..Terms::default() };
    world.watched.first_pass(terms, &stop::Stop::default()).unwrap();
    assert_eq!((world.contradictions(), world.status(1)), (1, Some(FINAL)));
}
