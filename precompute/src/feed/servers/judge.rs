//! Who has another key for a signer than its peers.
//!
//! Rule: what the writer that leads has counts; where it has nothing of the kind, as of time-stamps, what most have, and
//! among equals what the server with the lowest identity has. A server is at odds if it has none of those keys: while a
//! signer is renewed, or goes over to another key, servers have an old and a new one, and some of them both.

use std::collections::{BTreeMap, BTreeSet};

use super::notice::{Keys, Notice, ServerRole};
use crate::state_dir::ServerId;

/// What is said of a server, by its identity.
pub(super) type Odds = BTreeMap<[u8; 16], Vec<String>>;

type OfKind = fn(&Keys) -> &BTreeMap<String, BTreeSet<String>>;

const KINDS: [(&str, OfKind); 2] = [("signer", |keys| &keys.ocsp), ("time-stamping authority", |keys| &keys.tsa)];

/// What is to be said of each of these servers, which live.
pub(super) fn odds(live: &[&Notice]) -> Odds {
    let mut odds = Odds::new();
    for (what, of_kind) in KINDS {
        let names: BTreeSet<&String> = live.iter().flat_map(|notice| of_kind(&notice.keys).keys()).collect();
        for name in names {
            let holders: Vec<_> =
                live.iter().filter_map(|notice| Some((*notice, of_kind(&notice.keys).get(name)?))).collect();
            let Some((peer, keys)) = reference(&holders) else { continue };
            for (holder, other) in holders.iter().filter(|(_, other)| other.is_disjoint(keys)) {
                odds.entry(holder.server.bytes()).or_default().push(format!(
                    "its key for the {what} `{name}` is {}, and that of `{}` ({}) is {}: clients get answers of two keys; give both the same key, or the same certificate",
                    prints(other),
                    peer.name,
                    short(peer.server),
                    prints(keys),
                ));
            }
        }
    }
    odds
}

/// Whose keys count.
fn reference<'n, 'k>(holders: &[(&'n Notice, &'k BTreeSet<String>)]) -> Option<(&'n Notice, &'k BTreeSet<String>)> {
    let leader = holders.iter().find(|(notice, _)| notice.role == ServerRole::Leads);
    let alike = |keys: &BTreeSet<String>| holders.iter().filter(|(_, other)| !other.is_disjoint(keys)).count();
    let most = || holders.iter().max_by_key(|(notice, keys)| (alike(keys), std::cmp::Reverse(notice.server.bytes())));
    leader.or_else(most).copied()
}

/// The beginnings of fingerprints.
fn prints(keys: &BTreeSet<String>) -> String {
    let first: Vec<String> = keys.iter().take(2).map(|print| print.chars().take(16).collect()).collect();
    first.join(" and ")
}

/// The beginning of an identity, as lists show it.
pub(super) fn short(server: ServerId) -> String {
    server.to_string().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::notice::tests::notice, *};

    fn with(number: u8, role: ServerRole, ocsp: &[&[u8]], tsa: &[&[u8]]) -> Notice {
        let mut notice = notice(number, role);
        notice.said.keys = Keys::of([(false, "t/ca".into(), ocsp.to_vec()), (true, "t/tsa".into(), tsa.to_vec())]);
        if tsa.is_empty() {
            notice.said.keys.tsa.clear();
        }
        notice
    }

    fn at_odds(all: &[Notice]) -> Vec<(u8, usize)> {
        odds(&all.iter().collect::<Vec<_>>()).into_iter().map(|(id, said)| (id[0], said.len())).collect()
    }

    #[test]
    fn who_has_none_of_the_leaders_keys_is_at_odds_and_who_has_one_of_them_is_not() {
        use ServerRole::{Leads, Replica, StandsBy};
        let all = [
            with(1, Replica, &[b"old"], &[]),
            with(2, Leads, &[b"old", b"new"], &[]),
            with(3, Replica, &[b"new"], &[]),
            with(4, StandsBy, &[b"other"], &[]),
            with(5, Replica, &[b"other"], &[]),
            with(6, Replica, &[b"other", b"new"], &[]),
        ];
        assert_eq!(at_odds(&all), [(4, 1), (5, 1)], "whatever most have");
        let told = odds(&all.iter().collect::<Vec<_>>()).remove(&all[4].server.bytes()).unwrap();
        assert!(told[0].contains("`t/ca`") && told[0].contains("`host-2` (02020202)"), "{told:?}");
    }

    #[test]
    fn of_keys_that_the_leader_has_not_those_of_most_count() {
        use ServerRole::{Leads, Replica};
        let all = [
            with(1, Leads, &[b"a"], &[]),
            with(2, Replica, &[b"a"], &[b"odd"]),
            with(3, Replica, &[b"a"], &[b"t"]),
            with(4, Replica, &[b"a"], &[b"t"]),
        ];
        assert_eq!(at_odds(&all), [(2, 1)]);
        assert_eq!(at_odds(&all[..3]), [(3, 1)], "of two the one with the lower identity counts");
        assert_eq!(at_odds(&all[..2]), [], "nobody to compare with");
    }
}
