//! `ostia-precompute snapshot`: a backup of the book in one file.
//!
//! Purpose: fetches it from the service that runs, or reads the book where none does. Invariants: a file under the name that
//! was given is whole, was flushed, and has been read from the disk again; nobody else may read it. Whatever was there
//! before stays until then. It does not know what is in a backup.

use std::{
    error::Error,
    fmt,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, BufReader, ErrorKind, Read, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use rustix::fs::OFlags;

use super::{
    client::{Client, ClientError, Reach},
    config_file::ConfigOption,
    progress::Bar,
    read, status,
};
use crate::{
    backup::{Contents, NotTaken, Refusal, take},
    book::Book,
    config::Config,
    issuer_id::IssuerId,
    limits,
    output::say,
    state_dir::{self, behind},
};

/// Where it goes.
#[derive(Args, Debug)]
pub(super) struct Snapshot {
    /// Of the service: while it runs, its [admin] section says where it is asked, and with which token.
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    reach: Reach,
    /// The file to write. One that is there is replaced when the new one is whole.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Snapshot {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let path = self.config.path();
        let config = read(&path)?.finish()?;
        let begun = Instant::now();
        let mut draft = Draft::begin(&self.to)?;
        let contents = self.fill(&path, &config, &mut draft).inspect_err(|_| draft.discard())?;
        let octets = draft.finish()?;
        contents.issuers.iter().try_for_each(|of| {
            let (tenant, id) = (of.id.tenant(), &of.id);
            say(format_args!("{tenant}, issuer {id}: {}", of.counts))
        })?;
        let (to, seconds) = (self.to.display(), begun.elapsed().as_secs_f32());
        Ok(say(format_args!("{to}: {contents}; {octets} bytes, verified, in {seconds:.1} s"))?)
    }

    /// From the service where one has the directory, else from the book; one may start meanwhile, or stop.
    fn fill(&self, path: &Path, config: &Config, draft: &mut Draft) -> Result<Contents, Box<dyn Error>> {
        let mut tries = 0..limits::BOOK_LOOKS_MAX;
        loop {
            tries.next();
            draft.empty()?;
            let filled = if self.reach.is_elsewhere() || state_dir::is_in_use(&config.state_dir) {
                fetch(&Client::of(&self.reach, path)?, draft)
            } else {
                look(config, draft)
            };
            let error = match filled {
                Ok(()) => return draft.verify(),
                Err(error) => error,
            };
            let may_pass = error.downcast_ref::<NotTaken>().is_some_and(|error| matches!(error, NotTaken::Book(_)))
                || error.downcast_ref::<ClientError>().is_some_and(|error| matches!(error, ClientError::Silent(_)));
            if !may_pass || tries.is_empty() {
                return Err(error);
            }
            std::thread::sleep(limits::BOOK_LOOK_PAUSE);
        }
    }
}

/// Asks the service.
fn fetch(client: &Client, draft: &mut Draft) -> Result<(), Box<dyn Error>> {
    let backup = client.download("/v1/snapshot")?;
    let mut written = Ok(());
    let tee = Tee { input: backup, draft, written: &mut written };
    let mut bar = Bar::new("fetched");
    let fetched = Contents::read(BufReader::with_capacity(limits::BACKUP_FRAME_OCTETS_MAX, tee), &mut |records| {
        bar.show(records, None);
    });
    written?;
    match fetched {
        Ok(_) => Ok(()),
        Err(Refusal::Failed(why)) => Err(format!("the service cannot read its book: {why}").into()),
        Err(refusal) => Err(format!(
            "what the service sent {refusal}; it may have been stopped meanwhile, and its log says more; try again"
        )
        .into()),
    }
}

/// Reads the book, which no process has.
fn look(config: &Config, draft: &mut Draft) -> Result<(), Box<dyn Error>> {
    let Some(mut book) = Book::look(&config.state_dir).map_err(NotTaken::Book)? else {
        let none = "holds no book yet: nothing was read or pushed so far";
        return Err(format!("{}: {none}", config.state_dir.display()).into());
    };
    let issuers: Vec<IssuerId> = status::issuers(config)?.into_iter().map(|(id, _)| id).collect();
    let cluster = config.feed.as_ref().map(|feed| feed.cluster.to_string());
    let reader = book.reader().map_err(NotTaken::Book)?;
    match take(&reader, &issuers, cluster, &mut |piece| draft.write(piece)) {
        Ok(_) => Ok(()),
        Err(NotTaken::Out(error)) => Err(draft.fail("cannot be written", &error).into()),
        Err(error) => Err(error.into()),
    }
}

