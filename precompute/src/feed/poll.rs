//! The feed over HTTP, for readers that do not reach Redis: entries behind a position, by long polls.
//!
//! Purpose: what goes over the wire between a [`Tail`], which gives out what it reads from Redis, and [`Polled`], which is a
//! reader's [`Transport`](super::transport::Transport). Invariant: nothing of it is believed: entries are signed and chained, and
//! the reader verifies them as it does those from Redis; what is not of this form is no answer. Its length is bounded by whoever
//! reads it. It does not know HTTP.
//!
//! - `GET /feed/<cluster>/entries?after=<epoch>-<sequence>&most=<n>&wait=<ms>`: an [`Answer`].
//! - `GET /feed/<cluster>/head`: the signed manifest of the newest snapshot, or 204.

mod client;
mod tail;

pub use client::Polled;
pub use tail::{Tail, router};

use super::{
    Position,
    transport::{Info, Raw},
};

/// What one poll gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Another one after each time that the giver was started, or its connection to Redis was lost.
    pub connection: u64,
    /// The stream; `None` if there is none.
    pub info: Option<Info>,
    /// In order.
    pub entries: Vec<Raw>,
}

const MAGIC: &[u8; 4] = b"OFP1";

impl Answer {
    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.connection.to_be_bytes());
        let Info { last, length } = self.info.unwrap_or(Info { last: Position::START, length: 0 });
        out.push(self.info.is_some().into());
        [last.epoch, last.sequence, length].iter().for_each(|number| out.extend(number.to_be_bytes()));
        for Raw { position, bytes } in &self.entries {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            [position.epoch, position.sequence].iter().for_each(|number| out.extend(number.to_be_bytes()));
            out.extend(length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        out
    }

    /// From such bytes; `None` for any others.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let connection = number(&mut rest)?;
        let (is_there, behind) = rest.split_first()?;
        rest = behind;
        let [epoch, sequence, length] = [number(&mut rest)?, number(&mut rest)?, number(&mut rest)?];
        let info = match is_there {
            0 => None,
            1 => Some(Info { last: Position { epoch, sequence }, length }),
            _ => return None,
        };
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let position = Position { epoch: number(&mut rest)?, sequence: number(&mut rest)? };
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (entry, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            entries.push(Raw { position, bytes: entry.into() });
            rest = behind;
        }
        Some(Self { connection, info, entries })
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests;
