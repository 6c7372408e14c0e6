//! How many time-stamps each client has had, by month.
//!
//! Purpose: the count that quotas by day and month go by, and that a month is charged by; it outlives restarts. Invariants: a
//! token is counted once, when it was made; a request that gets none is not. What was counted more than
//! [`USAGE_SAVED_EVERY`](crate::limits::USAGE_SAVED_EVERY) and one write ago is on disk, whatever ends the process. Days and
//! months are those of UTC; what is counted as one of them turns is added to the one in which it is saved. Each process counts
//! what it has made itself: those of several are summed by whoever reads their files. It does not know requests.
//!
//! `state_dir/usage/2026-11.json` has one month of one server.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    pki::{FileError, UnixTime},
    state_dir::write_whole,
};

/// The directory in the state directory.
const DIRECTORY: &str = "usage";

/// Whose time-stamps they are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct Account {
    /// The tenant's name.
    pub tenant: String,
    /// The authority's.
    pub tsa: String,
    /// The client's; `None` for whoever is none that is configured.
    pub client: Option<String>,
}

/// What an account has had in a month.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Used {
    /// Whose it is.
    #[serde(flatten)]
    pub account: Account,
    /// Tokens.
    pub granted: u64,
    /// Requests that were rejected because a quota was used up.
    pub over_quota: u64,
}

/// One month of one server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Month {
    /// Its format; 1.
    pub format: u32,
    /// `2026-11`.
    pub month: String,
    /// Which server has counted.
    pub server: String,
    /// The last day on which anything was saved, and how many tokens each account had by then, in the order of `used`.
    day: u32,
    today: Vec<u64>,
    /// By account, in order.
    pub used: Vec<Used>,
}

/// The count of one account. Clones of the [`Arc`] share it.
#[derive(Default, Debug)]
pub struct Counter {
    /// Tokens that are being made.
    begun: AtomicU64,
    /// Tokens and refusals that are not saved yet.
    granted: AtomicU64,
    over_quota: AtomicU64,
    /// What was saved of this day and this month.
    today: AtomicU64,
    this_month: AtomicU64,
}

/// Why there is no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsedUp {
    /// Those of the day.
    Day,
    /// Those of the month.
    Month,
}

impl Counter {
    /// Begins one more token, if there is one left; `per_day` and `per_month`: how many there may be.
    pub fn begin(self: &Arc<Self>, per_day: Option<u64>, per_month: Option<u64>) -> Result<Begun, UsedUp> {
        // Whatever is counted twice for a moment while it is saved is one too many, not one too few.
        let under_way = self.begun.fetch_add(1, Relaxed).saturating_add(self.granted.load(Relaxed));
        let begun = Begun(Arc::clone(self));
        let is_over = |saved: &AtomicU64, most: Option<u64>| {
            most.is_some_and(|most| saved.load(Relaxed).saturating_add(under_way) >= most)
        };
        if is_over(&self.this_month, per_month) {
            return Err(UsedUp::Month);
        }
        if is_over(&self.today, per_day) {
            return Err(UsedUp::Day);
        }
        Ok(begun)
    }

    /// Counts a request that was rejected because a quota is used up.
    pub fn refused(&self) {
        self.over_quota.fetch_add(1, Relaxed);
    }
}

/// A token that is being made. Dropped, it was not.
#[derive(Debug)]
pub struct Begun(Arc<Counter>);

impl Begun {
    /// It was made.
    pub fn granted(self) {
        self.0.granted.fetch_add(1, Relaxed);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.begun.fetch_sub(1, Relaxed);
    }
}

/// All counters of a process, and the file of the present month.
#[derive(Debug)]
pub struct Usage {
    directory: PathBuf,
    server: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    month: String,
    day: u32,
    counters: BTreeMap<Account, (Arc<Counter>, Used)>,
    /// Whether the file says something else.
    is_changed: bool,
}

