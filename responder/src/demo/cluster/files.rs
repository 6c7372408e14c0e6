//! The files of a demo's cluster: keys of writers, the token of the API, and a configuration for each part.
//!
//! Invariant: keys and the token are made once; configurations are written anew, since they follow from the ports. It does
//! not know processes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use precompute::pki::hex;

use super::{
    super::{
        DemoError,
        ca::{Openssl, url},
        error::refused,
    },
    REPLICAS, WRITERS, at,
};

/// A writer or a replica.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) config: PathBuf,
    pub(super) admin: SocketAddr,
    pub(super) snapshots: SocketAddr,
    /// Of a replica.
    pub(super) http: Option<SocketAddr>,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The demo's directory.
    pub(super) dir: PathBuf,
    /// The cluster's, in it.
    pub(super) root: PathBuf,
    pub(super) redis: SocketAddr,
    pub(super) writers: Vec<Part>,
    pub(super) replicas: Vec<Part>,
}

impl Layout {
    /// Ports follow `http` for replicas, and `admin` for everything else. An error if there are not so many, or where a
    /// configuration with a token would be refused.
    pub(super) fn new(dir: &Path, http: SocketAddr, admin: SocketAddr) -> Result<Self, DemoError> {
        if !admin.ip().to_canonical().is_loopback() {
            return Err(DemoError::NotLoopback { address: admin });
        }
        let root = dir.join("cluster");
        let behind = |address: SocketAddr, offset: usize| {
            let port = u16::try_from(offset).ok().and_then(|offset| address.port().checked_add(offset));
            let no_port = || DemoError::NoPort { address };
            Ok(SocketAddr::new(address.ip(), port.ok_or_else(no_port)?))
        };
        let part = |name: String, number: usize, http: Option<SocketAddr>| {
            let config = root.join(&name).join("ostia.toml");
            Ok(Part {
                name,
                config,
                admin: behind(admin, 1 + 2 * number)?,
                snapshots: behind(admin, 2 + 2 * number)?,
                http,
            })
        };
        let writers = (0..WRITERS).map(|number| part(format!("writer-{}", number + 1), number, None));
        let replicas = (0..REPLICAS).map(|number| {
            let http = behind(http, number)?;
            part(format!("replica-{}", number + 1), WRITERS + number, Some(http))
        });
        Ok(Self {
            dir: dir.to_owned(),
            redis: behind(admin, 1 + 2 * (WRITERS + REPLICAS))?,
            writers: writers.collect::<Result<_, DemoError>>()?,
            replicas: replicas.collect::<Result<_, DemoError>>()?,
            root,
        })
    }

    /// All writers and replicas.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.writers.iter().chain(&self.replicas)
    }

    /// Whether everything can listen where it is to. A part that cannot would only be gone, and its log say why.
    pub(super) fn try_addresses(&self) -> Result<(), DemoError> {
        let of_parts = self.parts().flat_map(|part| [part.http, Some(part.admin), Some(part.snapshots)]).flatten();
        of_parts.chain([self.redis]).try_for_each(|address| match TcpListener::bind(address) {
            Ok(_) => Ok(()),
            Err(error) => Err(DemoError::Address { address, error }),
        })
    }
}

/// Makes the cluster's directory, which is this process's while the lock is held: another one would write other
/// configurations under its parts.
pub(super) fn lock(layout: &Layout) -> Result<File, DemoError> {
    fs::create_dir_all(&layout.root).map_err(at(&layout.root, "making"))?;
    let dir = File::open(&layout.root).map_err(at(&layout.root, "opening"))?;
    match dir.try_lock() {
        Ok(()) => Ok(dir),
        Err(TryLockError::WouldBlock) => Err(refused(&layout.dir, "its cluster is run by another process")),
        Err(TryLockError::Error(error)) => Err(at(&layout.root, "locking")(error)),
    }
}

/// Makes what is missing, and writes every configuration.
pub(super) fn write(layout: &Layout) -> Result<(), DemoError> {
    for part in layout.parts() {
        let dir = layout.root.join(&part.name);
        fs::create_dir_all(&dir).map_err(at(&dir, "making"))?;
    }
    for dir in ["logs", "redis"].map(|name| layout.root.join(name)) {
        fs::create_dir_all(&dir).map_err(at(&dir, "making"))?;
    }
    let openssl = Openssl { program: "openssl".as_ref(), dir: &layout.root };
    for writer in &layout.writers {
        let (key, public) = (format!("{}.key", writer.name), format!("{}.pub", writer.name));
        if !layout.root.join(&public).is_file() {
            openssl.run(&["genpkey", "-algorithm", "ed25519", "-out", &key])?;
            openssl.run(&["pkey", "-in", &key, "-pubout", "-out", &public])?;
        }
    }
    let token = layout.root.join("token");
    if !token.is_file() {
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| at(&token, "drawing a token for")(error.into()))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&token);
        file.and_then(|mut file| writeln!(file, "{}", hex::text(&random))).map_err(at(&token, "writing"))?;
    }
    for part in layout.parts() {
        fs::write(&part.config, configuration(layout, part)).map_err(at(&part.config, "writing"))?;
    }
    Ok(())
}

fn configuration(layout: &Layout, part: &Part) -> String {
    let Part { name, admin, snapshots, http, .. } = part;
    let trusted: Vec<_> = layout.writers.iter().map(|writer| format!("\"../{}.pub\"", writer.name)).collect();
    let others: Vec<_> = layout
        .parts()
        .filter(|other| other.name != *name)
        .map(|other| format!("\"http://{}\"", other.snapshots))
        .collect();
    let listen = http.map_or(String::new(), |http| format!("[http]\nlisten = [\"{http}\"]\n\n"));
    let (key, index, signing_key) = match http {
        None => (
            format!(
                "key = \"../{name}.key\" # a writer has one, a replica has none\napi_url = \"{}\"\ntakeover_after = \"2s\"\n",
                url(*admin).trim_end_matches('/')
            ),
            "index = \"../../index.txt\"\n",
            "key = \"../../ocsp.key\"\n",
        ),
        Some(_) => (String::new(), "", ""),
    };
    format!(
        r#"version = 1
state_dir = "state"

{listen}[admin]
listen = "{admin}"
token_file = "../token"

[feed]
cluster = "demo"
redis = "{redis}"
trusted = [{trusted}]
{key}snapshot_listen = "{snapshots}"
snapshot_from = [{others}]

[[tenant]]
name = "demo"

[[tenant.issuer]]
name = "demo-ca"
certificate = "../../ca.pem"
{index}
[tenant.issuer.signer]
certificate = "../../ocsp.pem"
{signing_key}"#,
        redis = layout.redis,
        trusted = trusted.join(", "),
        others = others.join(", "),
    )
}
