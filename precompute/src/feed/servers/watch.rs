//! What is made of all notices.
//!
//! Invariant: a server lives if it has said something of late, and that is known as well as it can be: who looks again and
//! again goes by when the notice changed, who looks once by the clock in it. So a server whose clock is wrong does not seem
//! dead to who watches. A notice that is no longer there counts as before until it is silent for too long. It reads no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    gone::Gone,
    judge::{self, short},
    notice::{Notice, ServerRole, Signed},
};
use crate::{
    feed::Moment,
    limits::servers as limits,
    pki::{UnixTime, hex},
    state_dir::ServerId,
};

/// Remembers what was seen at the last look.
#[derive(Default, Debug)]
pub struct Watch {
    known: BTreeMap<[u8; 16], Known>,
    /// When the last look was, on the clock that is never set.
    looked: Option<Duration>,
}

#[derive(Debug)]
struct Known {
    signed: Signed,
    /// When it changed, on the clock that is never set; before the first look by the clock in it.
    heard: Duration,
    /// How long it was silent before the first look.
    before: Duration,
    /// Its processes, the newest last.
    instances: VecDeque<String>,
    /// When there was a second one last.
    twin: Option<Duration>,
    /// What its clock is off, as far as that is known: ahead, or behind.
    apart: Option<(Duration, bool)>,
    /// Whether the key that signs is another than at first.
    is_of_another_key: bool,
    is_there: bool,
}

/// All servers at one moment.
#[derive(Clone, Default, Debug)]
pub struct Roster {
    /// In the order of their roles and names.
    pub servers: Vec<Seen>,
    /// Places whose content is no notice.
    pub refused: usize,
}

/// A server as it is seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it said last.
    pub notice: Notice,
    /// The public key that it is signed by, as are its journals and heads.
    pub key: [u8; 32],
    /// How long ago.
    pub silence: Duration,
    /// When it was decommissioned, if it was.
    pub gone: Option<UnixTime>,
    /// What is wrong with it, a line each, without its name.
    pub complaints: Vec<String>,
}

impl Seen {
    /// Whether it was heard of late, and was not stopped.
    pub fn lives(&self) -> bool {
        !self.notice.stopped && self.silence <= limits::SILENT_AFTER
    }

    /// Its name and the beginning of its identity.
    pub fn called(&self) -> String {
        format!("`{}` ({})", self.notice.name, short(self.notice.server))
    }

    /// `live`, `silent`, `stopped` or `decommissioned`.
    pub fn state(&self) -> &'static str {
        match self {
            _ if self.gone.is_some() => "decommissioned",
            _ if self.notice.stopped => "stopped",
            _ if self.lives() => "live",
            _ => "silent",
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Notice { server, said } = &self.notice;
        json!({
            "id": server.to_string(),
            "name": said.name,
            "role": said.role,
            "state": self.state(),
            "draining": said.draining,
            "version": said.version,
            "silent_seconds": self.silence.as_secs(),
            "heard": UnixTime(said.at / 1_000_000).to_string(),
            "started": UnixTime(said.started).to_string(),
            "addresses": said.addresses,
            "position": said.position,
            "freshness": said.freshness,
            "configuration": said.configuration,
            "key": hex::text(&self.key),
            "keys": said.keys,
            "decommissioned": self.gone.map(|at| at.to_string()),
            "complaints": self.complaints,
        })
    }
}

impl Roster {
    /// How many replicas live, and count.
    pub fn live_replicas(&self) -> usize {
        let counts = |seen: &&Seen| seen.notice.role == ServerRole::Replica && seen.lives() && seen.gone.is_none();
        self.servers.iter().filter(counts).count()
    }

    /// This one, if it is listed.
    pub fn get(&self, server: ServerId) -> Option<&Seen> {
        self.servers.iter().find(|seen| seen.notice.server == server)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({ "servers": self.servers.iter().map(Seen::json).collect::<Vec<_>>(), "unreadable": self.refused })
    }
}

impl Known {
    fn new(signed: Signed, now: Moment) -> Self {
        let before = Duration::from_micros(now.wall.saturating_sub(signed.notice.at));
        let ahead = Duration::from_micros(signed.notice.at.saturating_sub(now.wall));
        Self {
            instances: VecDeque::from([signed.notice.instance.clone()]),
            signed,
            heard: now.monotonic,
            before,
            twin: None,
            apart: (ahead > limits::CLOCKS_APART_MAX).then_some((ahead, true)),
            is_of_another_key: false,
            is_there: true,
        }
    }

