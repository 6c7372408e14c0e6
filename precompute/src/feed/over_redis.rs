//! Two writers and three replicas over a real Redis, with real keys: what the simulation does, as far as one server shows
//! it.
//!
//! The writers have real ledgers and books, and the replicas real tables. All of them are stepped by one thread, so
//! whoever is left out of the steps is as good as killed.

use std::{
    convert::Infallible,
    fs,
    net::TcpListener,
    ops::Range,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Chain, Cluster, Freshness, Issuer, Manifest, Moment, Position, Reader, Refusal, Trusted, Writer, WriterKey,
    body::IssuerStatus,
    ledgers::LedgerBook,
    reader::Event,
    redis::{Address, Server, Stream},
    replica::Replica,
    snapshot::SnapshotWriter,
    store::{Book, Snapshots, Store},
    transport::Transport as _,
    writer::{Notice, Role, Settings},
};
use crate::{
    book::Book as File,
    issuer_id::IssuerId,
    ledger::{Ledger, Ledgers, Order, Outcome, Push, Saver, SharedBook},
    pki::{Reason, Serial, UnixTime},
    source::CrlMarks,
    state_dir::ServerId,
};

const PATIENCE: Duration = Duration::from_secs(60);
const TAKEOVER_AFTER: Duration = Duration::from_secs(2);

/// A server of the test's own.
struct RedisServer {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl RedisServer {
    fn start() -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let child = Self::run(&dir, port);
        Self { dir, port, child }
    }

    fn run(dir: &tempfile::TempDir, port: u16) -> Child {
        let log = fs::File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(dir.path());
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// As by kill -9: it comes back empty.
    fn kill_and_restart(&mut self) {
        self.kill();
        self.child = Self::run(&self.dir, self.port);
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn stream(&self) -> Stream {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: self.port };
        Stream::new(Server::at(address), &cluster())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn cluster() -> Cluster {
    Cluster::new("real").unwrap()
}

fn id() -> IssuerId {
    IssuerId::new("tenant", [7; 32])
}

fn serial(number: u16) -> Serial {
    Serial::from_magnitude(&(u32::from(number) + 1).to_be_bytes()).unwrap()
}

fn trusted() -> Trusted {
    Trusted::of(&[1, 2].map(|seed| WriterKey::from_seed(&[seed; 32]).public())).unwrap()
}

/// A ledger with a book in a directory of its own. What it saves is owed.
struct OnDisk {
    _dir: tempfile::TempDir,
    ledger: Ledger,
    ledgers: Ledgers,
}

impl OnDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(SharedBook::new(File::open(dir.path()).unwrap()));
        let ledger = Ledger::open(&id(), "ca", &file, &Saver::start().unwrap()).unwrap().ledger;
        ledger.owe(true);
        ledger.serve("ca");
        let ledgers = Ledgers::default();
        ledgers.set(vec![ledger.clone()]);
        Self { _dir: dir, ledger, ledgers }
    }
}

/// Snapshots that are at hand everywhere at once.
#[derive(Default)]
struct Shelf(Vec<(Manifest, Vec<Vec<u8>>)>);

impl Snapshots for Shelf {
    fn here(&mut self, manifest: &Manifest) -> Option<usize> {
        self.0.iter().find(|(made, _)| made == manifest).map(|(_, chunks)| chunks.len())
    }

    fn chunk(&mut self, manifest: &Manifest, number: usize) -> Option<Vec<u8>> {
        self.0.iter().find(|(made, _)| made == manifest)?.1.get(number).cloned()
    }
}

struct OneWriter {
    machine: Writer,
    disk: OnDisk,
    book: LedgerBook,
    stream: Stream,
    is_alive: bool,
    seed: u8,
}

struct OneReplica {
    machine: Reader,
    table: Replica,
    stream: Stream,
    is_alive: bool,
    events: Vec<Event>,
}

struct World {
    redis: RedisServer,
    writers: Vec<OneWriter>,
    replicas: Vec<OneReplica>,
    shelf: Shelf,
    begun: Instant,
    notices: Vec<Notice>,
}

impl World {
    fn new() -> Self {
        let redis = RedisServer::start();
        let writers = [1, 2].map(|seed: u8| {
            let settings = Settings {
                cluster: cluster(),
                server: ServerId::from_bytes([seed; 16]),
                key: WriterKey::from_seed(&[seed; 32]),
                address: String::new(),
                takeover_after: Some(TAKEOVER_AFTER),
                priority: u32::from(seed - 1),
                snapshot_interval: Duration::from_secs(3600),
                seed: u64::from(seed),
            };
            let disk = OnDisk::new();
            let book = LedgerBook::new(disk.ledgers.clone());
            let machine = Writer::new(settings, trusted(), &book);
            OneWriter { machine, disk, book, stream: redis.stream(), is_alive: true, seed }
        });
        let replica = |_| OneReplica {
            machine: Reader::new(cluster(), trusted()),
            table: Replica::new([id()]),
            stream: redis.stream(),
            is_alive: true,
            events: Vec::new(),
        };
        let replicas = (0..3).map(replica).collect();
        let (writers, shelf) = (writers.into(), Shelf::default());
        Self { writers, replicas, shelf, begun: Instant::now(), notices: Vec::new(), redis }
    }

    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64;
        Moment { monotonic: self.begun.elapsed(), wall }
    }

