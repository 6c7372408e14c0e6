//! Why Redis or a Sentinel did not do what it was asked to, and what to do about it. It asks nobody.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::limits::feed as limits;

/// Why Redis did not do what it was asked to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Its kind.
    pub cause: Cause,
    /// For the log: the server, what happened, and the remedy where one is known.
    pub message: String,
}

/// What kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It cannot be reached. Nothing was asked.
    Unreachable,
    /// No answer came. What was asked may be done, or may still be.
    Unknown,
    /// This server takes no writes: it follows another, or has too few followers. Another one may be the master.
    NotMaster,
    /// It has no room: its memory or its disk is full.
    Full,
    /// It does not let this user do that.
    Refused,
    /// It is loading what it has on disk.
    Loading,
    /// A key of the feed holds something of another type.
    OtherType,
    /// Anything else.
    Other,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl std::error::Error for Fault {}

/// What the server says, for a log: without controls, and not longer than anybody reads.
pub(super) fn in_a_line(said: &str) -> String {
    let plain = said.split(|letter: char| letter.is_control() || letter == ' ').filter(|word| !word.is_empty());
    plain.collect::<Vec<_>>().join(" ").chars().take(limits::FAULT_LETTERS_MAX).collect()
}

/// The kind of an error.
pub(super) fn cause(error: &RedisError) -> Cause {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        return Cause::Unknown;
    }
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
        | (_, Some("NOAUTH" | "WRONGPASS")) => Cause::Refused,
        (ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown), _) | (_, Some("NOREPLICAS")) => {
            Cause::NotMaster
        }
        (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => Cause::Loading,
        (_, Some("OOM" | "MISCONF")) => Cause::Full,
        (_, Some("WRONGTYPE")) => Cause::OtherType,
        // Who waited for an entry while this server became another's follower.
        (_, Some("UNBLOCKED")) => Cause::NotMaster,
        // What cannot be parsed leaves the connection in the middle of an answer.
        (ErrorKind::Parse | ErrorKind::Io, _) => Cause::Unknown,
        _ => Cause::Other,
    }
}

/// What to do where the name of a host has no address.
pub(in crate::feed) const NAME_REMEDY: &str = "; look after this machine's name servers (`/etc/resolv.conf`), put the name into `/etc/hosts`, or give the address in its place";

/// Whether that is what an error of a client of ours says.
pub(in crate::feed) fn is_of_name(error: &str) -> bool {
    ["could not be resolved", "failed to lookup address", "timeout: resolve"].iter().any(|what| error.contains(what))
}

/// Where the name comes from by which a server is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Names {
    /// `feed.redis`.
    Redis,
    /// `feed.sentinels`.
    Sentinel,
    /// What Sentinels say.
    Master,
}

/// What to do where a connection is made, and its first question not answered.
/// `names`: what has to be done where its certificate does not have the name by which it is asked.
pub(super) fn remedy_at_first(error: &str, is_tls: bool, names: Names) -> &'static str {
    let says = |what: &str| error.contains(what);
    if is_of_name(error) {
        NAME_REMEDY
    } else if is_tls && says("CaUsedAsEndEntity") {
        "; its certificate is a CA's own, as `openssl req -x509` makes it: give it one that this CA has issued"
    } else if is_tls && says("certificate") {
        match names {
            Names::Redis => {
                "; `feed.tls_ca` has to name the CA of its certificate, and `feed.redis` a host that stands in it"
            }
            Names::Sentinel => {
                "; `feed.tls_ca` has to name the CA of its certificate, and `feed.sentinels` a host that stands in it"
            }
            Names::Master => {
                "; `feed.tls_ca` has to name the CA of its certificate, and the Sentinels have to name it by a host that stands in it (`sentinel announce-hostnames yes`, `replica-announce-ip`)"
            }
        }
    } else if is_tls && (says("not within") || says("corrupt message")) {
        "; a port that takes connections and says nothing may not speak TLS: without `rediss://` and `feed.tls_ca` it is asked without"
    } else if !is_tls && (says("reset by peer") || says("end of file") || says("Broken pipe")) {
        "; a server that closes connections at once lets nobody in from another machine without a password (`protected-mode`), has too many clients, or wants TLS"
    } else {
        ""
    }
}

/// What to do where something else than the Redis that is meant answers.
pub(super) fn remedy_for(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    let says = |what: &str| error.contains(what);
    if says("unknown command") {
        "; name a Redis from 6.2 on (or Valkey) itself, with its commands under their own names, and no Sentinel or proxy before it"
    } else if says("invalid stream id") || says("syntax error") || says("wrong number of arguments") {
        "; Redis before 6.2 does not know what the feed needs (XADD NOMKSTREAM, XTRIM MINID): update it"
    } else if says("moved") || says("clusterdown") || says("crossslot") {
        "; this is a node of a Redis Cluster, which would spread the feed: name a Redis without `cluster-enabled`"
    } else if says("max number of clients") {
        "; raise `maxclients`, or find out who holds so many connections"
    } else if says("denied") && says("protected mode") {
        "; it lets nobody in from another machine without a password: set one there (`requirepass`), and name it by `feed.password_file`"
    } else if says("busy running a script") {
        "; it is somebody else's script: `redis-cli SCRIPT KILL` ends it"
    } else {
        ""
    }
}
