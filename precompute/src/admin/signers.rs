//! Readiness and metrics of signers: their queues, and each holder of their keys. It does not know what they sign.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType, registry::Unit};

use super::{
    Part, Status,
    encode::{Labels, counters, gauges, labels},
};
use crate::{
    service::Tenants,
    sign::{Health, KeyPurpose, MemberStatus, PoolStatus, Priority},
};

/// The pools of the issuers' signers.
pub fn pools_of_issuers(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| Pools::of_issuers(&status.tenants()).encode(encoder))
}

/// Every signer's pool at one moment.
#[derive(Default, Debug)]
pub struct Pools(Vec<Entry>);

/// One signer's pool.
#[derive(Debug)]
struct Entry {
    /// For people.
    name: String,
    labels: Labels,
    purpose: KeyPurpose,
    pool: PoolStatus,
}

impl Pools {
    /// The signers of OCSP responses.
    pub fn of_issuers(tenants: &Tenants) -> Self {
        let mut pools = Vec::new();
        for issuer in tenants.issuers() {
            let signers = issuer.1.signers.all();
            // While a certificate is renewed, the old and the new one have the same key and pool.
            let of = |place: usize| signers[place].signing();
            let is_first = |place: &usize| {
                (0..*place).all(|other| of(other).zip(of(*place)).is_none_or(|(other, own)| !Arc::ptr_eq(other, own)))
            };
            let others = (0..signers.len()).filter(is_first).count() > 1;
            let purpose = KeyPurpose::OcspSigning { others };
            for place in (0..signers.len()).filter(is_first) {
                let Some(signing) = of(place) else { continue };
                let mut labels = labels(issuer);
                labels.push(("signer", place.to_string()));
                let mut name = format!("{}/{}", issuer.0, issuer.1.name);
                if others {
                    name += &format!(" signer {place}");
                }
                pools.push(Entry { name, labels, purpose, pool: signing.status() });
            }
        }
        Self(pools)
    }

    /// Adds a signer: its name for people, its labels, what it signs, and its pool.
    pub fn add(&mut self, name: String, labels: Labels, purpose: KeyPurpose, pool: PoolStatus) {
        self.0.push(Entry { name, labels, purpose, pool });
    }

    /// Whether a signer has no holder at work.
    pub fn some_down(&self) -> bool {
        self.0.iter().any(|entry| entry.pool.is_down())
    }

    /// The signers without a holder at work, a line each.
    pub fn down(&self, lines: &mut String) -> fmt::Result {
        for Entry { name, purpose, .. } in self.0.iter().filter(|entry| entry.pool.is_down()) {
            writeln!(lines, "degraded: {name}: no key works; {}", purpose.while_nobody_signs())?;
        }
        Ok(())
    }

    /// What is wrong with tokens, a line each.
    pub fn faults(&self, lines: &mut String) -> fmt::Result {
        for Entry { name, pool, .. } in &self.0 {
            for member in pool.members.iter().filter(|member| member.health != Health::AtWork) {
                let MemberStatus { name: token, why, .. } = member;
                let why = why.as_deref().unwrap_or_default();
                match member.health {
                    Health::Away(since) => {
                        writeln!(lines, "degraded: {name}: {token} has not signed for {} s: {why}", since.as_secs())?;
                    }
                    _ => writeln!(
                        lines,
                        "degraded: {name}: {token} is not tried again before a reload or a restart: {why}"
                    )?,
                }
            }
        }
        Ok(())
    }

    /// The metrics of all of them.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        const PRIORITIES: [(&str, Priority); Priority::COUNT] = [
            ("live", Priority::Live),
            ("refresh", Priority::Refresh),
            ("once", Priority::Once),
            ("bulk", Priority::Bulk),
        ];
        let mut waiting = Vec::new();
        for Entry { labels, pool, .. } in &self.0 {
            for (name, priority) in PRIORITIES {
                let labels = with(labels, "priority", name);
                waiting.push((labels, pool.waiting[priority as usize] as u64));
            }
        }
        gauges(encoder, "signing_waiting", "Signatures that wait for a key, by priority", waiting)?;
        let help = "How long the oldest waiting signature has waited";
        let mut oldest =
            encoder.encode_descriptor("signing_waiting_oldest", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for Entry { labels, pool, .. } in &self.0 {
            let age = pool.oldest.map_or(0.0, |age| age.as_secs_f64());
            oldest.encode_family(labels)?.encode_gauge(&age)?;
        }
        let up = self.0.iter().map(|entry| (entry.labels.clone(), u64::from(!entry.pool.is_down())));
        gauges(encoder, "signer_up", "Whether some holder of the signer's key works", up.collect())?;
        let each = |read: &dyn Fn(&MemberStatus) -> u64| {
            self.members().map(|(labels, member)| (labels, read(member))).collect::<Vec<_>>()
        };
        gauges(
            encoder,
            "token_up",
            "Whether this holder of the signer's key works",
            each(&|member| u64::from(member.health == Health::AtWork)),
        )?;
        gauges(
            encoder,
            "token_locked",
            "Whether this holder is not tried again before its PIN is mended",
            each(&|member| u64::from(member.health == Health::Locked)),
        )?;
        gauges(
            encoder,
            "token_sessions",
            "Threads with a session on this holder",
            each(&|member| member.sessions as u64),
        )?;
        gauges(
            encoder,
            "token_sessions_busy",
            "Threads with a session that are in a call",
            each(&|member| member.busy as u64),
        )?;
        gauges(
            encoder,
            "token_threads_hanging",
            "Threads given up in a call that has not returned",
            each(&|member| member.written_off as u64),
        )?;
        counters(encoder, "token_signatures", "Signatures made, tests included", each(&|member| member.signed))?;
        counters(encoder, "token_failures", "Calls that failed", each(&|member| member.failed))?;
        let help = "How long signatures took";
        let mut times =
            encoder.encode_descriptor("token_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, member) in self.members() {
            let counts = member.times.counts;
            let bound = |bucket: usize| f64::from(1u32 << bucket) / 1e6;
            let last = counts.len() - 1;
            let mut buckets: Vec<_> = (0..last).map(|bucket| (bound(bucket), counts[bucket])).collect();
            buckets.push((f64::MAX, counts[last]));
            let total = member.times.total.as_secs_f64();
            times.encode_family(&labels)?.encode_histogram::<Labels>(total, counts.iter().sum(), &buckets, None)?;
        }
        Ok(())
    }

    fn members(&self) -> impl Iterator<Item = (Labels, &MemberStatus)> {
        self.0.iter().flat_map(|Entry { labels, pool, .. }| {
            pool.members.iter().map(move |member| (with(labels, "token", &member.name), member))
        })
    }
}

fn with(labels: &Labels, key: &'static str, value: &str) -> Labels {
    labels.iter().cloned().chain([(key, value.to_owned())]).collect()
}
