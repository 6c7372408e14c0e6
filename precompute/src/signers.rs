//! The signers of an issuer: keys with the certificates that authorise them.
//!
//! - [`OcspSigner`]: a key with the certificate that authorises it to answer for an issuer.
//! - [`TsaSigner`]: a key with the certificate that authorises it to time-stamp.
//! - [`Signers`]: all signers of one issuer, and the choice among them.
//!
//! An issuer has one signer, or several while a certificate is renewed or an algorithm is changed.
//!
//! Invariant: the chosen signer is valid at that time, and its certificate is not revoked unless all valid ones are.
//! The choice for a kept answer depends only on the arguments and on which signers are revoked. Only the choice for a
//! new answer also depends on which keys are here and at work. It does not use keys, and does not know where
//! revocations come from.

mod ocsp_signer;
mod tsa_signer;

pub use ocsp_signer::{OcspSigner, SignerError};
pub use tsa_signer::{EndOfUse, TsaSigner, TsaSignerError, UseOfKey};

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    limits::SIGNERS_MAX,
    ocsp::Term,
    pki::{Algorithm, Serial, UnixTime},
};

/// The signers of one issuer, in the order of the configuration; at least one. Clones share them and the notes about
/// them.
#[derive(Clone, Debug)]
pub struct Signers {
    all: Arc<[Arc<OcspSigner>]>,
    /// The signers whose certificates are revoked. Not noted for a single signer.
    revoked: Arc<AtomicU64>,
}

/// Some of the signers, by place: one bit each, the lowest for the first.
type Places = u64;
const _: () = assert!(SIGNERS_MAX <= Places::BITS as usize);

fn is_among(place: usize, places: Places) -> bool {
    places >> place & 1 == 1
}

impl Signers {
    /// `None` for no signer, and for more than [`SIGNERS_MAX`].
    pub fn new(signers: Vec<Arc<OcspSigner>>) -> Option<Self> {
        (1..=SIGNERS_MAX).contains(&signers.len()).then(|| Self { all: signers.into(), revoked: Arc::default() })
    }

    /// In the order of the configuration.
    pub fn all(&self) -> &[Arc<OcspSigner>] {
        &self.all
    }

    /// The first in the configuration, valid or not.
    pub fn first(&self) -> &Arc<OcspSigner> {
        // The list is never empty.
        &self.all[0]
    }

    /// Notes which certificates the issuer shows as revoked now; true if that has changed. Nothing is noted for a
    /// single signer, because there is no choice.
    pub fn note_revoked(&self, is_revoked: impl Fn(&Serial) -> bool) -> bool {
        if self.all.len() == 1 {
            return false;
        }
        let revoked = places(self.all.iter().map(|signer| signer.serial().is_some_and(&is_revoked)));
        self.revoked.swap(revoked, Relaxed) != revoked
    }

    /// Whether one of several signers is noted as revoked.
    pub fn some_revoked(&self) -> bool {
        self.all.len() > 1 && self.revoked_places() != 0
    }

    /// Which are: one bit each, the lowest for the first.
    pub fn revoked_places(&self) -> u64 {
        self.revoked.load(Relaxed)
    }

    /// The signer for an answer `now`, and its place in the list. Among the signers valid now it is the first in the
    /// client's order of preference (RFC 6960 section 4.4.7.2), else the first listed that lasts for the answer's whole
    /// `validity`, else the one that lasts longest. Revoked signers are left out, unless all valid ones are revoked.
    /// `None` if no signer is valid.
    #[inline]
    pub fn choose(
        &self,
        now: UnixTime,
        validity: Duration,
        preferred: impl Iterator<Item = Algorithm>,
    ) -> Option<(u8, &Arc<OcspSigner>)> {
        // One signer is the rule, and every request comes through here.
        let place = match &*self.all {
            [only] => only.term().holds(now).then_some(0)?,
            several => {
                choose_among(eligible(terms(several), self.revoked.load(Relaxed), now), now, validity, preferred)?
            }
        };
        Some((place as u8, &self.all[place]))
    }

    /// The same for a new answer. If the key of the chosen signer has been away for a while, the choice is repeated
    /// among the signers whose key has not. A revoked signer never replaces one that is not revoked: clients that check
    /// refuse the answer, and caches keep it. Also `None` if no key is here that could sign.
    pub fn choose_at_work(
        &self,
        now: UnixTime,
        validity: Duration,
        preferred: impl Iterator<Item = Algorithm> + Clone,
    ) -> Option<(u8, &Arc<OcspSigner>)> {
        let chosen = self.choose(now, validity, preferred.clone())?;
        let has_key = |(_, signer): &(u8, &Arc<OcspSigner>)| signer.signing().is_some();
        if self.all.len() == 1 || !chosen.1.is_away() {
            return Some(chosen).filter(has_key);
        }
        let eligible = eligible(terms(&self.all), self.revoked.load(Relaxed), now);
        let place = choose_among(at_work(&self.all, eligible), now, validity, preferred);
        Some(place.map_or(chosen, |place| (place as u8, &self.all[place]))).filter(has_key)
    }

