//! When all is quiet.

use super::{ACTORS, AGREED_TICKS, Checked, Condition, Freshness, QUIET_TICKS_MAX, Role, World, difference};
use crate::feed::{
    rule::is_final,
    store::{Book as _, Store as _},
};

impl World {
    /// Everything works again. In bounded time all agree.
    pub(super) fn quiet(&mut self) -> Checked {
        self.is_quiet = true;
        self.note("all is quiet");
        if self.redis.is_split {
            self.redis.heal(1);
        }
        if !self.redis.is_up() {
            self.redis.toggle();
        }
        for number in 0..ACTORS {
            let writer = &mut self.writers[number];
            (writer.pause, writer.clock, writer.side) = (0, 0, 0);
            let replica = &mut self.replicas[number];
            (replica.clock, replica.side) = (0, 0);
        }
        let (mut agreed, mut disagreement) = (0, String::new());
        for _ in 0..QUIET_TICKS_MAX {
            self.tick += 1;
            self.redis.replicate(&mut self.rng, true);
            self.act()?;
            match self.disagreement() {
                None => agreed += 1,
                Some(about) => (agreed, disagreement) = (0, about),
            }
            if agreed == AGREED_TICKS {
                return self.nothing_is_lost();
            }
        }
        Err(format!("in the end they do not agree: {disagreement}"))
    }

    fn leader(&self) -> Result<usize, String> {
        let leaders: Vec<_> =
            (0..ACTORS).filter(|number| self.writers[*number].machine.role() == Role::Leading).collect();
        match leaders[..] {
            [leader] => Ok(leader),
            _ => Err(format!("{} leaders", leaders.len())),
        }
    }

    /// What differs now; between two heartbeats nobody need be at the same place.
    fn disagreement(&self) -> Option<String> {
        let leader = match self.leader() {
            Ok(leader) => leader,
            Err(problem) => return Some(problem),
        };
        let book = &self.writers[leader].book;
        if book.has_untold() {
            return Some(format!("W{leader} has more to tell"));
        }
        for (number, writer) in self.writers.iter().enumerate().filter(|(number, _)| *number != leader) {
            if !writer.book.debts().is_empty() {
                return Some(format!("W{number} has debts"));
            }
            if let Some(difference) = difference(&writer.book, book) {
                return Some(format!("W{number} has {difference} with W{leader}"));
            }
        }
        for (number, replica) in self.replicas.iter().enumerate() {
            let condition = replica.machine.condition(&replica.table);
            if condition != Condition::Following {
                return Some(format!("R{number} is {condition:?}"));
            }
            if replica.machine.freshness(self.moment(0)) != Freshness::Fresh {
                return Some(format!("R{number} is not fresh at {:?}", replica.table.place()));
            }
            // Where the last disk that knew a revocation was lost, replicas still know it.
            if let Some(difference) = difference(&replica.table, book)
                && (self.lost.is_empty() || replica.table.debts().is_empty())
            {
                return Some(format!("R{number} has {difference} with W{leader}"));
            }
        }
        None
    }

    fn nothing_is_lost(&self) -> Checked {
        let leader = self.leader()?;
        for (key, acknowledged) in &self.acknowledged {
            if is_final(&self.writers[leader].book.get(*key)) {
                continue;
            }
            let mut holders = acknowledged.confirmed.iter().chain([&acknowledged.by]);
            if !holders.all(|holder| self.lost.contains(holder)) {
                return Err(format!("the acknowledged revocation of {} is gone: {acknowledged:?}", key.1));
            }
        }
        let writers = self.writers.iter().map(|writer| &writer.book);
        for disk in writers.chain(self.replicas.iter().map(|replica| &replica.table)) {
            if let Some(serial) = disk.lacks_hash() {
                return Err(format!("somebody lacks the hash of {serial}"));
            }
        }
        for (key, said) in &self.source {
            let book = self.writers[leader].book.get(*key);
            if is_final(said) && !is_final(&book) {
                return Err(format!("W{leader} does not say what the source says of {}", key.1));
            }
        }
        Ok(())
    }
}
