//! Takes a file back into a state directory that belongs to this process.
//!
//! Invariant: the file was read to its end before anything was written, and is read again while it is merged; what does
//! not come to its end leaves the book as it was. The merge is made in `restoring`, in a copy of the book, and is put into
//! the book's place by a rename when all of it is on disk. The former book is kept beside it. It does not know which
//! process may do this.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{
    contents::Contents,
    merging::{Changes, Rows, merge},
    reading::{Part, Reader, Refusal, unreadable},
};
use crate::{
    book::{Batch, Book, BookReader, Held},
    issuer_id::IssuerId,
    limits,
    pki::Serial,
    records::{CertificateHash, Change},
    state_dir::{BOOK, OF_DIRECTORY, StateError, behind, give, remedy_of_write, unused},
};

/// The directory of the merge, in that of the book.
const BESIDE: &str = "restoring";
/// Of a damaged book, which nothing can be merged into.
const OF_DAMAGED: &str = "run `ostia-precompute sync --accept-damaged --config FILE`, which keeps what can be read of it, and then this again; or move the file away, and the backup alone becomes the book";

/// A backup that is to be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'a> {
    /// Where the book belongs.
    pub state_dir: &'a Path,
    /// The backup.
    pub file: &'a Path,
    /// Whether to look only at what would change.
    pub is_dry: bool,
}

/// Why nothing was changed.
#[derive(Clone, Debug)]
pub enum RestoreError {
    /// The file cannot be taken.
    File(PathBuf, Refusal),
    /// The book cannot be read or written.
    Book(StateError),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, refusal) => write!(f, "{}: {refusal}", path.display()),
            Self::Book(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<StateError> for RestoreError {
    fn from(error: StateError) -> Self {
        Self::Book(error)
    }
}

/// Within this module the file's name is not known everywhere.
impl From<Refusal> for RestoreError {
    fn from(refusal: Refusal) -> Self {
        Self::File(PathBuf::new(), refusal)
    }
}

/// What was done, or would be.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// What changes of each issuer in the file.
    pub issuers: Vec<(IssuerId, Changes)>,
    /// Whether there was a book before.
    pub had_book: bool,
    /// Where that is now, if anything has changed.
    pub aside: Option<PathBuf>,
    /// Lists of what pushes have on hold now, and the book had not, by issuer.
    pub lists: Vec<(IssuerId, PathBuf)>,
}

impl Restored {
    /// Whether nothing changes.
    pub fn is_unchanged(&self) -> bool {
        self.had_book && self.issuers.iter().all(|(_, changes)| changes.is_empty())
    }
}

impl Restore<'_> {
    /// Reads the file to its end; `progress` hears of the number of records.
    pub fn read(&self, progress: &mut dyn FnMut(u64)) -> Result<Contents, RestoreError> {
        Contents::read(self.open()?, progress).map_err(|refusal| self.of_file(refusal))
    }

    /// Takes it back; nobody else may have the directory meanwhile, unless this is only a look.
    pub fn run(&self, progress: &mut dyn FnMut(u64)) -> Result<Restored, RestoreError> {
        let present = Book::look(self.state_dir).map_err(of_damaged)?;
        let merged = if self.is_dry { self.merge(present, None, progress) } else { self.replace(present, progress) };
        merged.map_err(|error| match error {
            RestoreError::File(_, refusal) => self.of_file(refusal),
            RestoreError::Book(error) => of_damaged(error).into(),
        })
    }

    fn open(&self) -> Result<BufReader<File>, RestoreError> {
        let file = File::open(self.file).map_err(|error| self.of_file(unreadable(&error)))?;
        Ok(BufReader::with_capacity(limits::BACKUP_FRAME_OCTETS_MAX, file))
    }

    fn of_file(&self, refusal: Refusal) -> RestoreError {
        RestoreError::File(self.file.to_owned(), refusal)
    }

    fn replace(&self, present: Option<Book>, progress: &mut dyn FnMut(u64)) -> Result<Restored, RestoreError> {
        let place = Place::of(self.state_dir)?;
        // An earlier attempt may have been killed.
        place.clear();
        let merged = place.copy(present.is_some()).and_then(|()| {
            let mut book = Book::open(&place.beside)?;
            let merged = self.merge(present, Some(&mut book), progress)?;
            drop(book);
            Ok(merged)
        });
        let mut merged = merged.inspect_err(|_| place.clear())?;
        if !merged.is_unchanged() {
            merged.lists = place.list(&merged.issuers).inspect_err(|_| place.clear())?;
            merged.aside = place.take(merged.had_book).inspect_err(|_| place.clear())?;
        }
        place.clear();
        Ok(merged)
    }

    /// Merges into `book`; without one it only looks. `present`: the book in place, which `book` is a copy of.
    fn merge(
        &self,
        mut present: Option<Book>,
        mut book: Option<&mut Book>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Restored, RestoreError> {
        let present = present.as_mut().map(Book::reader).transpose()?;
        let mut restored = Restored { had_book: present.is_some(), ..Restored::default() };
        let mut reader = Reader::open(self.open()?)?;
        loop {
            progress(reader.records());
            match reader.next()? {
                Part::Issuer(id) => {
                    let changes = issuer(&mut reader, &id, present.as_ref(), book.as_deref_mut())?;
                    restored.issuers.push((id, changes));
                }
                Part::Hashes(hashes) => {
                    if let Some((id, changes)) = restored.issuers.last_mut() {
                        changes.hashes += add_hashes(hashes, id, present.as_ref(), book.as_deref_mut())?;
                    }
                }
                Part::Succession(former, successor) => {
                    let knows = present.as_ref().map_or(Ok(false), |book| knows(book, &former, &successor))?;
                    if let Some(book) = book.as_deref_mut().filter(|_| !knows) {
                        let identity = book.identity()?;
                        let succeeds = std::slice::from_ref(&former);
                        book.commit(&Batch { succeeds, ..Batch::new(&successor, identity) })?;
                    }
                }
                Part::End => return Ok(restored),
                // Within an issuer alone.
                Part::Records(_) | Part::EndOfIssuer { .. } => {}
            }
        }
    }
}

