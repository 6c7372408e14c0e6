//! What the simulation saves, and what it tells to others from the outbox.

use super::*;

impl Sim<'_> {
    pub(super) fn save(&mut self) -> Checked {
        if self.rng.chance(30) {
            return self.save_with_a_push_before();
        }
        let planned = self.plan(&[Step::Taken, Step::Saved]);
        let records = 1 + self.rng.below(CERTIFICATES as usize);
        let saved = catch_unwind(AssertUnwindSafe(|| self.ledger.save_one_chunk(records)));
        self.ledger.plan(None);
        self.note(format_args!(
            "saves {records} ({planned:?}): {:?}",
            saved.as_ref().map_err(|panicked| message(&**panicked))
        ));
        if let Some(handed) = self.handed() {
            self.taken(&handed)?;
        }
        match saved {
            Ok(saved) => self.saved(&saved),
            Err(_) => self.die("while it saved"),
        }
    }

    /// A push comes when something is about to be saved.
    fn save_with_a_push_before(&mut self) -> Checked {
        if self.rng.chance(50) {
            self.end_read()?;
        }
        let mut asked = self.ask(1);
        while asked.is_open() {
            asked = self.ask(1);
        }
        let (ledger, requests, now) = (self.ledger.clone(), asked.requests.clone(), self.now);
        let outcomes = Arc::<Mutex<Option<Outcomes>>>::default();
        let told = Arc::clone(&outcomes);
        let act = move || {
            let outcomes = ledger.push_together(&requests, now);
            *told.lock().unwrap() = Some(outcomes);
        };
        self.ledger.plan(Some((Step::Saving, Box::new(act))));
        let records = 1 + self.rng.below(CERTIFICATES as usize);
        let saved = self.ledger.save_one_chunk(records);
        self.ledger.plan(None);
        self.note(format_args!("saves {records} after pushes {:?}: {saved:?}", asked.requests));
        let outcomes = outcomes.lock().unwrap().take();
        if let Some(outcomes) = outcomes {
            self.answered(&asked, &outcomes, None)?;
        }
        self.saved(&saved)
    }

    fn saved(&mut self, saved: &Result<bool, StateError>) -> Checked {
        let disk = self.book.lock().disk;
        match (saved, disk) {
            (Ok(_), _) => Ok(()),
            (Err(error), Disk::Fine) => Err(format!("it cannot be saved: {error}")),
            (Err(_), disk) => {
                self.told_may_be_lost = true;
                if disk == Disk::Lies {
                    self.commit_is_in_doubt();
                }
                Ok(())
            }
        }
    }

    pub(super) fn owed(&self) -> Checked<Vec<Owed>> {
        self.book.lock().outbox(&self.id, usize::MAX).map_err(|error| error.to_string())
    }

    /// The rows up to this version were told.
    pub(super) fn tell(&self, version: u64) -> Checked {
        let mut book = self.book.lock();
        let mut rows = book.owed(usize::MAX).map_err(|error| error.to_string())?;
        rows.retain(|row| row.version <= version);
        book.told(None, &rows).map_err(|error| error.to_string())
    }

    /// Tells everybody what the outbox has, or the earlier part of it.
    pub(super) fn publish(&mut self) -> Checked {
        if !self.owes || self.doubt.is_some() || self.book.lock().disk != Disk::Fine {
            return Ok(());
        }
        let owed = self.owed()?;
        let Some(last) = owed.last() else { return Ok(()) };
        // All of it, where nothing is known of what was told before.
        let is_part = self.told.is_some() && self.rng.chance(40);
        let version = if is_part { owed[self.rng.below(owed.len())].version } else { last.version };
        self.tell(version)?;
        let (now_told, left): (Vec<_>, Vec<_>) = owed.into_iter().partition(|owed| owed.version <= version);
        self.note(format_args!("tells {:?}", now_told.iter().map(|owed| number(&owed.serial) + 1).collect::<Vec<_>>()));
        let rows = self.owed()?;
        if rows != left {
            return Err(format!("after everything up to {version} was told the outbox has {rows:?}, not {left:?}"));
        }
        match self.told.take() {
            Some(mut told) => {
                for owed in now_told {
                    let place = number(&owed.serial);
                    told[place].push(self.book_has(place)?);
                }
                self.told = Some(told);
            }
            // As with a snapshot. After death it may be as if nobody had been told of these.
            None => {
                let former = |place| now_told.iter().find(|owed| number(&owed.serial) == place).map(|owed| owed.former);
                let told = |place| Ok(former(place).into_iter().chain([self.book_has(place)?]).collect());
                self.told = Some((0..self.truth.len()).map(told).collect::<Checked<_>>()?);
                self.told_may_be_lost = false;
            }
        }
        Ok(())
    }
}
