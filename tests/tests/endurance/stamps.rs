//! Time-stamps at a low rate, by clients that do not try again.
//!
//! Invariant: every token is for its own query, and no serial number comes twice.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use ostia_tests::{Behind, Query, http};

/// How many clients there are, and how long each waits between two queries: twenty a second in all.
const CLIENTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(400);
/// How long an answer is waited for: longer than the balancer does.
const PATIENCE: Duration = Duration::from_secs(15);
/// One token in so many is verified by openssl.
const VERIFIED: u32 = 100;

/// See the module.
pub(crate) struct Stamps {
    front: SocketAddr,
    ca: PathBuf,
}

/// What became of them.
#[derive(Default, Debug)]
pub(crate) struct Stamped {
    pub(crate) asked: u64,
    pub(crate) granted: u64,
    pub(crate) verified: u64,
    /// Why a query got no token.
    pub(crate) failed: Vec<String>,
    serials: HashSet<Vec<u8>>,
    pub(crate) repeated: u64,
}

impl Stamps {
    pub(crate) fn of(behind: &Behind) -> Self {
        Self { front: behind.front, ca: behind.cluster.ca.certificate() }
    }

    /// Until `stop`.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Stamped {
        let (stamped, next) = (Mutex::new(Stamped::default()), AtomicU32::new(0));
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (stamped, next) = (&stamped, &next);
                scope.spawn(move || {
                    thread::sleep(PAUSE * client / CLIENTS);
                    while !stop.load(Relaxed) {
                        self.ask(next.fetch_add(1, Relaxed), stamped);
                        thread::sleep(PAUSE);
                    }
                });
            }
        });
        stamped.into_inner().unwrap()
    }

    fn ask(&self, number: u32, stamped: &Mutex<Stamped>) {
        let query = Query::new(number).nonce(&[&[0x11][..], &number.to_be_bytes()].concat());
        let reply = http::exchange_within(self.front, &query.request("/tsa", ""), PATIENCE);
        let answer = match reply {
            Ok(reply) if reply.status == 200 => Ok(ostia_tests::Stamped::read(&reply)),
            Ok(reply) => Err(format!("HTTP {}", reply.status)),
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.and_then(|stamp| match stamp.status {
            0 => Ok(stamp),
            status => Err(format!("PKIStatus {status} {:?}", stamp.text)),
        });
        if let Ok(stamp) = &answer {
            assert_eq!(stamp.granted().info.imprint, query.imprint(), "a token of another query");
            if number.is_multiple_of(VERIFIED) {
                stamp.expect_verified(&query.der(), &self.ca, None);
            }
        }
        let mut stamped = stamped.lock().unwrap();
        stamped.asked += 1;
        match answer {
            Ok(stamp) => {
                stamped.granted += 1;
                stamped.verified += u64::from(number.is_multiple_of(VERIFIED));
                let is_new = stamped.serials.insert(stamp.granted().info.serial.clone());
                stamped.repeated += u64::from(!is_new);
            }
            Err(why) => stamped.failed.push(why),
        }
    }
}