/// Whether a book has both issuers: then it knows itself which of them is the present one.
fn knows(book: &BookReader, former: &IssuerId, successor: &IssuerId) -> Result<bool, StateError> {
    let both = [former.clone(), successor.clone()];
    let issuers = book.issuers(&both)?;
    Ok(both.iter().all(|id| issuers.contains(id)))
}

/// Merges one issuer.
fn issuer<R: io::Read>(
    reader: &mut Reader<R>,
    id: &IssuerId,
    present: Option<&BookReader>,
    mut book: Option<&mut Book>,
) -> Result<Changes, RestoreError> {
    let mut rows = Rows::new(reader);
    let mut waiting: Vec<Change> = Vec::new();
    let (changes, held) = merge(&mut rows, present, id, &mut |change| {
        if let Some(book) = book.as_deref_mut() {
            waiting.push(change);
            if waiting.len() >= limits::BACKUP_RESTORED_AT_ONCE {
                let identity = book.identity()?;
                book.commit(&Batch { changes: &waiting, ..Batch::new(id, identity) })?;
                waiting.clear();
            }
        }
        Ok::<(), RestoreError>(())
    })?;
    let here = held.filter(|held| held.known);
    if let Some(book) = book.filter(|_| here.is_none() || !changes.is_empty()) {
        let ((there, of_file), identity) = (rows.end(), book.identity()?);
        let crl_marks = here.as_ref().map_or_else(|| there.clone(), |here: &Held| there.merged(&here.crl_marks));
        let verified = here.map_or(of_file, |here| here.verified.or(of_file));
        book.commit(&Batch {
            changes: &waiting,
            crl_marks: Some(&crl_marks),
            verified,
            // The changes that they tell of may be lost with the book that the backup was made of.
            forgets_answers: true,
            forgets_stamps: true,
            ..Batch::new(id, identity)
        })?;
    }
    Ok(changes)
}

/// Adds those that the book in place does not have: it may have a newer one. Returns how many.
fn add_hashes(
    mut hashes: Vec<(Serial, CertificateHash)>,
    id: &IssuerId,
    present: Option<&BookReader>,
    book: Option<&mut Book>,
) -> Result<u64, StateError> {
    if let Some(present) = present {
        let known = present.hashes_of(id, hashes.iter().map(|(serial, _)| serial))?;
        hashes = hashes.into_iter().zip(known).filter(|(_, known)| known.is_none()).map(|(hash, _)| hash).collect();
    }
    if let Some(book) = book.filter(|_| !hashes.is_empty()) {
        let identity = book.identity()?;
        book.commit(&Batch { hashes: &hashes, ..Batch::new(id, identity) })?;
    }
    Ok(hashes.len() as u64)
}

fn of_damaged(error: StateError) -> StateError {
    if error.is_damage() { error.with_remedy(OF_DAMAGED) } else { error }
}

/// Makes a file that nobody else may read. What is there already, be it a link, is an error.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path)
}

