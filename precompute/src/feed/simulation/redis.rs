//! Two model servers, of which one is the master, or each for some, or none.
//!
//! It loses what was not replicated, forgets, comes back from a backup, answers doubtfully, and carries what nobody
//! signed. What it is asked to do it does as Redis does: IDs only rise, and nothing creates a stream but who may.

use std::{collections::BTreeMap, sync::Arc};

use super::Rng;
use crate::feed::{
    KeyId, Position, Sealed,
    transport::{Appended, Gone, Info, Raw, Transport, UnderKey},
};

#[derive(Clone, Default, Debug)]
pub(super) struct Data {
    pub(super) stream: Option<Stream>,
    pub(super) head: Option<Arc<[u8]>>,
    acknowledgements: BTreeMap<KeyId, Arc<[u8]>>,
}

#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) entries: Vec<Raw>,
    pub(super) last: Position,
    /// Whether entries were removed from its beginning.
    pub(super) is_trimmed: bool,
}

impl Stream {
    fn after(&self, position: Position) -> &[Raw] {
        let start = self.entries.partition_point(|raw| raw.position <= position);
        &self.entries[start..]
    }
}

#[derive(Debug)]
struct Node {
    data: Data,
    is_up: bool,
    /// Connections from before are gone.
    incarnation: u64,
}

#[derive(Debug)]
pub(super) struct Redis {
    nodes: [Node; 2],
    /// The master of each side.
    masters: [usize; 2],
    pub(super) is_split: bool,
    saved: Option<Data>,
    incarnations: u64,
}

impl Redis {
    pub(super) fn new() -> Self {
        let node = |incarnation| Node { data: Data::default(), is_up: true, incarnation };
        Self { nodes: [node(1), node(2)], masters: [0, 0], is_split: false, saved: None, incarnations: 2 }
    }

    fn master(&self, side: usize) -> usize {
        self.masters[if self.is_split { side } else { 0 }]
    }

    fn renew(&mut self, node: usize) {
        self.incarnations += 1;
        self.nodes[node].incarnation = self.incarnations;
        self.nodes[node].is_up = true;
    }

    /// The connection that a side has now.
    pub(super) fn connection(&self, side: usize) -> Option<u64> {
        let node = &self.nodes[self.master(side)];
        node.is_up.then_some(node.incarnation)
    }

    /// What a side's master has.
    pub(super) fn data(&mut self, side: usize) -> &mut Data {
        let master = self.master(side);
        &mut self.nodes[master].data
    }

    /// The other server gets what the master has, or a part of it: replication is asynchronous.
    pub(super) fn replicate(&mut self, rng: &mut Rng, whole: bool) {
        if self.is_split || !self.nodes[self.masters[0]].is_up {
            return;
        }
        let mut copy = self.nodes[self.masters[0]].data.clone();
        let other = 1 - self.masters[0];
        if let Some(stream) = &mut copy.stream
            && !whole
            && rng.chance(50)
        {
            let have = self.nodes[other].data.stream.as_ref().map_or(0, |stream| stream.entries.len());
            let keep = have.min(stream.entries.len()) + rng.below(stream.entries.len().saturating_sub(have) + 1);
            stream.entries.truncate(keep);
            match stream.entries.last() {
                Some(last) => stream.last = last.position,
                None => copy.stream = None,
            }
        }
        self.nodes[other].data = copy;
    }

    /// The other server is the master now; what it had not got is lost.
    pub(super) fn fail_over(&mut self) {
        let new = 1 - self.masters[0];
        self.masters = [new, new];
        self.renew(new);
        self.nodes[1 - new].data = self.nodes[new].data.clone();
    }

    /// Side 1 has a new master, side 0 keeps the old one.
    pub(super) fn split(&mut self) {
        let old = self.masters[0];
        self.is_split = true;
        self.masters = [old, 1 - old];
        self.renew(1 - old);
    }

    /// Everybody is with one of the two again, and the other one's is lost.
    pub(super) fn heal(&mut self, side: usize) {
        let winner = self.master(side);
        self.is_split = false;
        self.masters = [winner, winner];
        self.nodes[1 - winner].data = self.nodes[winner].data.clone();
        self.renew(winner);
    }

