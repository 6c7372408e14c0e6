//! The stream of a cluster in Redis (or Valkey), over one connection.
//!
//! Purpose: the only module that knows Redis. It puts entries into the stream, reads them, and says what became of each
//! attempt in the words of the protocol ([`Transport`]): a writer must know for certain whether its entry is there, is
//! refused, or may be either. Invariants:
//!
//! - Nothing waits longer than its limit: looking up a name (`dialling`), connecting, writing and reading have deadlines, a
//!   blocking read one that is later than the server's own.
//! - After an answer that did not come, the connection is closed: the next answer on it would be that of another
//!   command.
//! - What comes from Redis is bytes. Entries that have no such form as ours are passed on as empty ones, which the reader
//!   refuses and passes over; whatever is in the stream, reading goes on behind it.
//!
//! Where Sentinels name the server, it leaves one that they name no more, but never between two calls that belong together:
//! only [`Transport::connection`] looks. It does not know what an entry says, nor when else to connect anew.
//!
//! The client is the synchronous one, on RESP2, as one connection serves one thread: the asynchronous client's timeout of
//! answers would end a blocking read, and its connection manager takes `READONLY` for an answer like others.

mod beside;
mod dialling;
mod fault;
mod places;
mod sentinel;
mod server;
mod shared;

use std::{fmt, sync::Arc, time::Duration};

use redis::{Cmd, Connection, ConnectionLike as _, RedisError, Value};

pub(in crate::feed) use self::fault::{NAME_REMEDY, is_of_name};
use self::{
    dialling::{Dialler, Failure},
    fault::{Names, cause, in_a_line, remedy_at_first, remedy_for},
    sentinel::Lookup,
};
pub use self::{
    fault::{Cause, Fault},
    sentinel::{Named, Said},
    server::{Address, Login, Master, Server, Trust},
    shared::{MayShare, Offer, Wanted},
};
use super::{
    Cluster, KeyId, Position, Sealed,
    transport::{Appended, Gone, Info, Raw, Transport, UnderKey},
};
use crate::limits::feed as limits;

/// What the stream looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The highest position that was ever in it.
    pub last: Position,
    /// The lowest that is in it now; `None` if it is empty.
    pub first: Option<Position>,
    /// How many entries it has.
    pub length: u64,
}

/// One connection to the stream of a cluster, made when it is needed.
pub struct Stream {
    server: Server,
    /// Who says where the server is, if Sentinels do.
    lookup: Option<Arc<Lookup>>,
    /// Where the last connection led, or was to.
    at: Option<Address>,
    feed: String,
    head: String,
    ack: String,
    relayed: String,
    /// What the keys of shared answers begin with,
    shared: String,
    /// and those of servers' places.
    servers: String,
    /// Servers that were decommissioned.
    gone: String,
    /// The newest version of the configuration.
    configuration: String,
    connection: Option<Connection>,
    dialler: Dialler,
    /// How many connections there have been.
    connections: u64,
    /// On which of them the server has answered last.
    answered: u64,
    /// On which of them an entry was put last.
    wrote: Option<u64>,
    /// How long a read waits for the first entry.
    patience: Duration,
    /// What was asked last and not done.
    fault: Option<Fault>,
    /// Why it could not be said what is on disk here, or read what is on others', until it could.
    acknowledge_fault: Option<Fault>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.connection.is_some();
        f.debug_struct("Stream")
            .field("server", &self.server)
            .field("feed", &self.feed)
            .field("connected", &connected)
            .finish()
    }
}

impl Stream {
    /// Connects with the first command.
    pub fn new(server: Server, cluster: &Cluster) -> Self {
        let key = |name: &str| format!("ostia:{cluster}:{name}");
        let keys = ["feed", "head", "ack", "relayed", "a:", "s:", "gone", "configuration"].map(key);
        let lookup = match &server.address {
            Address::Master(master) => Some(Arc::new(Lookup::start(&server, master))),
            Address::Tcp { .. } | Address::Unix(_) | Address::Polled => None,
        };
        Self::over(server, lookup, keys)
    }

    /// One more to the same place, with a connection of its own, whose reads wait for nothing.
    pub fn another(&self) -> Self {
        let (servers, gone, configuration) = (&self.servers, &self.gone, &self.configuration);
        let keys = [&self.feed, &self.head, &self.ack, &self.relayed, &self.shared, servers, gone, configuration];
        let keys = keys.map(String::clone);
        Self::over(self.server.clone(), self.lookup.clone(), keys)
    }

