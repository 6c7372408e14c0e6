//! How long answers are valid, when they are replaced and how long they are given out: as values, and under the names of
//! the rules that clients and root programs make ([`Profile`]).
//!
//! Pure. Invariant: an answer is replaced before it ceases to be given out. It does not know where a policy is written,
//! or what an answer says.

use std::{fmt, time::Duration};

use super::Policy;
use crate::limits;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// When the replacement of an answer is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresh {
    /// As the Baseline Requirements (section 4.9.10) have it: an answer for less than 16 hours is replaced half of that
    /// before nextUpdate, any other 8 hours before it, and within 4 days after thisUpdate.
    BaselineRequirements,
    /// After this part of the time for which the answer is given out.
    Share(Share),
}

/// A part of a whole, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Share(u16);

impl Share {
    /// Half.
    pub const HALF: Self = Self(500);
    /// The least for [`Refresh::Share`]: less has every answer signed more than twenty times in its time.
    pub const MIN: Self = Self(50);
    /// The most: a tenth of the time is left for a key that is away, and for a pass over all answers.
    pub const MAX: Self = Self(900);

    /// So many thousandths, at most the whole.
    pub const fn of_thousandths(thousandths: u16) -> Self {
        Self(if thousandths > 1000 { 1000 } else { thousandths })
    }

    /// In thousandths.
    pub const fn thousandths(self) -> u16 {
        self.0
    }

    /// This part of a length of time.
    pub fn of(self, whole: Duration) -> Duration {
        whole * u32::from(self.0) / 1000
    }
}

/// As a file has it: `0.5`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        let short = text.trim_end_matches('0');
        f.write_str(if short.ends_with('.') { &text[..=short.len()] } else { short })
    }
}

impl Refresh {
    /// How long after its signature an answer is replaced at the latest. `valid`: from its signature to nextUpdate;
    /// `given`: how long it is given out, which may be less; `backdate`: how long before its signature thisUpdate is.
    pub fn after(self, valid: Duration, given: Duration, backdate: Duration) -> Duration {
        match self {
            Self::Share(share) => share.of(given),
            // What is given out for less than it is valid has to be replaced earlier than they ask for.
            Self::BaselineRequirements if given < valid => given / 2,
            Self::BaselineRequirements => {
                let interval = valid + backdate;
                if interval < 16 * HOUR {
                    // The interval counts from thisUpdate on; near the end of a signer it may be mostly over.
                    valid.saturating_sub(interval / 2).max(valid / 4)
                } else {
                    valid.saturating_sub(8 * HOUR).min((4 * DAY).saturating_sub(backdate))
                }
            }
        }
    }
}

/// The rules of those who use the answers. It sets everything about time at once; what stands beside it counts more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// The Baseline Requirements for TLS certificates.
    Tls,
    /// The Microsoft Trusted Root Program, which wants a new answer at half of the validity.
    Microsoft,
    /// X-Road: its servers refuse an answer that was signed more than 60 minutes ago or is past nextUpdate (both by
    /// default), ask every 20 minutes, and use what they have in between. So an answer leaves within 10 minutes after its
    /// signature, is valid for 60, and two requests in a row may fail.
    XRoad,
    /// A CA of one's own, whose clients may have slow clocks: Windows sets CRLs back by 10 minutes for them, too.
    Private,
}

impl Profile {
    /// The words for them.
    pub const WORDS: [(&str, Self); 4] =
        [("tls", Self::Tls), ("microsoft", Self::Microsoft), ("x-road", Self::XRoad), ("private", Self::Private)];

    /// This policy with the times of the profile.
    pub fn applied_to(self, policy: Policy) -> Policy {
        let default = Policy { profile: self, ..Policy { unlisted: policy.unlisted, ..Policy::DEFAULT } };
        let times = match self {
            Self::Tls => default,
            Self::Microsoft => Policy { refresh: Refresh::Share(Share::HALF), ..default },
            Self::XRoad => Policy {
                validity: HOUR,
                serve_for: 10 * MINUTE,
                refresh: Refresh::Share(Share::HALF),
                max_age: 5 * MINUTE,
                ..default
            },
            Self::Private => Policy {
                validity: DAY,
                refresh: Refresh::Share(Share::HALF),
                backdate: 10 * MINUTE,
                max_age: HOUR,
                ..default
            },
        };
        let Policy { profile, validity, refresh, backdate, serve_for, max_age, stale_after, crl_grace, .. } = times;
        Policy { profile, validity, refresh, backdate, serve_for, max_age, stale_after, crl_grace, ..policy }
    }

