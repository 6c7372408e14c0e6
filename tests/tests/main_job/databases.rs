//! Certificates that a database has, as EJBCA keeps them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, DatabaseKind, DatabaseServer, Delegate, Haproxy, KeyKind, Leaf, Responder, Site, Status, Tenant,
    free_port, programs, run, until,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn site(ca: &Ca, sql: &str) -> Site {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    Site::new(&[Tenant::new("tests").issuer("ca", ca, &format!("sql = {{ {sql} }}\n"), &signer.lines())])
}

#[track_caller]
fn becomes(responder: &Responder, ca: &Ca, leaf: &Leaf, wanted: &Status) -> Duration {
    let begun = Instant::now();
    let said = || Ask::about(ca, leaf).at(responder.http(), "/").status;
    until(&format!("{} is {wanted:?}", leaf.serial), PATIENCE, || (said() == *wanted).then_some(()));
    begun.elapsed()
}

/// A database that is asked, changed, killed and started again.
fn ejbca(kind: DatabaseKind) {
    let (mut database, ca) = (DatabaseServer::start(kind), Ca::new("Database"));
    let (known, other) = (ca.issue(), ca.issue());
    let password = ca.file("db.password");
    database.write_password(&password);
    let sql = format!("url = {:?}, password_file = {password:?}, schema = \"ejbca\"", database.url());

    let told = site(&ca, &sql).check().text;
    // MariaDB does not tell whether there is what somebody may not read.
    let is_told = ["is this the CA's database", "permit that user to read"].iter().any(|words| told.contains(words));
    assert!(is_told, "no table: {told}");
    database.create_certificate_data();
    let told = site(&ca, &sql).check().text;
    assert!(told.contains("is this the database of that CA"), "no row: {told}");
    database.add(&ca, &known);
    let without = site(&ca, &sql.replace("password_file", "tls_ca").replace("db.password", "ca.pem")).check().text;
    assert!(!without.contains("7391"), "{without}");

    let responder = site(&ca, &sql).start();
    Ask::about(&ca, &known).at(responder.http(), "/").expect(Status::Good);
    Ask::about(&ca, &other).at(responder.http(), "/").expect(Status::error("unauthorized"));
    database.add(&ca, &other);
    becomes(&responder, &ca, &other, &Status::Good);
    // A hold and its end, and a revocation.
    database.set(&other, 40, 6);
    becomes(&responder, &ca, &other, &Status::Revoked);
    database.set(&other, 20, 8);
    becomes(&responder, &ca, &other, &Status::Good);
    database.set(&other, 40, 1);
    let took = becomes(&responder, &ca, &other, &Status::Revoked);
    // On a machine that is busy with other tests one of several has to be that quick.
    let again = || {
        let leaf = ca.issue();
        database.add(&ca, &leaf);
        becomes(&responder, &ca, &leaf, &Status::Good);
        database.set(&leaf, 40, 4);
        becomes(&responder, &ca, &leaf, &Status::Revoked)
    };
    let is_kept = |took: Duration| took < Duration::from_millis(1500);
    assert!(is_kept(took) || (0..5).any(|_| is_kept(again())), "{took:?}");

    // What it said last stays while it is away, and it is found again.
    database.kill();
    until("it is told", PATIENCE, || responder.readiness().1.contains("gives no answer").then_some(()));
    Ask::about(&ca, &known).at(responder.http(), "/").expect(Status::Good);
    Ask::about(&ca, &other).at(responder.http(), "/").expect(Status::Revoked);
    database.restart();
    database.set(&known, 40, 4);
    becomes(&responder, &ca, &known, &Status::Revoked);
    until("it is well", PATIENCE, || (!responder.readiness().1.contains("gives no answer")).then_some(()));
    let log = responder.log();
    assert!(!log.contains("7391") && log.contains("the source can be fetched again"), "{log}");
}

#[test]
fn postgresql_with_ejbcas_table_is_followed_within_a_second_and_through_a_crash() {
    ejbca(DatabaseKind::Postgres);
}

#[test]
fn mariadb_with_ejbcas_table_is_followed_within_a_second_and_through_a_crash() {
    ejbca(DatabaseKind::MariaDb);
}