    /// The signer for one answer on behalf of the issuers of all these lists: a signer that each of them has, by
    /// certificate and algorithm. It is chosen like [`Signers::choose_at_work`]; a signer that any of them has revoked
    /// counts as revoked. It ends with the first of the issuers whose signer ends.
    pub fn shared<'a>(
        lists: impl IntoIterator<Item = &'a Self>,
        now: UnixTime,
        validity: Duration,
    ) -> Option<Arc<OcspSigner>> {
        let mut lists = lists.into_iter();
        let mut everywhere: Vec<_> =
            lists.next()?.noted().map(|(signer, revoked)| (Arc::clone(signer), revoked)).collect();
        for list in lists {
            everywhere.retain_mut(|(signer, revoked)| {
                let Some((same, too)) = list.noted().find(|(other, _)| other.is_same(signer)) else { return false };
                if same.not_after() < signer.not_after() {
                    *signer = Arc::clone(same);
                }
                *revoked |= too;
                true
            });
        }
        let revoked = places(everywhere.iter().map(|(_, revoked)| *revoked));
        let mut everywhere: Vec<_> = everywhere.into_iter().map(|(signer, _)| signer).collect();
        let eligible = || eligible(terms(&everywhere), revoked, now);
        let nothing = std::iter::empty;
        let place = choose_among(at_work(&everywhere, eligible()), now, validity, nothing());
        let place = place.or_else(|| choose_among(eligible(), now, validity, nothing()))?;
        Some(everywhere.swap_remove(place))
    }

    /// Each signer, and whether it is revoked.
    fn noted(&self) -> impl Iterator<Item = (&Arc<OcspSigner>, bool)> {
        let revoked = self.revoked.load(Relaxed);
        self.all.iter().enumerate().map(move |(place, signer)| (signer, is_among(place, revoked)))
    }
}

fn places(are: impl Iterator<Item = bool>) -> Places {
    are.enumerate().fold(0, |places, (place, is)| places | Places::from(is) << place)
}

fn terms(signers: &[Arc<OcspSigner>]) -> impl Iterator<Item = (usize, &Term)> + Clone {
    signers.iter().map(|signer| signer.term()).enumerate()
}

/// The signers that are not revoked; all of them if no other is valid, because refusing would not give a better answer.
fn eligible<'t>(
    terms: impl Iterator<Item = (usize, &'t Term)> + Clone,
    revoked: Places,
    now: UnixTime,
) -> impl Iterator<Item = (usize, &'t Term)> + Clone {
    let some = revoked == 0 || terms.clone().any(|(place, term)| !is_among(place, revoked) && term.holds(now));
    let left_out = if some { revoked } else { 0 };
    terms.filter(move |(place, _)| !is_among(*place, left_out))
}

/// The signers whose key has not been away for a while.
fn at_work<'t>(
    signers: &[Arc<OcspSigner>],
    eligible: impl Iterator<Item = (usize, &'t Term)> + Clone,
) -> impl Iterator<Item = (usize, &'t Term)> + Clone {
    let at_work = places(signers.iter().map(|signer| !signer.is_away()));
    eligible.filter(move |(place, _)| is_among(*place, at_work))
}

/// Chooses among these, each with its place; returns the place.
fn choose_among<'t>(
    terms: impl Iterator<Item = (usize, &'t Term)> + Clone,
    now: UnixTime,
    validity: Duration,
    mut preferred: impl Iterator<Item = Algorithm>,
) -> Option<usize> {
    let valid = terms.filter(|(_, term)| term.holds(now));
    let best = |wanted: Option<Algorithm>| {
        let candidates = valid.clone().filter(|(_, term)| wanted.is_none_or(|wanted| term.algorithm == wanted));
        let lasting = candidates.clone().find(|(_, term)| term.not_after.since(now) >= validity);
        // The first of those that last equally long.
        lasting.or_else(|| candidates.min_by_key(|(_, term)| Reverse(term.not_after))).map(|(place, _)| place)
    };
    preferred.find_map(|algorithm| best(Some(algorithm))).or_else(|| best(None))
}

#[cfg(test)]
mod tests {
    use super::{Algorithm::*, *};

    const NOW: UnixTime = UnixTime(1_000);
    const VALIDITY: Duration = Duration::from_secs(100);

    fn term(algorithm: Algorithm, not_before: u64, not_after: u64) -> Term {
        Term { algorithm, not_before: UnixTime(not_before), not_after: UnixTime(not_after) }
    }

