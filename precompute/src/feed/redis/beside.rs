//! What stands beside the stream: what standbys have on disk, and what a relay has copied.
//!
//! Invariant: nothing else depends on it. What is of another type there is nobody's. It does not know what is signed.

use redis::{Cmd, Value};

use super::{Appended, Cause, FIELD, Fault, KeyId, Position, Stream, array, bytes, limits, parse_id};

impl Stream {
    /// Puts what a standby has on disk under this name.
    pub fn put_acknowledgement(&mut self, by: KeyId, acknowledgement: &[u8]) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("HSET").arg(&self.ack).arg(by.to_string()).arg(acknowledgement);
        match self.ask(&command, limits::ANSWER_WITHIN) {
            // Something else there is nobody's, and keeps nobody from it.
            Err(Fault { cause: Cause::OtherType, .. }) => {
                let mut remove = Cmd::new();
                remove.arg("UNLINK").arg(&self.ack);
                self.ask(&remove, limits::ANSWER_WITHIN)?;
                self.ask(&command, limits::ANSWER_WITHIN).map(drop)
            }
            answer => answer.map(drop),
        }
    }

    /// What is there under these names, as far as there is anything.
    pub fn acknowledgements_of(&mut self, by: &[KeyId]) -> Result<Vec<(KeyId, Vec<u8>)>, Fault> {
        if by.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Cmd::new();
        command.arg("HMGET").arg(&self.ack);
        by.iter().for_each(|key| _ = command.arg(key.to_string()));
        let answer = match self.ask(&command, limits::ANSWER_WITHIN) {
            Err(Fault { cause: Cause::OtherType, .. }) => return Ok(Vec::new()),
            answer => answer?,
        };
        let found = array(answer).unwrap_or_default();
        Ok(by.iter().zip(found).filter_map(|(key, value)| Some((*key, bytes(value)?))).collect())
    }

    /// Puts an entry, and the mark of it, behind the last one that is known (`None`: there is no stream), or does nothing where
    /// anything else is the last one by then.
    pub fn put_behind(&mut self, last: Option<Position>, position: Position, entry: &[u8]) -> Result<Appended, Fault> {
        let word = |word: &str| {
            let mut command = Cmd::new();
            command.arg(word);
            command
        };
        let mut watch = word("WATCH");
        watch.arg(&self.feed);
        self.ask(&watch, limits::ANSWER_WITHIN)?;
        if self.extent()?.map(|extent| extent.last) != last {
            self.ask(&word("UNWATCH"), limits::ANSWER_WITHIN)?;
            return Ok(Appended::Lower);
        }
        let mut add = word("XADD");
        add.arg(&self.feed).arg(position.to_string()).arg(FIELD).arg(entry);
        let mut mark = word("SET");
        mark.arg(&self.relayed).arg(position.to_string());
        let answers = self.ask_all(&[word("MULTI"), add, mark, word("EXEC")])?;
        // Each is queued first: one that is refused there, as for want of room, ends all of it.
        let refused = answers.iter().find_map(|answer| match answer {
            Value::ServerError(error) => Some(self.fault_of(error.clone().into())),
            _ => None,
        });
        match (refused, answers.last()) {
            (Some(fault), _) => Err(fault),
            (None, Some(Value::Array(done))) if !done.iter().any(|done| matches!(done, Value::ServerError(_))) => {
                Ok(Appended::Written)
            }
            // Something else came in between, or the ID is too low.
            _ => Ok(Appended::Lower),
        }
    }

    /// Notes, beside the stream, which entry a relay has copied last,
    pub fn mark(&mut self, position: Position) -> Result<(), Fault> {
        let mut command = Cmd::new();
        command.arg("SET").arg(&self.relayed).arg(position.to_string());
        self.ask(&command, limits::ANSWER_WITHIN).map(drop)
    }

    /// and reads that; `None` if it says nothing.
    pub fn marked(&mut self) -> Result<Option<Position>, Fault> {
        let mut command = Cmd::new();
        command.arg("GET").arg(&self.relayed);
        match self.ask(&command, limits::ANSWER_WITHIN) {
            Err(Fault { cause: Cause::OtherType, .. }) => Ok(None),
            answer => Ok(bytes(answer?).and_then(|id| parse_id(&id))),
        }
    }
}
