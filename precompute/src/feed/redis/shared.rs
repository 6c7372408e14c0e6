//! Answers that replicas share: keys beside the stream, each of which expires with the answer that it holds.
//!
//! Invariants: whatever somebody has put into a key, no more of it is read than an answer may have, and one byte; and a key
//! that holds something else than bytes is one with a value that nobody can use. So a hostile value costs one signature. It
//! does not know what a value says.

use std::time::Duration;

use redis::{Cmd, ConnectionLike as _, RedisError, Value};

use super::{
    Stream,
    fault::{Cause, Fault, cause},
};
use crate::{
    limits::feed as limits,
    pki::{Serial, hex::Hex},
};

/// A value that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Its key, without what the keys of the cluster begin with: [`Stream::shared_key`].
    pub key: String,
    /// Bytes of the value. Of one that is longer a byte more is read.
    pub octets: usize,
}

/// A value that others may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// As in [`Wanted`].
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// How long it is there.
    pub lasts: Duration,
}

/// What the user of Redis may do with shared answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MayShare {
    /// Read and write them.
    Both,
    /// Read them alone.
    ReadOnly,
    /// Neither.
    Neither,
}

/// A value of no answer: what stands for one that is no bytes.
const UNUSABLE: [u8; 1] = [0];
/// A key that is never set.
const NOBODYS: &str = "nobody";

impl Stream {
    /// The key of an answer of a form about a certificate. `form`: its fingerprint, of which 16 bytes tell forms apart.
    pub fn shared_key(form: &[u8; 32], serial: &Serial) -> String {
        format!("{}:{serial}", Hex(&form[..16]))
    }

    /// Bytes of what the keys of the cluster begin with.
    pub fn shared_prefix_octets(&self) -> usize {
        self.shared.len()
    }

    /// The values, in order; `None` where there is none.
    pub fn shared(&mut self, wanted: &[Wanted]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let get = |Wanted { key, octets }: &Wanted| {
            let mut command = Cmd::new();
            // Not MGET, which would give values of any length whole.
            command.arg("GETRANGE").arg(format!("{}{key}", self.shared)).arg(0).arg(*octets);
            command
        };
        let commands: Vec<Cmd> = wanted.iter().map(get).collect();
        self.ask_all(&commands)?.into_iter().map(|answer| self.shared_value(answer)).collect()
    }

    fn shared_value(&self, answer: Value) -> Result<Option<Vec<u8>>, Fault> {
        match answer {
            Value::Nil => Ok(None),
            Value::BulkString(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Value::ServerError(error) => match self.fault_of(error.into()) {
                Fault { cause: Cause::OtherType, .. } => Ok(Some(UNUSABLE.to_vec())),
                fault => Err(fault),
            },
            _ => Ok(Some(UNUSABLE.to_vec())),
        }
    }

    /// Puts values into their keys, whatever was there.
    pub fn share(&mut self, offers: &[Offer]) -> Result<(), Fault> {
        let set = |Offer { key, value, lasts }: &Offer| {
            let mut command = Cmd::new();
            let lasts = (lasts.as_millis() as u64).max(1);
            command.arg("SET").arg(format!("{}{key}", self.shared)).arg(&value[..]).arg("PX").arg(lasts);
            command
        };
        let commands: Vec<Cmd> = offers.iter().map(set).collect();
        let answers = self.ask_all(&commands)?;
        let refused = answers.into_iter().find_map(|answer| match answer {
            Value::ServerError(error) => Some(self.fault_of(error.into())),
            _ => None,
        });
        let Some(fault) = refused else { return Ok(()) };
        if fault.cause == Cause::NotMaster {
            self.disconnect();
        }
        Err(fault)
    }

    /// What this user may do with shared answers; nothing is written. `None` if this server takes no writes now, or has no
    /// room, which says nothing of the user.
    pub fn may_share(&mut self) -> Result<Option<MayShare>, Fault> {
        let wanted = Wanted { key: NOBODYS.to_owned(), octets: 0 };
        match self.shared(&[wanted]) {
            Err(Fault { cause: Cause::Refused, .. }) => return Ok(Some(MayShare::Neither)),
            answer => answer?,
        };
        // `XX`: where there is no such key, nothing is set.
        let mut command = Cmd::new();
        command.arg("SET").arg(format!("{}{NOBODYS}", self.shared)).arg("").arg("XX").arg("PX").arg(1);
        match self.ask(&command, limits::ANSWER_WITHIN) {
            Ok(_) => Ok(Some(MayShare::Both)),
            Err(Fault { cause: Cause::Refused, .. }) => Ok(Some(MayShare::ReadOnly)),
            Err(Fault { cause: Cause::NotMaster | Cause::Full, .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Makes sure of a connection that answers questions about shared answers, to the server that is the master now.
    pub fn try_sharing(&mut self) -> Result<(), Fault> {
        self.leave_former_master();
        self.shared(&[Wanted { key: NOBODYS.to_owned(), octets: 0 }]).map(drop)
    }

    /// Asks all of it at once. An error of one command is its answer.
    pub(super) fn ask_all(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, Fault> {
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        self.attempt(limits::ANSWER_WITHIN, |connection| connection.req_packed_commands(&packed, 0, commands.len()))
    }

    pub(super) fn fault_of(&self, error: RedisError) -> Fault {
        let cause = cause(&error);
        self.describe(cause, &error, limits::ANSWER_WITHIN)
    }
}