    #[test]
    fn the_choice_is_by_preference_then_by_order_then_by_end() {
        let (ec, rsa, pss) = (EcdsaP256Sha256, RsaPkcs1Sha256, RsaPssSha256);
        type Case<'c> = (&'c str, &'c [Term], &'c [Algorithm], Option<usize>);
        let cases: &[Case<'_>] = &[
            ("nobody", &[], &[], None),
            ("one", &[term(ec, 0, 5_000)], &[], Some(0)),
            ("from its first second", &[term(ec, 1_000, 5_000)], &[], Some(0)),
            ("not yet valid", &[term(ec, 1_001, 5_000)], &[], None),
            ("to the second before its last", &[term(ec, 0, 1_001)], &[], Some(0)),
            ("expired", &[term(ec, 0, 1_000)], &[], None),
            ("both valid: the first", &[term(ec, 0, 3_000), term(ec, 0, 5_000)], &[], Some(0)),
            ("the old one expired", &[term(ec, 0, 900), term(ec, 0, 5_000)], &[], Some(1)),
            ("the new one not yet valid", &[term(ec, 2_000, 5_000), term(ec, 0, 3_000)], &[], Some(1)),
            ("the first would cut the validity", &[term(ec, 0, 1_099), term(ec, 0, 1_100)], &[], Some(1)),
            ("all would: the longest", &[term(ec, 0, 1_010), term(ec, 0, 1_090), term(ec, 0, 1_050)], &[], Some(1)),
            ("equally long: the first", &[term(ec, 0, 1_090), term(ec, 0, 1_090)], &[], Some(0)),
            ("preferred", &[term(ec, 0, 5_000), term(rsa, 0, 5_000)], &[rsa], Some(1)),
            (
                "in the client's order",
                &[term(ec, 0, 5_000), term(rsa, 0, 5_000), term(pss, 0, 5_000)],
                &[pss, rsa],
                Some(2),
            ),
            ("the second wish", &[term(ec, 0, 5_000), term(rsa, 0, 5_000)], &[pss, rsa], Some(1)),
            ("no wish can be met", &[term(ec, 0, 5_000), term(rsa, 0, 5_000)], &[pss, Ed25519], Some(0)),
            ("the preferred one expired", &[term(ec, 0, 5_000), term(rsa, 0, 1_000)], &[rsa], Some(0)),
            ("preferred though it cuts the validity", &[term(ec, 0, 5_000), term(rsa, 0, 1_050)], &[rsa], Some(1)),
            ("two of the preferred", &[term(ec, 0, 5_000), term(rsa, 0, 1_050), term(rsa, 0, 5_000)], &[rsa], Some(2)),
        ];
        for (case, terms, preferred, expected) in cases {
            let chosen = choose_among(terms.iter().enumerate(), NOW, VALIDITY, preferred.iter().copied());
            assert_eq!(chosen, *expected, "{case}");
        }
    }

    #[test]
    fn whoever_is_revoked_is_chosen_only_where_nobody_else_is_valid() {
        let (ec, rsa) = (EcdsaP256Sha256, RsaPkcs1Sha256);
        let (valid, cut, expired, not_yet) =
            (term(ec, 0, 5_000), term(ec, 0, 1_050), term(ec, 0, 900), term(ec, 2_000, 5_000));
        let preferred = term(rsa, 0, 5_000);
        type Case<'c> = (&'c str, &'c [Term], &'c [bool], Option<usize>);
        let cases: &[Case<'_>] = &[
            ("nobody is", &[valid, valid], &[false, false], Some(0)),
            ("the first", &[valid, valid], &[true, false], Some(1)),
            ("the second", &[valid, valid], &[false, true], Some(0)),
            ("the first two", &[valid, valid, valid], &[true, true, false], Some(2)),
            ("all: as if nobody were", &[valid, valid], &[true, true], Some(0)),
            ("the other has expired", &[valid, expired], &[true, false], Some(0)),
            ("the other is not yet valid", &[valid, not_yet], &[true, false], Some(0)),
            ("the other would cut the validity", &[valid, cut], &[true, false], Some(1)),
            ("the client prefers it", &[valid, preferred], &[false, true], Some(0)),
            ("the client prefers it, and there is no other", &[expired, preferred], &[false, true], Some(1)),
            ("of all the revoked the client's", &[valid, preferred], &[true, true], Some(1)),
            ("nobody is valid", &[expired, not_yet], &[true, false], None),
        ];
        for (case, terms, revoked, expected) in cases {
            let revoked = places(revoked.iter().copied());
            let eligible = eligible(terms.iter().enumerate(), revoked, NOW);
            assert_eq!(choose_among(eligible, NOW, VALIDITY, [rsa].into_iter()), *expected, "{case}");
        }
    }
}
