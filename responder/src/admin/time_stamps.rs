//! Readiness and metrics of time-stamping: whether it is available, the outcome of requests, and the state of the
//! clocks. It does not decide whether a clock is trusted.

use std::{fmt::Write as _, time::Duration};

use precompute::{
    admin::{
        Pools,
        encode::{Labels, counters, gauge, gauges},
    },
    journal::Journal,
    pki::UnixTime,
    sign::KeyPurpose,
};
use prometheus_client::encoding::DescriptorEncoder;

use crate::{
    site::Site,
    tsa::{authority::Authority, clock::ClockStatus, counters::Outcome, record::KIND},
};

/// Whether time-stamp requests should be sent here, and the remarks about it, a line each; and how the clocks are.
pub(super) fn readiness(
    site: &Site,
    record: Option<&Journal>,
    leaves: Option<&'static str>,
    now: UnixTime,
) -> (bool, String) {
    let (ready, mut lines) = conditions(site, record, leaves, now);
    for (tenant, authority) in site.authorities() {
        let _ = writeln!(lines, "{tenant}/{}: {}", authority.name, said(&authority.clock.state()));
    }
    (ready, lines)
}

/// The same without the clocks. It is ready if every authority can issue tokens and this server is neither stopping nor
/// drained (`leaves` says which), because a balancer cannot distinguish them.
pub(super) fn conditions(
    site: &Site,
    record: Option<&Journal>,
    leaves: Option<&'static str>,
    now: UnixTime,
) -> (bool, String) {
    let problems: Vec<_> = site
        .authorities()
        .filter_map(|(tenant, authority)| Some((tenant, &authority.name, authority.problem(now)?)))
        .collect();
    let (ready, first) = if let Some(why) = leaves {
        (false, why)
    } else if site.authorities().next().is_none() {
        (false, "not ready: no [[tsa]] is configured\n")
    } else if problems.is_empty() {
        (true, "ready\n")
    } else {
        (false, "not ready\n")
    };
    let mut lines = String::from(first);
    for (tenant, name, problem) in problems {
        let _ = writeln!(lines, "{tenant}/{name}: {problem}");
    }
    let mut pools = Pools::default();
    add_pools(&mut pools, site);
    let _ = pools.faults(&mut lines);
    for (tenant, authority) in site.authorities() {
        let use_of_key = authority.signer.use_of_key();
        if let Some(doubt) = use_of_key.doubt(now).filter(|_| !use_of_key.is_over(now)) {
            let _ = writeln!(lines, "degraded: {tenant}/{}: the use of its key {doubt}", authority.name);
        }
    }
    if let Some(problem) = record.and_then(|record| record.status().problem) {
        let _ = writeln!(lines, "degraded: {}: {problem}", KIND.title);
    }
    (ready, lines)
}

/// Adds the signers of time-stamp tokens.
pub(super) fn add_pools(pools: &mut Pools, site: &Site) {
    for (tenant, authority) in site.authorities() {
        let labels = vec![
            ("tenant", tenant.to_owned()),
            ("issuer", String::new()),
            ("tsa", authority.name.clone()),
            ("signer", "0".to_owned()),
        ];
        let (name, pool) = (format!("{tenant}/{}", authority.name), authority.signer.signing().status());
        pools.add(name, labels, KeyPurpose::TimeStamping, pool);
    }
}

/// The condition of a clock, for people.
fn said(state: &ClockStatus) -> String {
    let mut text = format!("clock by {}", state.source);
    if let Some(discipline) = &state.discipline {
        let milliseconds = |nanoseconds: f64| nanoseconds / 1e6;
        let _ = write!(
            text,
            ", {:.3} ms ahead of UTC and at most {:.3} ms wrong about that",
            milliseconds(discipline.offset as f64),
            milliseconds(discipline.uncertainty as f64)
        );
    }
    if let Some(problem) = &state.problem {
        let _ = write!(text, ", which did not answer: {problem}");
    }
    let _ = match state.lease_left {
        Duration::MAX => write!(text, "; no source checks it"),
        left => write!(text, "; lease for {:.1} s more, accuracy {:?}", left.as_secs_f64(), state.policy.accuracy),
    };
    text
}

/// The same, a name and a value each.
pub(super) fn facts(state: &ClockStatus) -> impl Iterator<Item = (&'static str, String)> {
    let milliseconds = |nanoseconds: f64| format!("{:.3} ms", nanoseconds / 1e6);
    let discipline = state.discipline.as_ref();
    let ahead = discipline.map(|discipline| ("Ahead of UTC", milliseconds(discipline.offset as f64)));
    let wrong = discipline.map(|discipline| ("At most wrong about that", milliseconds(discipline.uncertainty as f64)));
    let lease = match state.lease_left {
        Duration::MAX => "always, since no source checks it".to_owned(),
        left => format!("for {:.1} s more without a report", left.as_secs_f64()),
    };
    let accuracy = format!("{:?}", state.policy.accuracy);
    let problem = state.problem.clone().map(|problem| ("The source did not answer", problem));
    [ahead, wrong, Some(("Trusted", lease)), Some(("Promised accuracy", accuracy)), problem].into_iter().flatten()
}

