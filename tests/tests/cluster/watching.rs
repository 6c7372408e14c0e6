//! Prometheus's rules, tried on what a whole installation tells: two sites with a writer and a replica each, the relay
//! between them, a responder alone with time-stamps, a CRL by URL and a signer that is renewed, and one that two upstreams answer for.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    process::Command,
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Launched, Recorder, Responder, Said, Site, Status, Tenant, Tsa, TsaCertificate,
    free_port, http,
    promtool::{NOW, Scrapes, fire},
    until,
};

use crate::{SOON, sites::Sites};

fn rules() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.parent().unwrap().join("systemd/prometheus/ostia-rules.yml")
}

/// A responder alone, and the web server with its CRL.
struct Alone {
    ca: Ca,
    responder: Responder,
    _web: Launched,
}

impl Alone {
    fn start() -> Self {
        let ca = Ca::new("Alone");
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        ca.write_crl("ca.crl");
        let web = free_port(Ipv4Addr::LOCALHOST.into());
        let mut command = Command::new("python3");
        command
            .args(["-m", "http.server", "--bind", "127.0.0.1", &web.port().to_string(), "--directory"])
            .arg(ca.dir());
        let running = Launched::start(command, &ca.file("web.log"));
        until("the web server answers", SOON, || http::exchange(web, &http::request("GET", "/ca.crl", "")).ok());
        let sources = format!("index = {:?}\ncrl = \"http://{web}/ca.crl\"", ca.index());
        let tsa = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256));
        let tenant = Tenant::new("alone").issuer("ca", &ca, &sources, &(signer.lines() + "\nrenew = {}")).tsa(&tsa);
        let site = Site::new(&[tenant.presigned()]);
        let cache = Recorder::start(Said::This(200, "", ""));
        let purge = format!("[[purge]]\ndriver = \"varnish-ban\"\nurl = \"http://{}/\"\n", cache.address());
        site.edit_config(|text| text + &purge);
        site.edit_config(|text| {
            text.replacen("[time_stamping]\n", "[journal]\nocsp = true\n[time_stamping]\nrecord = \"tokens\"\n", 1)
        });
        let responder = site.start();
        until("it was signed ahead", SOON, || {
            (!responder.metric_series("ostia_presign_last_pass_end_seconds").is_empty()).then_some(())
        });
        Self { ca, responder, _web: running }
    }

    fn told(&self) -> Scrapes {
        let mut scrapes = Scrapes::default();
        scrapes.add("ostia", "alone:9090", &self.responder.metrics());
        scrapes
    }
}

