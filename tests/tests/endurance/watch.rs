//! Whether what was acknowledged shows at every replica, and stays.
//!
//! Invariant: a revocation has shown once every replica that is expected to be well has said it. From then on the balancer
//! never says anything else of it, and from when a replica has said it that one never does. But a request that has been waiting in
//! a frozen replica is answered by what that one knew, before it reads on: nobody can tell it otherwise.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{
    Behind, Questions, Status,
    http::{Connection, Reply},
};

use crate::pushes::Pushes;

/// How long an answer of the balancer is waited for: longer than it takes to try all replicas.
const PATIENCE: Duration = Duration::from_secs(20);
/// That of a replica, which may be frozen.
const PATIENCE_WITH_REPLICA: Duration = Duration::from_secs(2);
/// Who waits for that long, while somebody is frozen, waits there: nobody else takes a tenth of it.
const WAITED: Duration = Duration::from_millis(500);
/// PROXY v2 header of a connection without an address (LOCAL), since replicas behind HAProxy want one.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// See the module. Copies are of one watch.
#[derive(Clone)]
pub(crate) struct Watch {
    questions: Questions,
    pushes: Pushes,
    front: SocketAddr,
    replicas: Vec<SocketAddr>,
    /// Which replicas are expected to be well.
    expected: Arc<Mutex<Vec<bool>>>,
    shown: Arc<AtomicUsize>,
}

/// What was seen.
#[derive(Default, Debug)]
pub(crate) struct Watched {
    /// How often the balancer and replicas were asked about what had shown.
    pub(crate) asked_again: u64,
    /// Who said what of which certificate that had shown.
    pub(crate) went_back: Vec<String>,
    /// Requests that waited in a replica while it was frozen, and that it answered by what it knew then.
    pub(crate) waited: u64,
    /// How often the balancer gave no answer.
    pub(crate) failed: Vec<String>,
    /// How many have shown, and how many each replica has said at the end.
    pub(crate) shown: usize,
}

impl Watch {
    pub(crate) fn of(behind: &Behind, pushes: &Pushes) -> Self {
        let cluster = &behind.cluster;
        Self {
            questions: Questions::of(&cluster.ca),
            pushes: pushes.clone(),
            front: behind.front,
            replicas: cluster.replicas.iter().map(|replica| replica.site().http).collect(),
            expected: Arc::new(Mutex::new(vec![true; cluster.replicas.len()])),
            shown: Arc::default(),
        }
    }

    /// From now on this replica is not expected to be well.
    pub(crate) fn excuse(&self, replica: usize) {
        self.expected.lock().unwrap()[replica] = false;
    }

    /// From now on all are.
    pub(crate) fn expect_all(&self) {
        self.expected.lock().unwrap().fill(true);
    }

    /// How many revocations have shown: the first so many.
    pub(crate) fn shown(&self) -> usize {
        self.shown.load(Relaxed)
    }