#[test]
fn a_million_rows_are_read_and_a_change_among_them_counts() {
    const FIRST: u64 = 1 << 40;
    const COUNT: u64 = 1_000_000;
    let (database, ca) = (DatabaseServer::start(DatabaseKind::Postgres), Ca::new("Database"));
    let leaf = ca.issue();
    let password = ca.file("db.password");
    database.write_password(&password);
    database.create_certificate_data();
    database.add_many(&ca, FIRST, COUNT);
    database.add(&ca, &leaf);
    let sql = format!("url = {:?}, password_file = {password:?}, schema = \"ejbca\"", database.url());
    let responder = site(&ca, &sql).start();
    becomes(&responder, &ca, &leaf, &Status::Good);
    for (number, status) in [
        (0, Status::Good),
        (COUNT / 3, Status::Good),
        (COUNT - 1, Status::Good),
        (COUNT, Status::error("unauthorized")),
    ] {
        Ask::serial(&ca, &format!("{:X}", FIRST + number)).at(responder.http(), "/").expect(status);
    }
    database.set(&leaf, 40, 1);
    becomes(&responder, &ca, &leaf, &Status::Revoked);
}

#[test]
fn nothing_can_be_written_to_a_database_even_by_a_query_that_would() {
    let (database, ca) = (DatabaseServer::start(DatabaseKind::Postgres), Ca::new("Database"));
    let password = ca.file("db.password");
    database.write_password(&password);
    database.sql("CREATE SEQUENCE s; GRANT ALL ON SEQUENCE s TO ostia");
    let access = format!("url = {:?}, password_file = {password:?}", database.url());
    for (query, told) in [
        ("SELECT nextval('s') AS serial", "cannot execute nextval() in a read-only transaction"),
        ("SELECT 1 AS number", "none of them is `serial`"),
        ("SELECT serial FROM missing", "is this the CA's database"),
    ] {
        let told_all = site(&ca, &format!("{access}, query = {query:?}")).check().text;
        assert!(told_all.contains(told), "{told}: {told_all}");
    }
    fs::write(&password, "another\n").unwrap();
    let told = site(&ca, &format!("{access}, schema = \"ejbca\"")).check().text;
    assert!(told.contains("check the user in the URL") && !told.contains("another"), "{told}");
}

/// A CA whose database is xipki's.
fn xipki(kind: DatabaseKind) {
    let (database, ca) = (DatabaseServer::start(kind), Ca::new("Database"));
    let (known, other) = (ca.issue(), ca.issue());
    let password = ca.file("db.password");
    database.write_password(&password);
    let sql = format!("url = {:?}, password_file = {password:?}, schema = \"xipki\"", database.url());
    database.create_xipki(&Ca::new("Other"));
    let told = site(&ca, &sql).check().text;
    assert!(told.contains("has 1 CAs in its table CA, and none with the name and key"), "{told}");
    database.sql("DROP TABLE CERT; DROP TABLE CA");
    database.create_xipki(&ca);
    database.add_xipki(&known);

    let responder = site(&ca, &sql).start();
    Ask::about(&ca, &known).at(responder.http(), "/").expect(Status::Good);
    Ask::about(&ca, &other).at(responder.http(), "/").expect(Status::error("unauthorized"));
    database.add_xipki(&other);
    becomes(&responder, &ca, &other, &Status::Good);
    database.set_xipki(&other, Some(6));
    becomes(&responder, &ca, &other, &Status::Revoked);
    database.set_xipki(&other, None);
    becomes(&responder, &ca, &other, &Status::Good);
    database.set_xipki(&other, Some(4));
    becomes(&responder, &ca, &other, &Status::Revoked);

    let (issuer, url, password) = (ca.certificate(), database.url(), password.display().to_string());
    let mut command = std::process::Command::new(&programs().precompute);
    command.args(["source", "try", &url, "--schema", "xipki", "--password-file", &password, "--serial", &other.serial]);
    let without = run(&mut command);
    assert!(!without.status.success() && without.text.contains("by --issuer"), "{}", without.text);
    let tried = run(command.arg("--issuer").arg(issuer));
    for told in
        ["what a database has, with 2 certificates", "good 1, superseded 1", "2 rows; the newest change", "superseded"]
    {
        assert!(tried.text.contains(told), "{told}: {}", tried.text);
    }
}

