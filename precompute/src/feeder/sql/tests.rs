//! A feeder with a database of SQLite, whose rows a test writes.

use std::{collections::BTreeMap, path::Path};

use sqlx::{Connection as _, sqlite::SqliteConnection};

use super::*;
use crate::{
    feeder::{
        Feeders, Spec,
        tests::{PATIENCE, until},
    },
    ledger::{FetchKind, Fetching},
    pki::{Reason, Status, written::Radix},
    source::{Form, Listing, draft},
};

const EJBCA: &str = "CREATE TABLE CertificateData (fingerprint TEXT PRIMARY KEY, cAFingerprint TEXT, serialNumber TEXT \
    NOT NULL, status INT4 NOT NULL, expireDate INT8 NOT NULL, revocationDate INT8 NOT NULL, revocationReason INT4 NOT \
    NULL, updateTime INT8 NOT NULL)";

const OWN: &str = "CREATE TABLE certs (number BLOB, state TEXT, revoked TEXT, why INTEGER, ends TEXT, changed INTEGER)";
const QUERY: &str = "SELECT number AS serial, state AS status, revoked AS revoked_at, why AS reason, ends AS not_after, \
    changed AS changed_at FROM certs";

struct World {
    dir: tempfile::TempDir,
    runtime: Runtime,
    database: SqliteConnection,
    feeders: Feeders,
}

impl World {
    fn new(schema: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("ca.db"));
        let options = options.create_if_missing(true).busy_timeout(PATIENCE);
        let database = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
        let mut world = Self { dir, runtime, database, feeders: Feeders::default() };
        world.write(schema);
        world
    }

    fn write(&mut self, sql: &str) {
        self.runtime.block_on(sqlx::raw_sql(sql).execute(&mut self.database)).unwrap();
    }

    fn spec(&self, query: Query) -> Spec {
        Spec::Rows(RowsOfIssuer { source: self.source(query), issuer: draft::issuer() })
    }

    fn source(&self, query: Query) -> SqlSource {
        SqlSource {
            url: SqlUrl::Sqlite(self.dir.path().join("ca.db")),
            password_file: None,
            tls_ca: None,
            query,
            every: limits::ROWS_EVERY_MIN,
            whole_every: limits::ROWS_WHOLE_EVERY_MAX,
            overlap: limits::ROWS_OVERLAP,
            mirror: self.dir.path().join("fetched/rows"),
        }
    }
}

fn own() -> Query {
    Query::Own { text: QUERY.to_owned(), serials: Radix::Hexadecimal }
}

/// What a mirror lists: each serial number once.
fn listed(mirror: &Path) -> BTreeMap<String, Status> {
    let mut listed = BTreeMap::new();
    let Ok(listing) = Listing::open(mirror, Form::Mirrored) else { return listed };
    for line in listing {
        let line = line.unwrap();
        assert_eq!(listed.insert(line.serial.to_string(), line.record.status), None, "{}", line.serial);
    }
    listed
}

fn revoked(time: u64, reason: Reason) -> Status {
    Status::Revoked { time: UnixTime(time), reason }
}

#[track_caller]
fn becomes(world: &World, serial: &str, wanted: Option<Status>) {
    let mirror = world.dir.path().join("fetched/rows");
    until(&format!("{serial} becomes {wanted:?}"), || listed(&mirror).get(serial).copied() == wanted);
}

