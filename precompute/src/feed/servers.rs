//! The registry of servers: who belongs to a cluster, and how each of them fares.
//!
//! Purpose: each server, writer or replica, tells each minute who it is ([`Notice`]), in a place of its own in Redis; whoever
//! looks at all of them ([`Watch`]) learns who lives, who fell silent and since when, who holds another key for a signer than
//! its peers, whose clock is off, and which configuration each has or has refused. Invariants:
//!
//! - A notice counts only if it was signed by the key that it names, and as that of one server as long as that key stays the
//!   same: the server's own Ed25519 key, which signs its journals too. The signature is for one cluster.
//! - Whatever else is in Redis costs no more than [`limits::NOTICE_OCTETS_MAX`](crate::limits::servers::NOTICE_OCTETS_MAX)
//!   in each place, and says nothing. A replica's user of Redis may write these places alone, so nothing but what is told to
//!   people depends on them: no server needs to be in the registry to serve, to follow or to lead.
//! - Who was decommissioned stays so: writers sign that ([`Gone`]), keep it on their disks, and tell it again where Redis
//!   has lost it.
//!
//! The places are strings `ostia:{cluster}:s:{number}`, with an expiry, and no hash: what is in a string is read up to a
//! bound, whatever somebody has put there. A server takes the place that has its name, else the first free one from the one
//! that its identity leads to. Who was decommissioned stands in `ostia:{cluster}:gone`, which only writers may write.
//!
//! Pure: it does not know Redis, clocks or files.

mod gone;
mod judge;
mod notice;
mod watch;

pub use self::{
    gone::Gone,
    notice::{Addresses, InUse, Keys, Notice, RefusedConfiguration, Said, ServerRole, Signed},
    watch::{Roster, Seen, Watch},
};
use crate::{limits::servers as limits, state_dir::ServerId};

/// The place where a server looks first for one of its own.
pub fn first_place(server: ServerId) -> usize {
    // Random bits of the identity.
    usize::from(server.bytes()[15]) % limits::SLOTS
}

/// The place for the next word of a server: its own, else the first that is free from its first one on. `None` if others have
/// all of them.
pub fn place(server: ServerId, places: &[Option<Signed>]) -> Option<usize> {
    let is_own = |place: &Option<Signed>| place.as_ref().is_some_and(|signed| signed.notice.server == server);
    let first = first_place(server);
    let from_first = (first..places.len()).chain(0..first.min(places.len()));
    places.iter().position(is_own).or_else(|| from_first.into_iter().find(|place| places[*place].is_none()))
}

/// Which server is meant by its identity or the beginning of it, of eight letters at least, or by its name.
pub fn find<'s>(written: &str, seen: &'s [Seen]) -> Result<&'s Seen, String> {
    let lower = written.to_ascii_lowercase();
    let by_id = |seen: &&Seen| lower.len() >= 8 && seen.notice.server.to_string().starts_with(&lower);
    let by_name = |seen: &&Seen| seen.notice.name == written;
    let found: Vec<&Seen> = seen.iter().filter(by_id).collect();
    let found = if found.is_empty() { seen.iter().filter(by_name).collect() } else { found };
    match found[..] {
        [one] => Ok(one),
        [] => Err(format!(
            "no server of the list has the identity or the name {}; `ostia-precompute server list` shows all of them",
            crate::pki::written::excerpt(written)
        )),
        _ => Err(format!(
            "{} servers of the list are called so; name one by its identity, as `ostia-precompute server list --json` shows it",
            found.len()
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{notice::tests::notice, *};
    use crate::feed::Moment;

    /// So many replicas that have just said something, so many seconds after a beginning.
    pub(crate) fn replicas(seconds: u64, count: usize) -> (Moment, Vec<Option<Signed>>) {
        let wall = (1_800_000_000 + seconds) * 1_000_000;
        let signed = |number: usize| {
            let mut notice = notice(number as u8 + 1, ServerRole::Replica);
            notice.said.at = wall;
            Some(Signed { notice, key: [7; 32] })
        };
        let now = Moment { monotonic: std::time::Duration::from_secs(seconds), wall };
        (now, (0..count).map(signed).collect())
    }

    #[test]
    fn a_server_keeps_its_place_and_takes_the_first_free_one_behind_its_first() {
        let (_, signed) = replicas(0, 3);
        let server = |number: usize| signed[number].as_ref().unwrap().notice.server;
        let mut places = vec![None; limits::SLOTS];
        let first = first_place(server(0));
        assert_eq!(place(server(0), &places), Some(first));
        places[first] = signed[1].clone();
        assert_eq!(place(server(0), &places), Some((first + 1) % limits::SLOTS));
        places[9] = signed[0].clone();
        assert_eq!(place(server(0), &places), Some(9));
        let full = vec![signed[1].clone(); limits::SLOTS];
        assert_eq!((place(server(0), &full), place(server(1), &full)), (None, Some(0)));
    }

    #[test]
    fn a_server_is_found_by_the_beginning_of_its_identity_or_its_name() {
        let (now, mut signed) = replicas(0, 2);
        signed[1].as_mut().unwrap().notice.said.name = "host-1".into();
        let mut watch = Watch::default();
        watch.look(&signed, now);
        let seen = watch.roster(&Gone::default(), now).servers;
        assert_eq!(find("02020202", &seen).unwrap().notice.server.bytes()[0], 2);
        assert!(find("0202020", &seen).unwrap_err().contains("no server of the list"));
        assert!(find("host-1", &seen).unwrap_err().contains("2 servers"));
    }
}
