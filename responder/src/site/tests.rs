//! Which tenant a URL reaches, and whose records each issuer answers from.

use std::net::SocketAddr;

use precompute::{
    assemble::AssembledIssuer,
    engine::IssuerState,
    issuer::IssuerError,
    pki::{Record, Serial, Status, UnixTime},
    records::Change,
};

use super::*;
use crate::{assemble, demo, limits, tsa::clock::ClockSource};

fn site(tenants: &[(&str, &[&str], &str)]) -> Site {
    let tenant = |(name, hosts, path): &(&str, &[&str], &str)| Tenant {
        name: (*name).into(),
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        path: (*path).to_owned(),
        ..Tenant::of(Policy::DEFAULT, Vec::new(), Arc::default())
    };
    Site::with(tenants.iter().map(tenant).collect())
}

#[test]
fn a_url_reaches_the_tenant_with_the_longest_path_and_a_named_host_first() {
    let site = site(&[
        ("root", &[], ""),
        ("a", &[], "/a"),
        ("ab", &[], "/a/b"),
        ("named", &["ocsp.example"], ""),
        ("dotted", &["whole.example."], ""),
    ]);
    for (host, path, expected) in [
        (None, "/", Some(("root", "/"))),
        (None, "", Some(("root", ""))),
        (None, "/a", Some(("a", ""))),
        (None, "/a/MFE", Some(("a", "/MFE"))),
        (None, "/ab", Some(("root", "/ab"))),
        (None, "/a/b/MFE", Some(("ab", "/MFE"))),
        (None, "/a/bMFE", Some(("a", "/bMFE"))),
        (Some("ocsp.example"), "/MFE", Some(("named", "/MFE"))),
        (Some("OCSP.example:8080"), "/a/MFE", Some(("named", "/a/MFE"))),
        (Some("other.example"), "/MFE", Some(("root", "/MFE"))),
        (Some("ocsp.example."), "/MFE", Some(("named", "/MFE"))),
        (Some("OCSP.example.:80"), "/MFE", Some(("named", "/MFE"))),
        (Some("ocsp.example.."), "/MFE", Some(("root", "/MFE"))),
        (Some("whole.example"), "/MFE", Some(("dotted", "/MFE"))),
        (Some("whole.example."), "/MFE", Some(("dotted", "/MFE"))),
        (Some("."), "/MFE", Some(("root", "/MFE"))),
        (Some("[::1]:80"), "/a/MFE", Some(("a", "/MFE"))),
    ] {
        let found = site.route(host.map(str::as_bytes), path.as_bytes());
        let found = found.map(|(tenant, rest)| (&*tenant.name, std::str::from_utf8(rest).unwrap()));
        assert_eq!(found, expected, "{host:?} {path}");
    }
}

#[test]
fn a_url_outside_of_every_tenant_reaches_nobody() {
    let site = site(&[("a", &[], "/a"), ("named", &["ocsp.example"], "")]);
    assert!(site.route(None, b"/b").is_none());
    assert!(site.route(Some(b"other"), b"/").is_none());
}

