//! Each kind of process is killed and frozen in turn, under load.

use std::{
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Member, RedisServer};

use crate::{
    SOON,
    figures::Event,
    installation::{Installation, Wanted},
};

/// How soon a replica that is dead or frozen gets no more requests by the shipped configuration, and how much later this may be
/// seen on a busy machine.
const OUT_WITHIN: Duration = Duration::from_secs(3);
const SEEN_LATER: Duration = Duration::from_secs(3);
/// How long somebody is away or frozen whose absence nobody has to notice first.
const AWAY: Duration = Duration::from_secs(3);
/// A fail-over of Sentinels, or two of them close to each other.
const FAIL_OVER: Duration = Duration::from_secs(90);

/// How many time-stamps may be with a replica when it is killed: of eight clients, by turns to three.
const BROKEN_OFF: u64 = 3;

/// What happens to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fault {
    who: Who,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Replica,
    Leader,
    Standby,
    Master,
    Follower,
    Sentinel,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Killed,
    Frozen,
}

/// Every kind of process dies once, or hangs; replicas do both.
const EACH: [Fault; 7] = [
    Fault { who: Who::Replica, how: How::Killed },
    Fault { who: Who::Replica, how: How::Frozen },
    Fault { who: Who::Leader, how: How::Killed },
    Fault { who: Who::Standby, how: How::Frozen },
    Fault { who: Who::Follower, how: How::Killed },
    Fault { who: Who::Sentinel, how: How::Frozen },
    Fault { who: Who::Master, how: How::Killed },
];
/// And the other way round.
const OTHERWISE: [Fault; 5] = [
    Fault { who: Who::Leader, how: How::Frozen },
    Fault { who: Who::Standby, how: How::Killed },
    Fault { who: Who::Follower, how: How::Frozen },
    Fault { who: Who::Sentinel, how: How::Killed },
    Fault { who: Who::Master, how: How::Frozen },
];

#[test]
fn under_load_each_kind_of_process_dies_or_hangs_and_no_request_fails() {
    let wanted = Wanted::from_environment();
    let mut installation = Installation::start(&wanted);
    let begun = Instant::now();
    let (mut events, mut random, mut hit, mut killed) = (Vec::new(), wanted.seed, 0, 0);
    let mut run = |installation: &mut Installation, fault: Fault, random: &mut u64| {
        let number = (draw(random) % 3) as usize;
        hit += u64::from(fault.who == Who::Replica);
        killed += u64::from(fault == EACH[0]);
        let event = installation.suffer(fault, number);
        eprintln!("{:.0?}: {event:?}", begun.elapsed());
        events.push(event);
    };
    EACH.iter().for_each(|fault| run(&mut installation, *fault, &mut random));
    let is_wanted = |fault: &Fault| wanted.who.is_empty() || format!("{:?}", fault.who).to_lowercase() == wanted.who;
    let all: Vec<Fault> = EACH.iter().chain(&OTHERWISE).copied().filter(is_wanted).collect();
    assert!(!all.is_empty(), "OSTIA_WHO: nobody is called `{}`", wanted.who);
    let rest = OTHERWISE.iter().copied().map(Some).chain(std::iter::repeat(None));
    for next in rest {
        if begun.elapsed() >= wanted.length {
            break;
        }
        let fault = next.unwrap_or_else(|| all[draw(&mut random) as usize % all.len()]);
        run(&mut installation, fault, &mut random);
    }
    let (behind, mut figures) = installation.end();
    figures.events = events;
    figures.expect(killed * BROKEN_OFF);
    let out = figures.events.iter().filter_map(|event| event.out);
    assert!(out.clone().all(|out| out < OUT_WITHIN + SEEN_LATER) && out.count() as u64 == hit);
    // Nothing that was acknowledged is missing anywhere.
    let first = behind.cluster.listed[0].clone();
    assert_eq!(behind.says(&first), Some(ostia_tests::Status::Revoked));
}

/// The next of a row of numbers (SplitMix64).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

impl Installation {
    /// Something happens to one of a kind; returns when everybody is well again.
    fn suffer(&mut self, fault: Fault, number: usize) -> Event {
        let begun = Instant::now();
        let (who, out, back) = match fault.who {
            Who::Replica => self.of_replica(number, fault.how),
            Who::Leader => self.of_leader(fault.how),
            Who::Standby => self.of_standby(fault.how),
            Who::Master => self.of_master(fault.how),
            Who::Follower => self.of_follower(number % 2, fault.how),
            Who::Sentinel => self.of_sentinel(number, fault.how),
        };
        let ended = Instant::now();
        self.note_processes();
        self.settle();
        let how = format!("{:?}", fault.how).to_lowercase();
        Event { what: format!("{who} {how}"), out, back, gap: self.pushes.longest_gap(begun, ended) }
    }

