//! Every key of the common part of the file, with its value in the file's form.
//!
//! One table for two uses: reporting what a reload cannot use before the next start, and writing a file. Programs have
//! tables of their own for their sections. It does not know tenants, which a reload changes as a whole.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use tracing::warn;

use super::{AdminTls, Config, Feed, in_words, quoted};

/// A key that does not belong to a tenant; `C`: the configuration it is part of.
#[derive(Debug)]
pub struct ConfigKey<C> {
    /// With its section.
    pub name: &'static str,
    /// Whether a changed value is used from the next start on.
    pub waits: bool,
    /// Its value in TOML; `None` if it is absent and that is meaningful.
    pub written: fn(&C) -> Option<String>,
}

impl<C> ConfigKey<C> {
    /// A key whose changed value is used from the next start on.
    pub const fn at_start(name: &'static str, written: fn(&C) -> Option<String>) -> Self {
        Self { name, waits: true, written }
    }

    /// A key whose changed value is used after a reload.
    pub const fn at_once(name: &'static str, written: fn(&C) -> Option<String>) -> Self {
        Self { name, waits: false, written }
    }
}

/// All keys, grouped by section.
pub const KEYS: [ConfigKey<Config>; 48] = [
    ConfigKey::at_start("state_dir", |config| Some(quoted(&config.state_dir.to_string_lossy()))),
    ConfigKey::at_start("admin.listen", |config| Some(quoted(&config.admin.listen.to_string()))),
    ConfigKey::at_start("admin.ready_without_signers", |config| Some(config.admin.ready_without_signers.to_string())),
    ConfigKey::at_once("admin.token_file", |config| Some(quoted(&config.admin.token_file.as_ref()?.written))),
    ConfigKey::at_once("admin.certificate", |config| text(Some(of_tls(config)?.certificate.display()))),
    ConfigKey::at_once("admin.key", |config| text(Some(&of_tls(config)?.key.written))),
    ConfigKey::at_once("admin.client_ca", |config| text(Some(of_tls(config)?.client_ca.as_ref()?.display()))),
    ConfigKey::at_once("admin.hosts", |config| Some(list(config.admin.hosts.as_ref()?))),
    ConfigKey::at_once("admin.open_metrics", |config| Some(config.admin.open_metrics?.to_string())),
    ConfigKey::at_start("cache.answers_octets", |config| Some(config.cache.answers_octets.to_string())),
    ConfigKey::at_start("cache.octets", |config| Some(config.cache.octets.to_string())),
    ConfigKey::at_start("feed.cluster", |config| of_feed(config, |feed| text(Some(&feed.cluster)))),
    ConfigKey::at_start("feed.redis", |config| of_feed(config, |feed| text(feed.written_redis()))),
    ConfigKey::at_start("feed.sentinels", |config| of_feed(config, |feed| Some(list(feed.written_master()?.0)))),
    ConfigKey::at_start("feed.master", |config| of_feed(config, |feed| text(Some(feed.written_master()?.1)))),
    ConfigKey::at_start("feed.user", |config| of_feed(config, |feed| text(feed.user.as_ref()))),
    ConfigKey::at_start("feed.password_file", |config| {
        of_feed(config, |feed| text(feed.password_file.as_ref().map(|file| &file.written)))
    }),
    ConfigKey::at_start("feed.sentinel_user", |config| of_feed(config, |feed| text(feed.sentinel_user.as_ref()))),
    ConfigKey::at_start("feed.sentinel_password_file", |config| {
        of_feed(config, |feed| text(feed.sentinel_password_file.as_ref().map(|file| &file.written)))
    }),
    ConfigKey::at_start("feed.tls_ca", |config| of_feed(config, |feed| text(feed.written_tls_ca()))),
    ConfigKey::at_start("feed.trusted", |config| {
        of_feed(config, |feed| Some(list(feed.trusted.iter().map(|path| path.display()))))
    }),
    ConfigKey::at_start("feed.key", |config| of_feed(config, |feed| text(feed.key.as_ref().map(|file| &file.written)))),
    ConfigKey::at_start("feed.https_ca", |config| of_feed(config, |feed| text(feed.written_https_ca()))),
    ConfigKey::at_start("feed.api_url", |config| of_feed(config, |feed| text(feed.api_url.as_ref()))),
    ConfigKey::at_start("feed.snapshot_listen", |config| of_feed(config, |feed| text(feed.snapshot_listen))),
    ConfigKey::at_start("feed.snapshot_from", |config| of_feed(config, |feed| Some(list(&feed.snapshot_from)))),
    ConfigKey::at_start("feed.snapshot_interval", |config| of_feed(config, |feed| length(feed.snapshot_interval))),
    ConfigKey::at_start("feed.takeover_after", |config| of_feed(config, |feed| length(feed.takeover_after))),
    ConfigKey::at_start("feed.takeover", |config| {
        of_feed(config, |feed| Some(quoted(if feed.takes_over { "by_itself" } else { "by_hand" })))
    }),
    ConfigKey::at_start("feed.priority", |config| of_feed(config, |feed| Some(feed.priority.to_string()))),
    ConfigKey::at_start("feed.acknowledge_within", |config| of_feed(config, |feed| length(feed.acknowledge_within))),
    ConfigKey::at_start("feed.acknowledge_redis_replicas", |config| {
        of_feed(config, |feed| Some(feed.acknowledge_redis_replicas.to_string()))
    }),
    ConfigKey::at_start("feed.acknowledge_standbys", |config| {
        of_feed(config, |feed| Some(feed.acknowledge_standbys.to_string()))
    }),
    ConfigKey::at_start("feed.shared_answers", |config| of_feed(config, |feed| Some(feed.shared_answers.to_string()))),
    ConfigKey::at_start("feed.name", |config| of_feed(config, |feed| text(feed.name.as_ref()))),
    ConfigKey::at_start("feed.replicas_wanted", |config| {
        of_feed(config, |feed| Some(feed.replicas_wanted.to_string()))
    }),
    ConfigKey::at_start("feed.configuration", |config| {
        of_feed(config, |feed| Some(quoted(if feed.is_published { "published" } else { "own" })))
    }),
    ConfigKey::at_start("feed.signer_keys", |config| of_feed(config, |feed| Some(feed.signer_keys.to_string()))),
    ConfigKey::at_start("journal.path", |config| text(Some(config.journal.as_ref()?.path.display()))),
    ConfigKey::at_start("journal.rotate_size", |config| Some(config.journal.as_ref()?.rotate_octets.to_string())),
    ConfigKey::at_start("journal.rotate_age", |config| length(config.journal.as_ref()?.rotate_age)),
    ConfigKey::at_start("journal.keep", |config| Some(config.journal.as_ref()?.keep?.to_string())),
    ConfigKey::at_start("journal.ocsp", |config| Some(config.transactions.as_ref()?.is_on.to_string())),
    ConfigKey::at_start("journal.ocsp_path", |config| text(Some(config.transactions.as_ref()?.options.path.display()))),
    ConfigKey::at_start("journal.ocsp_keep", |config| Some(config.transactions.as_ref()?.options.keep?.to_string())),
    ConfigKey::at_start("transparency.directory", |config| {
        text(Some(config.transparency.as_ref()?.directory.display()))
    }),
    ConfigKey::at_start("transparency.keep", |config| length(config.transparency.as_ref()?.keep)),
    ConfigKey::at_start("transparency.head_every", |config| length(config.transparency.as_ref()?.head_every)),
];

