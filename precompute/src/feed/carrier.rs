//! What carries the feed to a reader: Redis, or somebody who gives it out over HTTP.
//!
//! It decides nothing: each call goes to the one that there is.

use std::{sync::Arc, time::Duration};

use super::{
    KeyId, Position, Sealed,
    poll::Polled,
    redis::{Fault, Stream},
    transport::{Appended, Gone, Info, Raw, Transport, UnderKey},
};

/// See the module.
#[derive(Debug)]
pub enum Carrier {
    /// Redis itself.
    Redis(Box<Stream>),
    /// Over HTTP.
    Polled(Box<Polled>),
}

/// The same call to whichever it is.
macro_rules! each {
    ($carrier:expr, $inner:ident => $call:expr) => {
        match $carrier {
            Carrier::Redis($inner) => $call,
            Carrier::Polled($inner) => $call,
        }
    };
}

impl Carrier {
    /// One more to the same place, whose reads wait for nothing.
    pub fn another(&self) -> Self {
        match self {
            Self::Redis(stream) => Self::Redis(Box::new(stream.another())),
            Self::Polled(polled) => Self::Polled(Box::new(polled.another())),
        }
    }

    /// From now on reads wait so long.
    pub fn wait(&mut self, patience: Duration) {
        each!(self, inner => inner.wait(patience));
    }

    /// Why the last call was not done, unless one was since.
    pub fn fault(&self) -> Option<&Fault> {
        each!(self, inner => inner.fault())
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        each!(self, inner => inner.is_connected())
    }

    /// Closes the connection.
    pub fn disconnect(&mut self) {
        each!(self, inner => inner.disconnect());
    }

    /// The same with all others that may be asked in its place.
    pub fn places(&self) -> String {
        match self {
            Self::Redis(_) => self.place(),
            Self::Polled(polled) => format!("what gives the feed at {}", polled.places()),
        }
    }

    /// Polls that failed.
    pub fn poll_failures(&self) -> u64 {
        match self {
            Self::Redis(_) => 0,
            Self::Polled(polled) => polled.failures(),
        }
    }

    /// What it is, and where, for the log.
    pub fn place(&self) -> String {
        match self {
            Self::Redis(stream) => format!("Redis at {}", stream.server().address),
            Self::Polled(polled) => format!("what gives the feed at {}", polled.place()),
        }
    }

    /// What it is.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Redis(_) => "Redis",
            Self::Polled(_) => "what gives the feed",
        }
    }
}

impl From<Stream> for Carrier {
    fn from(stream: Stream) -> Self {
        Self::Redis(Box::new(stream))
    }
}

impl Transport for Carrier {
    fn connection(&mut self) -> Option<u64> {
        each!(self, inner => inner.connection())
    }

    fn append(&mut self, entry: &Sealed, may_create: bool) -> Appended {
        each!(self, inner => inner.append(entry, may_create))
    }

    fn read_after(&mut self, after: Position, most: usize) -> Result<Vec<Raw>, Gone> {
        each!(self, inner => inner.read_after(after, most))
    }

    fn info(&mut self) -> Result<Option<Info>, Gone> {
        each!(self, inner => inner.info())
    }

    fn head(&mut self) -> Result<Option<Arc<[u8]>>, Gone> {
        each!(self, inner => inner.head())
    }

    fn set_head(&mut self, manifest: &[u8]) -> Result<(), Gone> {
        each!(self, inner => inner.set_head(manifest))
    }

    fn acknowledge(&mut self, by: KeyId, acknowledgement: &[u8]) -> Result<(), Gone> {
        each!(self, inner => inner.acknowledge(by, acknowledgement))
    }

    fn acknowledgements(&mut self, by: &[KeyId]) -> Result<Vec<UnderKey>, Gone> {
        each!(self, inner => inner.acknowledgements(by))
    }

    fn trim(&mut self, before: Position) -> Result<(), Gone> {
        each!(self, inner => inner.trim(before))
    }

    fn unlink(&mut self) -> Result<(), Gone> {
        each!(self, inner => inner.unlink())
    }
}
