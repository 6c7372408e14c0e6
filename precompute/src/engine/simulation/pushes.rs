//! The pushes of the simulation: what is asked, what has to come of it, and what may be on disk when it fails.

use super::*;

pub(super) type Outcomes = Vec<Result<Vec<Result<Outcome, Refusal>>, PushError>>;

/// What became of a request with an idempotency key.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Answer {
    /// The last is the newest.
    these: Vec<(Push, Outcome)>,
    /// Whether the book has it. It may have none or any of them where the disk said two things.
    pub(super) is_sure: bool,
}

/// What has to come of a request.
#[derive(PartialEq, Debug)]
enum Expected {
    Each(Vec<Result<Outcome, Refusal>>),
    KeyReused,
    /// Its key may be known or not.
    Open,
}

/// Requests that come at the same time.
pub(super) struct Asked {
    pub(super) requests: Vec<(Vec<Push>, Option<String>)>,
    expected: Vec<Expected>,
    /// Pushes that will be taken, in order.
    taken: Vec<Push>,
    /// What is known after them, if nothing comes in between.
    decided: Vec<Truth>,
    keys: BTreeMap<String, Answer>,
    /// Those of them that this process answers.
    answered: BTreeMap<String, Answer>,
}

impl Asked {
    /// Whether what has to come of it is not known.
    pub(super) fn is_open(&self) -> bool {
        self.expected.contains(&Expected::Open)
    }
}

