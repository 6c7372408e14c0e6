//! What has to hold after each step of the simulation.

use super::*;

/// What has to show that listeners hear of each change, after it shows.
pub(super) struct Heard {
    listener: Listener,
    /// What showed when it was woken last.
    seen: Arc<Mutex<Vec<Truth>>>,
    /// What showed at the last check.
    checked: Vec<Truth>,
}

impl Heard {
    pub(super) fn of(ledger: &Ledger) -> Self {
        let records = Arc::clone(&ledger.state().records);
        let look = move || -> Vec<Truth> {
            (1..=CERTIFICATES).map(|number| Truth::shown(records.get(&serial(number)))).collect()
        };
        let checked = look();
        let seen = Arc::new(Mutex::new(checked.clone()));
        let woken = Arc::clone(&seen);
        let listener = ledger.state().changes.subscribe(Arc::new(move || *woken.lock().unwrap() = look()));
        Self { listener, seen, checked }
    }

    fn check(&mut self, shown: &[Truth]) -> Checked {
        let told = match self.listener.take() {
            Changed::Nothing => Vec::new(),
            Changed::These(serials) => serials.iter().map(number).collect(),
            Changed::Many => return Err("there are not so many changes".into()),
        };
        for (place, (before, now)) in self.checked.iter().zip(shown).enumerate() {
            if before != now && !told.contains(&place) {
                return Err(format!("nobody hears that {} is {now:?} and no more {before:?}", place + 1));
            }
        }
        self.checked = shown.to_vec();
        let seen = self.seen.lock().unwrap();
        if *seen != shown {
            return Err(format!("who was woken last sees {seen:?}, and {shown:?} shows"));
        }
        Ok(())
    }
}