    fn of_replica(&mut self, number: usize, how: How) -> (String, Option<Duration>, Option<Duration>) {
        self.watch.excuse(number);
        let begun = Instant::now();
        strike(&mut self.behind.cluster.replicas[number], how);
        self.behind.until_in_rotation(number, false, SOON);
        let out = begun.elapsed();
        thread::sleep(Duration::from_secs(2));
        let begun = Instant::now();
        mend(&mut self.behind.cluster.replicas[number], how);
        self.behind.until_in_rotation(number, true, SOON);
        (format!("replica {number}"), Some(out), Some(begun.elapsed()))
    }

    fn of_leader(&mut self, how: How) -> (String, Option<Duration>, Option<Duration>) {
        let cluster = &mut self.behind.cluster;
        let leader = cluster.until_led(SOON);
        let begun = Instant::now();
        strike(&mut cluster.writers[leader], how);
        cluster.until_led_by_another(leader, SOON);
        let back = begun.elapsed();
        mend(&mut cluster.writers[leader], how);
        self.until_stands_by(leader);
        (format!("leader, writer {leader},"), None, Some(back))
    }

    fn of_standby(&mut self, how: How) -> (String, Option<Duration>, Option<Duration>) {
        let cluster = &mut self.behind.cluster;
        let standby = 1 - cluster.until_led(SOON);
        strike(&mut cluster.writers[standby], how);
        thread::sleep(AWAY);
        let begun = Instant::now();
        mend(&mut cluster.writers[standby], how);
        self.until_stands_by(standby);
        (format!("standby, writer {standby},"), None, Some(begun.elapsed()))
    }

    /// Waits until a writer stands by, and knows where the one is that leads.
    pub(crate) fn until_stands_by(&self, writer: usize) {
        let cluster = &self.behind.cluster;
        cluster.until("the writer stands by", SOON, || {
            let stands_by = cluster.writers[writer].feed_metric("ostia_feed_role", "role=\"standing_by\"")? == 1.0;
            (stands_by && cluster.writers[writer].epoch() == cluster.writers[1 - writer].epoch()).then_some(())
        });
    }

    fn of_master(&mut self, how: How) -> (String, Option<Duration>, Option<Duration>) {
        let (number, port) = self.master();
        let begun = Instant::now();
        strike_server(self.server(number), how);
        let cluster = &self.behind.cluster;
        let sentinels = cluster.sentinels.as_ref().expect("Sentinels");
        cluster.until("another master is named", FAIL_OVER, || (sentinels.named() != port).then_some(()));
        let back = begun.elapsed();
        mend_server(self.server(number), how);
        self.until_follows(number);
        (format!("Redis master, redis {number},"), None, Some(back))
    }

    /// Waits until a server of Redis follows another, and has all of it.
    pub(crate) fn until_follows(&mut self, number: usize) {
        let server: &RedisServer = self.server(number);
        ostia_tests::until("the server follows the master", FAIL_OVER, || {
            let role = server.try_cli(["ROLE"])?;
            (role.starts_with("slave") && role.contains("connected")).then_some(())
        });
    }

    fn of_follower(&mut self, number: usize, how: How) -> (String, Option<Duration>, Option<Duration>) {
        let (master, _) = self.master();
        let number = (master + 1 + number) % 3;
        strike_server(self.server(number), how);
        thread::sleep(AWAY);
        let begun = Instant::now();
        mend_server(self.server(number), how);
        self.until_follows(number);
        (format!("Redis follower, redis {number},"), None, Some(begun.elapsed()))
    }

    fn of_sentinel(&mut self, number: usize, how: How) -> (String, Option<Duration>, Option<Duration>) {
        let sentinel = &mut self.behind.cluster.sentinels.as_mut().expect("Sentinels").all[number];
        strike_server(sentinel, how);
        thread::sleep(AWAY);
        mend_server(sentinel, how);
        (format!("sentinel {number}"), None, None)
    }

    /// Which server of Redis is the master, and where.
    pub(crate) fn master(&mut self) -> (usize, u16) {
        let port = self.behind.cluster.sentinels.as_ref().expect("Sentinels").named();
        let number = (0..3).find(|number| self.server(*number).port() == port).expect("one of the three");
        (number, port)
    }

    /// The servers of Redis: the first master and those that followed it.
    pub(crate) fn server(&mut self, number: usize) -> &mut RedisServer {
        let cluster = &mut self.behind.cluster;
        match number {
            0 => &mut cluster.redis,
            _ => &mut cluster.sentinels.as_mut().expect("Sentinels").followers[number - 1],
        }
    }
}

fn strike(member: &mut Member, how: How) {
    match how {
        How::Killed => member.kill(),
        How::Frozen => member.pause(),
    }
}

fn mend(member: &mut Member, how: How) {
    match how {
        How::Killed => member.start(),
        How::Frozen => member.go_on(),
    }
}

fn strike_server(server: &mut RedisServer, how: How) {
    match how {
        How::Killed => server.kill(),
        How::Frozen => server.pause(),
    }
}

fn mend_server(server: &mut RedisServer, how: How) {
    match how {
        How::Killed => server.restart(),
        How::Frozen => server.go_on(),
    }
}
