//! The pushes of the simulation: what is asked, what has to come of it, and what may be on disk when it fails.

use super::*;
use crate::{
    ledger::{Order, PushError, Refusal},
    pki::Reason,
};

type Outcomes = Vec<Result<Vec<Result<Outcome, Refusal>>, PushError>>;

/// What has to come of a request.
#[derive(Debug)]
enum Expected {
    Each(Vec<Result<Outcome, &'static str>>),
    KeyReused,
    /// Its key may be known or not.
    Open,
}

/// Requests that come at the same time.
pub(super) struct Asked {
    requests: Vec<(Vec<Push>, Option<String>)>,
    expected: Vec<Expected>,
    /// Pushes that will be taken, in order.
    taken: Vec<Push>,
    /// What is known after them, if nothing comes in between.
    decided: Vec<Truth>,
    keys: BTreeMap<String, Answer>,
    /// Those of them that this process answers.
    answered: BTreeMap<String, Answer>,
}

impl Sim<'_> {
    fn draw_push(&mut self) -> Push {
        let serial = serial(1 + self.rng.below(CERTIFICATES as usize) as u32);
        let reason = if self.rng.chance(70) { Reason::CertificateHold } else { Reason::KeyCompromise };
        let time = [None, None, Some(UnixTime(5)), Some(UnixTime(self.now.0 + 1000))][self.rng.below(4)];
        let order = match self.rng.below(10) {
            0..3 => Order::Add { not_after: None },
            3..7 => Order::Revoke { time, reason, even_unlisted: self.rng.chance(30) },
            _ => Order::Release,
        };
        Push { serial, order }
    }

    fn draw_request(&mut self) -> (Vec<Push>, Option<String>) {
        match self.rng.below(6) {
            0 => ((0..1 + self.rng.below(3)).map(|_| self.draw_push()).collect(), None),
            1 => (vec![self.draw_push()], Some(format!("key {}", self.rng.below(1 << 20)))),
            2 | 3 if !self.keys.is_empty() => {
                let known = self.rng.below(self.keys.len());
                let (key, answer) = self.keys.iter().nth(known).map(|(key, answer)| (key.clone(), *answer)).unwrap();
                let (Answer::Sure(same, _) | Answer::Perhaps(same)) = answer;
                (vec![if self.rng.chance(80) { same } else { self.draw_push() }], Some(key))
            }
            _ => (vec![self.draw_push()], None),
        }
    }

