//! The file with the servers that were decommissioned, on the disk of a writer: Redis may lose them.
//!
//! Invariant: what is read was signed by a trusted key for this cluster; what was not is as nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    feed::{Cluster, Trusted, servers::Gone},
    limits::servers as limits,
    pki::read_bounded,
    state_dir::give,
};

/// The file in the state directory,
const FILE: &str = "servers.gone";
/// and before it is whole.
const UNFINISHED: &str = "servers.gone.new";

pub(super) struct List {
    dir: PathBuf,
    cluster: Cluster,
}

impl List {
    pub(super) fn of(state_dir: &Path, cluster: Cluster) -> Self {
        Self { dir: state_dir.to_owned(), cluster }
    }

    /// What it has; nothing if there is none, or it cannot be read.
    pub(super) fn read(&self, trusted: &Trusted) -> Gone {
        let bytes = read_bounded(&self.dir.join(FILE), limits::GONE_OCTETS_MAX as u64).ok();
        bytes.and_then(|bytes| Gone::open(&bytes, &self.cluster, trusted).ok()).unwrap_or_default()
    }

    /// Replaces it. The error is for the user.
    pub(super) fn write(&self, sealed: &[u8]) -> Result<(), String> {
        let path = self.dir.join(FILE);
        self.replace(sealed).map_err(|error| format!("{}: cannot be written: {error}", path.display()))
    }

    fn replace(&self, sealed: &[u8]) -> io::Result<()> {
        let unfinished = self.dir.join(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&unfinished)?;
        give(&self.dir, &unfinished, &file);
        file.write_all(sealed)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()
    }
}
