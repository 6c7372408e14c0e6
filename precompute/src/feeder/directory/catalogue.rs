//! Which certificates a directory lists, by what its files say. Pure: the time is a parameter, since the start.
//!
//! Invariants: a certificate that a file holds counts at once, and a name alone once its file is still; who is in no file any
//! more is missed for a while before that counts, so that replacing a file or half of one removes nobody. A serial number in
//! several files counts as long as one of them has it. It does not know how files are read, or where the list goes.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use super::file::{Issued, Known, Said};
use crate::{
    limits::{self, directory},
    pki::{Serial, UnixTime},
    state_dir::stamp::FileStamp,
};

/// What a file looks like from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    file: FileStamp,
    /// When it was last renamed, linked, permitted or written.
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self { file: FileStamp::from(metadata), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

/// What a look at a file has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// There is a file. With how long it has not changed; `None` if its times are of no use.
    Here(Stamp, Option<Duration>, Said),
    /// There is something that cannot be looked at.
    Hidden(String),
    /// There is none.
    Gone,
}

/// What a file is, as of the last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Own,
    Named,
    Foreign,
    Broken,
    Other,
    Gone,
}

impl Kind {
    pub(super) const COUNT: usize = 6;
}

#[derive(Debug)]
struct File {
    stamp: Option<Stamp>,
    kind: Kind,
    /// Since when it is that.
    since: Duration,
    /// What counts of it,
    issued: Box<[Issued]>,
    /// and from when on what else.
    next: Option<Box<(Duration, Box<[Issued]>)>>,
    /// When it is to be looked at again whether it seems to have changed or not.
    again: Option<Duration>,
    problem: Option<Box<str>>,
    round: u64,
}

/// A serial number.
#[derive(Debug)]
struct Held {
    files: u32,
    of: Known,
    /// What the list that was given says of it, if it is there.
    given: Option<Known>,
}

/// All files of a directory, and what they list.
#[derive(Default, Debug)]
pub(super) struct Catalogue {
    files: HashMap<OsString, File>,
    listed: HashMap<Serial, Held>,
    /// Those that may differ from what was given.
    touched: HashSet<Serial>,
    /// Files of which something is to come.
    open: HashSet<OsString>,
    kinds: [u64; Kind::COUNT],
    round: u64,
}

/// How the list differs from what was given.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct News {
    /// To be added, in order.
    pub(super) fresh: Vec<Issued>,
    /// Whether somebody is in it no longer.
    pub(super) lost: bool,
}

impl Catalogue {
    /// Whether the file looks as it did, and need not be read again.
    pub(super) fn is_as_known(&mut self, name: &OsStr, stamp: &Stamp, now: Duration) -> bool {
        let round = self.round;
        self.files.get_mut(name).is_some_and(|file| {
            file.round = round;
            file.stamp.as_ref() == Some(stamp) && file.again.is_none_or(|again| again > now)
        })
    }

    /// Notes a look at a file.
    pub(super) fn note(&mut self, name: OsString, seen: Seen, now: Duration) {
        if seen == Seen::Gone && !self.files.contains_key(&name) {
            return;
        }
        let (stamp, age, said) = match seen {
            Seen::Here(stamp, age, said) => (Some(stamp), age, Some(said)),
            Seen::Hidden(problem) => (None, None, Some(Said::Broken(problem))),
            Seen::Gone => (None, None, None),
        };
        let is_settled = stamp.is_none() || age.is_none_or(|age| age > limits::SETTLED_AFTER);
        let (kind, issued, problem) = match said {
            Some(Said::Certificates(own, _)) if own.is_empty() => (Kind::Foreign, own, None),
            Some(Said::Certificates(own, _)) => (Kind::Own, own, None),
            Some(Said::Name(serial)) => (Kind::Named, vec![Issued { serial, of: Known::BY_NAME }], None),
            Some(Said::Broken(problem)) => (Kind::Broken, Vec::new(), Some(problem)),
            Some(Said::Other(problem)) => (Kind::Other, Vec::new(), Some(problem)),
            None => (Kind::Gone, Vec::new(), None),
        };
        let file = self.files.entry(name.clone()).or_insert_with(|| {
            self.kinds[kind as usize] += 1;
            let (issued, next, again, problem) = (Box::default(), None, None, None);
            File { stamp, kind, since: now, issued, next, again, problem, round: 0 }
        });
        let is_same = file.kind == kind && file.stamp == stamp;
        if !is_same {
            self.kinds[file.kind as usize] -= 1;
            self.kinds[kind as usize] += 1;
            (file.kind, file.stamp, file.since) = (kind, stamp, now);
        }
        (file.round, file.problem) = (self.round, problem.map(String::into_boxed_str));
        let wait = match kind {
            // It is whole.
            Kind::Own | Kind::Foreign => Duration::ZERO,
            Kind::Named => directory::NAME_STILL.saturating_sub(age.unwrap_or_default()),
            Kind::Broken | Kind::Other | Kind::Gone if file.issued.is_empty() => Duration::ZERO,
            Kind::Broken | Kind::Other | Kind::Gone => directory::MISSED_FOR,
        };
        let issued = issued.into_boxed_slice();
        let is_coming = file.next.as_ref().is_some_and(|next| is_same && next.1 == issued);
        if !is_coming {
            file.next = (file.issued != issued || kind == Kind::Gone).then(|| Box::new((now + wait, issued)));
        }
        if file.next.as_ref().is_some_and(|next| next.0 <= now) {
            self.settle_one(&name);
        }
        let Some(file) = self.files.get_mut(&name) else { return };
        let followed = now.saturating_sub(file.since);
        file.again = match kind {
            _ if !is_settled => Some(now + limits::SETTLED_AFTER),
            _ if file.next.is_some() => Some(now),
            // One that nobody completes is looked at less and less often.
            Kind::Broken if followed < directory::HALF_FOLLOWED_FOR => Some(now + followed / 4),
            _ => None,
        };
        if file.next.is_some() || file.again.is_some() {
            self.open.insert(name);
        } else {
            self.open.remove(&name);
        }
    }