impl Sim<'_> {
    fn draw_push(&mut self) -> Push {
        let unsaved: Vec<usize> = (0..self.truth.len()).filter(|place| self.possible[*place].len() > 1).collect();
        let place = if !unsaved.is_empty() && self.rng.chance(30) {
            unsaved[self.rng.below(unsaved.len())]
        } else {
            self.rng.below(self.truth.len())
        };
        let reasons = [Reason::KeyCompromise, Reason::Superseded];
        let reason = if self.rng.chance(70) { Reason::CertificateHold } else { reasons[self.rng.below(2)] };
        let time = [None, None, Some(UnixTime(5)), Some(UnixTime(self.now.0 + 1000))][self.rng.below(4)];
        let not_after = [None, None, Some(UnixTime(2_051_222_400)), Some(UnixTime(2_100_000_000))][self.rng.below(4)];
        let order = match self.rng.below(10) {
            0..3 => Order::Add { not_after },
            3..7 => Order::Revoke { time, reason, even_unlisted: self.rng.chance(30) },
            _ => Order::Release,
        };
        Push::new(serial(place as u32 + 1), order)
    }

    fn draw_request(&mut self) -> (Vec<Push>, Option<String>) {
        match self.rng.below(6) {
            0 => ((0..1 + self.rng.below(3)).map(|_| self.draw_push()).collect(), None),
            1 => (vec![self.draw_push()], Some(format!("key {}", self.rng.below(1 << 20)))),
            2 | 3 if !self.keys.is_empty() => {
                let known = self.rng.below(self.keys.len());
                let (key, answer) = self.keys.iter().nth(known).unwrap();
                let (key, same) = (key.clone(), answer.these[0].0);
                (vec![if self.rng.chance(80) { same } else { self.draw_push() }], Some(key))
            }
            _ => (vec![self.draw_push()], None),
        }
    }

    pub(super) fn ask(&mut self, most: usize) -> Asked {
        let mut requests: Vec<_> = (0..1 + self.rng.below(most)).map(|_| self.draw_request()).collect();
        if requests.len() > 1 && self.rng.chance(20) {
            // The client repeats it before the first has its answer.
            requests.push(requests[0].clone());
        }
        // The book that is written anew first has no other answers.
        let mut keys = if self.doubt.is_some() { self.answered.clone() } else { self.keys.clone() };
        let mut answered = BTreeMap::new();
        let (mut decided, mut expected, mut taken) = (self.truth.clone(), Vec::new(), Vec::new());
        for (pushes, key) in &requests {
            match key.as_ref().and_then(|key| keys.get(key)) {
                Some(Answer { is_sure: false, .. }) => {
                    expected.push(Expected::Open);
                    continue;
                }
                Some(Answer { these, .. }) => {
                    let (push, outcome) = these[0];
                    let is_same = pushes[..] == [push];
                    expected.push(if is_same { Expected::Each(vec![Ok(outcome)]) } else { Expected::KeyReused });
                    continue;
                }
                None => {}
            }
            let mut each = Vec::new();
            for push in pushes {
                let outcome = decided[number(&push.serial)].push(&push.order, self.now);
                if outcome.is_ok() {
                    taken.push(*push);
                }
                each.push(outcome);
            }
            if let (Some(key), [Ok(outcome)]) = (key, &each[..]) {
                let answer = Answer { these: vec![(pushes[0], *outcome)], is_sure: true };
                keys.insert(key.clone(), answer.clone());
                answered.insert(key.clone(), answer);
            }
            expected.push(Expected::Each(each));
        }
        Asked { requests, expected, taken, decided, keys, answered }
    }

    pub(super) fn push(&mut self) -> Checked {
        let asked = self.ask(3);
        // A key whose answer is not known is asked for alone, so that it is clear what came of it.
        if let Some(open) = asked.expected.iter().position(|expected| *expected == Expected::Open) {
            let (pushes, key) = asked.requests[open].clone();
            return self.push_again(pushes[0], key.unwrap_or_default());
        }
        let planned = self.plan(&[Step::Decided, Step::Committed, Step::Shown]);
        self.note(format_args!("pushes {:?} ({planned:?})", asked.requests));
        let outcomes = catch_unwind(AssertUnwindSafe(|| self.ledger.push_together(&asked.requests, self.now)));
        self.ledger.plan(None);
        let handed = self.handed();
        match outcomes {
            Ok(outcomes) => self.answered(&asked, &outcomes, handed.map(|handed| (planned, handed))),
            Err(_) => {
                // Of a death between the two it is known whether the book has them.
                if planned != Some((Step::Decided, true)) {
                    self.committed(&asked);
                    self.keys = asked.keys;
                }
                self.die("while it pushed")
            }
        }
    }

    /// The book has what was decided.
    fn committed(&mut self, asked: &Asked) {
        for push in &asked.taken {
            let place = number(&push.serial);
            self.possible[place] = vec![asked.decided[place]];
            self.promises[place].perhaps(&push.order);
        }
    }

    /// `handed`: what was handed over while they were carried out, and when.
    pub(super) fn answered(
        &mut self,
        asked: &Asked,
        outcomes: &Outcomes,
        handed: Option<(Option<(Step, bool)>, Handed)>,
    ) -> Checked {
        let disk = self.book.lock().disk;
        if outcomes.iter().any(|outcome| matches!(outcome, Err(PushError::NotDurable(_)))) {
            self.note("it fails");
            if let Some((_, handed)) = handed {
                self.taken(&handed)?;
            }
            return self.not_durable(asked, outcomes, disk);
        }
        for (expected, outcome) in asked.expected.iter().zip(outcomes) {
            let is_so = match (expected, outcome) {
                (Expected::KeyReused, Err(PushError::KeyReused)) => true,
                (Expected::Each(expected), Ok(outcomes)) => expected == outcomes,
                _ => false,
            };
            if !is_so {
                return Err(format!("a push has {outcome:?} instead of {expected:?}"));
            }
        }
        if disk != Disk::Fine && !asked.taken.is_empty() {
            return Err("a push was acknowledged without a disk".into());
        }
        self.keys.clone_from(&asked.keys);
        self.answered.extend(asked.answered.clone());
        self.committed(asked);
        let (before, after) = match handed {
            Some((Some((Step::Shown, _)), handed)) => (None, Some(handed)),
            Some((_, handed)) => (Some(handed), None),
            None => (None, None),
        };
        if let Some(handed) = before {
            self.taken(&handed)?;
        }
        for push in &asked.taken {
            let place = number(&push.serial);
            self.truth[place].push_once_decided(&push.order, self.now);
            self.possible[place].push(self.truth[place]);
            self.promises[place].acknowledged(&push.order);
        }
        after.map_or(Ok(()), |handed| self.taken(&handed))
    }

    /// It was not acknowledged: nothing shows. A disk that lies may have it.
    fn not_durable(&mut self, asked: &Asked, outcomes: &Outcomes, disk: Disk) -> Checked {
        if disk == Disk::Fine {
            return Err(format!("a push fails on a disk that is fine: {outcomes:?}"));
        }
        self.told_may_be_lost = true;
        if disk == Disk::Full {
            return Ok(());
        }
        for push in &asked.taken {
            let place = number(&push.serial);
            self.possible[place].push(asked.decided[place]);
            self.promises[place].perhaps(&push.order);
        }
        for (key, answer) in &asked.answered {
            self.perhaps_answered(key, answer.these[0]);
        }
        self.commit_is_in_doubt();
        Ok(())
    }

    fn perhaps_answered(&mut self, key: &str, this: (Push, Outcome)) {
        let answer = self.keys.entry(key.to_owned()).or_insert_with(|| Answer { these: Vec::new(), is_sure: false });
        if !answer.these.contains(&this) {
            answer.these.push(this);
        }
    }

    /// A client that never got an answer asks again: it gets the answer of then, and nothing changes; or it is decided
    /// now.
    fn push_again(&mut self, push: Push, key: String) -> Checked {
        let outcomes = self.ledger.push_together(&[(vec![push], Some(key.clone()))], self.now);
        self.note(format_args!("pushes {push:?} again: {outcomes:?}"));
        let place = number(&push.serial);
        let these = self.keys[&key].these.clone();
        let mut decided = self.truth[place];
        let expected = decided.push(&push.order, self.now);
        let disk = self.book.lock().disk;
        match &outcomes[0] {
            Ok(outcomes) => {
                let outcome = outcomes[0];
                let is_of_then = outcome.is_ok_and(|outcome| these.contains(&(push, outcome)))
                    && self.shown(place) == self.truth[place];
                if !is_of_then {
                    if outcome != expected {
                        return Err(format!("a repeated push has {outcome:?} instead of {expected:?} or of {these:?}"));
                    }
                    if outcome.is_ok() {
                        self.truth[place] = decided;
                        self.possible[place] = vec![decided];
                        self.promises[place].acknowledged(&push.order);
                    }
                }
                self.keys.remove(&key);
                if let Ok(outcome) = outcome {
                    // If it is of then, this process has not answered it.
                    self.answered.insert(key.clone(), Answer { these: vec![(push, outcome)], is_sure: false });
                    self.keys.insert(key, Answer { these: vec![(push, outcome)], is_sure: true });
                }
                Ok(())
            }
            Err(PushError::KeyReused) if these.iter().any(|(other, _)| *other != push) => Ok(()),
            Err(error) if disk == Disk::Fine => Err(format!("a repeated push fails on a disk that is fine: {error}")),
            Err(_) => {
                self.told_may_be_lost = true;
                if let (Disk::Lies, Ok(outcome)) = (disk, expected) {
                    self.possible[place].push(decided);
                    self.promises[place].perhaps(&push.order);
                    self.perhaps_answered(&key, (push, outcome));
                    self.commit_is_in_doubt();
                }
                Ok(())
            }
        }
    }
}
