//! The directory with the last versions, and the mark of the one in use.
//!
//! Invariant: what is read is what was kept: the name of a file has the SHA-256 of its content. A file that was damaged is as none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use crate::{
    assemble::Published,
    feed::{configuration::Version, sha256},
    limits::configuration as limits,
    pki::{UnixTime, hex, read_bounded},
    state_dir::give,
};

/// The directory in the state directory,
const DIRECTORY: &str = "configuration";
/// the mark in it of the version in use,
const IN_USE: &str = "in_use";
/// and a file before it is whole.
const UNFINISHED: &str = "unfinished";

/// A version on disk.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number.
    pub number: u64,
    /// When it was published.
    pub made: UnixTime,
    /// SHA-256 of its content, in hexadecimal.
    pub digest: String,
    /// What it says.
    pub published: Arc<Published>,
}

impl Kept {
    /// What a version says, if it can be understood.
    pub(super) fn of(version: &Version) -> Result<Self, String> {
        let published = Arc::new(Published::read(&version.content)?);
        Ok(Self { number: version.number, made: version.made, digest: hex::text(&sha256(&version.content)), published })
    }

    /// To be signed again.
    pub(super) fn version(&self) -> Version {
        Version { number: self.number, made: self.made, content: self.published.written().into() }
    }
}

/// The directory. Copies are of the same.
#[derive(Clone, Debug)]
pub struct KeptVersions {
    state_dir: PathBuf,
    dir: PathBuf,
}

/// A file of it.
struct Entry {
    number: u64,
    made: UnixTime,
    digest: String,
    path: PathBuf,
}

impl KeptVersions {
    /// That of a state directory. Nothing is made yet.
    pub fn of(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), dir: state_dir.join(DIRECTORY) }
    }

    /// Where the files of a version are unpacked.
    pub(super) fn files_of(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number}.files"))
    }

    /// In order of their numbers.
    fn entries(&self) -> Vec<Entry> {
        let read = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let entry = |file: fs::DirEntry| {
            let name = file.file_name().into_string().ok()?;
            let mut parts = name.strip_suffix(".json")?.split('-');
            let (number, made, digest) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
            Some(Entry { number, made: UnixTime(made), digest: digest.to_owned(), path: file.path() })
        };
        let mut entries: Vec<Entry> = read.filter_map(entry).collect();
        entries.sort_by_key(|entry| entry.number);
        entries
    }

    /// The number, time and digest of each, the newest last.
    pub fn list(&self) -> Vec<(u64, UnixTime, String)> {
        self.entries().into_iter().map(|entry| (entry.number, entry.made, entry.digest)).collect()
    }

    /// The highest number; 0 if there is none.
    pub fn newest(&self) -> u64 {
        self.entries().last().map_or(0, |entry| entry.number)
    }

    /// The one with this number, if it is kept and in order.
    pub fn get(&self, number: u64) -> Option<Kept> {
        let entry = self.entries().into_iter().find(|entry| entry.number == number)?;
        let content = read_bounded(&entry.path, limits::VERSION_OCTETS_MAX as u64).ok()?;
        if hex::text(&sha256(&content)) != entry.digest {
            warn!(file = %entry.path.display(), "this version of the configuration was damaged on disk, and is as none");
            return None;
        }
        Kept::of(&Version { number, made: entry.made, content: content.into() }).ok()
    }

    /// Keeps one, and removes those that are too many. The error is for the user.
    pub(super) fn keep(&self, version: &Version) -> Result<(), String> {
        let digest = hex::text(&sha256(&version.content));
        let name = format!("{}-{}-{digest}.json", version.number, version.made.0);
        self.put(&name, &version.content)?;
        let in_use = self.in_use();
        let entries = self.entries();
        let spare = entries.len().saturating_sub(limits::KEPT_MAX);
        for entry in entries.iter().take(spare).filter(|entry| Some(entry.number) != in_use) {
            let _ = fs::remove_file(&entry.path);
            let _ = fs::remove_dir_all(self.files_of(entry.number));
        }
        Ok(())
    }

    fn put(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let put = || -> io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            let unfinished = self.dir.join(UNFINISHED);
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            give(&self.state_dir, &unfinished, &file);
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.dir.join(name))?;
            File::open(&self.dir)?.sync_all()
        };
        put().map_err(|error| format!("{}: cannot be written: {error}", self.dir.join(name).display()))
    }

    /// The number of the version in use, if one was taken.
    pub(super) fn in_use(&self) -> Option<u64> {
        fs::read_to_string(self.dir.join(IN_USE)).ok()?.trim().parse().ok()
    }

    /// This one is in use from now on.
    pub(super) fn mark(&self, number: u64) -> Result<(), String> {
        self.put(IN_USE, format!("{number}\n").as_bytes())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::service::configurations) fn version(number: u64) -> Version {
        let content = format!("{{\"tenants\":\"[[tenant]]\\nname = \\\"t{number}\\\"\\n\",\"files\":{{}}}}");
        Version { number, made: UnixTime(1_800_000_000 + number), content: content.into_bytes().into() }
    }

    #[test]
    fn the_last_versions_are_kept_with_the_one_in_use_and_a_damaged_one_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptVersions::of(dir.path());
        assert_eq!((kept.newest(), kept.in_use(), kept.list().len()), (0, None, 0));
        kept.keep(&version(1)).unwrap();
        kept.mark(1).unwrap();
        (2..=limits::KEPT_MAX as u64 + 5).for_each(|number| kept.keep(&version(number)).unwrap());
        let newest = limits::KEPT_MAX as u64 + 5;
        assert_eq!((kept.newest(), kept.in_use()), (newest, Some(1)));
        assert!(kept.get(1).is_some() && kept.get(2).is_none(), "the one in use stays");
        assert!(kept.get(newest).unwrap().published.text().contains(&format!("t{newest}")));
        let entry = kept.entries().pop().unwrap();
        fs::write(&entry.path, fs::read_to_string(&entry.path).unwrap().replace("name", "nome")).unwrap();
        assert!(kept.get(newest).is_none());
    }
}