#[test]
fn rows_are_mirrored_with_what_changes_also_at_equal_instants_and_back_from_a_hold() {
    let mut world = World::new(OWN);
    world.write("INSERT INTO certs VALUES (X'0A', 'good', NULL, NULL, '2100-01-01 00:00:00', 1700000000), (X'0B', 'revoked', '2025-01-02 03:04:05', 1, NULL, 1700000000)");
    let feed = world.feeders.subscribe(&world.spec(own())).unwrap();
    becomes(&world, "0A", Some(Status::Good));
    becomes(&world, "0B", Some(revoked(1_735_787_045, Reason::KeyCompromise)));
    let whole = std::fs::metadata(world.dir.path().join("fetched/rows")).unwrap();
    // Others of the same instant, and one that was committed late.
    world.write("INSERT INTO certs VALUES (X'0C', 'good', NULL, NULL, NULL, 1700000000)");
    becomes(&world, "0C", Some(Status::Good));
    world.write("INSERT INTO certs VALUES (X'0D', 'revoked', '1700000000', 4, NULL, 1699999940)");
    becomes(&world, "0D", Some(revoked(1_700_000_000, Reason::Superseded)));
    world.write("UPDATE certs SET state = 'hold', revoked = '1700000001', changed = 1700000001 WHERE number = X'0A'");
    becomes(&world, "0A", Some(revoked(1_700_000_001, Reason::CertificateHold)));
    world.write("UPDATE certs SET state = 'good', revoked = NULL WHERE number = X'0A'");
    becomes(&world, "0A", Some(Status::Good));
    let now = std::fs::metadata(world.dir.path().join("fetched/rows")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(now.ino(), whole.ino(), "all of it was appended");
    // What nobody has changed is not appended again.
    let asked = feed.fetching().report().asked;
    until("it is asked again", || feed.fetching().report().asked > asked + 3);
    assert_eq!(std::fs::metadata(world.dir.path().join("fetched/rows")).unwrap().len(), now.len());
    assert_eq!(feed.fetching().report().complaint(), None);
}

/// All rows of a table that was filled within the overlap were taken for changes, too many of them, and so read again and
/// again: the next revocation of ten million took a minute and a half.
#[test]
fn a_table_that_was_filled_in_one_piece_is_read_once_and_each_change_after_that_is_appended() {
    use std::os::unix::fs::MetadataExt as _;
    let mut world = World::new(OWN);
    let (first, end) = (0x1000_0000, 0x1000_0000 + limits::CHANGES_MAX + 1);
    world.write(&format!(
        "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {end}) \
         INSERT INTO certs SELECT printf('%08X', i), 'good', NULL, NULL, NULL, 1700000000 FROM n"
    ));
    let spec = world.spec(own());
    let mut feed = world.feeders.subscribe(&spec).unwrap();
    let mirror = spec.mirror().to_owned();
    let inode = || std::fs::metadata(&mirror).map(|metadata| metadata.ino()).ok();
    let changes = || {
        let text = std::fs::read_to_string(&mirror).unwrap();
        text.split(MIRROR_CHANGES).nth(1).unwrap_or_default().to_owned()
    };
    until("it is read", || inode().is_some());
    let whole = inode();
    for (number, what) in [(1, "right after the reading"), (2, "a start that goes on from there")] {
        let asked = feed.fetching().report().asked;
        until("it is asked again", || feed.fetching().report().asked > asked + 3);
        let moment = 1_700_000_000 + number;
        world.write(&format!("INSERT INTO certs VALUES ('0{number}', 'revoked', '1700000000', 1, NULL, {moment})"));
        until(what, || changes().contains(&format!("\t0{number}\t")));
        assert_eq!(inode(), whole, "{what}: appended");
        drop(feed);
        world.feeders = Feeders::default();
        feed = world.feeders.subscribe(&spec).unwrap();
    }
    assert!(changes().lines().count() < 9, "nothing else, but for what a start gives again");
    assert_eq!(feed.fetching().report().complaint(), None);
}

#[test]
fn a_row_that_is_deleted_is_missed_by_the_next_reading_of_all() {
    let mut world = World::new(OWN);
    world.write("INSERT INTO certs VALUES (X'0A', 'good', NULL, NULL, NULL, 1700000000), (X'0B', '', NULL, NULL, NULL, 1700000000)");
    let source = SqlSource { whole_every: limits::ROWS_WHOLE_EVERY_MIN, ..world.source(own()) };
    let _feed = world.feeders.subscribe(&Spec::Rows(RowsOfIssuer { source, issuer: draft::issuer() })).unwrap();
    becomes(&world, "0B", Some(Status::Good));
    world.write("DELETE FROM certs WHERE number = X'0B'");
    becomes(&world, "0B", None);
    becomes(&world, "0A", Some(Status::Good));
}

#[test]
fn a_restart_goes_on_from_the_newest_row_that_the_mirror_has() {
    let mut world = World::new(OWN);
    world.write("INSERT INTO certs VALUES (X'0A', 'good', NULL, NULL, NULL, 1700000000)");
    let spec = world.spec(own());
    let feed = world.feeders.subscribe(&spec).unwrap();
    becomes(&world, "0A", Some(Status::Good));
    until("it was taken", || feed.fetching().was_asked());
    drop(feed);
    world.feeders = Feeders::default();
    // One that is old is not asked for, which shows that not all rows are read.
    world.write("INSERT INTO certs VALUES (X'0B', 'good', NULL, NULL, NULL, 1600000000), (X'0C', 'revoked', '1700000000', 0, NULL, 1700000000)");
    let feed = world.feeders.subscribe(&spec).unwrap();
    becomes(&world, "0C", Some(revoked(1_700_000_000, Reason::Unspecified)));
    assert_eq!(listed(feed.mirror()).keys().collect::<Vec<_>>(), ["0A", "0C"]);
}

#[test]
fn the_states_of_ejbca_are_read_as_it_means_them_and_another_ca_is_told() {
    let mut world = World::new(EJBCA);
    let spec = world.spec(Query::Ejbca);
    let mut rows = Rows::new(RowsOfIssuer { source: world.source(Query::Ejbca), issuer: draft::issuer() });
    let mirror = mirror::Mirror::new(spec.mirror());
    let stop = super::super::stop::Stop::default();
    let mut ask = || {
        let mut draft = mirror.draft().unwrap();
        let fetching = Fetching::new(FetchKind::Rows, String::new(), None);
        let question =
            Question { last: None, now: UnixTime::now(), within: PATIENCE, stop: &stop, fetching: &fetching };
        rows.ask(&question, &mut draft).map(|_| listed(draft.path()))
    };
    let problem = ask().unwrap_err().text;
    let fingerprint = query::fingerprint(&draft::issuer());
    assert!(problem.contains(&fingerprint) && problem.contains("is this the database of that CA"), "{problem}");

    let mut row = |serial: &str, status: u32, reason: i32, at: i64| {
        world.write(&format!(
            "INSERT INTO CertificateData VALUES ('{serial}', '{fingerprint}', '{serial}', {status}, 4102444800000, {at}, {reason}, 1700000000000)"
        ));
    };
    row("1", 20, -1, -1);
    row("2", 40, 1, 1_700_000_000_123);
    row("3", 40, 6, 1_700_000_000_123);
    row("4", 20, 8, 1_700_000_000_123);
    row("5", 60, -1, -1);
    row("6", 60, 4, 1_700_000_000_123);
    row("7", 21, -1, -1);
    row("8", 99, -1, -1);
    row("1461501637330902918203684832716283019655932542975", 40, 0, 1_700_000_000_123);
    row("-5", 20, -1, -1);
    let listed = ask().unwrap();
    let at = |reason| revoked(1_700_000_000, reason);
    for (serial, wanted) in [
        ("01", Status::Good),
        ("02", at(Reason::KeyCompromise)),
        ("03", at(Reason::CertificateHold)),
        ("04", Status::Good),
        ("05", Status::Good),
        ("06", at(Reason::Superseded)),
        ("07", Status::Good),
        ("08", revoked(0, Reason::CertificateHold)),
        (&"F".repeat(40), at(Reason::Unspecified)),
    ] {
        assert_eq!(listed.get(serial), Some(&wanted), "{serial}");
    }
    assert_eq!(listed.len(), 9);
    // Rows of another CA say nothing here.
    world.write("UPDATE CertificateData SET cAFingerprint = 'other' WHERE serialNumber = '1'");
    let mut draft = mirror.draft().unwrap();
    let fetching = Fetching::new(FetchKind::Rows, String::new(), None);
    let question = Question { last: None, now: UnixTime::now(), within: PATIENCE, stop: &stop, fetching: &fetching };
    rows.ask(&question, &mut draft).unwrap();
    assert_eq!(self::listed(draft.path()).len(), 8);
}

#[test]
fn the_flags_of_xipki_are_read_and_its_ca_is_found_by_name_and_key() {
    let mut world = World::new(
        "CREATE TABLE CA (ID INTEGER, CERT TEXT); CREATE TABLE CERT (CA_ID INTEGER, SN TEXT, REV INTEGER, RR INTEGER, RT \
         INTEGER, NAFTER INTEGER, LUPDATE INTEGER)",
    );
    let spec = world.spec(Query::Xipki);
    let feed = world.feeders.subscribe(&spec).unwrap();
    let complaint = || feed.fetching().report().complaint().unwrap_or_default();
    until("it is told", || complaint().contains("has 0 CAs in its table CA, and none with the name and key"));
    let text = BASE64_STANDARD.encode(draft::issuer().der());
    let (first, second) = text.split_at(64);
    let other = BASE64_STANDARD.encode(draft::certificate("CA", 8, &[]).der());
    world.write(&format!(
        "INSERT INTO CERT VALUES (3, 'a', 0, NULL, NULL, 253402300799, 1700000000), (3, '100', 1, 1, 1700000000, 4102444800, \
         1700000000), (7, '3f', 1, 6, 1700000000, 4102444800, 1700000000), (3, 'd', 9, NULL, NULL, 1, 1700000000), \
         (5, 'e', 0, NULL, NULL, 4102444800, 1700000000), (3, '-f', 0, NULL, NULL, 1, 1700000000); \
         INSERT INTO CA VALUES (3, '{first}\n{second}\n'), (5, '{other}'), (6, 'none'), \
         (7, '-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----')"
    ));
    let at = |reason| Some(revoked(1_700_000_000, reason));
    becomes(&world, "0A", Some(Status::Good));
    for (serial, wanted) in [
        ("0100", at(Reason::KeyCompromise)),
        ("3F", at(Reason::CertificateHold)),
        ("0D", Some(revoked(0, Reason::CertificateHold))),
        ("0E", None),
    ] {
        becomes(&world, serial, wanted);
    }
    assert_eq!(listed(feed.mirror()).len(), 4);
    world.write("UPDATE CERT SET REV = 0, RR = NULL, RT = NULL, LUPDATE = 1700000005 WHERE SN = '3f'");
    becomes(&world, "3F", Some(Status::Good));
}

#[test]
fn what_is_wrong_with_a_database_is_told_with_a_remedy_and_the_mirror_stays() {
    let mut world = World::new(OWN);
    world.write("INSERT INTO certs VALUES (X'0A', 'good', NULL, NULL, NULL, 1700000000)");
    let feed = world.feeders.subscribe(&world.spec(own())).unwrap();
    becomes(&world, "0A", Some(Status::Good));
    world.write("ALTER TABLE certs RENAME TO away");
    until("it is told", || feed.fetching().report().complaint().is_some());
    let complaint = feed.fetching().report().complaint().unwrap();
    assert!(complaint.contains("no such table: certs; is this the CA's database"), "{complaint}");
    assert_eq!(listed(feed.mirror()).len(), 1);
    world.write("ALTER TABLE away RENAME TO certs");
    until("it is well", || feed.fetching().report().complaint().is_none());

    for (query, told) in [
        ("SELECT number FROM certs", "gives the columns number, and none of them is `serial`"),
        ("SELECT 1 AS serial; DELETE FROM certs", "syntax error"),
        ("DELETE FROM certs RETURNING number AS serial", "syntax error"),
    ] {
        let query = Query::Own { text: query.to_owned(), serials: Radix::Decimal };
        let problem = super::super::trial::look(
            &Spec::Rows(RowsOfIssuer {
                source: SqlSource { mirror: world.dir.path().join("fetched/other"), ..world.source(query) },
                issuer: draft::issuer(),
            }),
            UnixTime::now(),
        );
        let problem = problem.unwrap_err().text;
        assert!(problem.contains(told), "{problem}");
    }
    becomes(&world, "0A", Some(Status::Good));
}

#[test]
fn instants_are_read_as_databases_write_them() {
    let second = 1_735_787_045_000;
    for (text, wanted) in [
        ("1735787045", Some((second, Unit::Seconds))),
        ("1735787045123", Some((second + 123, Unit::Milliseconds))),
        ("2025-01-02 03:04:05", Some((second, Unit::Timestamp))),
        ("2025-01-02 03:04:05.678901", Some((second, Unit::Timestamp))),
        ("2025-01-02 04:04:05+01", Some((second, Unit::Timestamp))),
        ("2025-01-02 04:04:05.5+01:00", Some((second, Unit::Timestamp))),
        ("2025-01-02T03:04:05Z", Some((second, Unit::Timestamp))),
        ("2025-01-02", Some((second - 11_045_000, Unit::Timestamp))),
        ("-1", None),
        ("0", None),
        ("", None),
        ("soon", None),
    ] {
        assert_eq!(row::moment(text), wanted, "{text}");
    }
}
