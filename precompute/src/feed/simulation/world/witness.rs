//! What must never be seen in the stream: each is the harm that a rule keeps away.

use std::collections::{BTreeMap, BTreeSet};

use super::{ACTORS, Checked, Disk, Role, Rules, World, trusted};
use crate::feed::{
    Body, Chain, Cluster, Entry, Opened, Position,
    reader::{follows, sections},
    rule::is_final,
    store::{Place, Store as _},
    transport::Raw,
};

/// For so many ticks a manifest may be missing.
const CLOSED_TICKS_MAX: u32 = 24;
/// For so many ticks a chain that is behind has to live until a reader changes over to it, less what clocks add.
const YIELD_TICKS: u64 = 60;

#[derive(Default, Debug)]
pub(super) struct OfWriter {
    /// The entries that it has been at, without a gap.
    pub(super) history: BTreeSet<Chain>,
    pub(super) has_snapshot: bool,
    /// Where it was when it set its fence.
    before_fence: Option<Place>,
    /// Whether its clock was right then.
    is_on_time: bool,
    connection: Option<u64>,
}

impl OfWriter {
    pub(super) fn of(book: &Disk) -> Self {
        Self { history: [book.place().unwrap_or(Place::START).chain].into(), ..Self::default() }
    }
}

/// Each leadership: what its writer had been at, by its `begin`; and when it began by a clock that was right, by its
/// epoch.
#[derive(Default, Debug)]
pub(super) struct Begun {
    histories: BTreeMap<Chain, BTreeSet<Chain>>,
    ticks: BTreeMap<u64, u64>,
}

fn open(raw: &Raw) -> Option<Opened> {
    let cluster = Cluster::new("simulated").expect("a name");
    Entry::open(raw.position, &raw.bytes, &cluster, &trusted()).ok()
}

impl World {
    fn entries(&mut self, side: usize) -> Vec<Raw> {
        self.redis.data(side).stream.as_ref().map_or_else(Vec::new, |stream| stream.entries.clone())
    }

    /// Notes where a fence was set. A writer does not begin anew behind an entry of its own (rule 15).
    pub(super) fn of_fence(&mut self, number: usize, before: Role, role: Role, from: Option<Place>) -> Checked {
        let (side, is_on_time) = (self.writers[number].side, self.writers[number].clock == 0);
        let connection = self.redis.connection(side);
        let witness = &mut self.writers[number].witness;
        let is_same = connection.is_some() && witness.connection == connection;
        witness.connection = connection;
        if before == Role::Fencing && role == Role::Reading {
            (witness.before_fence, witness.is_on_time) = (from, is_on_time);
        }
        if before != Role::Leading || role != Role::Fencing || !is_same {
            return Ok(());
        }
        let place = self.writers[number].book.place();
        let last = self.entries(side).last().and_then(open);
        let is_own = |last: &Opened| {
            usize::from(last.entry.author.bytes()[0]) == number + 1
                // One of an earlier epoch may stand higher, where a clock was set back and an old stream restored.
                && place.is_some_and(|place| {
                    last.entry.position.epoch == place.position.epoch && last.entry.position > place.position
                })
        };
        match last.filter(is_own) {
            Some(last) => Err(format!("W{number} begins anew although {} was written", last.entry.position)),
            None => Ok(()),
        }
    }