/// What an authority tells that asks a time daemon. The daemon never answers, so it is told as if it did.
fn stamping_by_a_daemon() -> Scrapes {
    let (ca, daemon) = (Ca::new("Clock"), UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let tsa = Tsa::of("lease", &ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    let site = Site::new(&[Tenant::new("lease").tsa(&tsa)]);
    let clock = format!("clock = \"chrony:{}\"", daemon.local_addr().unwrap());
    site.edit_config(|text| text.replace("clock = \"unchecked\"", &clock));
    let mut scrapes = Scrapes::default();
    scrapes.add("ostia", "lease:9090", &site.start().metrics());
    scrapes.with("ostia_tsa_clock_trusted", "lease", "1").with("ostia_tsa_clock_lease_seconds", "lease", "3600")
}

/// What a responder tells whose issuer two others answer for, one that answers and one that was never asked.
fn forwarding(alone: &Alone) -> Scrapes {
    let upstreams = [alone.responder.http(), free_port(Ipv4Addr::LOCALHOST.into())];
    let forwarder = Site::new(&[Tenant::new("passed").forwarded("on", &alone.ca, &upstreams)]).start();
    let leaf = alone.ca.issue();
    until("it passes on", SOON, || {
        let said = Ask::about(&alone.ca, &leaf).at(forwarder.http(), "/");
        (said.status == Status::Good).then_some(())
    });
    let mut scrapes = Scrapes::default();
    scrapes.add("ostia", "forwarder:9090", &forwarder.metrics());
    scrapes
        .with("ostia_upstream_requests_total", "outcome=\"answered\"", "0+100")
        // It was asked before its upstream had read of the certificate.
        .with("ostia_upstream_requests_total", "outcome=\"refused\"", "0")
}

/// All that a healthy installation tells.
fn healthy(sites: &Sites, alone: &Alone) -> Scrapes {
    let mut scrapes = stamping_by_a_daemon();
    scrapes.append(alone.told());
    scrapes.append(forwarding(alone));
    let metrics = |address| http::get(address, "/metrics").text();
    for (number, (writer, replica)) in sites.cluster.writers.iter().zip(&sites.cluster.replicas).enumerate() {
        // Each site is watched by its own name.
        scrapes.add(&format!("ostia-writers-{number}"), "writer:9090", &metrics(writer.site().admin));
        scrapes.add(&format!("ostia-replicas-{number}"), "replica:9090", &metrics(replica.site().admin));
    }
    scrapes.add("ostia-relay", "relay:9090", &metrics(sites.admin));
    // As if what is ready to lead at the second site led it, and had its standby.
    let leading = "ostia-writers-1\",instance=\"writer:9090\",role=\"leading\"";
    scrapes.with("ostia_feed_role", leading, "1")
}

/// For each alert what is told then. The last of each says which alerts fire beside it.
fn faults() -> Vec<(&'static str, &'static str, &'static str, String, &'static [&'static str])> {
    let set = |alert, metric, labels, value: &str| (alert, metric, labels, value.to_owned(), &[][..]);
    let alone = "instance=\"alone";
    let in_time = |alert, metric, seconds: i64, others: &'static [&'static str]| {
        (alert, metric, alone, (NOW + seconds).to_string(), others)
    };
    const DAY: i64 = 86_400;
    vec![
        // Nearly every request fails.
        (
            "OstiaOcspErrorsFast",
            "ostia_requests_total",
            "result=\"try_later\"",
            "0+10".into(),
            &["OstiaOcspErrorsSlow"],
        ),
        (
            "OstiaTimeStampErrorsFast",
            "ostia_tsa_requests_total",
            "result=\"systemFailure\"",
            "0+10".into(),
            &["OstiaTimeStampErrorsSlow"],
        ),
        set("OstiaSlow", "ostia_latency_seconds_count", "signed=\"no\"", "0+100"),
        set("OstiaDown", "up", alone, "0"),
        set("OstiaConfigurationRefused", "ostia_config_faulty", alone, "1"),
        set("OstiaRestarts", "ostia_start_time_seconds", alone, "0+600"),
        set("OstiaConnectionsAtLimit", "ostia_connections_turned_away_total", alone, "0+1"),
        set("OstiaProxyHeadersRefused", "ostia_proxy_headers_refused_total", alone, "0+1"),
        set("OstiaDescriptorsRunOut", "process_open_fds", alone, "1000000"),
        set("OstiaSourceRefused", "ostia_source_faulty", alone, "1"),
        in_time("OstiaSourceNotLookedAt", "ostia_source_last_look_seconds", -600, &[]),
        set("OstiaSourceNotFetched", "ostia_source_fetch_faulty", alone, "1"),
        in_time("OstiaCrlOutOfDate", "ostia_crl_next_update_seconds", -600, &[]),
        in_time("OstiaCrlEndsSoon", "ostia_crl_next_update_seconds", 1200, &[]),
        set("OstiaRevocationsTakenBack", "ostia_source_contradictions", alone, "2"),
        set("OstiaPushesContradicted", "ostia_push_contradictions", alone, "2"),
        set("OstiaPushesRefused", "ostia_push_faulty", alone, "1"),
        set("OstiaBookNotWritten", "ostia_book_faulty", alone, "1"),
        set("OstiaSignerDown", "ostia_signer_up", "issuer=\"ca\"", "0"),
        set("OstiaTokenDown", "ostia_token_up", alone, "0"),
        set("OstiaTokenLocked", "ostia_token_locked", alone, "1"),
        set("OstiaTokenHangs", "ostia_token_threads_hanging", alone, "1"),
        set("OstiaSigningBehind", "ostia_signing_waiting", "priority=\"live\"", "2"),
        set("OstiaPresigningBehind", "ostia_presign_expired_total", alone, "0+1"),
        in_time("OstiaPresigningStopped", "ostia_presign_last_pass_end_seconds", -4000, &[]),
        set("OstiaAnswersDoNotFit", "ostia_presign_full", alone, "1"),
        set("OstiaAnswersNotStored", "ostia_presign_store_faulty", alone, "1"),
        set("OstiaSignerAtFault", "ostia_signers_at_fault", alone, "1"),
        set("OstiaRenewalLate", "ostia_signer_renewal_late", alone, "1"),
        in_time("OstiaCertificateEndsSoon", "ostia_certificate_not_after_seconds", 3 * DAY, &[]),
        in_time(
            "OstiaCertificateEndsTomorrow",
            "ostia_certificate_not_after_seconds",
            DAY / 2,
            &["OstiaCertificateEndsSoon"],
        ),
        in_time("OstiaTsaKeyUseEndsSoon", "ostia_tsa_key_usage_end_seconds", 3 * DAY, &[]),
        in_time("OstiaTsaKeyUseEndsTomorrow", "ostia_tsa_key_usage_end_seconds", -DAY, &[]),
        set("OstiaClockNotTrusted", "ostia_tsa_clock_trusted", alone, "0"),
        set("OstiaClockLeaseEndsSoon", "ostia_tsa_clock_lease_seconds", "lease", "60"),
        set("OstiaTokensNotRecorded", "ostia_tsa_record_faulty", alone, "1"),
        set("OstiaJournalFaulty", "ostia_journal_faulty", alone, "1"),
        set("OstiaTransactionsNotRecorded", "ostia_ocsp_record_faulty", alone, "1"),
        set("OstiaSaidNotKept", "ostia_transparency_head_age_seconds", "replicas-0", "400"),
        set("OstiaReplicaStale", "ostia_feed_freshness", "state=\"stale\"", "1"),
        set("OstiaReplicaLags", "ostia_feed_lag_seconds", "replicas-0", "9"),
        set("OstiaReplicaEmpty", "ostia_feed_filled", "replicas-0", "0"),
        set("OstiaFeedDisconnected", "ostia_feed_connected", "replicas-0", "0"),
        set("OstiaNobodyLeads", "ostia_feed_role", "role=\"leading\"", "0"),
        set("OstiaFeedForged", "ostia_feed_entries_refused_total", "replicas-0", "0+1"),
        set("OstiaFeedTooNew", "ostia_feed_entries_later_total", "replicas-0", "0+1"),
        set("OstiaFeedContradicted", "ostia_feed_contradictions", "replicas-0", "1"),
        set("OstiaFeedDebts", "ostia_feed_debts", "writers-0", "1"),
        set("OstiaFeedDigestsDiffer", "ostia_feed_digests_differed_total", "replicas-0", "0+1"),
        set("OstiaFeedStrangers", "ostia_feed_strangers", "replicas-0", "1"),
        set("OstiaFewReplicas", "ostia_feed_replicas_live", "writers-0", "0"),
        set("OstiaServerAtOdds", "ostia_feed_server_faults", "replicas-0", "1"),
        set("OstiaCacheNotTold", "ostia_purge_oldest_seconds", alone, "300"),
        set("OstiaNoUpstreamAnswers", "ostia_upstream_left", "passed/on", "1"),
        set("OstiaUpstreamAway", "ostia_upstream_left", "place=\"2\"", "1"),
        set("OstiaUpstreamNotPreferred", "ostia_upstream_in_use", "place=\"2\"", "1"),
        set("OstiaUpstreamFails", "ostia_upstream_requests_total", "outcome=\"slow\"", "0+10"),
        set("OstiaUpstreamsWaitedFor", "ostia_upstream_waiting", "forwarder", "700"),
        set("OstiaUpstreamRefuted", "ostia_upstream_requests_total", "outcome=\"signer\"", "0+1"),
        set("OstiaUpstreamOutdated", "ostia_upstream_requests_total", "outcome=\"outdated\"", "0+10"),
        set("OstiaRelayStopped", "ostia_relay_connected", "side=\"to\"", "0"),
    ]
}

#[test]
fn each_alert_fires_for_its_fault_alone_by_what_real_processes_tell() {
    let (sites, mut alone) = (Sites::start(), Alone::start());
    let healthy = healthy(&sites, &alone);
    let named = |alerts: &[&str]| alerts.iter().map(|alert| (*alert).to_owned()).collect::<Vec<_>>();
    let mut cases = vec![("nothing is wrong".to_owned(), healthy.clone(), Vec::new())];
    for (alert, metric, labels, values, others) in faults() {
        let mut alerts = named(others);
        alerts.push(alert.to_owned());
        cases.push((alert.to_owned(), healthy.with(metric, labels, &values), alerts));
    }
    // What takes two processes of one job.
    let of_both = |role: &str| {
        let mut both = healthy.clone();
        let metrics = http::get(sites.cluster.writers[0].site().admin, "/metrics").text();
        both.add("ostia-writers-0", "other:9090", &metrics);
        both.with("ostia_feed_role", "other:9090\",role=\"leading\"", role)
    };
    cases.push(("two lead".to_owned(), of_both("1"), named(&["OstiaSeveralLead", "OstiaNoStandby"])));
    cases.push(("nobody stands by".to_owned(), of_both("0"), named(&["OstiaNoStandby"])));
    let mut stuck = healthy.clone();
    stuck.add("ostia-replicas-0", "other:9090", &http::get(sites.cluster.replicas[0].site().admin, "/metrics").text());
    let stuck = stuck.with("ostia_feed_epoch", "other:9090", "99");
    cases.push(("a replica is stuck".to_owned(), stuck, named(&["OstiaReplicaStuck"])));

    // And a bad night as it is told: a broken index, a CA that has fallen, and a configuration that was refused.
    let file = alone.responder.site.config();
    let issuer = "\n[[tenant.issuer]]\n";
    alone
        .responder
        .reload(|text| text.replacen(issuer, &format!("{issuer}ca_revoked_since = 2026-01-01T00:00:00Z\n"), 1));
    until("the CA has fallen", SOON, || {
        alone.responder.metrics().contains("ostia_ca_revoked_since_seconds{").then_some(())
    });
    fs::write(alone.ca.index(), "half of it\n").unwrap();
    fs::write(&file, "version = 2").unwrap();
    alone.responder.signal("HUP");
    for metric in ["ostia_source_faulty", "ostia_config_faulty"] {
        until(metric, SOON, || (alone.responder.metric(metric, "") == 1.0).then_some(()));
    }
    let night = alone.told();
    let alerts = named(&["OstiaCaRevoked", "OstiaConfigurationRefused", "OstiaSourceRefused"]);
    cases.push(("a bad night".to_owned(), night, alerts));
    alone.responder.end_by("TERM");

    let text = fs::read_to_string(rules()).unwrap();
    let mut alerts: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    alerts.retain(|alert| !cases.iter().any(|(_, _, fired)| fired.iter().any(|fired| fired == alert)));
    assert!(alerts.is_empty(), "no case for {alerts:?}");
    fire(&rules(), &cases);
}