    fn step(&mut self) {
        let now = self.now();
        for number in 0..self.writers.len() {
            let OneWriter { machine, disk, book, stream, is_alive, seed } = &mut self.writers[number];
            if !*is_alive {
                continue;
            }
            for notice in machine.step(now, stream, book, &mut self.shelf) {
                match &notice {
                    Notice::SnapshotWanted => {
                        let (manifest, chunks) = snapshot(disk, *seed, now);
                        machine.snapshot_made(&manifest);
                        self.shelf.0.push((manifest, chunks));
                    }
                    Notice::Fault(fault) => panic!("{fault:?}"),
                    _ => self.notices.push(notice),
                }
            }
        }
        for OneReplica { machine, table, stream, is_alive, events } in &mut self.replicas {
            if *is_alive {
                events.extend(machine.step(now, stream, table, &mut self.shelf));
            }
        }
    }

    /// Steps everybody until it is so.
    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !is_so(self) {
            let roles: Vec<_> = self.writers.iter().map(|writer| writer.machine.role()).collect();
            let faults: Vec<_> = self.replicas.iter().map(|replica| replica.stream.fault()).collect();
            assert!(begun.elapsed() < PATIENCE, "{what}: {roles:?} {faults:?}");
            self.step();
            thread::sleep(Duration::from_millis(2));
        }
        begun.elapsed()
    }

    fn leader(&self) -> Option<usize> {
        self.writers.iter().position(|writer| writer.is_alive && writer.machine.role() == Role::Leading)
    }

    #[track_caller]
    fn led(&mut self) -> usize {
        self.until("somebody leads", |world| world.leader().is_some());
        self.leader().unwrap()
    }

    /// Pushes a revocation to the leader.
    fn revoke(&mut self, number: u16) {
        self.revoke_all(number..number + 1);
    }

    /// The same of many, in one commit: nobody is stepped meanwhile, and who stands by would miss the leader.
    fn revoke_all(&mut self, numbers: Range<u16>) {
        let leader = self.led();
        let order = Order::Revoke { time: Some(UnixTime(5)), reason: Reason::KeyCompromise, even_unlisted: true };
        let pushes: Vec<_> = numbers.map(|number| Push::new(serial(number), order)).collect();
        let outcomes = self.writers[leader].disk.ledger.push(&pushes, None, UnixTime(1_000_000_000)).unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(Outcome::Done)), "{outcomes:?}");
    }

    #[track_caller]
    fn revoked_everywhere(&mut self, number: u16) -> Duration {
        self.until(&format!("{number} is revoked everywhere"), |world| {
            world.replicas.iter().filter(|replica| replica.is_alive).all(|replica| is_revoked(replica, number))
        })
    }

    fn epoch(&self) -> u64 {
        self.writers
            .iter()
            .filter_map(|writer| writer.book.place())
            .map(|place| place.position.epoch)
            .max()
            .unwrap_or(0)
    }
}

fn is_revoked(replica: &OneReplica, number: u16) -> bool {
    replica.table.states().get(&id()).unwrap().records.is_revoked(&serial(number))
}

fn snapshot(disk: &OnDisk, seed: u8, now: Moment) -> (Manifest, Vec<Vec<u8>>) {
    let mut chunks = Vec::new();
    let mut done = |chunk: &[u8]| {
        chunks.push(chunk.to_vec());
        Ok::<_, Infallible>(())
    };
    let mut snapshot = SnapshotWriter::default();
    let status = IssuerStatus {
        id: id(),
        verified: None,
        crl_next_update: None,
        is_crl_alone: false,
        crl_marks: CrlMarks::default(),
    };
    let (reader, issuer) = (disk.ledgers.reader().unwrap(), Issuer::from(&id()));
    let place = reader.place().unwrap().unwrap();
    let Ok(()) = snapshot.issuer(&status, reader.room_for(&id()).unwrap() as u64, &mut done);
    let told = reader.each_told(&id(), |change| {
        let Ok(()) = snapshot.record(issuer, &change, &mut done);
        true
    });
    assert!(told.unwrap());
    let Ok(written) = snapshot.finish(&mut done);
    let manifest = Manifest {
        position: Position { epoch: place.epoch, sequence: place.sequence },
        chain: Chain(place.chain),
        author: ServerId::from_bytes([seed; 16]),
        made: now.wall,
        records: written.records,
        octets: written.octets,
        chunk_octets: written.chunk_octets,
        record_chunks: written.record_chunks,
        chunks: written.hashes.into(),
    };
    (manifest, chunks)
}

