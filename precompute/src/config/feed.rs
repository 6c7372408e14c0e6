//! `[feed]`: where the feed is, whom to trust, and what a writer needs. Nothing is connected to or read here.
//!
//! Invariant: a password in the address of Redis is refused and not shown. A file with `[feed]` and without a writer's
//! `key` is a replica's ([`Feed::is_of_replica`]): what it serves comes from the feed, so its issuers need no sources and
//! its signers no keys. It does not know the protocol.

mod address;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use self::address::Written;
use super::{Place, SecretFile, Section, admin};
use crate::{
    feed::{
        Cluster,
        redis::{Address, Master},
        shelf::BaseUrl,
    },
    limits::{feed as limits, servers, shelf},
    sign::pkcs11::Uri,
};

/// The feed that a program reads, and that a writer writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feed {
    /// Its place in the file.
    pub place: Place,
    /// What the cluster is called in every entry and in the keys of Redis.
    pub cluster: Cluster,
    /// Where Redis is, or the Sentinels that say where.
    pub redis: Address,
    /// Whose certificates count for Redis and its Sentinels; `None` without TLS.
    pub tls: Option<TlsTrust>,
    /// The user of Redis; `None` for the default one.
    pub user: Option<String>,
    /// The file with the password of Redis.
    pub password_file: Option<SecretFile>,
    /// The user of the Sentinels; `None` for the default one.
    pub sentinel_user: Option<String>,
    /// The file with the password of the Sentinels, which is not the one of Redis.
    pub sentinel_password_file: Option<SecretFile>,
    /// Files with the public keys of writers, PEM; at least one.
    pub trusted: Vec<PathBuf>,
    /// The file with the private key of this writer, PEM; a replica has none.
    pub key: Option<SecretFile>,
    /// Whose certificates count for `https://` URLs of writers and of snapshots; `None` for those that the system trusts.
    pub https: Option<TlsTrust>,
    /// The URL under which others reach the admin listener of this writer.
    pub api_url: Option<String>,
    /// Where snapshots are given out.
    pub snapshot_listen: Option<SocketAddr>,
    /// Where to ask for snapshots.
    pub snapshot_from: Vec<BaseUrl>,
    /// After how long there is a new one at the latest.
    pub snapshot_interval: Duration,
    /// How long the writer at work is silent before this one takes over.
    pub takeover_after: Duration,
    /// Whether it takes over by itself, or only if somebody says so.
    pub takes_over: bool,
    /// 0 takes over first.
    pub priority: u32,
    /// How long a push waits for the feed.
    pub acknowledge_within: Duration,
    /// How many servers that follow Redis have to have it by then.
    pub acknowledge_redis_replicas: u32,
    /// How many other writers have to have it on disk by then.
    pub acknowledge_standbys: u32,
    /// Whether replicas with keys on tokens share what they have signed.
    pub shared_answers: bool,
    /// What this server is called in the list of servers; `None` for the host's name.
    pub name: Option<String>,
    /// Below how many live replicas writers warn.
    pub replicas_wanted: u32,
    /// Whether a replica takes its tenants from the writer,
    pub is_published: bool,
    /// and has the keys of their signers.
    pub signer_keys: bool,
}

/// The values of `configuration`: whether tenants come from the writer.
const CONFIGURATIONS: [(&str, bool); 2] = [("own", false), ("published", true)];

/// Whose certificates count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsTrust {
    /// Those of the CAs that the system trusts.
    System,
    /// Those of the CAs in a file.
    File(PathBuf),
}

/// The values of `takeover`: whether a writer that stands by takes over by itself.
const TAKEOVERS: [(&str, bool); 2] = [("by_itself", true), ("by_hand", false)];

/// The value of a key for [`TlsTrust::System`].
const SYSTEM: &str = "system";

