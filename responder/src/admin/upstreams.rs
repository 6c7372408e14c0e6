//! Metrics of upstreams: what requests to them came to, and which one is asked. It does not know how they are counted.

use std::fmt::{self, Write as _};

use precompute::admin::encode::{Labels, counters, gauge, gauges};
use prometheus_client::encoding::DescriptorEncoder;

use super::Status;
use crate::upstream::group::{Group, Standing};

/// Nothing where there are no upstreams.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let site = status.site();
    let groups: Vec<&Group> = super::groups(&site, &status.misses).collect();
    if groups.is_empty() {
        return Ok(());
    }
    let requests = groups.iter().flat_map(|group| {
        group.members().iter().flat_map(|member| {
            member.told.counts().map(|(outcome, count)| {
                let mut labels = labels(group, member.name());
                labels.push(("outcome", outcome.to_owned()));
                (labels, count)
            })
        })
    });
    counters(encoder, "upstream_requests", "Requests to upstreams, by what they came to", requests.collect())?;
    let states = |is: fn(&Standing<'_>) -> bool| {
        let of = |group: &&Group| {
            let standing = group.standing();
            let placed = |(own, place): (&Standing<'_>, usize)| {
                let mut labels = labels(group, own.name);
                labels.push(("place", place.to_string()));
                (labels, u64::from(is(own)))
            };
            standing.iter().zip(1..).map(placed).collect::<Vec<_>>()
        };
        groups.iter().flat_map(of).collect::<Vec<_>>()
    };
    gauges(encoder, "upstream_in_use", "Whether this upstream is the one that is asked", states(|own| own.is_in_use))?;
    gauges(encoder, "upstream_left", "Whether this upstream has failed and is left alone", states(|own| own.is_left))?;
    gauge(encoder, "upstream_waiting", "Requests that wait for upstreams now", status.upstreams.waiting() as u64)
}

fn labels(group: &Group, name: &str) -> Labels {
    vec![("of", group.of().to_owned()), ("upstream", name.to_owned())]
}

/// Adds remarks on upstreams that have failed, a line each.
pub(super) fn remark<'g>(groups: impl Iterator<Item = &'g Group>, lines: &mut String) {
    for group in groups {
        let standing = group.standing();
        let (of, all_left) = (group.of(), standing.iter().all(|own| own.is_left));
        for Standing { name, fault, .. } in standing.iter().filter(|own| own.is_left) {
            let fault = fault.as_deref().unwrap_or("has failed");
            let _ = writeln!(lines, "degraded: {of}: upstream {name} is left alone for now: upstream {fault}");
        }
        if all_left {
            let _ = writeln!(lines, "degraded: {of}: no upstream answers, and what is not kept here gets `tryLater`");
        }
    }
}
