//! Every key of the responder's part of the file, with its value in the file's form.
//!
//! A table like [`precompute::config::keys`], which has the other keys.

use std::{fmt::Display, time::Duration};

use precompute::config::{
    in_words,
    keys::{self as common, ConfigKey},
    quoted,
};

pub use precompute::config::keys::{Waiting, tell_waiting};

use super::{Config, Listen};

/// The keys of the responder's own sections, grouped by section.
pub const KEYS: [ConfigKey<Config>; 20] = [
    ConfigKey::at_start("http.listen", |config| Some(addresses(&config.http))),
    ConfigKey::at_start("http.workers", |config| Some(config.workers.to_string())),
    ConfigKey::at_start("http.idle_deadline", |config| length(config.connection_policy.deadlines.idle)),
    ConfigKey::at_start("http.head_deadline", |config| length(config.connection_policy.deadlines.head)),
    ConfigKey::at_start("http.body_deadline", |config| length(config.connection_policy.deadlines.body)),
    ConfigKey::at_start("http.write_deadline", |config| length(config.connection_policy.deadlines.write)),
    ConfigKey::at_start("http.drain_delay", |config| length(config.connection_policy.drain.delay)),
    ConfigKey::at_start("http.drain_deadline", |config| length(config.connection_policy.drain.deadline)),
    ConfigKey::at_start("http.trusted_networks", |config| Some(list(config.connection_policy.trusted.networks()))),
    ConfigKey::at_start("http.proxy_protocol", |config| Some(config.connection_policy.proxy_protocol.to_string())),
    ConfigKey::at_start("tls.listen", |config| Some(addresses(&config.tls.as_ref()?.listen))),
    ConfigKey::at_once("tls.certificate", |config| Some(quoted(&config.tls.as_ref()?.certificate.to_string_lossy()))),
    ConfigKey::at_once("tls.key", |config| Some(quoted(&config.tls.as_ref()?.key.path.to_string_lossy()))),
    ConfigKey::at_start("log.access_sample", |config| Some(config.access_sample.to_string())),
    ConfigKey::at_start("time_stamping.clock", |config| Some(quoted(&config.time_stamping.clock.to_string()))),
    ConfigKey::at_start("time_stamping.lease", |config| length(config.time_stamping.lease)),
    ConfigKey::at_start("time_stamping.record", |config| {
        Some(quoted(&config.time_stamping.record.as_ref()?.path.to_string_lossy()))
    }),
    ConfigKey::at_start("time_stamping.record_rotate_octets", |config| {
        Some(config.time_stamping.record.as_ref()?.rotate_octets.to_string())
    }),
    ConfigKey::at_start("time_stamping.record_rotate_age", |config| {
        length(config.time_stamping.record.as_ref()?.rotate_age)
    }),
    ConfigKey::at_start("time_stamping.record_keep", |config| {
        Some(config.time_stamping.record.as_ref()?.keep?.to_string())
    }),
];

/// Those of an edge, which has none of the keys of those who sign.
pub const EDGE_KEYS: [ConfigKey<Config>; 3] = [
    ConfigKey::at_start("edge.upstreams", |config| Some(list(&config.edge.as_ref()?.upstreams))),
    ConfigKey::at_start("edge.tls_ca", |config| Some(quoted(&config.edge.as_ref()?.tls_ca.as_ref()?.written()))),
    ConfigKey::at_start("edge.fail_back", |config| length(config.edge.as_ref()?.fail_back)),
];

/// The keys whose changed values are used from the next start on.
pub fn waiting(in_use: &Config, in_file: &Config) -> Vec<Waiting> {
    let mut waiting = common::waiting(&common::KEYS, &in_use.common, &in_file.common);
    waiting.extend(common::waiting(&KEYS, in_use, in_file));
    waiting.extend(common::waiting(&EDGE_KEYS, in_use, in_file));
    waiting
}

fn length(length: Duration) -> Option<String> {
    Some(quoted(&in_words(length)))
}

fn list(values: &[impl Display]) -> String {
    let values: Vec<_> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

fn addresses(listens: &[Listen]) -> String {
    let listens: Vec<_> = listens.iter().map(|listen| format!("{listen:?}")).collect();
    list(&listens)
}

#[cfg(test)]
mod tests;
