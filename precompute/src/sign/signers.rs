//! Who signs for an issuer: one signer, or several while a certificate is renewed or an algorithm changed.
//!
//! Invariant: whoever is chosen is valid at that time. Kept answers are looked for by a choice that depends on nothing
//! but the arguments; only who signs a new one depends on whose key is at work. Keys are not used here.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use super::{Algorithm, OcspSigner};
use crate::{limits::SIGNERS_MAX, pki::UnixTime};

/// The signers of one issuer, in the order of the configuration; at least one. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Signers(Arc<[Arc<OcspSigner>]>);

/// All of a signer that matters when it is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Term {
    pub(super) algorithm: Algorithm,
    /// Start of validity.
    pub(super) not_before: UnixTime,
    /// End of validity: no answer may be valid beyond it.
    pub(super) not_after: UnixTime,
}

impl Term {
    #[inline]
    pub(super) fn holds(&self, now: UnixTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

impl Signers {
    /// `None` for no signer, and for more than [`SIGNERS_MAX`].
    pub fn new(signers: Vec<Arc<OcspSigner>>) -> Option<Self> {
        (1..=SIGNERS_MAX).contains(&signers.len()).then(|| Self(signers.into()))
    }

    /// In the order of the configuration.
    pub fn all(&self) -> &[Arc<OcspSigner>] {
        &self.0
    }

    /// The first of the configuration, valid or not.
    pub fn first(&self) -> &Arc<OcspSigner> {
        // There is at least one.
        &self.0[0]
    }

    /// Who signs an answer `now`, and its place in the list: of those valid now the first in the client's order of
    /// preference (RFC 6960 section 4.4.7.2), else the first listed that can give an answer its whole `validity`,
    /// else the one that lasts longest. `None` where nobody is valid.
    #[inline]
    pub fn choose(
        &self,
        now: UnixTime,
        validity: Duration,
        preferred: impl Iterator<Item = Algorithm>,
    ) -> Option<(u8, &Arc<OcspSigner>)> {
        // One is the rule, and this is on the way of every request.
        let place = match &*self.0 {
            [only] => only.term().holds(now).then_some(0)?,
            several => {
                let terms = several.iter().map(|signer| signer.term()).enumerate();
                choose_among(terms, now, validity, preferred)?
            }
        };
        Some((place as u8, &self.0[place]))
    }

    /// The same for an answer that has to be signed: where the key of whoever is chosen has been away for a while, of
    /// those whose key has not the one that would be chosen without it.
    pub fn choose_at_work(
        &self,
        now: UnixTime,
        validity: Duration,
        preferred: impl Iterator<Item = Algorithm> + Clone,
    ) -> Option<(u8, &Arc<OcspSigner>)> {
        let chosen = self.choose(now, validity, preferred.clone())?;
        if self.0.len() == 1 || !chosen.1.signing().is_away() {
            return Some(chosen);
        }
        let place = choose_among(at_work(&self.0), now, validity, preferred);
        Some(place.map_or(chosen, |place| (place as u8, &self.0[place])))
    }

    /// Who signs one answer for the issuers of all these lists: a signer that each of them has, by certificate and
    /// algorithm; chosen as by [`Signers::choose_at_work`]. It ends with the first of the issuers that does.
    pub fn shared<'a>(
        lists: impl IntoIterator<Item = &'a Self>,
        now: UnixTime,
        validity: Duration,
    ) -> Option<Arc<OcspSigner>> {
        let mut lists = lists.into_iter();
        let mut everywhere = lists.next()?.0.to_vec();
        for list in lists {
            everywhere.retain_mut(|signer| {
                let Some(same) = list.0.iter().find(|other| other.is_same(signer)) else { return false };
                if same.not_after() < signer.not_after() {
                    *signer = Arc::clone(same);
                }
                true
            });
        }
        let terms = everywhere.iter().map(|signer| signer.term()).enumerate();
        let nothing = std::iter::empty;
        let place = choose_among(at_work(&everywhere), now, validity, nothing());
        let place = place.or_else(|| choose_among(terms, now, validity, nothing()))?;
        Some(everywhere.swap_remove(place))
    }
}

/// Those whose key has not been away for a while, with their places.
fn at_work(signers: &[Arc<OcspSigner>]) -> impl Iterator<Item = (usize, &Term)> + Clone {
    let at_work: Vec<_> = signers.iter().map(|signer| !signer.signing().is_away()).collect();
    signers.iter().map(|signer| signer.term()).enumerate().filter(move |(place, _)| at_work[*place])
}

/// Among these, each with its place; the place.
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
}
