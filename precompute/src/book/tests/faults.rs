//! Disks that fail at each step of a commit, and books that are older than they were.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
};

use redb::{StorageBackend, backends::FileBackend};

use super::*;

/// A file that takes a number of writes and flushes, and is a full disk from then on.
#[derive(Debug)]
struct Filling {
    file: FileBackend,
    left: Arc<AtomicI64>,
    /// The step that fails is done nevertheless.
    but_done: bool,
}

impl Filling {
    fn step(&self, step: impl FnOnce(&FileBackend) -> io::Result<()>) -> io::Result<()> {
        let left = self.left.fetch_sub(1, SeqCst);
        if left > 0 || left == 0 && self.but_done {
            step(&self.file)?;
        }
        if left > 0 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

impl StorageBackend for Filling {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.step(|file| file.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(FileBackend::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(|file| file.write(offset, data))
    }
}

/// A book with record 1, on a disk that takes `left` more steps.
fn on_filling(state_dir: &Path, but_done: bool) -> (Book, Arc<AtomicI64>) {
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let mut book = Book::open(state_dir).unwrap();
    book.put(&id("a"), &[change(1, Some(GOOD))], None, None);
    book.close();
    let file = OpenOptions::new().read(true).write(true).open(state_dir.join(BOOK)).unwrap();
    let backend = |file| {
        database().create_with_backend(Filling { file: FileBackend::new(file)?, left: Arc::clone(&left), but_done })
    };
    book.take_up(file, backend).unwrap();
    (book, left)
}

#[test]
fn a_commit_that_failed_at_any_step_is_not_there_and_a_later_one_is() {
    for but_done in [false, true] {
        let (mut absent, mut there) = (0, 0);
        for step in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (mut book, left) = on_filling(dir.path(), but_done);
            let (a, first) = (id("a"), book.identity().unwrap());
            left.store(step, SeqCst);
            let answer = Answered { key: [1; 32], request: [2; 32], outcome: 0, at: UnixTime(7) };
            let changes = [change(1, Some(REVOKED)), change(2, Some(REVOKED))];
            let batch = Batch { changes: &changes, owed: true, answered: &[answer], ..Batch::new(&a, first) };
            let Err(error) = book.commit(&batch) else {
                assert!(absent > 2, "only {absent} steps failed");
                break;
            };
            let error = error.to_string();
            assert!(error.contains(BOOK) && error.contains("make room"), "step {step}: {error}");
            // The disk has room again. What redb had in memory counts no more.
            let found = book.all(&a).unwrap().1;
            let outbox = book.outbox(&a, 9).unwrap().len();
            let is_answered = book.answered(&a, &answer.key).unwrap().is_some();
            if found == [(serial(1), GOOD)] {
                absent += 1;
                assert_eq!((outbox, is_answered, book.identity().unwrap()), (0, false, first), "step {step}");
            } else {
                // The last flush failed, and everything is in the file: whoever writes compares it as a whole.
                there += 1;
                assert_eq!(found, [(serial(1), REVOKED), (serial(2), REVOKED)], "step {step}");
                assert_eq!((outbox, is_answered), (2, true), "step {step}");
                assert_ne!(book.identity().unwrap(), first, "step {step}");
            }
            book.put(&a, &[change(3, Some(REVOKED))], None, None);
            drop(book);
            let mut book = Book::open(dir.path()).unwrap();
            let wanted: Vec<_> = found.into_iter().chain([(serial(3), REVOKED)]).collect();
            assert_eq!(book.all(&a).unwrap().1, wanted, "step {step}");
        }
        assert!((1..=2).contains(&there), "the last flush, and what it flushes: {there}");
    }
}

/// One bit of the header let redb fall back to the commit before, and the book passed as whole.
#[test]
fn no_bit_of_the_header_sets_a_book_back_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let (path, a) = (dir.path().join(BOOK), id("a"));
    let mut book = Book::open(dir.path()).unwrap();
    book.put(&a, &[change(1, Some(GOOD))], None, None);
    book.put(&a, &[change(1, Some(REVOKED))], None, None);
    let identity = book.identity().unwrap();
    let witness = dir.path().join("book.redb.version");
    // As a killed process leaves it.
    let (bytes, said) = (fs::read(&path).unwrap(), fs::read(&witness).unwrap());
    drop(book);
    let (mut set_back, mut as_it_was, mut damaged) = (0, 0, 0);
    // The head, and a bit of every byte of both commits in it.
    for bit in (0..16 * 8).chain((16..320).map(|byte| byte * 8 + byte % 8)) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        fs::write(&witness, &said).unwrap();
        match Book::open(dir.path()).and_then(|mut book| book.all(&a)) {
            Ok((held, found)) if held.book == identity => {
                assert_eq!(found, [(serial(1), REVOKED)], "bit {bit}");
                as_it_was += 1;
            }
            Ok(_) => set_back += 1,
            Err(error) => {
                assert!(error.to_string().contains(BOOK), "bit {bit}: {error}");
                damaged += 1;
            }
        }
    }
    assert!(set_back > 0 && as_it_was > 0 && damaged > 0, "{set_back} set back, {as_it_was} as it was, {damaged} told");
}

#[test]
fn an_older_copy_in_the_place_of_a_stopped_book_is_another_book() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy, a) = (dir.path().join(BOOK), dir.path().join("copy"), id("a"));
    let mut book = Book::open(dir.path()).unwrap();
    book.put(&a, &[change(1, Some(GOOD))], None, None);
    drop(book);
    fs::copy(&path, &copy).unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    book.put(&a, &[change(1, Some(REVOKED))], None, None);
    let first = book.identity().unwrap();
    drop(book);
    fs::copy(&copy, &path).unwrap();
    let second = Book::open(dir.path()).unwrap().identity().unwrap();
    assert_ne!(first, second);
    assert_eq!(Book::open(dir.path()).unwrap().identity().unwrap(), second, "it is told once");
}

/// It is never flushed, and so may say anything after a power failure.
#[test]
fn a_witness_that_is_older_torn_of_another_book_or_missing_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (a, witness) = (id("a"), dir.path().join("book.redb.version"));
    let mut book = Book::open(dir.path()).unwrap();
    let at_first = fs::read(&witness).unwrap();
    book.put(&a, &[change(1, Some(GOOD))], None, None);
    let identity = book.identity().unwrap();
    drop(book);
    let last = fs::read(&witness).unwrap();
    assert_ne!(at_first, last);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = Book::open(elsewhere.path()).unwrap();
    (0..9).for_each(|_| _ = other.put(&a, &[change(1, Some(GOOD))], None, None));
    let of_other = fs::read(elsewhere.path().join("book.redb.version")).unwrap();
    let mut torn = last.clone();
    torn[23] += 1;
    let mut table = vec![("older", at_first), ("of another book", of_other), ("torn", torn), ("empty", Vec::new())];
    table.extend((1..last.len()).map(|length| ("cut", last[..length].to_vec())));
    for (name, said) in table {
        fs::write(&witness, said).unwrap();
        assert_eq!(Book::open(dir.path()).unwrap().identity().unwrap(), identity, "{name}");
        assert_eq!(fs::read(&witness).unwrap(), last, "{name}: it is mended");
    }
    fs::remove_file(&witness).unwrap();
    fs::create_dir(&witness).unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    book.put(&a, &[change(2, Some(GOOD))], None, None);
    assert_eq!(book.identity().unwrap(), identity, "it cannot be written");
}