    pub(super) fn empty(&mut self) {
        let of: Vec<_> = if self.is_split { vec![self.masters[0]] } else { vec![0, 1] };
        of.into_iter().for_each(|node| self.nodes[node].data = Data::default());
    }

    pub(super) fn save(&mut self) {
        self.saved = Some(self.nodes[self.masters[0]].data.clone());
    }

    /// An old backup is put into place; false if there is none.
    pub(super) fn restore(&mut self) -> bool {
        let Some(saved) = self.saved.clone() else { return false };
        self.nodes.iter_mut().for_each(|node| node.data = saved.clone());
        true
    }

    pub(super) fn toggle(&mut self) {
        let master = self.masters[0];
        if self.nodes[master].is_up {
            self.nodes[master].is_up = false;
        } else {
            self.renew(master);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.nodes[self.masters[0]].is_up
    }
}

/// One actor's connection.
pub(super) struct Link<'a> {
    pub(super) redis: &'a mut Redis,
    pub(super) side: usize,
    pub(super) rng: &'a mut Rng,
    /// Whether answers may get lost.
    pub(super) is_doubtful: bool,
}

impl Transport for Link<'_> {
    fn connection(&mut self) -> Option<u64> {
        self.redis.connection(self.side)
    }

    fn append(&mut self, entry: &Sealed, may_create: bool) -> Appended {
        let dice = if self.is_doubtful { self.rng.below(100) } else { 99 };
        if dice == 0 {
            return Appended::Gone;
        }
        let data = self.redis.data(self.side);
        let outcome = match &mut data.stream {
            None if !may_create => return Appended::NoStream,
            Some(stream) if entry.position <= stream.last => return Appended::Lower,
            _ if dice == 1 => return Appended::Ambiguous,
            Some(stream) => stream,
            stream @ None => stream.insert(Stream { entries: Vec::new(), last: Position::START, is_trimmed: false }),
        };
        outcome.last = entry.position;
        outcome.entries.push(Raw { position: entry.position, bytes: Arc::clone(&entry.bytes) });
        // The answer is lost; a client that asks again is told that the ID is too low.
        match dice {
            2 => Appended::Ambiguous,
            3 => Appended::Lower,
            _ => Appended::Written,
        }
    }

    fn read_after(&mut self, after: Position, most: usize) -> Result<Vec<Raw>, Gone> {
        let Some(stream) = &self.redis.data(self.side).stream else { return Ok(Vec::new()) };
        let there = stream.after(after);
        Ok(there[..there.len().min(most)].to_vec())
    }

    fn info(&mut self) -> Result<Option<Info>, Gone> {
        if self.is_doubtful && self.rng.below(200) == 0 {
            return Err(Gone);
        }
        let stream = self.redis.data(self.side).stream.as_ref();
        Ok(stream.map(|stream| Info { last: stream.last, length: stream.entries.len() as u64 }))
    }

    fn head(&mut self) -> Result<Option<Arc<[u8]>>, Gone> {
        Ok(self.redis.data(self.side).head.clone())
    }

    fn set_head(&mut self, manifest: &[u8]) -> Result<(), Gone> {
        self.redis.data(self.side).head = Some(manifest.into());
        Ok(())
    }

    fn acknowledge(&mut self, by: KeyId, acknowledgement: &[u8]) -> Result<(), Gone> {
        if self.is_doubtful && self.rng.below(50) == 0 {
            return Err(Gone);
        }
        self.redis.data(self.side).acknowledgements.insert(by, acknowledgement.into());
        Ok(())
    }

    fn acknowledgements(&mut self, by: &[KeyId]) -> Result<Vec<UnderKey>, Gone> {
        let there = &self.redis.data(self.side).acknowledgements;
        Ok(by.iter().filter_map(|key| Some((*key, Arc::clone(there.get(key)?)))).collect())
    }

    fn trim(&mut self, before: Position) -> Result<(), Gone> {
        if let Some(stream) = &mut self.redis.data(self.side).stream {
            stream.is_trimmed = true;
            stream.entries.retain(|raw| raw.position >= before);
        }
        Ok(())
    }

    fn unlink(&mut self) -> Result<(), Gone> {
        self.redis.data(self.side).stream = None;
        Ok(())
    }
}
