//! The feed that a configuration names: where Redis is and how to be let in, whom to trust, and what a writer signs with.
//!
//! Invariant: secrets are read from their files here, and shown nowhere. It connects to nothing.

mod files;

use std::{
    ffi::OsStr,
    fs,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

pub use self::files::FeedFiles;
use super::issuer::tell_of_mode;
use crate::{
    config::{At, Feed, Problems, SecretFile, TlsTrust},
    feed::{
        Cluster, PublicKey, Trusted, WriterKey,
        https::{Https, cas},
        redis::{Login, Server, Trust},
    },
    limits::{self, feed as bounds},
    pki::{FileError, pem, read_bounded, read_secret},
    sign::read_private_key,
};

/// The feed that this program reads, and writes if it has a key.
#[derive(Debug)]
pub struct AssembledFeed {
    /// Whose feed it is.
    pub cluster: Cluster,
    /// Where Redis is, and how to be let in.
    pub redis: Server,
    /// Whose entries count.
    pub trusted: Trusted,
    /// What a writer signs with; a replica has none.
    pub key: Option<WriterKey>,
    /// Whom to trust behind `https://` URLs.
    pub https: Https,
    /// The URL at which others reach this writer's API.
    pub api_url: Option<String>,
    /// Where snapshots are given out and fetched.
    pub snapshots: SnapshotPlaces,
    /// How old the newest snapshot may be.
    pub snapshot_interval: Duration,
    /// How long the writer at work is silent before this one takes over.
    /// `None`: it does so only if somebody says so, or if it led last.
    pub takeover_after: Option<Duration>,
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
}

/// Where snapshots are given out and fetched.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SnapshotPlaces {
    /// The address at which this program gives them out.
    pub listen: Option<SocketAddr>,
    /// Base URLs to fetch from: of writers and of other replicas.
    pub from: Vec<String>,
}

/// The key of this writer that cannot be used, and the key of `[feed]` that is to be changed.
#[derive(Debug)]
pub struct WriterKeyError {
    /// `key` or `trusted`.
    pub about: &'static str,
    /// What is wrong, and the remedy.
    pub problem: String,
}

impl AssembledFeed {
    /// What a part of this program needs that looks at the feed beside what follows or writes it.
    #[must_use]
    pub fn of_its_reader(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            redis: self.redis.clone(),
            trusted: self.trusted.clone(),
            key: self.key.clone(),
            https: Https::default(),
            api_url: self.api_url.clone(),
            snapshots: self.snapshots.clone(),
            name: self.name.clone(),
            ..*self
        }
    }

    /// Reads what the section names. `credentials`: the directory of the service's systemd credentials. `None` if a
    /// problem was noted.
    pub fn open(config: &Feed, problems: &Problems, credentials: Option<&OsStr>) -> Option<Self> {
        let at = problems.at(&config.place);
        // All of it, so that all problems are reported.
        let redis = server(config, &at, credentials);
        let trusted = trusted(config, &at);
        if let Some(trusted) = &trusted {
            enough_standbys(config, trusted, &at)?;
        }
        let https = match &config.https {
            Some(TlsTrust::File(path)) => {
                at.noted("https_ca", cas(path)).map(|pem| Https::trusting(&Trust::These(pem)))
            }
            Some(TlsTrust::System) | None => Some(Https::default()),
        };
        let key = match trusted.as_ref().map(|trusted| Self::writer_key(config, trusted, credentials)) {
            Some(Ok(key)) => key,
            Some(Err(WriterKeyError { about, problem })) => {
                at.problem(about, problem);
                return None;
            }
            None => None,
        };
        Some(Self {
            cluster: config.cluster.clone(),
            redis: redis?,
            trusted: trusted?,
            key,
            https: https?,
            api_url: config.api_url.clone(),
            snapshots: SnapshotPlaces {
                listen: config.snapshot_listen,
                from: config.snapshot_from.iter().map(ToString::to_string).collect(),
            },
            snapshot_interval: config.snapshot_interval,
            takeover_after: config.takes_over.then_some(config.takeover_after),
            priority: config.priority,
            acknowledge_within: config.acknowledge_within,
            acknowledge_redis_replicas: config.acknowledge_redis_replicas,
            acknowledge_standbys: config.acknowledge_standbys,
            shared_answers: config.shared_answers,
            name: config.name.clone(),
            replicas_wanted: config.replicas_wanted,
        })
    }

    /// Reads the key of a writer; `None` if the configuration names none. Only its owner may access the file (the group may
    /// read it). What readers do not trust is an error: they would refuse everything that this writer says.
    pub fn writer_key(
        config: &Feed,
        trusted: &Trusted,
        credentials: Option<&OsStr>,
    ) -> Result<Option<WriterKey>, WriterKeyError> {
        let Some(file) = &config.key else { return Ok(None) };
        let of_key = |problem: String| WriterKeyError { about: "key", problem };
        let path = found(file, credentials, "key").map_err(of_key)?;
        let key = read_writer_key(&path).map_err(|error| of_key(error.to_string()))?;
        if !trusted.has(&key.public()) {
            let path = path.display();
            let problem = format!(
                "does not have the public key of {path} ({}), so that every reader would refuse what this writer says; name the file with it here and in the configuration of every writer and replica (`openssl pkey -in {path} -pubout` prints it)",
                key.id()
            );
            return Err(WriterKeyError { about: "trusted", problem });
        }
        Ok(Some(key))
    }
}