fn of_tls(config: &Config) -> Option<&AdminTls> {
    config.admin.tls.as_ref()
}

fn of_feed(config: &Config, written: fn(&Feed) -> Option<String>) -> Option<String> {
    config.feed.as_ref().and_then(written)
}

fn text(value: Option<impl Display>) -> Option<String> {
    Some(quoted(&value?.to_string()))
}

fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

fn length(length: Duration) -> Option<String> {
    text(Some(in_words(length)))
}

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

impl fmt::Display for Waiting {
    /// As whoever asks for a reload is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, in_use, in_file } = self;
        write!(f, "{key}: {WAITS}; in use is {in_use}, in the file is {in_file}")
    }
}

/// What is said of such a key.
const WAITS: &str = "this key has changed in the file; it takes effect at the next start";

/// Has the log say it, and returns it, a line each.
pub fn tell_waiting(waiting: Vec<Waiting>) -> Vec<String> {
    let told = waiting.iter().map(|waiting| {
        let Waiting { key, in_use, in_file } = waiting;
        warn!(key, in_use, in_file, "{WAITS}");
        waiting.to_string()
    });
    told.collect()
}

/// Those of `keys` whose changed values are used from the next start on.
pub fn waiting<C>(keys: &[ConfigKey<C>], in_use: &C, in_file: &C) -> Vec<Waiting> {
    let shown = |value: Option<String>| value.unwrap_or_else(|| "nothing".into());
    let changed = keys.iter().filter(|key| key.waits).map(|key| (key, (key.written)(in_use), (key.written)(in_file)));
    let changed = changed.filter(|(_, in_use, in_file)| in_use != in_file);
    changed
        .map(|(key, in_use, in_file)| Waiting { key: key.name, in_use: shown(in_use), in_file: shown(in_file) })
        .collect()
}
