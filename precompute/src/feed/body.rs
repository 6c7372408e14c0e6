//! What an entry is about.
//!
//! Invariant: a body that is taken is written back as the same bytes, but for what a later version added to a record. A
//! kind that this program does not know is passed over from 128 up: it says nothing that a reader needs. It does not
//! know signatures, or what follows from a body.

mod answers;
mod begin;
mod heartbeat;
mod issuer_status;
mod sections;

pub(super) use self::{
    answers::put_rows,
    sections::{HASH_ROW, RECORD, Rows, put_hash, put_record, put_section_head},
};
pub use self::{
    answers::{AnswerRows, AnswerSection},
    begin::Begin,
    heartbeat::Heartbeat,
    issuer_status::IssuerStatus,
    sections::Section,
};
use super::{
    Chain, Position,
    wire::{Input, Read, Refusal},
};
use crate::{limits::feed as limits, state_dir::ServerId};

/// What an entry is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A writer has begun a new epoch. It has the sequence 0, and is no link of the chain.
    Fence,
    /// It goes on from here.
    Begin(Begin),
    /// It lives.
    Heartbeat(Heartbeat),
    /// What records say now.
    Records(Vec<Section>),
    /// Signed answers.
    Answers(Vec<AnswerSection>),
    /// The condition of issuers' sources.
    IssuerStatus(Vec<IssuerStatus>),
    /// There is a snapshot.
    Snapshot(SnapshotTold),
    /// The writer stops. Another one need not wait for its silence: this one if it names one, or else any.
    Resign(Option<ServerId>),
    /// Something from a later version that may be passed over.
    Other(u8),
}

/// A snapshot, whose manifest can be had beside the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotTold {
    /// The last entry in it.
    pub position: Position,
    /// The hash of that entry.
    pub chain: Chain,
    /// Its length.
    pub octets: u64,
}

const FENCE: u8 = 1;
pub(super) const BEGIN: u8 = 2;
const HEARTBEAT: u8 = 3;
pub(super) const RECORDS: u8 = 4;
const ANSWERS: u8 = 5;
const ISSUER_STATUS: u8 = 6;
const SNAPSHOT: u8 = 7;
const RESIGN: u8 = 8;
/// Kinds from here on may be passed over.
const OTHER: u8 = 128;

/// The longest body of a kind.
pub(super) const fn octets_max(kind: u8) -> usize {
    match kind {
        BEGIN => limits::BEGIN_BODY_OCTETS_MAX,
        _ => limits::ENTRY_BODY_OCTETS_MAX,
    }
}

impl Body {
    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::Fence => FENCE,
            Self::Begin(_) => BEGIN,
            Self::Heartbeat(_) => HEARTBEAT,
            Self::Records(_) => RECORDS,
            Self::Answers(_) => ANSWERS,
            Self::IssuerStatus(_) => ISSUER_STATUS,
            Self::Snapshot(_) => SNAPSHOT,
            Self::Resign(_) => RESIGN,
            Self::Other(kind) => *kind,
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Fence | Self::Resign(None) | Self::Other(_) => {}
            Self::Resign(Some(successor)) => bytes.extend_from_slice(&successor.bytes()),
            Self::Begin(begin) => begin.write(bytes),
            Self::Heartbeat(heartbeat) => heartbeat.write(bytes),
            Self::Records(sections) => sections::write(sections, bytes),
            Self::Answers(sections) => answers::write(sections, bytes),
            Self::IssuerStatus(all) => issuer_status::write(all, bytes),
            Self::Snapshot(SnapshotTold { position, chain, octets }) => {
                bytes.extend_from_slice(&position.epoch.to_be_bytes());
                bytes.extend_from_slice(&position.sequence.to_be_bytes());
                bytes.extend_from_slice(&chain.0);
                bytes.extend_from_slice(&octets.to_be_bytes());
            }
        }
    }

    pub(super) fn read(kind: u8, bytes: &[u8]) -> Read<Self> {
        let mut input = Input::new(bytes);
        let body = match kind {
            FENCE => Self::Fence,
            BEGIN => Self::Begin(Begin::read(&mut input)?),
            HEARTBEAT => Self::Heartbeat(Heartbeat::read(&mut input)?),
            RECORDS => Self::Records(sections::read(&mut input, limits::ENTRY_RECORDS_MAX)?),
            ANSWERS => Self::Answers(answers::read(&mut input)?),
            ISSUER_STATUS => Self::IssuerStatus(issuer_status::read(&mut input)?),
            SNAPSHOT => {
                let position = Position { epoch: input.u64()?, sequence: input.u64()? };
                Self::Snapshot(SnapshotTold { position, chain: Chain(input.array()?), octets: input.u64()? })
            }
            RESIGN if input.left() == 0 => Self::Resign(None),
            RESIGN => Self::Resign(Some(ServerId::from_bytes(input.array()?))),
            OTHER.. => return Ok(Self::Other(kind)),
            _ => return Err(Refusal::UnknownKind(kind)),
        };
        input.end()?;
        Ok(body)
    }
}
