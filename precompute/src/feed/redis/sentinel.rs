//! Where the master is, as Sentinels say.
//!
//! Purpose: whoever follows a fail-over asks here; a demoted master keeps its readers for ten seconds and more, so nobody
//! may wait for it to let them go. Each Sentinel is asked once a second by a thread of its own, as one that hangs must not
//! hide what the others say. Of what was said lately, the newest configuration counts (`config-epoch`): a Sentinel that was
//! cut off names the former master. Invariants: once a master was named nobody waits for a Sentinel, and what was named
//! last counts until something else is, so Sentinels that are all away change nothing. The threads end with the last
//! handle. It does not know what is asked of the master.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use redis::{Connection, ConnectionLike as _, ErrorKind, RedisError, Value};
use tracing::{info, warn};

use super::{
    Address, Master, Server, array, bytes,
    dialling::{Dialler, Failure},
    fault::{Cause, Names, cause, in_a_line, remedy_at_first},
};
use crate::limits::feed as limits;

/// What a Sentinel says of a master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Where it is.
    pub address: Address,
    /// The number of the configuration: each fail-over gives it another, higher one.
    pub config_epoch: u64,
    /// How many servers follow it.
    pub followers: u64,
    /// How many Sentinels watch it, this one included.
    pub sentinels: u64,
}

/// What became of asking a Sentinel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The Sentinel.
    pub sentinel: Address,
    /// What it said last, if it said anything yet.
    pub named: Option<Named>,
    /// Why it did not, when it was asked last.
    pub fault: Option<String>,
}

/// Threads that ask, and what they heard.
pub(super) struct Lookup(Arc<Shared>);

struct Shared {
    server: Server,
    master: Master,
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    /// Of each Sentinel, in the order of the configuration.
    of: Vec<OfOne>,
    /// What was logged last.
    told: Option<Address>,
}

#[derive(Clone, Default)]
struct OfOne {
    named: Option<(Named, Instant)>,
    fault: Option<String>,
    /// How often in a row there was none.
    failures: u32,
}

impl Lookup {
    /// Begins to ask.
    pub(super) fn start(server: &Server, master: &Master) -> Self {
        let of = vec![OfOne::default(); master.sentinels.len()];
        let shared = Arc::new(Shared {
            server: server.clone(),
            master: master.clone(),
            heard: Mutex::new(Heard { of, told: None }),
            changed: Condvar::new(),
        });
        for number in 0..master.sentinels.len() {
            let asker =
                Asker { shared: Arc::downgrade(&shared), number, connection: None, dialler: Dialler::default() };
            if let Err(error) = thread::Builder::new().name("sentinel".into()).spawn(move || asker.run()) {
                shared.note(number, Err(format!("no thread can be started to ask it: {error}")));
            }
        }
        Self(shared)
    }

    /// The master that counts now; `None` before any was named.
    pub(super) fn named(&self) -> Option<Named> {
        self.0.heard().newest().cloned()
    }