    fn ask(&mut self, most: usize) -> Asked {
        let mut requests: Vec<_> = (0..1 + self.rng.below(most)).map(|_| self.draw_request()).collect();
        if requests.len() > 1 && self.rng.chance(20) {
            // The client repeats it before the first has its answer.
            requests.push(requests[0].clone());
        }
        // The book that comes into place first has no other answers.
        let mut keys = if self.is_unsettled { self.answered.clone() } else { self.keys.clone() };
        let mut answered = BTreeMap::new();
        let (mut decided, mut expected, mut taken) = (self.truth.clone(), Vec::new(), Vec::new());
        for (pushes, key) in &requests {
            match key.as_ref().and_then(|key| keys.get(key)) {
                Some(Answer::Sure(push, outcome)) if pushes[..] == [*push] => {
                    expected.push(Expected::Each(vec![Ok(*outcome)]));
                    continue;
                }
                Some(Answer::Sure(..)) => {
                    expected.push(Expected::KeyReused);
                    continue;
                }
                Some(Answer::Perhaps(_)) => {
                    expected.push(Expected::Open);
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
                keys.insert(key.clone(), Answer::Sure(pushes[0], *outcome));
                answered.insert(key.clone(), Answer::Sure(pushes[0], *outcome));
            }
            expected.push(Expected::Each(each));
        }
        Asked { requests, expected, taken, decided, keys, answered }
    }

    pub(super) fn push(&mut self) -> Checked {
        let asked = self.ask(3);
        // A key whose answer is not known is asked for alone, so that it is clear what came of it.
        if let Some(open) = asked.expected.iter().position(|expected| matches!(expected, Expected::Open)) {
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
        }
    }

    fn answered(
        &mut self,
        asked: &Asked,
        outcomes: &Outcomes,
        handed: Option<(Option<(Step, bool)>, Handed)>,
    ) -> Checked {
        let disk = self.book.lock().disk;
        let failed = outcomes.iter().any(|outcome| matches!(outcome, Err(PushError::NotDurable(_))));
        if failed {
            self.note("it fails");
            if let Some((_, handed)) = handed {
                self.taken(handed)?;
            }
            return self.not_durable(asked, outcomes, disk);
        }
        for (expected, outcome) in asked.expected.iter().zip(outcomes) {
            let is_so = match (expected, outcome) {
                (Expected::KeyReused, Err(PushError::KeyReused)) => true,
                (Expected::Each(expected), Ok(outcomes)) => {
                    expected.len() == outcomes.len()
                        && expected.iter().zip(outcomes).all(|(expected, outcome)| match (expected, outcome) {
                            (Ok(expected), Ok(outcome)) => expected == outcome,
                            (Err(expected), Err(refusal)) => format!("{refusal:?}").starts_with(expected),
                            _ => false,
                        })
                }
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
            self.taken(handed)?;
        }
        for push in &asked.taken {
            let place = number(&push.serial);
            // A stricter word may have come in between. A line that was lost since makes no revocation void.
            let order = match push.order {
                Order::Revoke { time, reason, .. } => Order::Revoke { time, reason, even_unlisted: true },
                order => order,
            };
            let _ = self.truth[place].push(&order, self.now);
            self.possible[place].push(self.truth[place]);
        }
        after.map_or(Ok(()), |handed| self.taken(handed))
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
        self.is_unsettled = true;
        for push in &asked.taken {
            let place = number(&push.serial);
            self.possible[place].push(asked.decided[place]);
            self.perhaps_final[place] |= asked.decided[place].is_final;
        }
        for (key, answer) in &asked.keys {
            if let Answer::Sure(push, _) = answer {
                self.keys.entry(key.clone()).or_insert(Answer::Perhaps(*push));
            }
        }
        Ok(())
    }

    /// A client that never got an answer asks again. Where it is told that it is done, it is.
    fn push_again(&mut self, push: Push, key: String) -> Checked {
        let outcomes = self.ledger.push_together(&[(vec![push], Some(key.clone()))], self.now);
        self.note(format_args!("pushes {push:?} again: {outcomes:?}"));
        let place = number(&push.serial);
        let shown = self.shown(place);
        let disk = self.book.lock().disk;
        match &outcomes[0] {
            Ok(outcomes) => {
                if outcomes[0].is_ok() {
                    let is_so = match push.order {
                        Order::Add { .. } => shown.rank().is_some(),
                        Order::Revoke { reason: Reason::CertificateHold, .. } => shown.rank() >= Some(1),
                        Order::Revoke { .. } => shown.is_final,
                        Order::Release => !shown.restricts || shown.is_final,
                    };
                    if !is_so {
                        return Err(format!("{push:?} is told to be done, and it is {shown:?}"));
                    }
                    self.truth[place] = shown;
                    self.possible[place].push(shown);
                }
                self.keys.remove(&key);
                Ok(())
            }
            Err(PushError::KeyReused) => Ok(()),
            Err(_) if disk == Disk::Fine => Err("a repeated push fails on a disk that is fine".into()),
            Err(_) => {
                self.told_may_be_lost = true;
                self.is_unsettled |= disk == Disk::Lies;
                Ok(())
            }
        }
    }

    /// A push comes when something is about to be saved.
    pub(super) fn save_with_a_push_before(&mut self) -> Checked {
        let mut asked = self.ask(1);
        while asked.expected.iter().any(|expected| matches!(expected, Expected::Open)) {
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
        let records = 1 + self.rng.below(4);
        let saved = self.ledger.save_one_chunk(records);
        self.ledger.plan(None);
        self.note(format_args!("saves {records} after pushes {:?}: {saved:?}", asked.requests));
        let outcomes = outcomes.lock().unwrap().take();
        if let Some(outcomes) = outcomes {
            self.answered(&asked, &outcomes, None)?;
        }
        self.saved(&saved)
    }
}
