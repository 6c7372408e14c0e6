//! Every key of the responder's part of the file, with its value in the file's form.
//!
//! One table for two uses: reporting what a reload cannot use before the next start, and writing a file. It does not
//! know tenants, which a reload changes as a whole.

use std::{fmt::Display, time::Duration};

use precompute::config::{in_words, quoted};

use super::{Config, Listen};

/// A key that does not belong to a tenant.
#[derive(Debug)]
pub struct ConfigKey {
    /// With its section.
    pub name: &'static str,
    /// Whether a changed value is used from the next start on.
    pub waits: bool,
    /// Its value in TOML; `None` if it is absent and that is meaningful.
    pub written: fn(&Config) -> Option<String>,
}

const fn at_start(name: &'static str, written: fn(&Config) -> Option<String>) -> ConfigKey {
    ConfigKey { name, waits: true, written }
}

const fn at_once(name: &'static str, written: fn(&Config) -> Option<String>) -> ConfigKey {
    ConfigKey { name, waits: false, written }
}

/// All keys, grouped by section.
pub const KEYS: [ConfigKey; 25] = [
    at_start("state_dir", |config| Some(quoted(&config.common.state_dir.to_string_lossy()))),
    at_start("http.listen", |config| Some(addresses(&config.http))),
    at_start("http.workers", |config| Some(config.workers.to_string())),
    at_start("http.idle_deadline", |config| length(config.connection_policy.deadlines.idle)),
    at_start("http.head_deadline", |config| length(config.connection_policy.deadlines.head)),
    at_start("http.body_deadline", |config| length(config.connection_policy.deadlines.body)),
    at_start("http.write_deadline", |config| length(config.connection_policy.deadlines.write)),
    at_start("http.drain_delay", |config| length(config.connection_policy.drain.delay)),
    at_start("http.drain_deadline", |config| length(config.connection_policy.drain.deadline)),
    at_start("http.trusted_networks", |config| Some(list(config.connection_policy.trusted.networks()))),
    at_start("http.proxy_protocol", |config| Some(config.connection_policy.proxy_protocol.to_string())),
    at_start("tls.listen", |config| Some(addresses(&config.tls.as_ref()?.listen))),
    at_once("tls.certificate", |config| Some(quoted(&config.tls.as_ref()?.certificate.to_string_lossy()))),
    at_once("tls.key", |config| Some(quoted(&config.tls.as_ref()?.key.to_string_lossy()))),
    at_start("admin.listen", |config| Some(quoted(&config.admin.to_string()))),
    at_start("admin.ready_without_signers", |config| Some(config.ready_without_signers.to_string())),
    at_start("cache.answers_octets", |config| Some(config.common.cache.answers_octets.to_string())),
    at_start("cache.octets", |config| Some(config.common.cache.octets.to_string())),
    at_start("log.access_sample", |config| Some(config.access_sample.to_string())),
    at_start("time_stamping.clock", |config| Some(quoted(&config.time_stamping.clock.to_string()))),
    at_start("time_stamping.lease", |config| length(config.time_stamping.lease)),
    at_start("time_stamping.record", |config| {
        Some(quoted(&config.time_stamping.record.as_ref()?.path.to_string_lossy()))
    }),
    at_start("time_stamping.record_rotate_octets", |config| {
        Some(config.time_stamping.record.as_ref()?.rotate_octets.to_string())
    }),
    at_start("time_stamping.record_rotate_age", |config| length(config.time_stamping.record.as_ref()?.rotate_age)),
    at_start("time_stamping.record_keep", |config| Some(config.time_stamping.record.as_ref()?.keep?.to_string())),
];

/// A key with different values in the file and in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// With its section.
    pub key: &'static str,
    /// The value in use, in the file's form.
    pub in_use: String,
    /// The value in the file, in the file's form.
    pub in_file: String,
}

/// The keys whose changed values are used from the next start on.
pub fn waiting(in_use: &Config, in_file: &Config) -> Vec<Waiting> {
    let shown = |value: Option<String>| value.unwrap_or_else(|| "nothing".into());
    let changed = KEYS.iter().filter(|key| key.waits).map(|key| (key, (key.written)(in_use), (key.written)(in_file)));
    let changed = changed.filter(|(_, in_use, in_file)| in_use != in_file);
    changed
        .map(|(key, in_use, in_file)| Waiting { key: key.name, in_use: shown(in_use), in_file: shown(in_file) })
        .collect()
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
