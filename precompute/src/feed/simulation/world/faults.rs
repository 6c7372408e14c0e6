//! What goes wrong.

use super::{
    ACTORS, Disk, Position, Raw, Reason, Record, SOURCED, Shown, Status, TICK_MICROS, UnixTime, World, key, reader,
    witness::OfWriter, writer,
};
use crate::{
    feed::{simulation::redis::Link, store::Store as _, transport::Transport as _},
    records::Change,
};

impl World {
    pub(super) fn fault(&mut self) {
        let what = match self.rng.below(100) {
            0..11 if !self.redis.is_split => {
                self.redis.fail_over();
                "fail-over"
            }
            11..19 if !self.redis.is_split => {
                self.redis.split();
                for number in 0..ACTORS {
                    self.writers[number].side = self.rng.below(2);
                    self.replicas[number].side = self.rng.below(2);
                }
                "split"
            }
            11..33 if self.redis.is_split => {
                self.redis.heal(1);
                "healed"
            }
            33..37 => {
                self.redis.empty();
                "emptied"
            }
            37..42 if !self.redis.is_split => {
                if self.rng.chance(50) {
                    self.redis.save();
                    "saved"
                } else if self.redis.restore() {
                    "restored"
                } else {
                    return;
                }
            }
            42..48 => {
                self.redis.toggle();
                "Redis down or up"
            }
            48..58 => {
                let number = self.rng.below(ACTORS);
                self.crash(number);
                "writer crash"
            }
            58..68 => {
                let number = self.rng.below(ACTORS);
                self.writers[number].pause = self.tick + self.rng.below(60) as u64;
                "writer pause"
            }
            68..74 => self.disk_fault(),
            74..80 => {
                let number = self.rng.below(ACTORS);
                let replica = &mut self.replicas[number];
                replica.machine = reader(self.rules);
                replica.table = Disk::new(self.rules);
                replica.shown = Shown::default();
                replica.is_damaged = false;
                replica.behind_since = None;
                "replica crash"
            }
            80..84 => self.clocks(),
            84..87 => {
                self.shelf.snapshots.clear();
                "snapshots lost"
            }
            87..90 if self.damages => self.damage(),
            90..98 => self.forge(),
            98 => {
                // Nobody does anything for an hour.
                self.tick += 3600 * 1_000_000 / TICK_MICROS;
                "an hour passes"
            }
            _ => return,
        };
        if !what.is_empty() {
            self.count(what);
            self.note(what);
        }
    }

    fn crash(&mut self, number: usize) {
        let life = self.rng.next();
        let crashed = &mut self.writers[number];
        crashed.book.crash();
        crashed.machine = writer(number, life, self.rules, &crashed.book);
        crashed.pending.clear();
        crashed.making = None;
        crashed.witness = OfWriter::of(&crashed.book);
        self.note(format_args!("W{number} crashes"));
    }

    /// A book is rolled back, or lost: of one writer at most.
    fn disk_fault(&mut self) -> &'static str {
        let number = self.rng.below(ACTORS);
        if self.rng.chance(50) {
            self.writers[number].backup = Some(self.writers[number].book.clone());
            return "book copied";
        }
        if self.lost.iter().any(|lost| *lost != number) {
            return "";
        }
        let what = match self.writers[number].backup.clone() {
            Some(backup) => {
                self.writers[number].book = backup;
                "book rolled back"
            }
            None if self.rng.chance(30) => {
                self.writers[number].book = Disk::new(self.rules);
                "book lost"
            }
            None => return "",
        };
        self.lost.push(number);
        self.crash(number);
        what
    }

    fn clocks(&mut self) -> &'static str {
        let micros = match self.rng.below(8) {
            0 => 3600 * 1_000_000,
            1 => 30 * 3600 * 1_000_000,
            _ => self.rng.below(280) as i64 * 1_000_000,
        };
        let micros = if self.rng.chance(50) { micros } else { -micros };
        let number = self.rng.below(ACTORS);
        if self.rng.chance(60) {
            self.writers[number].clock = micros;
        } else {
            self.replicas[number].clock = micros;
        }
        "clock set"
    }

    /// A replica's memory says something else. Nothing that was revoked for good: that would be seen as good.
    fn damage(&mut self) -> &'static str {
        let (number, of) = (self.rng.below(ACTORS), self.rng.below(super::PUSHED + SOURCED));
        let status = Status::Revoked { time: UnixTime(1), reason: Reason::CertificateHold };
        let change = Change::new(key(of).1, Some(Record { status, not_after: None }));
        if self.replicas[number].table.place().is_some() && self.replicas[number].table.damage(key(of), change) {
            self.replicas[number].is_damaged = true;
        }
        "memory damaged"
    }

    /// Somebody without a key writes into Redis.
    fn forge(&mut self) -> &'static str {
        let side = self.rng.below(2);
        let wall = self.moment(0).wall;
        let dice = self.rng.below(8);
        let entries = |stream: &mut crate::feed::simulation::redis::Stream, position: Position, bytes: &[u8]| {
            if position > stream.last {
                stream.entries.push(Raw { position, bytes: bytes.into() });
                stream.last = position;
            }
        };
        let place = self.rng.below(64);
        let Some(stream) = &mut self.redis.data(side).stream else { return "" };
        match dice {
            0 => {
                let bytes = stream.entries.last().map(|raw| raw.bytes.to_vec()).unwrap_or_default();
                let last = stream.last;
                entries(stream, last.next(), &bytes);
                "replayed entry"
            }
            1 => {
                let last = stream.last;
                entries(stream, last.next(), b"nothing of the kind");
                "forged entry"
            }
            2 => {
                entries(stream, Position { epoch: wall + 3 * 86_400_000_000, sequence: 0 }, b"poison");
                "poison written"
            }
            3 => {
                entries(stream, Position { epoch: u64::MAX, sequence: u64::MAX }, b"poison");
                "poison written"
            }
            4 => {
                let number = stream.entries.len().saturating_sub(1 + place % 4);
                if let Some(raw) = stream.entries.get_mut(number) {
                    let mut bytes = raw.bytes.to_vec();
                    let at = place * 7 % bytes.len();
                    bytes[at] ^= 4;
                    raw.bytes = bytes.into();
                }
                "entry corrupted"
            }
            5 => {
                self.redis.data(side).head = Some(b"no manifest"[..].into());
                "manifest forged"
            }
            6 => {
                self.redis.data(side).head = None;
                "manifest removed"
            }
            _ => {
                let mut link = Link { redis: &mut self.redis, side, rng: &mut self.rng, is_doubtful: false };
                let last = link.info().ok().flatten().map_or(Position::START, |info| info.last);
                let _ = link.trim(last);
                "trimmed to its last entry"
            }
        }
    }
}