/// Two CAs, of which two tenants have both.
struct World {
    dir: tempfile::TempDir,
    assembly: assemble::Assembly,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for ca in ["one", "two"] {
            demo::prepare(&dir.path().join(ca), any, any, &mut |_| ()).unwrap();
        }
        let tenant = |name: &str, cas: [&str; 2]| {
            let issuer = |ca: &str| {
                format!(
                    "[[tenant.issuer]]\nname = \"{ca}\"\ncertificate = \"{ca}/ca.pem\"\nindex = \"{ca}/index.txt\"\n\
                     [tenant.issuer.signer]\ncertificate = \"{ca}/ocsp.pem\"\nkey = \"{ca}/ocsp.key\"\n"
                )
            };
            format!("[[tenant]]\nname = \"{name}\"\npath = \"/{name}\"\n{}", cas.map(issuer).concat())
        };
        let head = "version = 1\nstate_dir = \"state\"\n[http]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:1\"\n";
        let text = [head, &tenant("a", ["one", "two"]), &tenant("b", ["two", "one"])].concat();
        let path = dir.path().join("ostia.toml");
        std::fs::write(&path, text).unwrap();
        let (_, assembly) = assemble::Opener::new(&path).read(UnixTime::now()).unwrap();
        Self { dir, assembly }
    }

    /// A state for each issuer; the number of its records says whose it is.
    fn states(&self) -> Vec<IssuerState> {
        let state = |(place, (_, issuer)): (usize, (_, &AssembledIssuer))| {
            let (state, mut writer) = IssuerState::in_order(issuer.id.clone(), UnixTime::now());
            let record = Some(Record { status: Status::Good, not_after: None });
            let change = |number: u8| Change::new(Serial::from_magnitude(&[number]).unwrap(), record);
            writer.apply((1..=place as u8 + 1).map(change));
            state
        };
        self.assembly.common.issuers().enumerate().map(state).collect()
    }

    /// The tenants with these states, and a site of them.
    fn site(
        &self,
        states: impl IntoIterator<Item = IssuerState>,
        former: Option<&(Tenants, Site)>,
    ) -> Result<(Tenants, Site), IssuerError> {
        let state_dir = self.dir.path().join("state");
        let clocks = Clocks::new(ClockSource::Unchecked, limits::CLOCK_LEASE, &state_dir, Arc::new(|_| ()));
        let (of_tenants, of_site) = former.map(|(tenants, site)| (tenants, site)).unzip();
        let tenants = Tenants::new(&self.assembly.common, &states.into_iter().collect(), of_tenants)?;
        let usage = Usage::open(&state_dir, "s", UnixTime::now()).unwrap();
        let around = Around { clocks: &clocks, usage: &usage, upstreams: &Upstreams::default() };
        let site = Site::new(&self.assembly.common, &tenants, around, 1, of_site).unwrap();
        Ok((tenants, site))
    }

    /// Whose records each issuer answers by, asked by its tenant's URL and a CertID: in the order of the file.
    fn answered_by(&self, (_, site): &(Tenants, Site)) -> Vec<u64> {
        let of = |(tenant, issuer): (&AssembledTenant, &AssembledIssuer)| {
            let (tenant, _) = site.route(None, tenant.path.as_bytes()).unwrap();
            let (issuer_name_hash, issuer_key_hash) = issuer.hashes.get(HashAlgorithm::Sha1);
            let id = CertId { hash: HashAlgorithm::Sha1, issuer_name_hash, issuer_key_hash, serial: &[1] };
            let found = tenant.issuer(&id).unwrap();
            assert_eq!(*found.id(), issuer.id);
            found.state.records.counts().good
        };
        self.assembly.common.issuers().map(of).collect()
    }
}

/// States were once paired with issuers by their places in two lists: one that was missing gave every later issuer the
/// records of the one after it.
#[test]
fn an_issuer_answers_by_its_own_records_whatever_the_order_or_there_is_no_site() {
    let mut world = World::new();
    let states = world.states();
    let site = world.site(states.iter().rev().cloned(), None).unwrap();
    assert_eq!(world.answered_by(&site), [1, 2, 3, 4]);
    // The third is tenant b's for CA two, which tenant a has as well.
    for missing in 0..states.len() {
        let others = states.iter().enumerate().filter(|(place, _)| *place != missing).map(|(_, state)| state.clone());
        let error = world.site(others, None).unwrap_err().to_string();
        let id = states[missing].id();
        assert!(error.contains(&id.to_string()) && error.contains(&format!("`{}`", id.tenant())), "{error}");
    }
    // Another order in the file, and one fewer, over a site that is served.
    world.assembly.common.tenants.reverse();
    world.assembly.common.tenants[1].issuers.remove(0);
    let again = world.site(states, Some(&site)).unwrap();
    assert_eq!(world.answered_by(&again), [3, 4, 2]);
}
