//! Metrics of the list of servers.
//!
//! Invariant: there are no more series than places for servers, and a replica has but its own. It does not know how servers are
//! found.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{
    Part,
    encode::{Labels, gauge, gauges, sparse},
};
use crate::{
    feed::servers::Seen,
    service::registry::{Registry, View},
};

/// The list of servers, as this one sees it.
pub fn servers(registry: &Registry) -> Part {
    let registry = registry.clone();
    Box::new(move |encoder| encode(encoder, &registry.view()))
}

fn encode(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let help = "Whether this server is in the list of servers";
    gauge(encoder, "feed_registered", help, view.is_registered().into())?;
    let help = "What the list of servers says against this one, such as another key than its peers";
    gauge(encoder, "feed_server_faults", help, view.own_complaints().count() as u64)?;
    if !view.is_writers() {
        return Ok(());
    }
    let live = view.live_replicas().map(|live| live as u64);
    sparse(encoder, "feed_replicas_live", "Replicas that live", [(Labels::new(), live)])?;
    let help = "Below how many live replicas there are too few";
    gauge(encoder, "feed_replicas_wanted", help, view.replicas_wanted() as u64)?;
    let servers = &view.roster().servers;
    let of_each = |read: fn(&Seen) -> u64| servers.iter().map(|seen| (labels(seen), read(seen))).collect::<Vec<_>>();
    let help = "How long ago a server of the list was heard";
    gauges(encoder, "feed_server_silence_seconds", help, of_each(|seen| seen.silence.as_secs()))?;
    let help = "Whether a server of the list lives";
    gauges(encoder, "feed_server_up", help, of_each(|seen| seen.lives().into()))?;
    let help = "What is wrong with a server of the list";
    gauges(encoder, "feed_server_complaints", help, of_each(|seen| seen.complaints.len() as u64))
}

fn labels(seen: &Seen) -> Labels {
    let role = seen.notice.role.in_words().replace(' ', "_");
    vec![("server", seen.notice.server.to_string()), ("name", seen.notice.name.clone()), ("role", role)]
}