#[test]
fn what_the_leader_commits_is_on_every_replica_and_one_killed_is_followed_by_the_other() {
    let mut world = World::new();
    world.revoke(1);
    world.revoked_everywhere(1);
    let fresh = |world: &World| {
        let now = world.now();
        world.replicas.iter().all(|replica| replica.machine.freshness(now) == Freshness::Fresh)
    };
    world.until("all are fresh", fresh);
    let (first, epoch) = (world.led(), world.epoch());
    world.writers[first].is_alive = false;
    let other = |world: &World| world.leader().is_some_and(|leader| leader != first);
    let took = world.until("the other one leads", other);
    assert!(took < Duration::from_secs(15) && world.epoch() > epoch, "{took:?}");
    world.revoke(2);
    world.revoked_everywhere(2);
    // Back with what it had, it stands by and has everything.
    world.writers[first].is_alive = true;
    world.until("it has what the other one told", |world| {
        world.writers[first].book.present(Issuer::from(&id()), &serial(2)).is_some_and(|it| it.record.is_some())
    });
    assert_eq!(world.writers[first].machine.role(), Role::Following);
    assert!(world.replicas.iter().all(|replica| {
        !replica.events.iter().any(|event| matches!(event, Event::DigestDiffers(..) | Event::Refused(..)))
    }));
}

#[test]
fn a_replica_that_was_away_goes_on_where_it_was_and_one_without_anything_takes_a_snapshot() {
    let mut world = World::new();
    world.revoke(1);
    world.revoked_everywhere(1);
    world.replicas[0].is_alive = false;
    world.replicas[1].events.clear();
    world.revoke_all(2..400);
    world.revoked_everywhere(399);
    world.replicas[0].events.clear();
    world.replicas[0].is_alive = true;
    world.replicas[1].table = Replica::new([id()]);
    world.revoked_everywhere(399);
    let took_one = |world: &World, number: usize| {
        world.replicas[number].events.iter().any(|event| matches!(event, Event::Reconciled(_)))
    };
    assert_eq!([0, 1].map(|number| took_one(&world, number)), [false, true]);
    // Past what was trimmed there is nothing to go on with.
    world.replicas[0].is_alive = false;
    world.revoke_all(400..500);
    world.revoked_everywhere(499);
    let leader = world.led();
    let place = world.writers[leader].book.place().unwrap();
    let (manifest, chunks) = snapshot(&world.writers[leader].disk, 1, world.now());
    world.writers[leader].machine.snapshot_made(&manifest);
    world.shelf.0.push((manifest, chunks));
    world.until("the manifest is there", |world| world.leader().is_some());
    (0..20).for_each(|_| world.step());
    let mut operator = world.redis.stream();
    operator.trim(place.position).unwrap();
    world.revoke_all(500..900);
    world.revoked_everywhere(899);
    world.replicas[0].is_alive = true;
    world.revoked_everywhere(899);
    world.until("its digest is the writer's", |world| {
        let issuer = Issuer::from(&id());
        world.replicas[0].table.digest(issuer) == world.replicas[2].table.digest(issuer)
    });
}

#[test]
fn redis_may_be_emptied_or_come_back_empty_and_everybody_goes_on() {
    let mut world = World::new();
    world.revoke(1);
    world.revoked_everywhere(1);
    let epoch = world.epoch();
    // Emptied under its clients.
    let mut operator = world.redis.stream();
    operator.unlink().unwrap();
    world.revoke(2);
    world.revoked_everywhere(2);
    let second = world.epoch();
    assert!(second > epoch);
    // Killed, and back with nothing. The manifest is lost as well.
    world.redis.kill_and_restart();
    world.revoke(3);
    world.revoked_everywhere(3);
    assert!(world.epoch() > second);
    assert!(world.replicas.iter().all(|replica| [1, 2, 3].iter().all(|number| is_revoked(replica, *number))));
    // Whoever comes now has everything from the new manifest.
    world.replicas[2].table = Replica::new([id()]);
    world.revoked_everywhere(1);
}

#[test]
fn what_nobody_trusted_wrote_is_passed_over_and_an_id_that_keeps_writers_out_is_removed() {
    let mut world = World::new();
    world.revoke(1);
    world.revoked_everywhere(1);
    let mut stranger = world.redis.stream();
    let last = stranger.extent().unwrap().unwrap().last;
    // Far enough ahead that the leader finds it in its way.
    let ahead = Position { epoch: last.epoch, sequence: last.sequence + 1_000_000 };
    stranger.put(ahead, b"something", false).unwrap();
    world.revoke(2);
    world.revoked_everywhere(2);
    let refused = |world: &World| {
        let is_it = |event: &Event| matches!(event, Event::Refused(at, Refusal::Truncated | Refusal::Absurd(_) | Refusal::UnknownVersion(_)) if *at == ahead);
        world.replicas.iter().any(|replica| replica.events.iter().any(is_it))
    };
    assert!(refused(&world), "the alarm names it");
    let poison = Position { epoch: u64::MAX, sequence: u64::MAX };
    stranger.put(poison, b"nobody comes after this", false).unwrap();
    world.revoke(3);
    world.revoked_everywhere(3);
    assert!(world.notices.iter().any(|notice| matches!(notice, Notice::Poisoned(_))));
}