impl Sim<'_> {
    pub(super) fn shown(&self, place: usize) -> Truth {
        Truth::shown(self.ledger.look_up(&serial(place as u32 + 1)))
    }

    pub(super) fn book_has(&self, place: usize) -> Checked<Told> {
        self.book.lock().get(&self.id, &serial(place as u32 + 1)).map_err(|error| error.to_string())
    }

    pub(super) fn check(&mut self) -> Checked {
        let mut there = self.there.take();
        if self.doubt.is_some() {
            self.there = Some(self.look()?);
            there = there.or_else(|| self.there.clone());
        }
        self.check_shown(there.as_deref())?;
        let identity = self.book.lock().identity().map_err(|error| error.to_string())?;
        let is_in_place = self.ledger.saved_to() == identity;
        match (self.doubt, is_in_place) {
            (None, true) => {}
            (None, false) => return Err("the book is another one".into()),
            (Some(doubt), false) => {
                let there = self.there.clone().unwrap_or_default();
                return if doubt == Doubt::Commit { self.check_possible("the book has", &there) } else { Ok(()) };
            }
            (Some(_), true) => {
                let is_lost = |place: &usize| there.as_ref().is_some_and(|there| there[*place].is_final());
                if let Some(place) = (0..self.truth.len()).filter(is_lost).find(|place| !self.truth[*place].is_final())
                {
                    return Err(format!("the book had that {} is revoked, and was written anew without", place + 1));
                }
                (self.doubt, self.there) = (None, None);
                self.forget();
            }
        }
        self.check_book()?;
        self.check_outbox()
    }

    /// What shows is the truth, and as it was promised. `there`: what a book had that may have been taken up since.
    fn check_shown(&mut self, there: Option<&[Truth]>) -> Checked {
        let shown: Vec<Truth> = (0..self.truth.len()).map(|place| self.shown(place)).collect();
        for (place, shown) in shown.iter().enumerate() {
            let taken_over = there.map(|there| there[place]).filter(|there| there.is_final() && there == shown);
            if let Some(taken_over) = taken_over.filter(|_| !self.truth[place].is_final()) {
                self.truth[place] = taken_over;
                self.possible[place].push(taken_over);
            }
            if *shown != self.truth[place] {
                return Err(format!("{} shows {shown:?} and has to be {:?}", place + 1, self.truth[place]));
            }
            if !self.promises[place].is_kept_by(*shown) {
                return Err(format!("{} shows {shown:?}, against {:?}", place + 1, self.promises[place]));
            }
        }
        let revoked = shown.iter().filter(|shown| shown.rank() > Some(0)).count() as u64;
        let good = shown.iter().filter(|shown| shown.rank() == Some(0)).count() as u64;
        let counts = self.ledger.state().records.counts();
        if (counts.good, counts.revoked) != (good, revoked) {
            return Err(format!("{counts:?} are counted, of {good} and {revoked}"));
        }
        self.heard.check(&shown)
    }

    /// The book has what was acknowledged, and exactly what shows once everything is saved.
    fn check_book(&mut self) -> Checked {
        let has =
            (0..self.truth.len()).map(|place| self.book_has(place).map(Truth::of)).collect::<Checked<Vec<_>>>()?;
        if self.ledger.is_saved() {
            if has != self.truth {
                return Err(format!("everything is saved, and the book has {has:?} of {:?}", self.truth));
            }
            self.possible = self.truth.iter().map(|truth| vec![*truth]).collect();
        }
        self.check_possible("the book has", &has)?;
        for (possible, has) in self.possible.iter_mut().zip(&has) {
            // It never goes back.
            let at = possible.iter().position(|possible| possible == has).unwrap_or(0);
            possible.drain(..at);
        }
        Ok(())
    }

    /// Whether this can be in a book that was written by this ledger.
    pub(super) fn check_possible(&self, what: &str, has: &[Truth]) -> Checked {
        for (place, has) in has.iter().enumerate() {
            if !self.possible[place].contains(has) {
                return Err(format!("{what} {has:?} as {}, of {:?}", place + 1, self.possible[place]));
            }
            if !self.promises[place].is_kept_by(*has) {
                return Err(format!("{what} {has:?} as {}, against {:?}", place + 1, self.promises[place]));
            }
        }
        Ok(())
    }

    /// The outbox has what was told last of each record that has changed since, and nothing else.
    pub(super) fn check_outbox(&mut self) -> Checked {
        let owed = self.owed()?;
        if !self.owes && !owed.is_empty() {
            return Err("something is owed to nobody".into());
        }
        if !owed.is_sorted_by_key(|owed| owed.version) {
            return Err(format!("the outbox is not in the order of versions: {owed:?}"));
        }
        let Some(mut told) = self.told.take().filter(|_| self.owes) else { return Ok(()) };
        for (place, told) in told.iter_mut().enumerate() {
            let row = owed.iter().find(|owed| number(&owed.serial) == place);
            let last = match row {
                Some(owed) => owed.former,
                None => self.book_has(place)?,
            };
            let may_be = if self.told_may_be_lost { &told[..] } else { &told[told.len() - 1..] };
            if !may_be.contains(&last) {
                return Err(format!(
                    "{} was told as {may_be:?}, the outbox has {row:?} and the book {last:?}",
                    place + 1
                ));
            }
            if self.told_may_be_lost {
                *told = vec![last];
            }
        }
        self.told = Some(told);
        self.told_may_be_lost = false;
        Ok(())
    }

    /// Everything comes to rest.
    pub(super) fn end(&mut self) -> Checked {
        self.note("the end");
        self.book.lock().disk = Disk::Fine;
        self.cas[self.at].repair();
        for _ in 0..2 {
            self.end_read()?;
            self.check()?;
        }
        let Some(whole) = self.whole_read().filter(Handed::is_whole) else {
            return Err("the index is in order, and not taken".into());
        };
        self.taken(&whole)?;
        self.ledger.save().map_err(|error| error.to_string())?;
        self.check()?;
        if !self.ledger.is_saved() {
            return Err("not everything is saved".into());
        }
        let owes = std::mem::replace(&mut self.owes, false);
        self.ledger.owe(false);
        if owes {
            self.tell(u64::MAX)?;
            // So that it is on disk.
            self.ledger.note_verified(self.now);
            self.ledger.save().map_err(|error| error.to_string())?;
        }
        let truth = self.truth.clone();
        self.restart(Some(self.ledger.state().records.digest()))?;
        if self.truth != truth {
            return Err(format!("after the end it is {:?}, and was {truth:?}", self.truth));
        }
        self.check()
    }
}