    fn over(
        server: Server,
        lookup: Option<Arc<Lookup>>,
        [feed, head, ack, relayed, shared, servers, gone, configuration]: [String; 8],
    ) -> Self {
        Self {
            server,
            lookup,
            at: None,
            feed,
            head,
            ack,
            relayed,
            shared,
            servers,
            gone,
            configuration,
            connection: None,
            dialler: Dialler::default(),
            connections: 0,
            answered: 0,
            wrote: None,
            patience: Duration::ZERO,
            fault: None,
            acknowledge_fault: None,
        }
    }

    /// As [`Transport`], reads wait so long for the first entry.
    pub fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// From now on reads wait so long.
    pub fn wait(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Why the last call was not done, unless one was since.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Why what is on the disks of standbys could not be said or read, the last time. Nothing else depends on it.
    pub fn acknowledge_fault(&self) -> Option<&Fault> {
        self.acknowledge_fault.as_ref()
    }

    /// Where it is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether there is a connection, as far as is known. A new one may lead to another state: a writer has to see what
    /// is last there.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether an entry was put on the present connection: what [`wait_for_followers`](Self::wait_for_followers) counts is
    /// of that, and of all before it.
    pub fn has_written(&self) -> bool {
        self.wrote.is_some() && self.wrote == self.connected()
    }

    /// The number of the present connection, as far as there is one.
    pub fn connected(&self) -> Option<u64> {
        self.is_connected().then_some(self.connections)
    }

    /// Closes the connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Puts an entry at the end. `may_create`: only a fence makes a stream, so that one which was emptied is noticed.
    pub fn put(&mut self, position: Position, entry: &[u8], may_create: bool) -> Result<Appended, Fault> {
        let mut command = Cmd::new();
        command.arg("XADD").arg(&self.feed);
        if !may_create {
            command.arg("NOMKSTREAM");
        }
        command.arg(position.to_string()).arg(FIELD).arg(entry);
        match self.ask(&command, limits::ANSWER_WITHIN) {
            Ok(Value::Nil) => Ok(Appended::NoStream),
            Ok(_) => Ok(Appended::Written),
            // An ID that is too low has no code of its own.
            Err(fault) if fault.cause == Cause::Other => match self.extent()? {
                Some(extent) if extent.last >= position => Ok(Appended::Lower),
                _ => Err(fault),
            },
            Err(fault) => Err(fault),
        }
    }

    /// The entries after a position, at most so many. If there is none yet, it waits so long for one.
    pub fn read(&mut self, position: Position, most: usize, wait: Duration) -> Result<Vec<(Position, Vec<u8>)>, Fault> {
        let mut command = Cmd::new();
        command.arg("XREAD").arg("COUNT").arg(most);
        if !wait.is_zero() {
            command.arg("BLOCK").arg(wait.as_millis().max(1) as u64);
        }
        command.arg("STREAMS").arg(&self.feed).arg(position.to_string());
        let answer = self.ask(&command, wait + limits::ANSWER_WITHIN)?;
        // [[key, [entry, …]]]
        let streams = if matches!(answer, Value::Nil) { Vec::new() } else { array(answer).unwrap_or_default() };
        let entries = streams.into_iter().filter_map(array).filter_map(|stream| stream.into_iter().nth(1));
        Ok(entries.filter_map(array).flatten().filter_map(entry).collect())
    }

    /// The entry at a position, if there is one.
    pub fn entry_at(&mut self, position: Position) -> Result<Option<Vec<u8>>, Fault> {
        let mut command = Cmd::new();
        let id = position.to_string();
        command.arg("XRANGE").arg(&self.feed).arg(&id).arg(&id).arg("COUNT").arg(1);
        let answer = self.ask(&command, limits::ANSWER_WITHIN)?;
        Ok(array(answer).unwrap_or_default().into_iter().next().and_then(entry).map(|(_, entry)| entry))
    }

    /// The entries at the end, at most so many, the last one first.
    pub fn last_entries(&mut self, most: usize) -> Result<Vec<(Position, Vec<u8>)>, Fault> {
        let mut command = Cmd::new();
        command.arg("XREVRANGE").arg(&self.feed).arg("+").arg("-").arg("COUNT").arg(most);
        let answer = self.ask(&command, limits::ANSWER_WITHIN)?;
        Ok(array(answer).unwrap_or_default().into_iter().filter_map(entry).collect())
    }

    /// What the stream looks like; `None` if there is none.
    pub fn extent(&mut self) -> Result<Option<Extent>, Fault> {
        let mut command = Cmd::new();
        command.arg("XINFO").arg("STREAM").arg(&self.feed);
        let answer = match self.ask(&command, limits::ANSWER_WITHIN) {
            Err(Fault { cause: Cause::Other, message }) if message.contains("no such key") => return Ok(None),
            answer => array(answer?).unwrap_or_default(),
        };
        let (mut last, mut first, mut length) = (Position::START, None, 0);
        let mut fields = answer.into_iter();
        while let (Some(name), Some(value)) = (fields.next().and_then(bytes), fields.next()) {
            match (&name[..], value) {
                (b"length", Value::Int(count)) => length = u64::try_from(count).unwrap_or(0),
                (b"last-generated-id", id) => last = bytes(id).and_then(|id| parse_id(&id)).unwrap_or(last),
                (b"first-entry", entry) => first = self::entry(entry).map(|(position, _)| position),
                _ => {}
            }
        }
        Ok(Some(Extent { last, first, length }))
    }

    /// The signed manifest of the newest snapshot, if there is one. What is of another type there is an empty one, which is
    /// refused like any other that nobody has signed: nothing else depends on it, and the writer replaces it.
    pub fn manifest(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let mut command = Cmd::new();
        command.arg("GET").arg(&self.head);
        match self.ask(&command, limits::ANSWER_WITHIN) {
            Err(Fault { cause: Cause::OtherType, .. }) => Ok(Some(Vec::new())),
            answer => Ok(bytes(answer?)),
        }
    }

    /// Puts the manifest of a new snapshot in its place.
    pub fn set_manifest(&mut self, manifest: &[u8]) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("SET").arg(&self.head).arg(manifest);
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }

    /// Removes the entries before a position, or most of them.
    pub fn trim_before(&mut self, position: Position) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("XTRIM").arg(&self.feed).arg("MINID").arg("~").arg(position.to_string());
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }

    /// Removes the stream: its last position is one that no writer can come after.
    pub fn remove(&mut self) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("UNLINK").arg(&self.feed);
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }

    /// Waits until so many of the servers that follow this one have what was written, at most so long; returns how many
    /// have it.
    pub fn wait_for_followers(&mut self, count: u32, within: Duration) -> Result<u32, Fault> {
        let mut command = Cmd::new();
        command.arg("WAIT").arg(count).arg(within.as_millis().max(1) as u64);
        match self.ask(&command, within + limits::ANSWER_WITHIN)? {
            Value::Int(reached) => Ok(u32::try_from(reached).unwrap_or(0)),
            _ => Ok(0),
        }
    }

    /// What Redis does when its memory is full: with anything but `noeviction` it may drop the stream. `None` if this user
    /// may not ask.
    pub fn eviction_policy(&mut self) -> Result<Option<String>, Fault> {
        self.told_of("memory", "maxmemory_policy")
    }

    /// How many servers follow this one now. `None` if this user may not ask.
    pub fn followers(&mut self) -> Result<Option<u64>, Fault> {
        Ok(self.told_of("replication", "connected_slaves")?.and_then(|count| count.parse().ok()))
    }

    /// A field of what the server tells of itself.
    fn told_of(&mut self, section: &str, field: &str) -> Result<Option<String>, Fault> {
        let mut command = Cmd::new();
        command.arg("INFO").arg(section);
        let answer = match self.ask(&command, limits::ANSWER_WITHIN) {
            Err(Fault { cause: Cause::Refused, .. }) => return Ok(None),
            answer => bytes(answer?).unwrap_or_default(),
        };
        let text = String::from_utf8_lossy(&answer);
        let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned());
        Ok(text.lines().find_map(value))
    }

    fn ask(&mut self, command: &Cmd, within: Duration) -> Result<Value, Fault> {
        self.attempt(within, |connection| command.query(connection))
    }

    /// `within`: how long each piece of the answer may take.
    fn attempt<T>(
        &mut self,
        within: Duration,
        ask: impl FnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, Fault> {
        let connection = self.connect()?;
        let asked = connection
            .set_read_timeout(Some(within))
            .and_then(|()| connection.set_write_timeout(Some(limits::ANSWER_WITHIN)))
            .and_then(|()| ask(connection));
        let error = match asked {
            Ok(value) => {
                self.answered = self.connections;
                return Ok(value);
            }
            Err(error) => error,
        };
        let cause = cause(&error);
        // An answer that is late would be taken for the next one's.
        if matches!(cause, Cause::Unknown | Cause::NotMaster | Cause::Loading) {
            self.connection = None;
        }
        Err(self.describe(cause, &error, within))
    }

    fn connect(&mut self) -> Result<&mut Connection, Fault> {
        if self.connection.as_ref().is_none_or(|connection| !connection.is_open()) {
            let address = self.address()?;
            let made = self.dialler.connect(&self.server, &address, &self.server.login);
            self.at = Some(address);
            match made {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.connections += 1;
                }
                Err(failure) => {
                    self.connection = None;
                    // Nothing was asked, so nothing can be unknown.
                    let cause = match &failure {
                        Failure::Client(error) => Some(cause(error)).filter(|cause| *cause != Cause::Unknown),
                        Failure::Unresolved | Failure::Late => None,
                    };
                    return Err(
                        self.fault_saying(cause.unwrap_or(Cause::Unreachable), &in_a_line(&failure.to_string()))
                    );
                }
            }
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(Fault { cause: Cause::Unreachable, message: "no connection".to_owned() }),
        }
    }

    /// Where the server is now.
    fn address(&self) -> Result<Address, Fault> {
        let Some(lookup) = &self.lookup else { return Ok(self.server.address.clone()) };
        lookup.address(limits::ANSWER_WITHIN).map_err(|message| Fault { cause: Cause::Unreachable, message })
    }

    /// Leaves a server that is the master no more: it keeps its readers for long.
    fn leave_former_master(&mut self) {
        let named = self.lookup.as_ref().and_then(|lookup| lookup.named());
        if named.is_some_and(|named| self.at.as_ref() != Some(&named.address)) {
            self.connection = None;
        }
    }

    /// What the Sentinels say, once each was asked, at most so long; empty where there are none.
    pub fn sentinels_within(&self, within: Duration) -> Vec<Said> {
        self.lookup.as_ref().map_or_else(Vec::new, |lookup| lookup.said(within))
    }

    fn describe(&self, cause: Cause, error: &RedisError, within: Duration) -> Fault {
        let error = if error.is_timeout() { format!("not within {within:?}") } else { in_a_line(&error.to_string()) };
        self.fault_saying(cause, &error)
    }

    /// The same with what is to be said of it.
    fn fault_saying(&self, cause: Cause, error: &str) -> Fault {
        let names = if self.lookup.is_some() { Names::Master } else { Names::Redis };
        // The certificate is looked at with the first question.
        let remedy = if self.answered == self.connections && !is_of_name(error) {
            ""
        } else {
            remedy_at_first(error, self.server.tls.is_some(), names)
        };
        let server = match (&self.at, &self.server.address) {
            (Some(at), Address::Master(Master { name, .. })) => format!("{at} (`{name}` of the Sentinels)"),
            (_, address) => address.to_string(),
        };
        let user = self.server.login.user.as_deref().unwrap_or("default");
        let message = match cause {
            Cause::Unreachable => format!("Redis at {server} cannot be reached: {error}{remedy}"),
            Cause::Unknown => format!("Redis at {server} did not answer: {error}{remedy}"),
            Cause::NotMaster if error.contains("NOREPLICAS") => format!(
                "Redis at {server} takes no writes: it has too few followers (`min-replicas-to-write`); start them, or ask for fewer"
            ),
            Cause::NotMaster => {
                format!("Redis at {server} takes no writes: {error}; another server may be the master now")
            }
            Cause::Full => {
                format!(
                    "Redis at {server} has no room: {error}; give it more memory (`maxmemory`) or disk, or let nothing else use it"
                )
            }
            Cause::Refused => {
                format!(
                    "Redis at {server} refuses user `{user}`: {error}; check the password, and the user's commands and keys (`ACL GETUSER {user}`)"
                )
            }
            Cause::Loading => format!("Redis at {server} is still loading what it has on disk"),
            Cause::OtherType => {
                let feed = &self.feed;
                format!(
                    "Redis at {server} answers: {error}; `{feed}` holds something else than a stream: find out who wrote it there, and remove it (`redis-cli UNLINK {feed}`), and the writer begins anew"
                )
            }
            Cause::Other => format!("Redis at {server} answers: {error}{}", remedy_for(error)),
        };
        Fault { cause, message }
    }
}