#[test]
fn postgresql_with_xipkis_tables_is_followed_and_another_cas_database_is_told() {
    xipki(DatabaseKind::Postgres);
}

#[test]
fn mariadb_with_xipkis_tables_is_followed_and_another_cas_database_is_told() {
    xipki(DatabaseKind::MariaDb);
}

#[test]
fn over_tls_a_database_counts_with_its_ca_and_another_is_refused_and_a_pooler_may_stand_between() {
    let (database, ca) = (DatabaseServer::start(DatabaseKind::Postgres), Ca::new("Database"));
    let leaf = ca.issue();
    let password = ca.file("db.password");
    database.write_password(&password);
    database.create_certificate_data();
    database.add(&ca, &leaf);
    let sql = |url: &str, more: &str| format!("url = {url:?}, password_file = {password:?}, schema = \"ejbca\"{more}");
    // One connection for all, which follows the changes and reads all rows in turn, in transactions.
    let pooler = database.pooler();
    let pooled = sql(&database.url_at(pooler.port), ", whole_every = \"1s\"");
    let responder = site(&ca, &pooled).start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    database.set(&leaf, 40, 6);
    becomes(&responder, &ca, &leaf, &Status::Revoked);
    database.set(&leaf, 20, 8);
    becomes(&responder, &ca, &leaf, &Status::Good);
    assert!(
        !responder.log().contains("gives no answer") && !responder.log().contains("refuses"),
        "{}",
        responder.log()
    );
    drop(responder);

    let dir = tempfile::tempdir().unwrap();
    database.demand_tls(dir.path());
    let root = dir.path().join("root.pem");
    let over_tls = site(&ca, &sql(&database.url(), &format!(", tls_ca = {root:?}"))).start();
    Ask::about(&ca, &leaf).at(over_tls.http(), "/").expect(Status::Good);
    let other = ca.certificate();
    let checked = site(&ca, &sql(&database.url(), &format!(", tls_ca = {other:?}"))).check();
    for told in ["gives no answer", "is `tls_ca` the CA of its certificate"] {
        assert!(!checked.status.success() && checked.text.contains(told), "{told}: {}", checked.text);
    }
}

#[test]
fn a_database_that_hangs_is_cut_after_a_while_and_a_fail_over_behind_the_same_name_is_survived() {
    let (mut first, second) =
        (DatabaseServer::start(DatabaseKind::Postgres), DatabaseServer::start(DatabaseKind::Postgres));
    let ca = Ca::new("Database");
    let (leaf, later) = (ca.issue(), ca.issue());
    let password = ca.file("db.password");
    first.write_password(&password);
    for database in [&first, &second] {
        database.create_certificate_data();
        database.add(&ca, &leaf);
    }
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port(IpAddr::V4(Ipv4Addr::LOCALHOST)).port());
    let servers = format!(
        "  bind 127.0.0.1:{port}\n  server first 127.0.0.1:{} check inter 200 on-marked-down shutdown-sessions\n  \
         server second 127.0.0.1:{} check inter 200 backup\n",
        first.port(),
        second.port()
    );
    let _haproxy = Haproxy::start(dir.path(), &servers);
    until("haproxy listens", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let sql = format!("url = {:?}, password_file = {password:?}, schema = \"ejbca\"", first.url_at(port));
    let responder = site(&ca, &sql).start();
    becomes(&responder, &ca, &leaf, &Status::Good);

    let lock = first.sql_for(60, "LOCK TABLE CertificateData IN ACCESS EXCLUSIVE MODE");
    let (begun, told) = (Instant::now(), "makes this quick");
    until("it is told", PATIENCE, || responder.readiness().1.contains(told).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    drop(lock);
    first.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()");
    until("it is well", PATIENCE, || (!responder.readiness().1.contains(told)).then_some(()));

    second.add(&ca, &later);
    first.kill();
    becomes(&responder, &ca, &later, &Status::Good);
    until("it is well", PATIENCE, || (!responder.readiness().1.contains("gives no answer")).then_some(()));
}