impl Usage {
    /// Goes on with what this server has counted in the month of `now`.
    pub fn open(state_dir: &Path, server: impl ToString, now: UnixTime) -> Result<Arc<Self>, FileError> {
        let (month, day) = month_and_day(now);
        let (directory, server) = (state_dir.join(DIRECTORY), server.to_string());
        let mut counters = BTreeMap::new();
        if let Some(of_month) = read(&file(&directory, &month))? {
            let is_today = of_month.day == day;
            for (number, used) in of_month.used.into_iter().enumerate() {
                let today = of_month.today.get(number).copied().unwrap_or(0);
                let counter = Counter::default();
                counter.this_month.store(used.granted, Relaxed);
                counter.today.store(if is_today { today } else { 0 }, Relaxed);
                counters.insert(used.account.clone(), (Arc::new(counter), used));
            }
        }
        let state = Mutex::new(State { month, day, counters, is_changed: false });
        Ok(Arc::new(Self { directory, server, state }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counter of an account, for as long as the process lives.
    pub fn counter(&self, account: Account) -> Arc<Counter> {
        let used = Used { account: account.clone(), granted: 0, over_quota: 0 };
        let mut state = self.lock();
        let (counter, _) = state.counters.entry(account).or_insert_with(|| (Arc::default(), used));
        Arc::clone(counter)
    }

    /// Writes what is new into the file of the month.
    pub fn save(&self, now: UnixTime) -> Result<(), FileError> {
        let mut state = self.lock();
        state.gather();
        state.write(&self.directory, &self.server)?;
        if state.turn(now) { state.write(&self.directory, &self.server) } else { Ok(()) }
    }
}

impl State {
    /// Takes over what was counted.
    fn gather(&mut self) {
        for (counter, used) in self.counters.values_mut() {
            let (granted, over_quota) = (counter.granted.load(Relaxed), counter.over_quota.load(Relaxed));
            if granted == 0 && over_quota == 0 {
                continue;
            }
            used.granted += granted;
            used.over_quota += over_quota;
            counter.this_month.fetch_add(granted, Relaxed);
            counter.today.fetch_add(granted, Relaxed);
            counter.granted.fetch_sub(granted, Relaxed);
            counter.over_quota.fetch_sub(over_quota, Relaxed);
            self.is_changed = true;
        }
    }

    /// Begins another day or month, if it is one. A clock that was set back begins none: what was had is had.
    fn turn(&mut self, now: UnixTime) -> bool {
        let (month, day) = month_and_day(now);
        if (&month, day) <= (&self.month, self.day) {
            return false;
        }
        let is_another_month = month != self.month;
        (self.month, self.day) = (month, day);
        for (counter, used) in self.counters.values_mut() {
            counter.today.store(0, Relaxed);
            if is_another_month {
                counter.this_month.store(0, Relaxed);
                (used.granted, used.over_quota) = (0, 0);
            }
        }
        true
    }

    fn write(&mut self, directory: &Path, server: &str) -> Result<(), FileError> {
        if !self.is_changed {
            return Ok(());
        }
        let had: Vec<_> = self.counters.values().filter(|(_, used)| used.granted > 0 || used.over_quota > 0).collect();
        let month = Month {
            format: 1,
            month: self.month.clone(),
            server: server.to_owned(),
            day: self.day,
            today: had.iter().map(|(counter, _)| counter.today.load(Relaxed)).collect(),
            used: had.iter().map(|(_, used)| used.clone()).collect(),
        };
        let path = file(directory, &self.month);
        let written = serde_json::to_vec(&month).map_err(io::Error::other).and_then(|text| {
            fs::create_dir_all(directory)?;
            write_whole(&path, &text, 0o640)
        });
        written.map_err(|error| {
            FileError::new(
                &path,
                format_args!("cannot be written: {error}; what clients have had since is counted in memory alone"),
            )
        })?;
        self.is_changed = false;
        Ok(())
    }
}

/// What the server with this state directory has counted in a month (`2026-11`); `None` if nothing.
pub fn month(state_dir: &Path, month: &str) -> Result<Option<Month>, FileError> {
    read(&file(&state_dir.join(DIRECTORY), month))
}

/// The month of an instant, `2026-11`.
pub fn month_of(now: UnixTime) -> String {
    month_and_day(now).0
}

/// Whether a text is a month as the files have it.
pub fn is_month(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|octet| octet.is_ascii_digit());
    let Some((year, month)) = text.split_once('-') else { return false };
    year.len() == 4 && month.len() == 2 && digits(year) && digits(month) && ("01"..="12").contains(&month)
}

fn file(directory: &Path, month: &str) -> PathBuf {
    directory.join(format!("{month}.json"))
}

fn read(path: &Path) -> Result<Option<Month>, FileError> {
    let fail = |problem: String| FileError::new(path, problem);
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| fail(format!("cannot be read: {error}")))?,
    };
    let month: Month = serde_json::from_slice(&text).map_err(|error| {
        fail(format!("is no count of a month: {error}; move it away, and this month is counted anew"))
    })?;
    if month.format > 1 {
        return Err(fail(format!("is of format {}, which a later version has written", month.format)));
    }
    Ok(Some(month))
}

/// `2026-11`, and the day of the month.
fn month_and_day(now: UnixTime) -> (String, u32) {
    let text = now.to_string();
    let day = text.get(8..10).and_then(|day| day.parse().ok()).unwrap_or(0);
    (text.get(..7).unwrap_or_default().to_owned(), day)
}

#[cfg(test)]
mod tests;