impl Transport for Stream {
    fn connection(&mut self) -> Option<u64> {
        self.leave_former_master();
        let connected = self.connect().map(drop);
        self.done(connected).ok().map(|()| self.connections)
    }

    fn append(&mut self, entry: &Sealed, may_create: bool) -> Appended {
        let put = self.put(entry.position, &entry.bytes, may_create);
        let cause = put.as_ref().err().map(|fault| fault.cause);
        match (self.done(put), cause) {
            (Ok(appended), _) => {
                self.fault = None;
                if appended == Appended::Written {
                    self.wrote = Some(self.connections);
                }
                appended
            }
            (Err(Gone), Some(Cause::Unknown)) => Appended::Ambiguous,
            (Err(Gone), Some(Cause::Full)) => Appended::Full,
            (Err(Gone), _) => Appended::Gone,
        }
    }

    fn read_after(&mut self, after: Position, most: usize) -> Result<Vec<Raw>, Gone> {
        let read = self.read(after, most, self.patience);
        let raw = |(position, bytes): (Position, Vec<u8>)| Raw { position, bytes: bytes.into() };
        let entries = self.done(read)?;
        if !entries.is_empty() {
            self.fault = None;
        }
        Ok(entries.into_iter().map(raw).collect())
    }

    fn info(&mut self) -> Result<Option<Info>, Gone> {
        let extent = self.extent();
        self.done(extent).map(|extent| extent.map(|Extent { last, length, .. }| Info { last, length }))
    }