    /// Until `stop`.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Watched {
        let mut watched = Watched::default();
        // How many of the first each replica has said.
        let mut said = vec![0_usize; self.replicas.len()];
        let mut connections: Vec<Option<Connection>> = self.replicas.iter().map(|_| None).collect();
        let mut front = None;
        let mut turn = 0_usize;
        while !stop.load(Relaxed) {
            let acknowledged = self.pushes.acknowledged();
            for replica in 0..self.replicas.len() {
                if self.expected.lock().unwrap()[replica] {
                    self.advance(replica, acknowledged, &mut said[replica], &mut connections[replica]);
                } else {
                    connections[replica] = None;
                }
            }
            let expected = self.expected.lock().unwrap().clone();
            let slowest = said.iter().zip(expected).filter(|(_, expected)| *expected).map(|(said, _)| *said).min();
            self.shown.fetch_max(slowest.unwrap_or(0), Relaxed);
            turn = turn.wrapping_add(0x9E37_79B9);
            self.ask_again(turn, &said, &mut connections, &mut front, &mut watched);
            thread::sleep(Duration::from_millis(5));
        }
        watched.shown = self.shown();
        watched
    }

    /// Asks a replica for what it has not said yet, until it does not say it.
    fn advance(&self, replica: usize, acknowledged: usize, said: &mut usize, connection: &mut Option<Connection>) {
        while *said < acknowledged {
            let serial = &self.pushes.serials[*said];
            if self.of_replica(replica, serial, connection) != Some(Status::Revoked) {
                return;
            }
            *said += 1;
        }
    }

    /// Asks the balancer, and each replica, about one certificate that has shown: the newest every other time.
    fn ask_again(
        &self,
        turn: usize,
        said: &[usize],
        connections: &mut [Option<Connection>],
        front: &mut Option<Connection>,
        watched: &mut Watched,
    ) {
        let pick = |count: usize| if turn & 0x100 == 0 { count - 1 } else { (turn >> 9) % count };
        if self.shown() > 0 {
            let serial = &self.pushes.serials[pick(self.shown())];
            let request = self.questions.post(serial);
            let (begun, is_some_frozen) = (Instant::now(), self.expected.lock().unwrap().contains(&false));
            match ask(self.front, &request, b"", PATIENCE, front) {
                Ok(reply) => match Questions::read(serial, &reply) {
                    Some(Status::Revoked) => {}
                    Some(Status::Good) if is_some_frozen && begun.elapsed() > WAITED => watched.waited += 1,
                    said => {
                        let each: Vec<_> = (0..self.replicas.len())
                            .map(|replica| self.of_replica(replica, serial, &mut connections[replica]))
                            .collect();
                        watched.went_back.push(format!(
                            "the balancer: {} {said:?} of {serial} after {:?}, is somebody away: {is_some_frozen}, replicas \
                             say now: {each:?}",
                            reply.status,
                            begun.elapsed()
                        ));
                    }
                },
                Err(error) => watched.failed.push(error.to_string()),
            }
            watched.asked_again += 1;
        }
        for replica in 0..self.replicas.len() {
            if said[replica] == 0 || !self.expected.lock().unwrap()[replica] {
                continue;
            }
            let serial = &self.pushes.serials[pick(said[replica])];
            match self.of_replica(replica, serial, &mut connections[replica]) {
                Some(Status::Good | Status::Unknown) => {
                    watched.went_back.push(format!("replica {replica}: not revoked, of {serial}"));
                }
                _ => watched.asked_again += 1,
            }
        }
    }

    fn of_replica(&self, replica: usize, serial: &str, connection: &mut Option<Connection>) -> Option<Status> {
        let request = self.questions.post(serial);
        let reply = ask(self.replicas[replica], &request, LOCAL, PATIENCE_WITH_REPLICA, connection);
        Questions::read(serial, &reply.ok()?)
    }
}

/// Asks on a connection that stays, which begins with these bytes.
fn ask(
    address: SocketAddr,
    request: &[u8],
    begin: &[u8],
    patience: Duration,
    connection: &mut Option<Connection>,
) -> std::io::Result<Reply> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => {
            let mut open = Connection::open_within(address, patience)?;
            open.send(begin)?;
            open
        }
    };
    open.send(request)?;
    let reply = open.receive(false)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    if reply.header("connection") != Some("close") {
        *connection = Some(open);
    }
    Ok(reply)
}

#[test]
fn an_answer_that_is_not_about_the_certificate_says_nothing() {
    let reply = Reply { status: 200, headers: Vec::new(), body: vec![0x30, 3, 10, 1, 3] };
    assert_eq!(Questions::read("5A00000000000000", &reply), Some(Status::Error("responseStatus 3".to_owned())));
    let of = |body: &[u8]| Questions::read("5A00000000000000", &Reply { body: body.to_vec(), ..reply.clone() });
    assert_eq!(of(&[0x5a, 0, 0, 0, 0, 0, 0, 0, 0xa1, 0]), Some(Status::Revoked));
    assert_eq!(of(&[0x5a, 0, 0, 0, 0, 0, 0, 1, 0xa1, 0]), None);
}