    /// The bounds of thisUpdate to nextUpdate that its rules set, and whose they are.
    fn bounds(self) -> Option<(Duration, Duration, &'static str)> {
        match self {
            Self::Tls => Some((8 * HOUR, 10 * DAY, "the Baseline Requirements (4.9.10) allow")),
            Self::Microsoft => Some((8 * HOUR, 7 * DAY, "the Microsoft Trusted Root Program allows")),
            Self::XRoad | Self::Private => None,
        }
    }
}

/// A doubt about a policy: the key that it is about, and what is wrong.
pub type Doubt = (&'static str, String);

impl Policy {
    /// How long an answer that is valid for so long from its signature on is given out.
    pub fn given_for(&self, valid: Duration) -> Duration {
        valid.min(self.serve_for)
    }

    /// How long after its signature an answer is replaced at the latest, if it is valid for so long.
    pub fn refresh_after(&self, valid: Duration) -> Duration {
        self.refresh.after(valid, self.given_for(valid), self.backdate)
    }

    /// What the rules of its profile forbid, and what cannot be meant. `words`: how a length of time is written.
    pub fn doubts(&self, words: impl Fn(Duration) -> String) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let interval = self.validity + self.backdate;
        let elsewhere = "a CA that is not bound by them says so with `profile = \"private\"`";
        if let Some((least, most, who)) = self.profile.bounds()
            && !(least..=most).contains(&interval)
        {
            let backdate = if self.backdate.is_zero() { "" } else { " with `backdate`" };
            let (is, least, most) = (words(interval), words(least), words(most));
            doubts.push(("validity", format!("is {is}{backdate}; {who} {least} to {most}; {elsewhere}")));
        }
        let after = self.refresh_after(self.validity);
        let latest = match self.profile {
            Profile::Tls => Refresh::BaselineRequirements,
            Profile::Microsoft => Refresh::Share(Share::HALF),
            Profile::XRoad | Profile::Private => return doubts,
        };
        let latest = latest.after(self.validity, self.validity, self.backdate);
        if after > latest {
            let (is, latest) = (words(after), words(latest));
            doubts.push((
                "refresh",
                format!(
                    "is {}, so that answers are replaced {is} after they are signed; the rules of this profile want it after {latest} at the latest; {elsewhere}",
                    match self.refresh {
                        Refresh::Share(share) => share.to_string(),
                        Refresh::BaselineRequirements => "as by default".to_owned(),
                    }
                ),
            ));
        }
        doubts
    }
}