    /// Has what was still for long enough count.
    pub(super) fn settle(&mut self, now: Duration) {
        let is_due = |name: &&OsString| {
            self.files.get(*name).and_then(|file| file.next.as_ref()).is_some_and(|next| next.0 <= now)
        };
        let due: Vec<_> = self.open.iter().filter(is_due).cloned().collect();
        due.iter().for_each(|name| self.settle_one(name));
    }

    /// Has what is to come of a file count.
    fn settle_one(&mut self, name: &OsStr) {
        let Some(file) = self.files.get_mut(name) else { return };
        let Some(next) = file.next.take() else { return };
        let (before, now) = (std::mem::replace(&mut file.issued, next.1.clone()), next.1);
        if file.kind == Kind::Gone {
            self.kinds[Kind::Gone as usize] -= 1;
            self.files.remove(name);
            self.open.remove(name);
        }
        before.iter().for_each(|issued| self.drop_one(issued.serial));
        now.iter().for_each(|issued| self.add_one(issued));
    }

    fn add_one(&mut self, Issued { serial, of }: &Issued) {
        let held = self.listed.entry(*serial).or_insert_with(|| Held { files: 0, of: of.clone(), given: None });
        held.files += 1;
        held.of = match held.files {
            1 => of.clone(),
            _ => Known {
                end: match (held.of.end, of.end) {
                    // The name alone does not say it.
                    (one, other) if one == UnixTime::MAX || other == UnixTime::MAX => one.min(other),
                    (one, other) => one.max(other),
                },
                sha256: of.sha256.clone().or(held.of.sha256.take()),
            },
        };
        self.touched.insert(*serial);
    }

    fn drop_one(&mut self, serial: Serial) {
        if let Some(held) = self.listed.get_mut(&serial) {
            held.files = held.files.saturating_sub(1);
            self.touched.insert(serial);
        }
    }

    /// The files that are to be looked at now whatever they look like.
    pub(super) fn due(&self, now: Duration) -> Vec<OsString> {
        let is_due =
            |name: &&OsString| self.files.get(*name).is_some_and(|file| file.again.is_some_and(|again| again <= now));
        self.open.iter().filter(is_due).cloned().collect()
    }

    /// Begins a look at all files.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// The files that were there and are not among those of this look at all.
    pub(super) fn missed(&self) -> Vec<OsString> {
        let missed = self.files.iter().filter(|(_, file)| file.round != self.round);
        missed.map(|(name, _)| name.clone()).collect()
    }

    /// How many files there are of a kind.
    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    /// One of them, and what is wrong with it.
    pub(super) fn example(&self, kind: Kind) -> Option<(&OsStr, &str)> {
        let first = self.files.iter().filter(|(_, file)| file.kind == kind).min_by_key(|(name, _)| *name)?;
        Some((first.0, first.1.problem.as_deref().unwrap_or_default()))
    }

    /// Whether there is a file that can be read.
    pub(super) fn has_readable(&self) -> bool {
        [Kind::Own, Kind::Named, Kind::Foreign, Kind::Other].into_iter().any(|kind| self.count(kind) > 0)
    }

    /// Whether something counts later that does not count yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.open
            .iter()
            .any(|name| self.files.get(name).is_some_and(|file| file.next.is_some() || file.kind == Kind::Broken))
    }

    /// Whether nobody is listed, now or soon.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_waiting() && !self.listed.values().any(|held| held.files > 0)
    }

    /// Whether the list that was given has anybody.
    pub(super) fn has_given(&self) -> bool {
        self.listed.values().any(|held| held.given.is_some())
    }

    /// What was given is not there any more, or is something else.
    pub(super) fn forget_given(&mut self) {
        self.listed.retain(|_, held| {
            held.given = None;
            held.files > 0
        });
        self.touched = self.listed.keys().copied().collect();
    }

    /// The list that was given has this one.
    pub(super) fn recall(&mut self, Issued { serial, of }: Issued) {
        let held = self.listed.entry(serial).or_insert_with(|| Held { files: 0, of: of.clone(), given: None });
        held.given = Some(of);
        self.touched.insert(serial);
    }

    /// How the list differs from what was given.
    pub(super) fn news(&self) -> News {
        let mut news = News { fresh: Vec::new(), lost: false };
        for serial in &self.touched {
            match self.listed.get(serial) {
                Some(Held { files: 0, given, .. }) => news.lost |= given.is_some(),
                Some(held) if held.given.as_ref() != Some(&held.of) => {
                    news.fresh.push(Issued { serial: *serial, of: held.of.clone() });
                }
                _ => {}
            }
        }
        news.fresh.sort_unstable();
        news
    }

    /// The additions of [`Catalogue::news`] were given.
    pub(super) fn gave_fresh(&mut self) {
        let listed = &mut self.listed;
        self.touched.retain(|serial| match listed.get_mut(serial) {
            Some(held) if held.files > 0 => {
                held.given = Some(held.of.clone());
                false
            }
            Some(held) if held.given.is_some() => true,
            _ => {
                listed.remove(serial);
                false
            }
        });
    }

    /// The whole list, in order, which is given now.
    pub(super) fn give_all(&mut self) -> Vec<Issued> {
        self.touched.clear();
        self.listed.retain(|_, held| {
            held.given = Some(held.of.clone());
            held.files > 0
        });
        let mut all: Vec<_> =
            self.listed.iter().map(|(serial, held)| Issued { serial: *serial, of: held.of.clone() }).collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests;
