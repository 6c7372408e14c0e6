//! Which decision each query gets, without sockets, threads or waiting.

use std::{path::Path, process::Command};

use precompute::{
    assemble::AssembledTsa,
    pki::{UnixTime, encode::header},
    tsp::{ImprintHash, Oid},
    usage::Usage,
};

use super::*;
use crate::{
    assemble::Opener,
    limits,
    tsa::{clock::ClockSource, clocks::Clocks},
};

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One authority that signs on the calling thread, and one that does not, each with its policy.
struct World {
    authorities: Vec<Arc<Authority>>,
}

const POLICIES: [&str; 2] = ["1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"];

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut text =
            "version = 1\nstate_dir = \"state\"\n[http]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:1\"\n"
                .to_owned();
        let kinds = [("here", "ec", "ec_paramgen_curve:P-256"), ("elsewhere", "rsa", "rsa_keygen_bits:2048")];
        for ((name, kind, parameter), policy) in kinds.into_iter().zip(POLICIES) {
            let [key, pem, subject] = [format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}")];
            let new = ["req", "-x509", "-newkey", kind, "-pkeyopt", parameter, "-nodes", "-days", "3000"];
            let usage = ["-addext", "extendedKeyUsage=critical,timeStamping", "-addext", "basicConstraints=CA:FALSE"];
            openssl(dir.path(), &[&new[..], &usage, &["-subj", &subject, "-keyout", &key, "-out", &pem]].concat());
            text += &format!(
                "[[tsa]]\nname = \"{name}\"\npolicy = \"{policy}\"\nsigner = {{ certificate = \"{pem}\", key = \"{key}\" }}\n"
            );
        }
        text += "[time_stamping]\nclock = \"unchecked\"\n";
        let path = dir.path().join("ostia.toml");
        std::fs::write(&path, text).unwrap();
        let (_, assembly) = Opener::new(&path).read(UnixTime::now()).unwrap();
        let clocks = Clocks::new(ClockSource::Unchecked, limits::CLOCK_LEASE, dir.path(), Arc::new(|_| ()));
        let usage = Usage::open(dir.path(), "s", UnixTime::now()).unwrap();
        let tsas = &assembly.common.tenants[0].tsas;
        let authority = |tsa: &AssembledTsa| {
            let clock = clocks.clock(&tsa.policy).unwrap();
            Arc::new(Authority::new("tests", tsa, (clock, &usage), None, |_| Default::default(), 1).unwrap())
        };
        Self { authorities: tsas.iter().map(authority).collect() }
    }

    /// The authority, and the decision.
    fn decided(&self, der: &[u8], may_wait: bool) -> (&str, String) {
        let (by, decision) = Exchange { authorities: &self.authorities, may_wait }.decide(der);
        let decision = match decision {
            Decision::Reject(rejection) => rejection.failure.name().to_owned(),
            Decision::Grant { signed, .. } => format!("grant {signed:?}"),
            Decision::OutputFirst => "output first".to_owned(),
        };
        (&by.unwrap().name, decision)
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    header(&mut out, tag, content.len());
    out.extend_from_slice(content);
    out
}

/// A query of this version under this policy.
fn query(version: u8, policy: Option<&str>) -> Vec<u8> {
    let algorithm = element(0x30, &element(0x06, ImprintHash::Sha256.oid()));
    let imprint = element(0x30, &[algorithm, element(0x04, &[7; 32])].concat());
    let policy = policy.map(|policy| element(0x06, Oid::parse(policy).unwrap().content())).unwrap_or_default();
    element(0x30, &[element(0x02, &[version]), imprint, policy].concat())
}

#[test]
fn a_query_goes_to_whoever_serves_its_policy_and_waits_only_for_a_signature_made_elsewhere() {
    let world = World::new();
    for (version, policy, by, waiting, not_waiting) in [
        (1, None, "here", "grant Here", "grant Here"),
        (1, Some(POLICIES[0]), "here", "grant Here", "grant Here"),
        (1, Some(POLICIES[1]), "elsewhere", "grant Elsewhere", "output first"),
        (1, Some("1.2.3"), "here", "unacceptedPolicy", "unacceptedPolicy"),
        (2, Some(POLICIES[1]), "here", "badRequest", "badRequest"),
    ] {
        let der = query(version, policy);
        assert_eq!(world.decided(&der, true), (by, waiting.to_owned()), "{version} {policy:?}");
        assert_eq!(world.decided(&der, false), (by, not_waiting.to_owned()), "{version} {policy:?}");
    }
    assert_eq!(world.decided(b"no DER", false), ("here", "badDataFormat".to_owned()));
}

#[test]
fn a_query_that_is_not_in_order_waits_for_nobody() {
    let world = World::new();
    // Another digest than its hash algorithm's, for the authority that signs elsewhere.
    let algorithm = element(0x30, &element(0x06, ImprintHash::Sha256.oid()));
    let imprint = element(0x30, &[algorithm, element(0x04, &[7; 31])].concat());
    let policy = element(0x06, Oid::parse(POLICIES[1]).unwrap().content());
    let der = element(0x30, &[element(0x02, &[1]), imprint, policy].concat());
    assert_eq!(world.decided(&der, false), ("elsewhere", "badDataFormat".to_owned()));
}

#[test]
fn without_an_authority_there_is_no_token() {
    let der = query(1, None);
    let (by, decision) = Exchange { authorities: &[], may_wait: true }.decide(&der);
    assert!(by.is_none());
    assert_eq!(decision, Decision::Reject(Failure::SystemFailure.into()));
}