/// No bound: longer than any answer is valid.
pub(super) const AS_LONG_AS_VALID: Duration = *limits::VALIDITY_RANGE.end();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_as_it_is_written() {
        for (thousandths, text) in [(500, "0.5"), (50, "0.05"), (333, "0.333"), (1000, "1.0"), (0, "0.0")] {
            assert_eq!(Share::of_thousandths(thousandths).to_string(), text);
        }
        assert_eq!(Share::of_thousandths(333).of(HOUR), Duration::from_millis(1_198_800));
    }

    #[test]
    fn an_answer_is_replaced_when_the_rules_say() {
        let (br, half) = (Refresh::BaselineRequirements, Refresh::Share(Share::HALF));
        let none = Duration::ZERO;
        for (refresh, valid, given, backdate, expected) in [
            (br, 8 * HOUR, 8 * HOUR, none, 4 * HOUR),
            (br, 16 * HOUR, 16 * HOUR, none, 8 * HOUR),
            (br, 4 * DAY, 4 * DAY, none, 4 * DAY - 8 * HOUR),
            (br, 10 * DAY, 10 * DAY, none, 4 * DAY),
            (br, 10 * DAY, 10 * DAY, HOUR, 4 * DAY - HOUR),
            (br, 8 * HOUR, 8 * HOUR, HOUR, 3 * HOUR + 30 * MINUTE),
            (br, MINUTE, MINUTE, HOUR, MINUTE / 4),
            (br, HOUR, 10 * MINUTE, none, 5 * MINUTE),
            (half, 4 * DAY, 4 * DAY, none, 2 * DAY),
            (half, 2 * MINUTE, 2 * MINUTE, HOUR, MINUTE),
            (half, HOUR, 10 * MINUTE, none, 5 * MINUTE),
            (Refresh::Share(Share::MAX), HOUR, HOUR, none, 54 * MINUTE),
        ] {
            assert_eq!(refresh.after(valid, given, backdate), expected, "{refresh:?} {valid:?} {given:?} {backdate:?}");
        }
    }

    #[test]
    fn a_profile_sets_every_time_and_nothing_else() {
        let other = Policy {
            validity: 3 * DAY,
            refresh: Refresh::Share(Share::MAX),
            backdate: HOUR,
            serve_for: DAY,
            max_age: MINUTE,
            stale_after: DAY,
            crl_grace: DAY,
            retain_expired: DAY,
            archive_cutoff: true,
            surrogate_keys: false,
            unlisted: super::super::Unlisted::Revoked,
            ..Policy::DEFAULT
        };
        for (_, profile) in Profile::WORDS {
            let applied = profile.applied_to(other);
            let plain = profile.applied_to(Policy::DEFAULT);
            assert_eq!(profile.applied_to(applied), applied);
            let Policy { retain_expired, archive_cutoff, surrogate_keys, unlisted, .. } = other;
            assert_eq!(Policy { retain_expired, archive_cutoff, surrogate_keys, unlisted, ..plain }, applied);
            assert_eq!(applied.profile, profile);
            assert_eq!(applied.doubts(|length| format!("{length:?}")), []);
        }
        assert_eq!(Profile::Tls.applied_to(Policy::DEFAULT), Policy::DEFAULT);
    }

    #[test]
    fn what_the_rules_of_a_profile_forbid_is_doubted() {
        let share = |thousandths| Refresh::Share(Share::of_thousandths(thousandths));
        let of = |profile: Profile| profile.applied_to(Policy::DEFAULT);
        let (tls, microsoft, private) = (of(Profile::Tls), of(Profile::Microsoft), of(Profile::Private));
        type Case = (Policy, &'static [&'static str]);
        let cases: &[Case] = &[
            (Policy { validity: 8 * HOUR, ..tls }, &[]),
            (Policy { validity: 8 * HOUR - MINUTE, ..tls }, &["validity"]),
            (Policy { validity: 10 * DAY, ..tls }, &[]),
            (Policy { validity: 10 * DAY, backdate: MINUTE, ..tls }, &["validity"]),
            (Policy { validity: 2 * MINUTE, ..tls }, &["validity"]),
            (Policy { validity: 10 * DAY, refresh: share(500), ..tls }, &["refresh"]),
            (Policy { validity: 10 * DAY, refresh: share(400), ..tls }, &[]),
            (Policy { validity: 10 * HOUR, refresh: share(600), ..tls }, &["refresh"]),
            (Policy { validity: 7 * DAY, ..microsoft }, &[]),
            (Policy { validity: 8 * DAY, ..microsoft }, &["validity"]),
            (Policy { refresh: share(600), ..microsoft }, &["refresh"]),
            (Policy { validity: 2 * MINUTE, refresh: share(900), ..private }, &[]),
            (Policy { validity: 30 * DAY, ..of(Profile::XRoad) }, &[]),
        ];
        for (policy, expected) in cases {
            let doubts = policy.doubts(|length| format!("{length:?}"));
            assert_eq!(doubts.iter().map(|(key, _)| *key).collect::<Vec<_>>(), *expected, "{policy:?} {doubts:?}");
        }
    }
}