    /// Where the master is. Before any was named this waits until every Sentinel was asked, at most so long; the error has
    /// what they said instead.
    pub(super) fn address(&self, within: Duration) -> Result<Address, String> {
        let is_open = |heard: &mut Heard| {
            heard.of.iter().all(|one| one.named.is_none()) && heard.of.iter().any(|one| one.failures == 0)
        };
        let waited = self.0.changed.wait_timeout_while(self.0.heard(), within, is_open);
        let (heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = heard.newest() {
            return Ok(named.address.clone());
        }
        let faults = heard.of.iter().zip(&self.0.master.sentinels).map(|(one, sentinel)| {
            one.fault.clone().unwrap_or_else(|| format!("the Sentinel at {sentinel} has not answered yet"))
        });
        let faults: Vec<String> = faults.collect();
        Err(format!("no Sentinel names the master `{}`: {}", self.0.master.name, faults.join("; ")))
    }

    /// What each of them said last. This waits until each was asked, at most so long.
    pub(super) fn said(&self, within: Duration) -> Vec<Said> {
        let is_open = |heard: &mut Heard| heard.of.iter().any(|one| one.named.is_none() && one.failures == 0);
        let waited = self.0.changed.wait_timeout_while(self.0.heard(), within, is_open);
        let (heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let said = heard.of.iter().zip(&self.0.master.sentinels).map(|(one, sentinel)| Said {
            sentinel: sentinel.clone(),
            named: one.named.as_ref().map(|(named, _)| named.clone()),
            fault: one.fault.clone(),
        });
        said.collect()
    }
}

impl Heard {
    /// What counts now.
    fn newest(&self) -> Option<&Named> {
        newest(&self.of, self.told.as_ref(), Instant::now())
    }
}

/// What counts: of what was said lately the newest configuration, and if nothing was, of all. Two Sentinels may call the
/// same server by other names: then the `present` one stays.
fn newest<'a>(said: &'a [OfOne], present: Option<&Address>, now: Instant) -> Option<&'a Named> {
    let all = said.iter().filter_map(|one| one.named.as_ref());
    let is_recent = |at: Instant| now.saturating_duration_since(at) <= limits::SENTINEL_RECENT;
    let is_present = |named: &Named| Some(&named.address) == present;
    let counts = all.max_by_key(|(named, at)| (is_recent(*at), named.config_epoch, is_present(named), *at));
    counts.map(|(named, _)| named)
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what became of asking one of them, and logs what is news.
    fn note(&self, number: usize, said: Result<Named, String>) {
        let mut heard = self.heard();
        let one = &mut heard.of[number];
        let sentinel = &self.master.sentinels[number];
        match said {
            Ok(named) => {
                if one.failures >= limits::SENTINEL_FAILURES_TOLD {
                    info!(%sentinel, "this Sentinel answers again");
                }
                *one = OfOne { named: Some((named, Instant::now())), fault: None, failures: 0 };
            }
            Err(fault) => {
                one.failures = one.failures.saturating_add(1);
                // One failure is not worth a line.
                if one.failures == limits::SENTINEL_FAILURES_TOLD {
                    warn!("{fault}; what the other Sentinels say counts, or what was said before");
                }
                one.fault = Some(fault);
            }
        }
        let now = heard.newest().map(|named| named.address.clone());
        if now != heard.told {
            if let (Some(former), Some(now)) = (&heard.told, &now) {
                warn!(master = self.master.name, %former, %now, "the Sentinels name another master: going there");
            }
            heard.told = now;
        }
        drop(heard);
        self.changed.notify_all();
    }
}

struct Asker {
    shared: Weak<Shared>,
    number: usize,
    connection: Option<Connection>,
    dialler: Dialler,
}

impl Asker {
    fn run(mut self) {
        while let Some(shared) = self.shared.upgrade() {
            let said = self.ask(&shared);
            shared.note(self.number, said);
            drop(shared);
            thread::sleep(limits::SENTINEL_INTERVAL);
        }
    }

    fn ask(&mut self, shared: &Shared) -> Result<Named, String> {
        let Shared { server, master, .. } = shared;
        let sentinel = &master.sentinels[self.number];
        let answer = self.answer(server, sentinel, &master.name);
        answer.and_then(|value| named(value).ok_or_else(|| unexpected().into())).map_err(|failure| {
            // What is only refused leaves the connection as it was.
            let is_refused = matches!(&failure, Failure::Client(error) if cause(error) != Cause::Unknown);
            if !is_refused {
                self.connection = None;
            }
            let text = match &failure {
                Failure::Client(error) if error.is_timeout() => "not in time".to_owned(),
                _ => in_a_line(&failure.to_string()),
            };
            let remedy = remedy(&text, &master.name, server);
            format!(
                "the Sentinel at {sentinel} {}: {text}{remedy}",
                if is_refused { "answers" } else { "is not reached" }
            )
        })
    }

    fn answer(&mut self, server: &Server, sentinel: &Address, name: &str) -> Result<Value, Failure> {
        let connection = match self.connection.take().filter(|connection| connection.is_open()) {
            Some(connection) => connection,
            None => self.dialler.connect(server, sentinel, &server.sentinel_login)?,
        };
        let connection = self.connection.insert(connection);
        connection.set_read_timeout(Some(limits::ANSWER_WITHIN))?;
        connection.set_write_timeout(Some(limits::ANSWER_WITHIN))?;
        Ok(redis::cmd("SENTINEL").arg("MASTER").arg(name).query(connection)?)
    }
}

fn unexpected() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "something that is no description of a master"))
}