/// Where the book is, and where the merged one is made.
struct Place<'a> {
    /// The file itself, not a link to it.
    book: PathBuf,
    beside: PathBuf,
    /// Whose owner gets the files.
    state_dir: &'a Path,
}

impl<'a> Place<'a> {
    fn of(state_dir: &'a Path) -> Result<Self, StateError> {
        let path = state_dir.join(BOOK);
        let book = match fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() => path,
            Err(error) => return Err(StateError::new(&path, format!("cannot be found: {error}"), OF_DIRECTORY)),
        };
        let beside = book.parent().unwrap_or(state_dir).join(BESIDE);
        Ok(Self { book, beside, state_dir })
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.beside);
    }

    fn fail(path: &Path, what: &str, error: &io::Error) -> StateError {
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                "make room for a second book beside the first; nothing was changed"
            }
            _ => remedy_of_write(error, OF_DIRECTORY),
        };
        StateError::new(path, format!("{what}: {error}"), remedy)
    }

    /// A copy of the book, if there is one. Whoever has the directory may have put something there first: it is not used.
    fn copy(&self, has_book: bool) -> Result<(), RestoreError> {
        let parent = self.beside.parent().map_or(Ok(()), fs::create_dir_all);
        let made = parent.and_then(|()| DirBuilder::new().mode(0o700).create(&self.beside));
        made.map_err(|error| Self::fail(&self.beside, "cannot be made", &error))?;
        let copy = self.beside.join(BOOK);
        if has_book {
            let copied = File::open(&self.book).and_then(|mut book| io::copy(&mut book, &mut create(&copy)?));
            copied.map_err(|error| Self::fail(&copy, "cannot be copied", &error))?;
        }
        Ok(())
    }

    /// Puts the merged book into place. There is a book at every instant, if there was one.
    fn take(&self, has_book: bool) -> Result<Option<PathBuf>, RestoreError> {
        let fail = |what, error| Self::fail(&self.book, what, &error);
        let merged = self.beside.join(BOOK);
        let file = OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(&merged);
        give(self.state_dir, &merged, &file.map_err(|error| fail("cannot be opened", error))?);
        let aside = has_book.then(|| unused(&behind(&self.book, ".before-restore")));
        if let Some(aside) = &aside {
            fs::hard_link(&self.book, aside).map_err(|error| fail("cannot be kept", error))?;
        }
        fs::rename(&merged, &self.book).map_err(|error| fail("cannot be replaced", error))?;
        let directory = self.book.parent().map(File::open);
        let synced = directory.map_or(Ok(()), |directory| directory?.sync_all());
        synced.map_err(|error| fail("its directory cannot be flushed", error))?;
        Ok(aside)
    }

    /// Lists what only a push releases.
    fn list(&self, issuers: &[(IssuerId, Changes)]) -> Result<Vec<(IssuerId, PathBuf)>, RestoreError> {
        let mut lists = Vec::new();
        for (id, changes) in issuers.iter().filter(|(_, changes)| !changes.held_by_pushes.is_empty()) {
            let path = unused(&behind(&self.book, &format!(".held.{id}.csv")));
            self.write_list(&path, &changes.held_by_pushes)
                .map_err(|error| Self::fail(&path, "cannot be written", &error))?;
            lists.push((id.clone(), path));
        }
        Ok(lists)
    }

    fn write_list(&self, path: &Path, serials: &[Serial]) -> io::Result<()> {
        let mut text = String::from("serial\n");
        serials.iter().for_each(|serial| text.push_str(&format!("{serial}\n")));
        let mut file = create(path)?;
        file.write_all(text.as_bytes())?;
        give(self.state_dir, path, &file);
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// The user of the service has the directory, and root restores.
    #[test]
    fn what_somebody_else_has_put_where_the_merge_is_made_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, state) = (dir.path().join("elsewhere"), dir.path().join("state"));
        [&elsewhere, &state].into_iter().for_each(|path| fs::create_dir(path).unwrap());
        fs::write(state.join(BOOK), "a book").unwrap();
        let place = Place::of(&state).unwrap();
        symlink(&elsewhere, &place.beside).unwrap();
        assert!(place.copy(true).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        // It is cleared away, and then it can be made.
        place.clear();
        place.copy(true).unwrap();
        let copy = place.beside.join(BOOK);
        assert_eq!(fs::read(&copy).unwrap(), b"a book");
        for (path, wanted) in [(&place.beside, 0o700), (&copy, 0o600)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, wanted, "{}", path.display());
        }
        let list = state.join("list");
        symlink(elsewhere.join("list"), &list).unwrap();
        assert!(create(&list).is_err() && !elsewhere.join("list").exists());
    }
}
