//! What goes wrong in the simulation: disks that are full or lie, books that are lost or put back, and death.

use super::*;

/// Why the book in place may not have what the ledger saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doubt {
    /// It has that, and perhaps a commit that was said to have failed.
    Commit,
    /// It is another file.
    File,
}

impl Sim<'_> {
    /// Does something at a moment, maybe. Returns what, and whether it is death.
    pub(super) fn plan(&mut self, steps: &[Step]) -> Option<(Step, bool)> {
        let step = steps[self.rng.below(steps.len())];
        let is_death = match self.rng.below(6) {
            0 | 1 => true,
            2 | 3 => false,
            _ => return None,
        };
        if is_death {
            self.ledger.plan(Some((step, Box::new(|| resume_unwind(Box::new("killed"))))));
        } else {
            self.begin_read(true);
            let speaker = Arc::clone(&self.speaker);
            let act = move || {
                let mut speaker = speaker.lock().unwrap();
                if let Some(read) = speaker.read.take() {
                    let handed = hand_over(&mut speaker.reader, read);
                    speaker.handed = Some(handed);
                }
            };
            self.ledger.plan(Some((step, Box::new(act))));
        }
        Some((step, is_death))
    }

    /// What was handed over at such a moment.
    pub(super) fn handed(&self) -> Option<Handed> {
        self.speaker.lock().unwrap().handed.take()
    }

    pub(super) fn disk(&mut self) {
        let disk = match self.book.lock().disk {
            Disk::Fine => [Disk::Full, Disk::Full, Disk::Lies][self.rng.below(3)],
            _ => Disk::Fine,
        };
        self.book.lock().disk = disk;
        self.note(format_args!("the disk: {disk:?}"));
    }

    /// A commit was said to have failed, and is on disk.
    pub(super) fn commit_is_in_doubt(&mut self) {
        for (key, answer) in &mut self.keys {
            answer.is_sure &= self.answered.get(key).is_some_and(|answer| answer.is_sure);
        }
        if self.doubt.is_some() {
            // It was the whole book, written anew.
            self.told = None;
        }
        self.doubt.get_or_insert(Doubt::Commit);
    }

    /// Keeps a copy of the book, puts an earlier one in its place, or removes it.
    pub(super) fn replace_book(&mut self) {
        let book = self.state_dir().join(BOOK);
        match (self.rng.below(4), self.copy.take()) {
            (0, copy) => {
                self.copy = copy;
                let _ = fs::remove_file(&book);
                self.note("the book is lost");
            }
            (1, Some(copy)) => {
                fs::rename(copy, &book).unwrap();
                self.note("an older book is put in its place");
            }
            _ => {
                let copy = self.dir.path().join("copy");
                if fs::copy(&book, &copy).is_ok() {
                    self.copy = Some(copy);
                    self.note("the book is copied");
                }
                return;
            }
        }
        self.doubt = Some(Doubt::File);
    }

    /// What the file in the book's place has, whoever wrote it.
    pub(super) fn look(&self) -> Checked<Vec<Truth>> {
        let told = |error: StateError| error.to_string();
        let Some(mut book) = Book::look(&self.state_dir()).map_err(told)? else {
            return Ok(vec![Truth::default(); self.truth.len()]);
        };
        let mut has = |place: usize| book.get(&self.id, &serial(place as u32 + 1)).map(Truth::of).map_err(told);
        (0..self.truth.len()).map(&mut has).collect()
    }

    pub(super) fn die(&mut self, how: &str) -> Checked {
        self.note(format_args!("dies: {how}"));
        let is_between_steps = how == "killed";
        if !is_between_steps && self.doubt.is_some() {
            // It may have been written anew before.
            self.doubt = Some(Doubt::File);
        }
        let has_all = is_between_steps && self.doubt.is_none() && self.ledger.is_saved();
        let digest = has_all.then(|| self.ledger.state().records.digest());
        self.restart(digest)
    }

    /// Another process finds the files as they are.
    pub(super) fn restart(&mut self, digest: Option<Digest>) -> Checked {
        let there = self.look()?;
        let from = self.state_dir();
        self.life += 1;
        let to = self.state_dir();
        fs::create_dir(&to).unwrap();
        let has_witness = self.rng.chance(70);
        for file in [BOOK.to_owned(), format!("{BOOK}.version")] {
            if file == BOOK || has_witness {
                let _ = fs::copy(from.join(&file), to.join(&file));
            }
        }
        self.fresh = None;
        self.replaced.clear();
        let book = Book::open(&to).map_err(|error| format!("the book cannot be opened: {error}"))?;
        let book = Arc::new(SharedBook::new(book));
        let opened = Ledger::open(&self.id, "ca", &book, &self.stage.saver);
        let ledger = opened.map_err(|error| format!("the book cannot be loaded: {error}"))?.ledger;
        ledger.owe(self.owes);
        let issuer = issuer(self.stage, &self.id, &self.cas[self.at]);
        let reader = SourceReader::new(issuer, ledger.clone(), false, None, Vec::new(), &to);
        self.speaker = Arc::new(Mutex::new(Speaker { reader, read: None, handed: None }));
        (self.ledger, self.book) = (ledger, book);
        self.answered.clear();
        let _ = fs::remove_dir_all(from);
        let loaded: Vec<Truth> = (0..self.truth.len()).map(|place| self.shown(place)).collect();
        if loaded != there {
            return Err(format!("a restart makes {loaded:?} of a book with {there:?}"));
        }
        if digest.is_some_and(|digest| digest != self.ledger.state().records.digest()) {
            return Err("after a restart the digest is another one".into());
        }
        if self.doubt.take() == Some(Doubt::File) {
            self.forget();
            self.promises.fill(Promise::default());
        } else {
            self.check_possible("after a restart, the book has", &loaded)?;
        }
        self.possible = loaded.iter().map(|truth| vec![*truth]).collect();
        self.truth = loaded;
        self.told_may_be_lost = true;
        self.note(format_args!("starts with {:?}", self.truth.iter().map(|truth| truth.rank()).collect::<Vec<_>>()));
        self.check_outbox()?;
        if self.owes && self.rng.chance(50) {
            self.undo()?;
        }
        self.serve()
    }

    /// Undoes what nobody was told, as a writer that comes back.
    fn undo(&mut self) -> Checked {
        let owed = self.owed()?;
        let debts = self.ledger.undo_untold().map_err(|error| error.to_string())?;
        let mut left = Vec::new();
        for owed in owed {
            let place = number(&owed.serial);
            let former = Truth::of(owed.former);
            if self.truth[place].is_final() && !former.is_final() {
                left.push(owed);
            } else {
                self.truth[place] = former;
                self.possible[place] = vec![former];
                self.promises[place].undone();
            }
        }
        self.note(format_args!("what was not told is undone, but for {} debts", left.len()));
        let mut book = self.book.lock();
        let told = |error: StateError| error.to_string();
        let kept = book.debts(None, usize::MAX).map_err(told)?;
        let rows = book.outbox(&self.id, usize::MAX).map_err(told)?;
        let of_left: BTreeMap<_, _> = left.iter().map(|owed| (owed.serial, owed.former)).collect();
        let is_left = |debts: &[Change]| debts.iter().map(|debt| debt.serial).eq(of_left.keys().copied());
        let of_kept: Vec<Change> = kept.into_iter().map(|(_, debt)| debt).collect();
        if !is_left(&debts) || of_kept != debts || !rows.is_empty() {
            return Err(format!(
                "the debts are {debts:?} and {of_kept:?} instead of {left:?}, and the outbox has {rows:?}"
            ));
        }
        while book.owe_debts().map_err(told)? {}
        drop(book);
        let owed = self.owed()?;
        if owed.iter().map(|owed| (owed.serial, owed.former)).collect::<BTreeMap<_, _>>() != of_left {
            return Err(format!("the debts {left:?} are owed as {owed:?}"));
        }
        Ok(())
    }

    /// Another book is in place: beside records it has what this process has answered, and nothing else.
    pub(super) fn forget(&mut self) {
        self.keys.clone_from(&self.answered);
        self.told = None;
    }
}