impl TlsTrust {
    /// From this key, if it is there.
    pub fn read(section: &mut Section<'_>, key: &'static str) -> Option<Self> {
        match section.string(key)? {
            written if written == SYSTEM => Some(Self::System),
            written if written.is_empty() => {
                section.problem(
                    key,
                    format_args!("is empty; name a file with CA certificates, or write `{key} = \"system\"`"),
                );
                None
            }
            written => Some(Self::File(section.resolve(written))),
        }
    }

    /// As the file writes it.
    pub fn written(&self) -> String {
        match self {
            Self::System => SYSTEM.to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl Feed {
    /// Whether the file is a replica's.
    pub fn is_of_replica(&self) -> bool {
        self.key.is_none()
    }

    /// `redis` as the file writes it, if it does.
    pub fn written_redis(&self) -> Option<String> {
        match &self.redis {
            Address::Unix(path) => Some(format!("unix:{}", path.display())),
            Address::Master(_) | Address::Polled => None,
            address => Some(self.written(address)),
        }
    }

    /// `sentinels` as the file writes them, and `master`, if it does.
    pub fn written_master(&self) -> Option<(Vec<String>, &str)> {
        let Address::Master(Master { name, sentinels }) = &self.redis else { return None };
        Some((sentinels.iter().map(|address| self.written(address)).collect(), name))
    }

    fn written(&self, address: &Address) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{address}")
    }

    /// `tls_ca` as the file writes it.
    pub fn written_tls_ca(&self) -> Option<String> {
        self.tls.as_ref().map(TlsTrust::written)
    }

    /// `https_ca` as the file writes it.
    pub fn written_https_ca(&self) -> Option<String> {
        self.https.as_ref().map(TlsTrust::written)
    }
}

/// What a file says of the feed, before it is whole.
pub(super) struct Read {
    /// `None` without `[feed]`, and if something of it is wrong, which has been noted.
    pub(super) feed: Option<Feed>,
    /// As [`Feed::is_of_replica`], also where something else is wrong.
    pub(super) is_of_replica: bool,
}

/// `admin`: where the admin listener is.
pub(super) fn read(root: &mut Section<'_>, admin: SocketAddr) -> Read {
    // Known, whether the file has it or not.
    root.leave_to_others(&["feed"]);
    let mut is_of_replica = false;
    let is_edge = root.has("edge");
    let feed = if root.has("feed") {
        root.section("feed", |section| {
            is_of_replica = !section.has("key");
            read_feed(section, admin, is_edge)
        })
    } else {
        None
    };
    Read { feed, is_of_replica }
}

fn read_feed(section: &mut Section<'_>, admin: SocketAddr, is_edge: bool) -> Option<Feed> {
    let cluster = read_cluster(section);
    // An edge in a DMZ may reach nobody but those who give snapshots.
    let is_polled = is_edge && !section.has("redis") && !section.has("sentinels") && section.has("snapshot_from");
    let redis = if is_polled { Some((Address::Polled, None)) } else { read_redis(section) };
    for key in ["user", "password_file", "tls_ca"].into_iter().filter(|_| is_polled) {
        if section.has(key) {
            section.problem(key, "is for Redis, which this edge does not reach: its feed is polled from `snapshot_from`; remove it, or name `redis`");
        }
    }
    let (user, password_file) = read_password(section, &OF_REDIS);
    let (sentinel_user, sentinel_password_file) = read_password(section, &OF_SENTINELS);
    for key in [OF_SENTINELS.user, OF_SENTINELS.password_file, "master"] {
        if section.has(key) && !section.has("sentinels") {
            section.problem(key, "has no effect without `sentinels`; name them, or remove it");
        }
    }
    let trusted = read_trusted(section);
    let key = read_key(section);
    let https = TlsTrust::read(section, "https_ca");
    let api_url = read_api_url(section);
    let snapshot_listen = section.address("snapshot_listen").map(admin::canonical);
    if let Some(address) = snapshot_listen.filter(|address| admin::overlap(address, &admin)) {
        section.problem(
            "snapshot_listen",
            format_args!("is {address}, which is taken by {admin} of `admin.listen`; give it a port of its own"),
        );
    }
    let snapshot_from = read_sources(section);
    let mut length = |key, range, default| section.duration(key, range).unwrap_or(default);
    let snapshot_interval =
        length("snapshot_interval", limits::SNAPSHOT_INTERVAL_RANGE, limits::SNAPSHOT_INTERVAL_DEFAULT);
    let takeover_after = length("takeover_after", limits::TAKEOVER_AFTER_RANGE, limits::TAKEOVER_AFTER_DEFAULT);
    let acknowledge_within =
        length("acknowledge_within", limits::ACKNOWLEDGE_WITHIN_RANGE, limits::ACKNOWLEDGE_WITHIN_DEFAULT);
    let acknowledge_redis_replicas =
        section.integer("acknowledge_redis_replicas", 0..=limits::REDIS_REPLICAS_MAX).unwrap_or(0) as u32;
    let takes_over = section.choice("takeover", &TAKEOVERS).unwrap_or(true);
    let acknowledge_standbys = section.integer("acknowledge_standbys", 0..=limits::STANDBYS_MAX).unwrap_or(0) as u32;
    let shared_answers = section.boolean("shared_answers").unwrap_or(true);
    let is_published = section.choice("configuration", &CONFIGURATIONS).unwrap_or(false);
    let signer_keys = section.boolean("signer_keys").unwrap_or(false);
    if signer_keys && !is_published {
        section.warning("signer_keys", "has no effect without `configuration = \"published\"`; add that, or remove it");
    }
    let name = read_name(section);
    let replicas_wanted = section
        .integer("replicas_wanted", 0..=servers::REPLICAS_WANTED_MAX)
        .unwrap_or(servers::REPLICAS_WANTED_DEFAULT);
    let priority = section.integer("priority", 0..=limits::PRIORITY_MAX).unwrap_or(0) as u32;
    let (redis, tls) = redis?;
    if redis == Address::Polled && snapshot_from.is_empty() {
        section.problem(
            "snapshot_from",
            "is empty, and this edge has no `redis`; name those who give snapshots, which give the feed as well",
        );
    }
    Some(Feed {
        place: section.place(),
        cluster: cluster?,
        redis,
        tls,
        user,
        password_file,
        sentinel_user,
        sentinel_password_file,
        trusted,
        key,
        https,
        api_url,
        snapshot_listen,
        snapshot_from,
        snapshot_interval,
        takeover_after,
        takes_over,
        priority,
        acknowledge_within,
        acknowledge_redis_replicas,
        acknowledge_standbys,
        shared_answers,
        name,
        replicas_wanted: replicas_wanted as u32,
        is_published,
        signer_keys,
    })
}

/// The Redis of another site, which has the feed `of` as well: `[relay]`. The rest is as `of` says.
pub(super) fn read_relay(section: &mut Section<'_>, of: &Feed) -> Option<Feed> {
    let redis = read_redis(section);
    let (user, password_file) = read_password(section, &OF_REDIS);
    let (sentinel_user, sentinel_password_file) = read_password(section, &OF_SENTINELS);
    let (redis, tls) = redis?;
    if redis == of.redis {
        let key = if matches!(redis, Address::Master(_)) { "sentinels" } else { "redis" };
        section.problem(key, "is that of `[feed]`: a relay reads the feed at one site and fills another one's Redis");
        return None;
    }
    let place = section.place();
    Some(Feed { place, redis, tls, user, password_file, sentinel_user, sentinel_password_file, ..of.clone() })
}

fn read_cluster(section: &mut Section<'_>) -> Option<Cluster> {
    if !section.has("cluster") {
        section.problem("cluster", "is missing; give the writers and replicas that belong together one short name");
    }
    let written = section.string("cluster")?;
    let cluster = Cluster::new(&written);
    if cluster.is_none() {
        let most = limits::CLUSTER_OCTETS_MAX;
        section
            .problem("cluster", format_args!("is `{written}`; expected 1 to {most} letters, digits, `-`, `_` or `.`"));
    }
    cluster
}

/// Where Redis is, and whose certificates count there.
fn read_redis(section: &mut Section<'_>) -> Option<(Address, Option<TlsTrust>)> {
    let ca = TlsTrust::read(section, "tls_ca");
    let by_sentinels = section.has("sentinels");
    match (section.has("redis"), by_sentinels) {
        (false, false) => section.problem(
            "redis",
            format_args!(
                "is missing; name the Redis of the feed: {}; or name its Sentinels by `sentinels`",
                address::FORMS
            ),
        ),
        (true, true) => section.problem(
            "redis",
            "and `sentinels` exclude each other: the Sentinels say where Redis is; remove one of the two",
        ),
        _ => {}
    }
    let (key, Written { address, tls }) = match by_sentinels {
        true => ("sentinels", read_sentinels(section)?),
        false => {
            let written = section.string("redis")?;
            ("redis", address::parse(&written).map_err(|problem| section.problem("redis", problem)).ok()?)
        }
    };
    let tls = match (tls, ca) {
        (Some(false), Some(_)) if matches!(address, Address::Unix(_)) => {
            section.problem("tls_ca", "has no effect on a socket of this machine; remove it");
            None
        }
        (Some(false), Some(_)) => {
            section.problem("tls_ca", format_args!("is for TLS, and `{key}` says `redis://`; write `rediss://` there"));
            None
        }
        (Some(true), None) => Some(TlsTrust::System),
        (_, ca) => ca,
    };
    Some((address, tls))
}

/// The Sentinels and the master that they watch.
fn read_sentinels(section: &mut Section<'_>) -> Option<Written> {
    let name = section.string("master").filter(|name| {
        let fits =
            (1..=limits::MASTER_NAME_OCTETS_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            section.problem("master", "is no name of a master; write the one that `sentinel monitor` gives it");
        }
        fits
    });
    if !section.has("master") {
        section.problem("master", "is missing; write the name that `sentinel monitor` gives the master of the feed");
    }
    let written = section.strings("sentinels")?;
    let (count, most) = (written.len(), limits::SENTINELS_MAX);
    if !(1..=most).contains(&count) {
        section.problem(
            "sentinels",
            format_args!(
                "names {count}; name 1 to {most} of them, such as `[\"sentinel-1:26379\", \"sentinel-2:26379\"]`"
            ),
        );
        return None;
    }
    let (mut sentinels, mut all_tls) = (Vec::new(), Vec::new());
    for text in &written {
        match address::sentinel(text) {
            Ok(Written { address, .. }) if sentinels.contains(&address) => {
                section.problem("sentinels", format_args!("names {address} twice; remove one of them"));
            }
            Ok(Written { address, tls }) => {
                sentinels.push(address);
                all_tls.push(tls);
            }
            Err(problem) => section.problem("sentinels", problem),
        }
    }
    if sentinels.len() != count {
        return None;
    }
    if all_tls.contains(&Some(true)) && all_tls.contains(&Some(false)) {
        section.problem("sentinels", "has addresses with and without TLS; it counts for all of them, and for Redis");
        return None;
    }
    let tls = all_tls.into_iter().flatten().next();
    Some(Written { address: Address::Master(Master { name: name?, sentinels }), tls })
}

fn read_name(section: &mut Section<'_>) -> Option<String> {
    let name = section.string("name")?;
    let most = servers::TEXT_LETTERS_MAX;
    if name.is_empty() || name.chars().count() > most || name.contains(char::is_control) {
        section.problem(
            "name",
            format_args!(
                "is no name of a server; expected 1 to {most} letters, such as `dmz-1`, or leave it out for the host's"
            ),
        );
        return None;
    }
    Some(name)
}

/// The keys by which this program says who it is.
struct LoginKeys {
    user: &'static str,
    password_file: &'static str,
    of: &'static str,
}

const OF_REDIS: LoginKeys = LoginKeys { user: "user", password_file: "password_file", of: "Redis" };
const OF_SENTINELS: LoginKeys =
    LoginKeys { user: "sentinel_user", password_file: "sentinel_password_file", of: "the Sentinels" };

fn read_password(section: &mut Section<'_>, keys: &LoginKeys) -> (Option<String>, Option<SecretFile>) {
    let LoginKeys { user: of_user, password_file, of } = *keys;
    let file = SecretFile::read(section, password_file, "password", &format!("name a file with the password of {of}"));
    let user = section.string(of_user);
    let user = user.filter(|user| {
        let fits = (1..=limits::USER_OCTETS_MAX).contains(&user.len()) && user.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            let most = limits::USER_OCTETS_MAX;
            section.problem(of_user, format_args!("is no user of {of}; expected 1 to {most} characters of ASCII"));
        }
        fits
    });
    // The client only says who it is together with a password.
    if user.is_some() && !section.has(password_file) {
        section.problem(of_user, format_args!("has no effect without a password; add `{password_file}`"));
    }
    (user, file)
}

fn read_trusted(section: &mut Section<'_>) -> Vec<PathBuf> {
    const MADE: &str = "name the files with the public keys of all writers, which `ostia-precompute keys feed` makes";
    if !section.has("trusted") {
        section.problem("trusted", format_args!("is missing; {MADE}"));
    }
    let Some(written) = section.strings("trusted") else { return Vec::new() };
    if written.is_empty() || written.iter().any(String::is_empty) {
        let is = if written.is_empty() { "is an empty list" } else { "has an empty name" };
        section.problem("trusted", format_args!("{is}; {MADE}"));
    }
    if written.len() > limits::TRUSTED_KEYS_MAX {
        let (count, most) = (written.len(), limits::TRUSTED_KEYS_MAX);
        section.problem("trusted", format_args!("names {count} files; at most {most} keys are trusted"));
    }
    written.iter().filter(|name| !name.is_empty()).map(|name| section.resolve(name)).collect()
}

fn read_key(section: &mut Section<'_>) -> Option<SecretFile> {
    let file =
        SecretFile::read(section, "key", "key", "name the file that `ostia-precompute keys feed` makes, or remove it")?;
    if Uri::is_meant(&file.written) {
        section.problem(
            "key",
            "is a pkcs11: URI, and a writer signs every entry in its own process; name a file that `ostia-precompute keys feed` makes",
        );
        return None;
    }
    Some(file)
}

fn read_api_url(section: &mut Section<'_>) -> Option<String> {
    let written = section.string("api_url")?;
    match address::http(&written) {
        Ok(url) => Some(url),
        Err(problem) => {
            section.problem("api_url", problem);
            None
        }
    }
}

fn read_sources(section: &mut Section<'_>) -> Vec<BaseUrl> {
    let written = section.strings("snapshot_from").unwrap_or_default();
    let (count, most) = (written.len(), shelf::SOURCES_MAX);
    if count > most {
        section.problem("snapshot_from", format_args!("names {count} URLs; at most {most} are asked"));
    }
    let mut urls = Vec::new();
    for text in &written {
        // What stands before an `@` may be a password, and behind a question mark a token.
        if text.contains(['@', '?', '#']) {
            section.problem(
                "snapshot_from",
                "has a URL with a user name or something behind its path, which is not sent, may be secret, and is not shown; write it as `http://host:port` or `https://host:port`",
            );
            continue;
        }
        match text.parse::<BaseUrl>() {
            Ok(url) if urls.contains(&url) => {
                section.problem("snapshot_from", format_args!("names {url} twice; remove one of them"));
            }
            Ok(url) => urls.push(url),
            Err(problem) => section.problem("snapshot_from", problem),
        }
    }
    urls
}
