//! Which tenant a URL belongs to, found at the same cost among thousands as among a few.
//!
//! Invariant: of the tenants that serve a host, the one with the longest path that the URL is at or below; a tenant that names
//! the host takes precedence over one that names none, whatever their paths. A look-up allocates nothing, and its length
//! depends on the tenants' paths, not on how many there are or how many slashes the client sends. It does not know what a
//! tenant has.

use std::collections::HashMap;

use memchr::memchr_iter;

/// Bytes of a host name (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 255;

/// The URLs of all tenants, which are known by their places.
#[derive(Default, Debug)]
pub(super) struct Urls {
    /// Of those that name a host, by its name in lower case.
    of_hosts: HashMap<Box<[u8]>, Paths>,
    /// Of those that name none.
    of_any: Paths,
}

#[derive(Default, Debug)]
struct Paths {
    places: HashMap<Box<[u8]>, usize>,
    /// The most segments that a path has.
    depth_max: usize,
}

impl Urls {
    /// From the hosts and paths of tenants, in their order. A path begins with a slash and has none at its end, or is empty.
    pub(super) fn of<'t>(tenants: impl Iterator<Item = (&'t [String], &'t str)>) -> Self {
        let mut urls = Self::default();
        for (place, (hosts, path)) in tenants.enumerate() {
            if hosts.is_empty() {
                urls.of_any.add(path, place);
            }
            for host in hosts {
                let name = host_name(host.as_bytes()).to_ascii_lowercase();
                urls.of_hosts.entry(name.into()).or_default().add(path, place);
            }
        }
        urls
    }

    /// The place of the tenant.
    #[inline]
    pub(super) fn find(&self, host: Option<&[u8]>, path: &[u8]) -> Option<usize> {
        let of_host = host.filter(|_| !self.of_hosts.is_empty()).and_then(|host| self.of_host(host));
        of_host.and_then(|paths| paths.find(path)).or_else(|| self.of_any.find(path))
    }

    fn of_host(&self, host: &[u8]) -> Option<&Paths> {
        let name = host_name(host);
        let mut lower = [0; NAME_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.of_hosts.get(&*lower)
    }
}

impl Paths {
    fn add(&mut self, path: &str, place: usize) {
        self.depth_max = self.depth_max.max(memchr_iter(b'/', path.as_bytes()).count());
        self.places.entry(path.as_bytes().into()).or_insert(place);
    }

    /// That of the longest path that `path` is at or below.
    fn find(&self, path: &[u8]) -> Option<usize> {
        let mut found = self.places.get(&b""[..]).copied();
        let ends = memchr_iter(b'/', path).filter(|at| *at > 0).chain([path.len()]);
        for end in ends.take(self.depth_max) {
            found = self.places.get(&path[..end]).copied().or(found);
        }
        found
    }
}

/// A Host field's value without its port, and without the trailing dot of a full name (RFC 1034 section 3.1); IPv6
/// addresses are in brackets.
fn host_name(host: &[u8]) -> &[u8] {
    let end = match host.first() {
        Some(b'[') => host.iter().position(|&b| b == b']').map(|at| at + 1),
        _ => host.iter().position(|&b| b == b':'),
    };
    let name = &host[..end.unwrap_or(host.len())];
    name.strip_suffix(b".").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The rule in the fewest words: each tenant is looked at.
    fn looked_at(tenants: &[(Vec<String>, String)], host: Option<&[u8]>, path: &[u8]) -> Option<usize> {
        let serves = |hosts: &[String]| {
            hosts.is_empty()
                || host.is_some_and(|host| {
                    hosts.iter().any(|own| host_name(own.as_bytes()).eq_ignore_ascii_case(host_name(host)))
                })
        };
        let is_below = |own: &str| {
            let rest = path.strip_prefix(own.as_bytes());
            rest.is_some_and(|rest| own.is_empty() || matches!(rest.first(), None | Some(b'/')))
        };
        let all = tenants.iter().enumerate().filter(|(_, (hosts, own))| serves(hosts) && is_below(own));
        all.map(|(place, (hosts, own))| ((!hosts.is_empty(), own.len()), std::cmp::Reverse(place)))
            .max()
            .map(|found| found.1.0)
    }

    fn path() -> impl Strategy<Value = String> {
        vec(prop_oneof![Just("/a"), Just("/b"), Just("/ab"), Just("/")], 0..4)
            .prop_map(|parts| parts.concat().trim_end_matches('/').to_owned())
    }

    proptest! {
        #[test]
        fn the_tenant_is_the_one_that_is_found_by_looking_at_each(
            tenants in vec((vec(prop_oneof![Just("a.test"), Just("b.test"), Just("[::1]")], 0..3), path()), 0..12),
            host in prop_oneof![
                Just(None), Just(Some("a.test")), Just(Some("A.TEST.:80")), Just(Some("[::1]:443")), Just(Some("c.test"))
            ],
            (asked, rest) in (path(), prop_oneof![Just(""), Just("/"), Just("/x"), Just("//"), Just("c")]),
        ) {
            let tenants: Vec<(Vec<String>, String)> = tenants
                .into_iter()
                .map(|(hosts, path)| (hosts.into_iter().map(str::to_owned).collect(), path))
                .collect();
            let urls = Urls::of(tenants.iter().map(|(hosts, path)| (&hosts[..], path.as_str())));
            let (host, asked) = (host.map(str::as_bytes), asked + rest);
            prop_assert_eq!(urls.find(host, asked.as_bytes()), looked_at(&tenants, host, asked.as_bytes()));
        }
    }

    #[test]
    fn a_host_that_nobody_can_have_is_nobodys() {
        let hosts = ["a.test".to_owned()];
        let urls = Urls::of([(&hosts[..], "")].into_iter());
        assert_eq!(urls.find(Some(b"a.test"), b"/x"), Some(0));
        assert_eq!(urls.find(Some(&[b'a'; 4000]), b"/x"), None);
        assert_eq!(urls.find(None, b"/x"), None);
    }
}
