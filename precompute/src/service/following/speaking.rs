//! Of which issuers the writer that is followed goes on speaking.
//!
//! Purpose: a writer that was given another configuration falls silent about an issuer, and nothing else shows it: its
//! heartbeats are those of all others. Invariant: an issuer counts as abandoned only after heartbeats that name every issuer
//! whose records were all told have left it out for [`limits::STATUS_INTERVAL`], while nothing else spoke of it either; so one
//! that is just being changed, or takes its turn among very many, is not. It reads no clock, and does not know which issuers
//! are configured here, or what is said of them.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    feed::{Body, Issuer},
    limits::feed as limits,
};

/// What was spoken of.
#[derive(Debug, Default)]
pub(super) struct Speaking {
    /// Since when each issuer that was spoken of is left out; `None` while it is not.
    issuers: HashMap<Issuer, Option<Duration>>,
}

impl Speaking {
    /// Hears an entry at this moment of the monotonic clock.
    pub(super) fn hear(&mut self, body: &Body, now: Duration) {
        match body {
            Body::Records(sections) => sections.iter().for_each(|section| self.spoken(section.issuer)),
            Body::Begin(begin) => begin.again.iter().for_each(|section| self.spoken(section.issuer)),
            Body::Answers(sections) => sections.iter().for_each(|section| self.spoken(section.issuer)),
            Body::Heartbeat(heartbeat) => {
                let named: HashSet<Issuer> = heartbeat.digests.iter().map(|(issuer, _)| *issuer).collect();
                // Without any there is something left to tell; with so many they take turns.
                if (1..limits::HEARTBEAT_DIGESTS_MAX).contains(&named.len()) {
                    for (issuer, left_out) in &mut self.issuers {
                        if !named.contains(issuer) {
                            left_out.get_or_insert(now);
                        }
                    }
                }
                named.into_iter().for_each(|issuer| self.spoken(issuer));
            }
            _ => {}
        }
    }

    /// Something was said of it: its status in an entry, or by a snapshot.
    pub(super) fn spoken(&mut self, issuer: Issuer) {
        if self.issuers.len() < ISSUERS_MAX || self.issuers.contains_key(&issuer) {
            self.issuers.insert(issuer, None);
        }
    }

    /// Those that are spoken of no more.
    pub(super) fn no_more(&self, now: Duration) -> impl Iterator<Item = Issuer> + '_ {
        let is_over = move |since: Duration| now.saturating_sub(since) > limits::STATUS_INTERVAL;
        self.issuers.iter().filter(move |(_, since)| since.is_some_and(is_over)).map(|(issuer, _)| *issuer)
    }
}

/// More take turns in heartbeats, so that nothing is known of any; and strangers beside them are bounded as elsewhere.
const ISSUERS_MAX: usize = limits::HEARTBEAT_DIGESTS_MAX + limits::STRANGERS_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feed::body::{Heartbeat, Section},
        records::Digest,
    };

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn beat(issuers: &[u8]) -> Body {
        let digests = issuers.iter().map(|name| (Issuer([*name; 32]), Digest::default())).collect();
        Body::Heartbeat(Heartbeat { digests, ..Heartbeat::default() })
    }

    fn no_more(speaking: &Speaking, now: u64) -> Vec<u8> {
        speaking.no_more(at(now)).map(|issuer| issuer.0[0]).collect()
    }

    #[test]
    fn an_issuer_that_is_left_out_for_long_is_spoken_of_no_more_until_something_is_said_of_it() {
        let lasts = limits::STATUS_INTERVAL.as_secs();
        let mut speaking = Speaking::default();
        speaking.hear(&beat(&[1, 2]), at(0));
        (1..=lasts).for_each(|second| speaking.hear(&beat(&[1]), at(second)));
        assert_eq!(no_more(&speaking, lasts + 1), [0; 0], "not for long");
        speaking.hear(&beat(&[1]), at(lasts + 2));
        assert_eq!(no_more(&speaking, lasts + 2), [2]);
        speaking.hear(&Body::Records(vec![Section::new(Issuer([2; 32]), Vec::new())]), at(lasts + 3));
        assert_eq!(no_more(&speaking, 9 * lasts), [0; 0], "that was said of it, and nothing came since");
    }

    #[test]
    fn heartbeats_that_name_nobody_or_take_turns_say_nothing_of_those_that_they_leave_out() {
        let lasts = limits::STATUS_INTERVAL.as_secs();
        let mut speaking = Speaking::default();
        speaking.hear(&beat(&[1, 2]), at(0));
        let many = (0..limits::HEARTBEAT_DIGESTS_MAX).map(|number| {
            let mut name = [9; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            (Issuer(name), Digest::default())
        });
        let turns = Body::Heartbeat(Heartbeat { digests: many.collect(), ..Heartbeat::default() });
        for second in 1..3 * lasts {
            speaking.hear(&beat(&[]), at(second));
            speaking.hear(&turns, at(second));
        }
        assert_eq!(no_more(&speaking, 3 * lasts), [0; 0]);
    }
}