    /// What stood before the fence is not lost (rule 12), and whoever was there goes on (rule 13).
    pub(super) fn leads(&mut self, number: usize, place: Place) -> Checked {
        let writer = &mut self.writers[number];
        let side = writer.side;
        writer.witness.has_snapshot = false;
        self.begun.histories.insert(place.chain, writer.witness.history.clone());
        writer.witness.history.insert(place.chain);
        if writer.witness.is_on_time {
            self.begun.ticks.insert(place.position.epoch, self.tick);
        } else {
            self.begun.ticks.remove(&place.position.epoch);
        }
        let before_fence = self.writers[number].witness.before_fence.unwrap_or(Place::START);
        let entries: Vec<_> = self.entries(side).iter().filter_map(open).collect();
        let Some(begin) = entries.iter().find(|opened| opened.chain == place.chain) else { return Ok(()) };
        let Body::Begin(begin) = &begin.entry.body else { return Err("no begin".to_owned()) };
        let is_before =
            |opened: &&Opened| opened.entry.position.epoch < place.position.epoch && opened.entry.body != Body::Fence;
        let (mut at, mut tip) = (before_fence, None);
        for opened in entries.iter().filter(is_before) {
            let here = Place { position: opened.entry.position, chain: opened.chain };
            if here.position > at.position && follows(Rules::default(), at, &opened.entry) {
                at = here;
            }
            tip = Some(here);
            for section in sections(&opened.entry.body) {
                for change in section.changes.iter().filter(|change| is_final(change)) {
                    if !is_final(&self.writers[number].book.get((section.issuer, change.serial))) {
                        return Err(format!("W{number} leads without the revocation of {} in {here}", change.serial));
                    }
                }
            }
        }
        match tip.filter(|tip| *tip == at && !begin.continues.contains(&tip.chain)) {
            Some(tip) => Err(format!("W{number} does not go on from {tip}, which it could read")),
            None => Ok(()),
        }
    }

    /// A replica found an entry that does not follow. No snapshot is needed where the writer had been at the replica's
    /// place (rules 11 and 13), nor because of what nobody signed (rule 22).
    pub(super) fn needs_a_snapshot(&mut self, number: usize, place: Place, at: Position) -> Checked {
        let side = self.replicas[number].side;
        let is_trimmed = self.redis.data(side).stream.as_ref().is_none_or(|stream| stream.is_trimmed);
        let entries = self.entries(side);
        let Some(raw) = entries.iter().find(|raw| raw.position == at) else { return Ok(()) };
        let Some(opened) = open(raw) else { return Err(format!("R{number} stops at {at}, which nobody signed")) };
        let is_first = !is_trimmed && entries.iter().find_map(open).is_some_and(|first| first.chain == opened.chain);
        let author = usize::from(opened.entry.author.bytes()[0]) - 1;
        let history = match opened.entry.body {
            Body::Begin(_) => self.begun.histories.get(&opened.chain),
            _ if is_first => Some(&self.writers[author].witness.history),
            _ => None,
        };
        if history.is_some_and(|history| history.contains(&place.chain)) {
            return Err(format!("R{number} needs a snapshot at {place}, where W{author} had been when it wrote {at}"));
        }
        Ok(())
    }

    /// A replica is at another place than before. It goes back only to a chain that has lived for long (rule 20), and
    /// never to one that began later (rule 9).
    pub(super) fn went_back(&mut self, number: usize, from: Place, to: Place) -> Checked {
        if to.position >= from.position {
            return Ok(());
        }
        self.count("went back");
        let since = self.replicas[number].behind_since;
        if since.is_none_or(|since| since + YIELD_TICKS > self.tick) {
            return Err(format!("R{number} went back from {from} to {to} at once"));
        }
        let began = |place: Place| self.begun.ticks.get(&place.position.epoch);
        match (began(from), began(to)) {
            (Some(former), Some(later)) if later > former => {
                Err(format!("R{number} had to wait at {from} for {to}, which began later"))
            }
            _ => Ok(()),
        }
    }

    /// While somebody leads, and has made a snapshot, others find it (rule 14).
    pub(super) fn anybody_can_join(&mut self) -> Checked {
        let leading = |number: &usize| {
            let writer = &self.writers[*number];
            writer.machine.role() == Role::Leading && writer.pause <= self.tick && writer.witness.has_snapshot
        };
        let leaders: Vec<_> = (0..ACTORS).filter(leading).collect();
        let is_closed = match leaders[..] {
            [leader] if !self.redis.is_split && self.redis.is_up() => {
                let place = self.writers[leader].book.place().map(|place| place.position);
                let data = self.redis.data(0);
                let is_its_own = data.stream.as_ref().map(|stream| stream.last) == place;
                is_its_own && data.head.as_ref().is_none_or(|head| head.len() < 100)
            }
            _ => false,
        };
        self.closed = if is_closed { self.closed + 1 } else { 0 };
        if self.closed > CLOSED_TICKS_MAX {
            return Err(format!("nobody could join W{} for {} ticks", leaders[0], self.closed));
        }
        Ok(())
    }
}