/// `[name, value, …]`, as `SENTINEL MASTER` answers.
fn named(value: Value) -> Option<Named> {
    let mut fields = HashMap::new();
    let mut values = array(value)?.into_iter();
    while let (Some(name), Some(value)) = (values.next().and_then(bytes), values.next().and_then(bytes)) {
        fields.insert(name, value);
    }
    let text = |name: &str| std::str::from_utf8(fields.get(name.as_bytes())?).ok();
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let host = text("ip").filter(|host| !host.is_empty())?.to_owned();
    let port = text("port")?.parse().ok().filter(|port| *port > 0)?;
    Some(Named {
        address: Address::Tcp { host, port },
        config_epoch: number("config-epoch")?,
        followers: number("num-slaves").unwrap_or(0),
        sentinels: number("num-other-sentinels").unwrap_or(0) + 1,
    })
}

/// What to do about an answer that is none.
fn remedy(error: &str, name: &str, server: &Server) -> String {
    let lower = error.to_ascii_lowercase();
    let says = |what: &str| lower.contains(what);
    if says("no such master") {
        format!("; `feed.master` has to be the name that `sentinel monitor` gives it there, and `{name}` is not")
    } else if says("unknown command") {
        "; this is a Redis and no Sentinel, which listens on port 26379 mostly; a Redis is named by `feed.redis`".into()
    } else if says("without any password configured") {
        "; it has no password: remove `feed.sentinel_password_file`".into()
    } else if says("noauth") || says("wrongpass") || says("noperm") {
        "; name the file with its password by `feed.sentinel_password_file`: it is not the one of Redis".into()
    } else {
        remedy_at_first(error, server.tls.is_some(), Names::Sentinel).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> Address {
        Address::Tcp { host: host.to_owned(), port: 6379 }
    }

    fn said(host: &str, config_epoch: u64, at: Instant) -> OfOne {
        let named = Named { address: self::at(host), config_epoch, followers: 1, sentinels: 3 };
        OfOne { named: Some((named, at)), fault: None, failures: 0 }
    }

    #[test]
    fn the_newest_configuration_counts_of_those_that_were_said_lately() {
        let now = Instant::now() + 10 * limits::SENTINEL_RECENT;
        let long_ago = now - 2 * limits::SENTINEL_RECENT;
        let none = OfOne::default();
        for (heard, expected) in [
            (vec![], None),
            (vec![none.clone()], None),
            (vec![said("a", 3, now)], Some("a")),
            // One that was cut off says the former one.
            (vec![said("a", 3, now), said("b", 4, now), said("a", 3, now)], Some("b")),
            // Sentinels that were set up anew count from 0.
            (vec![said("a", 9, long_ago), said("b", 0, now)], Some("b")),
            // All are away.
            (vec![said("a", 3, long_ago), said("b", 4, long_ago), none.clone()], Some("b")),
            // The same number twice: the last word, unless one of the two is what counted until now.
            (vec![said("a", 3, now - limits::SENTINEL_RECENT / 2), said("b", 3, now)], Some("b")),
            (vec![said("present", 3, now - limits::SENTINEL_RECENT / 2), said("b", 3, now)], Some("present")),
            (vec![said("present", 3, now), said("b", 4, now)], Some("b")),
        ] {
            let named = newest(&heard, Some(&at("present")), now).map(|named| named.address.clone());
            assert_eq!(named, expected.map(at));
        }
    }

    #[test]
    fn a_master_is_read_out_of_the_answer_and_nothing_out_of_another() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let answer = |fields: &[&str]| Value::Array(fields.iter().map(|field| text(field)).collect());
        let whole = [
            "name",
            "m",
            "ip",
            "10.0.0.5",
            "port",
            "6380",
            "config-epoch",
            "7",
            "num-slaves",
            "2",
            "num-other-sentinels",
            "2",
        ];
        let expected = Named {
            address: Address::Tcp { host: "10.0.0.5".into(), port: 6380 },
            config_epoch: 7,
            followers: 2,
            sentinels: 3,
        };
        assert_eq!(named(answer(&whole)), Some(expected));
        for (field, value) in [(3, ""), (5, "0"), (5, "65536"), (5, "a"), (7, "-1"), (7, "")] {
            let mut other = whole;
            other[field] = value;
            assert_eq!(named(answer(&other)), None, "{} {value}", whole[field - 1]);
        }
        for other in [Value::Nil, Value::Int(7), Value::Okay, answer(&[]), answer(&whole[..7]), answer(&whole[1..])] {
            assert_eq!(named(other), None);
        }
    }
}
