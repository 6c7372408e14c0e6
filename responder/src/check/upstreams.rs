//! Asks each upstream once: whether it is there, and whether what it answers may leave.
//!
//! It asks about a serial number that no CA is likely to have issued: whatever is said of that, a signature shows who says it,
//! and `unauthorized` that somebody is there. It does not know which answer is right.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use precompute::{
    ocsp::{HashAlgorithm, IssuerHashes, OcspError},
    pki::{Certificate, UnixTime},
};
use tracing::warn;

use crate::{
    assemble::Assembly,
    limits::{MISS_DEADLINE, upstream as limits},
    upstream::{
        client::{Errand, Protocol},
        courier::{Courier, Use},
        group::{Group, Wanted},
        question::{Asked, Question},
        told::Fault,
        verify::{Rules, verify},
    },
};

/// One upstream, and what it is asked with.
struct Trial {
    wanted: Wanted,
    issuer: Certificate,
    /// Who may answer beside the issuer and its delegates.
    signer: Option<Vec<u8>>,
    path: Arc<str>,
    host: Option<Arc<str>>,
}

/// Warns of each that gives nothing which may leave.
pub(super) fn try_upstreams(assembly: &Assembly) {
    let trials: Vec<_> = of_issuers(assembly).chain(of_edge(assembly)).collect();
    if trials.is_empty() {
        return;
    }
    let courier = match Courier::start() {
        Ok(courier) => courier,
        Err(error) => return warn!("the upstreams cannot be asked: {error}"),
    };
    let (sender, receiver) = mpsc::channel::<()>();
    for trial in trials {
        let sender = sender.clone();
        match (Group::new(trial.wanted.clone()), courier.place(Use::Everybody)) {
            // What is wrong is logged as it is while it serves.
            (Ok(group), Some(place)) => courier.run(place, async move {
                ask(&group, &trial).await;
                drop(sender);
            }),
            (Err(problem), _) => warn!("the upstream {problem}"),
            (Ok(group), None) => warn!("the upstream {:?} was not asked: there are too many", group.wanted().urls),
        }
    }
    drop(sender);
    let _ = receiver.recv_timeout(MISS_DEADLINE + Duration::from_secs(1));
}

/// Each upstream of issuers that others answer for.
fn of_issuers(assembly: &Assembly) -> impl Iterator<Item = Trial> {
    let issuers =
        assembly.common.tenants.iter().flat_map(|tenant| tenant.forwarded.iter().map(move |own| (tenant, own)));
    issuers.flat_map(|(tenant, own)| {
        own.upstreams.iter().map(move |url| Trial {
            wanted: wanted(format!("{}/{}", tenant.name, own.name), url, own.cas.clone()),
            issuer: own.certificate.clone(),
            signer: None,
            path: "".into(),
            host: None,
        })
    })
}

/// Each upstream of an edge, with the first issuer of the file.
fn of_edge(assembly: &Assembly) -> impl Iterator<Item = Trial> {
    let first = assembly.common.issuers().next();
    let all = assembly.edge.iter().flat_map(|group| group.wanted().urls.iter().map(move |url| (group, url)));
    all.filter_map(move |(group, url)| {
        let (tenant, issuer) = first?;
        Some(Trial {
            wanted: wanted("edge".into(), url, group.wanted().cas.clone()),
            issuer: issuer.certificate.clone(),
            signer: Some(issuer.signer().certificate_der().to_vec()),
            path: tenant.path.as_str().into(),
            host: tenant.hosts.first().map(|host| host.as_str().into()),
        })
    })
}

fn wanted(of: String, url: &str, cas: Option<Vec<u8>>) -> Wanted {
    Wanted { of, urls: vec![url.to_owned()], cas, fail_back: limits::FAIL_BACK_DEFAULT }
}

async fn ask(group: &Group, trial: &Trial) {
    let Trial { issuer, signer, path, host, .. } = trial;
    let hashes = IssuerHashes::of(issuer);
    let question = Question { ids: vec![Asked::from(&hashes.cert_id(HashAlgorithm::Sha1, &[1]))], nonce: None };
    let (path, host) = (Arc::clone(path), host.clone());
    let errand = Errand { protocol: Protocol::Ocsp, path, host, body: Bytes::from(question.der()) };
    let (issuers, signer) = (&[issuer][..], signer.as_deref());
    let rules = Rules { question: &question, issuers, signer, carried: &[], may_lack_nonce: true };
    let asked = group.ask(&errand, |reply| match verify(&reply.body, &rules, UnixTime::now()) {
        Ok(Ok(_)) | Ok(Err(OcspError::Unauthorized)) => Ok(()),
        Ok(Err(error)) => Err(Fault::of_error(error)),
        Err(objection) => Err(Fault::Refuted(objection)),
    });
    let _ = asked.await;
}