    /// Takes what is in its place now. `since`: the look before.
    fn take(&mut self, signed: Signed, now: Moment, since: Option<Duration>) {
        self.is_there = true;
        if signed == self.signed {
            return;
        }
        self.is_of_another_key |= signed.key != self.signed.key;
        let instance = &signed.notice.instance;
        if self.instances.back() != Some(instance) {
            // One that was there before its successor was.
            if self.instances.contains(instance) {
                self.twin = Some(now.monotonic);
            }
            self.instances.retain(|other| other != instance);
            self.instances.push_back(instance.clone());
            if self.instances.len() > limits::INSTANCES_MAX {
                self.instances.pop_front();
            }
        }
        // It was said between the two looks.
        let between = since.map_or(Duration::ZERO, |since| now.monotonic.saturating_sub(since));
        let ahead = Duration::from_micros(signed.notice.at.saturating_sub(now.wall));
        let behind = Duration::from_micros(now.wall.saturating_sub(signed.notice.at)).saturating_sub(between);
        let off = [(ahead, true), (behind, false)];
        self.apart = off.into_iter().find(|(by, _)| *by > limits::CLOCKS_APART_MAX);
        (self.heard, self.before) = (now.monotonic, Duration::ZERO);
        self.signed = signed;
    }

    fn silence(&self, now: Moment) -> Duration {
        self.before + now.monotonic.saturating_sub(self.heard)
    }

    fn seen(&self, gone: &Gone, now: Moment) -> Seen {
        let notice = self.signed.notice.clone();
        let gone = gone.since(notice.server);
        let key = self.signed.key;
        let mut seen = Seen { notice, key, silence: self.silence(now), gone, complaints: Vec::new() };
        let complaints = &mut Vec::new();
        if let Some(at) = seen.gone.filter(|_| seen.lives()) {
            complaints.push(format!(
                "it was decommissioned at {at} and runs again, and is not counted: stop it, or give it a new identity (`ostia-precompute server adopt` with its configuration, while it is stopped)"
            ));
        }
        if seen.lives() {
            if self.twin.is_some_and(|at| now.monotonic.saturating_sub(at) < limits::TWIN_TOLD) {
                complaints.push("two processes have this identity: a state directory or a machine was copied; stop one of them, and give it an identity of its own (`ostia-precompute server adopt`)".to_owned());
            }
            if self.is_of_another_key {
                complaints.push("what it says is signed by another key than before: its `journal.key` was replaced, or another server has taken its identity".to_owned());
            }
            if let Some((by, is_ahead)) = self.apart {
                let (by, where_it_is) = (by.as_secs(), if is_ahead { "ahead of" } else { "behind" });
                // Rounded, so that it is not another complaint each time.
                complaints.push(format!(
                    "its clock is about {} {where_it_is} this machine's: set both right (`timedatectl`)",
                    rounded(by)
                ));
            }
            if let Some(refused) = &seen.notice.configuration.refused {
                let what = refused.version.map_or("its file".to_owned(), |version| format!("version {version}"));
                complaints.push(format!("it refused {what} of the configuration: {}", refused.reason));
            }
        }
        seen.complaints = std::mem::take(complaints);
        seen
    }
}

/// Seconds in words, of one digit.
fn rounded(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{} s", seconds / 10 * 10),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

impl Watch {
    /// Takes what is in all places now.
    pub fn look(&mut self, places: &[Option<Signed>], now: Moment) {
        self.known.values_mut().for_each(|known| known.is_there = false);
        let mut newest: BTreeMap<[u8; 16], &Signed> = BTreeMap::new();
        for signed in places.iter().flatten() {
            let place = newest.entry(signed.notice.server.bytes()).or_insert(signed);
            if signed.notice.at > place.notice.at {
                *place = signed;
            }
        }
        for (server, signed) in newest {
            match self.known.get_mut(&server) {
                Some(known) => known.take(signed.clone(), now, self.looked),
                None => drop(self.known.insert(server, Known::new(signed.clone(), now))),
            }
        }
        self.known.retain(|_, known| {
            let lasts = if known.is_there { limits::FORGOTTEN_AFTER } else { limits::SILENT_AFTER };
            !(known.silence(now) > lasts || known.signed.notice.stopped && !known.is_there)
        });
        self.looked = Some(now.monotonic);
    }

    /// This server is of no more interest.
    pub fn forget(&mut self, server: ServerId) {
        self.known.remove(&server.bytes());
    }

    /// All of them. Who was decommissioned and does not live is left out.
    pub fn roster(&self, gone: &Gone, now: Moment) -> Roster {
        let seen = self.known.values().map(|known| known.seen(gone, now));
        let mut servers: Vec<Seen> = seen.filter(|seen| seen.gone.is_none() || seen.lives()).collect();
        let live: Vec<Notice> = servers.iter().filter(|seen| seen.lives()).map(|seen| seen.notice.clone()).collect();
        let mut odds = judge::odds(&live.iter().collect::<Vec<_>>());
        for seen in &mut servers {
            seen.complaints.extend(odds.remove(&seen.notice.server.bytes()).unwrap_or_default());
        }
        servers.sort_by(|one, other| {
            let key = |seen: &Seen| (seen.notice.role, seen.notice.name.clone(), seen.notice.server.bytes());
            key(one).cmp(&key(other))
        });
        Roster { servers, refused: 0 }
    }
}

#[cfg(test)]
mod tests;