    fn head(&mut self) -> Result<Option<Arc<[u8]>>, Gone> {
        let manifest = self.manifest();
        self.done(manifest).map(|manifest| manifest.map(Arc::from))
    }

    fn set_head(&mut self, manifest: &[u8]) -> Result<(), Gone> {
        let set = self.set_manifest(manifest);
        self.done(set)
    }

    fn acknowledge(&mut self, by: KeyId, acknowledgement: &[u8]) -> Result<(), Gone> {
        let put = self.put_acknowledgement(by, acknowledgement);
        self.acknowledged(put)
    }

    fn acknowledgements(&mut self, by: &[KeyId]) -> Result<Vec<UnderKey>, Gone> {
        let read = self.acknowledgements_of(by);
        let found = self.acknowledged(read)?;
        Ok(found.into_iter().map(|(key, bytes)| (key, bytes.into())).collect())
    }

    fn trim(&mut self, before: Position) -> Result<(), Gone> {
        let trimmed = self.trim_before(before);
        self.done(trimmed)
    }

    fn unlink(&mut self) -> Result<(), Gone> {
        let removed = self.remove();
        self.done(removed)
    }
}

impl Stream {
    /// Keeps the fault apart: the feed goes on without. What keeps everything else away is told of that.
    fn acknowledged<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Gone> {
        let is_of_this = |fault: &&Fault| matches!(fault.cause, Cause::Refused | Cause::OtherType | Cause::Other);
        self.acknowledge_fault = outcome.as_ref().err().filter(is_of_this).cloned();
        outcome.map_err(|_| Gone)
    }

    /// Keeps the fault for whoever logs it. A server without room answers questions as before: that is over when an entry was
    /// taken, or came.
    fn done<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Gone> {
        let is_full = self.fault.as_ref().is_some_and(|fault| fault.cause == Cause::Full);
        if outcome.is_err() || !is_full {
            self.fault = outcome.as_ref().err().cloned();
        }
        outcome.map_err(|_| Gone)
    }
}

/// The field of an entry in the stream.
const FIELD: &str = "b";

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// `[id, [field, value, …]]`. One that has not our one field is empty.
fn entry(value: Value) -> Option<(Position, Vec<u8>)> {
    let mut parts = array(value)?.into_iter();
    let position = parse_id(&bytes(parts.next()?)?)?;
    let mut fields = parts.next().and_then(array).unwrap_or_default().into_iter();
    let ours = match (fields.next().and_then(bytes), fields.next().and_then(bytes), fields.next()) {
        (Some(name), Some(entry), None) if name == FIELD.as_bytes() => entry,
        _ => Vec::new(),
    };
    Some((position, ours))
}

fn parse_id(id: &[u8]) -> Option<Position> {
    let (epoch, sequence) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? })
}