fn labels((tenant, authority): (&str, &Authority)) -> Labels {
    vec![("tenant", tenant.to_owned()), ("tsa", authority.name.clone())]
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, site: &Site, record: Option<&Journal>) -> std::fmt::Result {
    let all: Vec<_> = site.authorities().map(|(tenant, authority)| (tenant, &**authority)).collect();
    let counted = all.iter().map(|(tenant, authority)| (*tenant, &*authority.name, &*authority.outcomes));
    let elsewhere = site.authorities_elsewhere();
    let counted = counted.chain(elsewhere.map(|(tenant, authority)| (tenant, &*authority.name, &authority.outcomes)));
    let outcomes = counted.flat_map(|(tenant, tsa, outcomes)| {
        Outcome::all().map(move |outcome| {
            let labels = [("tenant", tenant), ("tsa", tsa), ("result", outcome.label())];
            (labels.map(|(key, value)| (key, value.to_owned())).to_vec(), outcomes.sum(outcome))
        })
    });
    let outcomes: Vec<_> = outcomes.collect();
    if outcomes.is_empty() {
        return Ok(());
    }
    counters(encoder, "tsa_requests", "Requests for time-stamps by tenant, authority and result", outcomes)?;
    if all.is_empty() {
        return Ok(());
    }
    let states: Vec<_> = all.iter().map(|authority| (labels(*authority), authority.1.clock.state())).collect();
    let each = |read: &dyn Fn(&ClockStatus) -> u64| {
        states.iter().map(|(labels, state)| (labels.clone(), read(state))).collect::<Vec<_>>()
    };
    gauges(
        encoder,
        "tsa_clock_trusted",
        "Whether the clock is trusted now",
        each(&|state| u64::from(state.verdict.is_ok())),
    )?;
    let ends = all.iter().map(|authority| (labels(*authority), authority.1.signer.not_after().0));
    gauges(encoder, "tsa_not_after_seconds", "End of the time-stamping certificate, Unix time", ends.collect())?;
    let ends = all.iter().map(|authority| (labels(*authority), authority.1.signer.use_of_key().ends.0));
    let help = "When no more tokens may be made with the key, by its certificate or before, Unix time";
    gauges(encoder, "tsa_key_usage_end_seconds", help, ends.collect())?;
    type Read = fn(&ClockStatus) -> Option<f64>;
    let seconds: [(&str, &str, Read); 3] = [
        ("tsa_clock_offset_seconds", "How far the clock is ahead of UTC, as far as its source knows", |state| {
            Some(state.discipline.as_ref()?.offset as f64 / 1e9)
        }),
        ("tsa_clock_uncertainty_seconds", "How wrong the source may be about the offset", |state| {
            Some(state.discipline.as_ref()?.uncertainty as f64 / 1e9)
        }),
        ("tsa_clock_lease_seconds", "How long the clock stays trusted without a report from its source", |state| {
            (state.lease_left != Duration::MAX).then_some(state.lease_left.as_secs_f64())
        }),
    ];
    for (name, help, read) in seconds {
        let mut metric = encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
        for (labels, state) in &states {
            if let Some(value) = read(state) {
                metric.encode_family(labels)?.encode_gauge(&value)?;
            }
        }
    }
    let transitions = states.iter().flat_map(|(labels, state)| {
        state.transitions.iter().map(|(to, count)| {
            let mut labels = labels.clone();
            labels.push(("to", (*to).to_owned()));
            (labels, *count)
        })
    });
    let help = "How often trust in the clock was won (trusted) and lost, by reason";
    counters(encoder, "tsa_clock_transitions", help, transitions.collect())?;
    let Some(state) = record.map(Journal::status) else { return Ok(()) };
    for (name, help, value) in [
        ("tsa_record_lines", "Lines written into the file of the record", state.written),
        ("tsa_record_lost", "Tokens and changes of the clock that are missing in the record", state.lost),
        ("tsa_record_failures", "How often the file could not be written, opened or renamed", state.failures),
        ("tsa_record_rotations", "Rotated files of the record", state.rotations),
    ] {
        counters(encoder, name, help, vec![(Labels::new(), value)])?;
    }
    let faulty = u64::from(state.problem.is_some());
    gauge(
        encoder,
        "tsa_record_faulty",
        "Whether the record of tokens cannot be written now, or was tampered with before the start",
        faulty,
    )
}