/// Reads, and writes what was read.
struct Tee<'a, R> {
    input: R,
    draft: &'a mut Draft,
    written: &'a mut Result<(), DraftError>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let came = self.input.read(bytes)?;
        self.draft.write(&bytes[..came]).map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            *self.written = Err(self.draft.fail("cannot be written", &error));
            told
        })?;
        Ok(came)
    }
}

/// A file that is not whole yet, beside the one that it becomes.
struct Draft {
    to: PathBuf,
    path: PathBuf,
    file: File,
}

/// Why there is no file.
#[derive(Debug)]
struct DraftError(String);

impl fmt::Display for DraftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for DraftError {}

impl Draft {
    fn begin(to: &Path) -> Result<Self, DraftError> {
        let path = behind(to, ".part");
        if to.is_dir() || to.file_name().is_none() {
            return Err(DraftError(format!("{}: is a directory; name a file in it", to.display())));
        }
        for _ in 0..limits::BOOK_LOOKS_MAX {
            let file = open(&path).map_err(|error| fail(&path, "cannot be made", &error))?;
            if let Some(draft) = Self::lock(file, &path, to)? {
                return Ok(draft);
            }
        }
        Err(taken(&path))
    }

    /// `None` if another process has finished the file since it was opened: it is that one's backup now, and has its name.
    fn lock(file: File, path: &Path, to: &Path) -> Result<Option<Self>, DraftError> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(path)),
            Err(TryLockError::Error(error)) => return Err(fail(path, "cannot be locked", &error)),
        }
        if !is_at(&file, path).map_err(|error| fail(path, "cannot be looked at", &error))? {
            return Ok(None);
        }
        // One that was left behind may be of anybody.
        let private = file.set_permissions(Permissions::from_mode(0o600));
        private.map_err(|error| fail(path, "cannot be made private", &error))?;
        Ok(Some(Self { to: to.to_owned(), path: path.to_owned(), file }))
    }

    fn fail(&self, what: &str, error: &io::Error) -> DraftError {
        fail(&self.path, what, error)
    }

    fn empty(&mut self) -> Result<(), DraftError> {
        let emptied = self.file.set_len(0).and_then(|()| io::Seek::rewind(&mut self.file));
        emptied.map_err(|error| self.fail("cannot be written", &error))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Flushes it, and reads it again as a restore would.
    fn verify(&self) -> Result<Contents, Box<dyn Error>> {
        self.file.sync_all().map_err(|error| self.fail("cannot be flushed", &error))?;
        let file = File::open(&self.path).map_err(|error| self.fail("cannot be read", &error))?;
        let mut bar = Bar::new("verified");
        let input = BufReader::with_capacity(limits::BACKUP_FRAME_OCTETS_MAX, file);
        let read = Contents::read(input, &mut |records| bar.show(records, None));
        read.map_err(|refusal| format!("{}: what was written {refusal}; check the disk", self.path.display()).into())
    }

    /// Gives it its name; returns how long it is.
    fn finish(self) -> Result<u64, DraftError> {
        let octets = self.file.metadata().map_or(0, |metadata| metadata.len());
        fs::rename(&self.path, &self.to).map_err(|error| fail(&self.to, "cannot be put into place", &error))?;
        let parent = self.to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flushed = File::open(parent).and_then(|directory| directory.sync_all());
        flushed.map_err(|error| fail(parent, "cannot be flushed", &error))?;
        Ok(octets)
    }

    fn discard(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn taken(path: &Path) -> DraftError {
    let told = "another process is writing this backup; wait for it, or name another file";
    DraftError(format!("{}: {told}", path.display()))
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path)
}

/// Whether the path leads to this file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn fail(path: &Path, what: &str, error: &io::Error) -> DraftError {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room, or name a file on another disk; a backup takes 40 bytes a certificate"
        }
        ErrorKind::NotFound => "make the directory first",
        ErrorKind::PermissionDenied => "name a file in a directory that you may write into",
        _ => "check the disk, or name a file on another one",
    };
    DraftError(format!("{}: {what}: {error}; {remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_is_finished_while_another_process_begins_one_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("backup");
        let mut first = Draft::begin(&to).unwrap();
        first.write(b"whole").unwrap();
        let (path, opened) = (first.path.clone(), open(&first.path).unwrap());
        first.finish().unwrap();
        assert!(Draft::lock(opened, &path, &to).unwrap().is_none());
        let mut second = Draft::begin(&to).unwrap();
        second.empty().unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"whole");
    }
}
