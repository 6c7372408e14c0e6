//! The places of servers beside the stream, the list of those that were decommissioned, and the configuration of all.
//!
//! Invariant: of each no more is read than it may have, and one byte, whatever somebody has put there; what is of another type
//! is one that nobody can use. It does not know what they say.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{Cause, Fault, Stream, limits};
use crate::limits::servers as bounds;

/// A number of no place.
const NOBODYS: &str = "nobody";

impl Stream {
    /// What is in each of the places; empty where there is nothing.
    pub fn places(&mut self) -> Result<Vec<Vec<u8>>, Fault> {
        self.leave_former_master();
        let commands: Vec<Cmd> = (0..bounds::SLOTS).map(|number| self.get_place(&number.to_string())).collect();
        let answers = self.ask_all(&commands)?;
        answers.into_iter().map(|answer| self.bytes_of(answer)).collect()
    }

    fn get_place(&self, name: &str) -> Cmd {
        let mut command = Cmd::new();
        command.arg("GETRANGE").arg(format!("{}{name}", self.servers)).arg(0).arg(bounds::NOTICE_OCTETS_MAX);
        command
    }

    fn bytes_of(&self, answer: Value) -> Result<Vec<u8>, Fault> {
        match answer {
            Value::BulkString(value) => Ok(value),
            Value::ServerError(error) => match self.fault_of(error.into()) {
                Fault { cause: Cause::OtherType, .. } => Ok(vec![0]),
                fault => Err(fault),
            },
            _ => Ok(Vec::new()),
        }
    }

    /// Puts something into a place, for so long.
    pub fn put_place(&mut self, number: usize, content: &[u8], lasts: Duration) -> Result<(), Fault> {
        let mut command = Cmd::new();
        let lasts = (lasts.as_millis() as u64).max(1);
        command.arg("SET").arg(format!("{}{number}", self.servers)).arg(content).arg("PX").arg(lasts);
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }

    /// Empties a place.
    pub fn clear_place(&mut self, number: usize) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("UNLINK").arg(format!("{}{number}", self.servers));
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }

    /// Whether this user may write into places; nothing is written. `None` if this server takes no writes now, or has no room,
    /// which says nothing of the user.
    pub fn may_register(&mut self) -> Result<Option<bool>, Fault> {
        // `XX`: where there is no such key, nothing is set.
        let mut command = Cmd::new();
        command.arg("SET").arg(format!("{}{NOBODYS}", self.servers)).arg("").arg("XX").arg("PX").arg(1);
        match self.ask(&command, limits::ANSWER_WITHIN) {
            Ok(_) => Ok(Some(true)),
            Err(Fault { cause: Cause::Refused, .. }) => Ok(Some(false)),
            Err(Fault { cause: Cause::NotMaster | Cause::Full, .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The list of servers that were decommissioned; empty if there is none.
    pub fn gone(&mut self) -> Result<Vec<u8>, Fault> {
        let mut command = Cmd::new();
        command.arg("GETRANGE").arg(&self.gone).arg(0).arg(bounds::GONE_OCTETS_MAX);
        match self.ask(&command, limits::ANSWER_WITHIN) {
            Err(Fault { cause: Cause::OtherType, .. }) => Ok(vec![0]),
            answer => Ok(super::bytes(answer?).unwrap_or_default()),
        }
    }

    /// Puts that list into its place.
    pub fn set_gone(&mut self, list: &[u8]) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("SET").arg(&self.gone).arg(list);
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }

    /// The newest version of the configuration, at most so many bytes of it; empty if there is none.
    pub fn configuration(&mut self, most: usize) -> Result<Vec<u8>, Fault> {
        self.leave_former_master();
        let mut command = Cmd::new();
        command.arg("GETRANGE").arg(&self.configuration).arg(0).arg(most.saturating_sub(1));
        match self.ask(&command, limits::ANSWER_WITHIN) {
            Err(Fault { cause: Cause::OtherType, .. }) => Ok(Vec::new()),
            answer => Ok(super::bytes(answer?).unwrap_or_default()),
        }
    }

    /// Puts another one into its place.
    pub fn set_configuration(&mut self, version: &[u8]) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("SET").arg(&self.configuration).arg(version);
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }
}