/// Each writer has a key of its own, and a standby's word counts by its key.
fn enough_standbys(config: &Feed, trusted: &Trusted, at: &At<'_>) -> Option<()> {
    let (wanted, others) = (config.acknowledge_standbys as usize, trusted.count().saturating_sub(1));
    if wanted <= others {
        return Some(());
    }
    at.problem(
        "acknowledge_standbys",
        format_args!(
            "is {wanted}, and `trusted` has the keys of {others} other writers: no push would ever be acknowledged; ask for {others} at most, or add the public keys of more"
        ),
    );
    None
}

fn server(config: &Feed, at: &At<'_>, credentials: Option<&OsStr>) -> Option<Server> {
    let login = |user: &Option<String>, file: &Option<SecretFile>, key, of| {
        let Some(file) = file else { return Some(Login { user: user.clone(), password: None }) };
        let password = found(file, credentials, "password")
            .and_then(|path| read_password(&path, of).map_err(|error| error.to_string()));
        at.noted(key, password).map(|password| Login { user: user.clone(), password: Some(password) })
    };
    let of_redis = login(&config.user, &config.password_file, "password_file", "Redis");
    let of_sentinels =
        login(&config.sentinel_user, &config.sentinel_password_file, "sentinel_password_file", "the Sentinels");
    let tls = config.tls.as_ref().map(|tls| match tls {
        TlsTrust::System => Some(Trust::System),
        TlsTrust::File(path) => at.noted("tls_ca", cas(path)).map(Trust::These),
    });
    // What is configured and could not be read has been noted.
    let tls = tls.map_or(Some(None), |read| read.map(Some));
    Some(Server { address: config.redis.clone(), login: of_redis?, sentinel_login: of_sentinels?, tls: tls? })
}

/// Where the file is. A mere word that names no file may be the secret itself.
fn found(file: &SecretFile, credentials: Option<&OsStr>, secret: &str) -> Result<PathBuf, String> {
    let is_missing = fs::metadata(file.locate(credentials)).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if is_missing && file.is_mere_word() {
        return Err(format!(
            "names no file beside the configuration and no systemd credential, and is not shown, as it may be the {secret} itself; name the file with the {secret}"
        ));
    }
    file.find(credentials).map_err(|error| error.to_string())
}

/// `of`: who wants it.
fn read_password(path: &Path, of: &str) -> Result<Zeroizing<String>, FileError> {
    let content = read_secret(path, &format!("the password of {of}"), bounds::PASSWORD_FILE_OCTETS_MAX)?;
    let line = content.strip_suffix(b"\n").unwrap_or(&content);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(Zeroizing::new(text.to_owned())),
        Ok("") => Err(FileError::new(path, format!("is empty; write the password of {of} into it, in one line"))),
        _ => Err(FileError::new(
            path,
            format!("holds something else than one line of text; write the password of {of} alone into it"),
        )),
    }
}

/// Reads the key of a writer.
pub(crate) fn read_writer_key(path: &Path) -> Result<WriterKey, FileError> {
    let key = read_private_key(path, limits::KEY_FILE_OCTETS_MAX)?;
    let key = match &key {
        PrivateKeyDer::Pkcs8(key) => WriterKey::from_pkcs8(key.secret_pkcs8_der()),
        _ => None,
    };
    key.ok_or_else(|| {
        FileError::new(
            path,
            "holds a private key that is not Ed25519, which writers sign with; make one: ostia-precompute keys feed --out feed.key",
        )
    })
}

/// The keys of all files; `None` if a problem was noted, now or before.
fn trusted(config: &Feed, at: &At<'_>) -> Option<Trusted> {
    let mut keys: Vec<PublicKey> = Vec::new();
    let mut is_whole = !config.trusted.is_empty();
    for path in &config.trusted {
        tell_of_mode(at, "trusted", Some(path));
        match at.noted("trusted", public_keys(path)) {
            Some(more) => more.into_iter().for_each(|key| {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }),
            None => is_whole = false,
        }
    }
    if !is_whole {
        return None;
    }
    let trusted = Trusted::of(&keys);
    if trusted.is_none() {
        let (count, most) = (keys.len(), bounds::TRUSTED_KEYS_MAX);
        at.problem(
            "trusted",
            format_args!("names {count} keys; at most {most} are trusted: remove those of former writers"),
        );
    }
    trusted
}

/// Every public key of a PEM file; never empty.
fn public_keys(path: &Path) -> Result<Vec<PublicKey>, FileError> {
    let fail = |problem: String| FileError::new(path, problem);
    let content = read_bounded(path, bounds::PUBLIC_KEYS_FILE_OCTETS_MAX)?;
    if pem::seems_private(&content) {
        let file = path.display();
        return Err(fail(format!(
            "holds a private key, which stays with its writer; name a file with its public key: openssl pkey -in {file} -pubout -out {file}.pub"
        )));
    }
    let sections = pem::sections(&content).map_err(|damage| fail(damage.to_string()))?;
    let mut keys = Vec::new();
    for section in sections.iter().filter(|section| section.label == "PUBLIC KEY") {
        let der = section.content().map_err(|damage| fail(damage.to_string()))?;
        let key = PublicKey::from_spki(der);
        keys.push(key.ok_or_else(|| {
            fail("holds a public key that is not Ed25519, which writers sign with; `ostia-precompute keys feed` makes a pair".into())
        })?);
    }
    if keys.is_empty() {
        let told = pem::told(&content, &sections);
        return Err(fail(format!("holds no public key: expected PEM (`-----BEGIN PUBLIC KEY-----`); {told}")));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
