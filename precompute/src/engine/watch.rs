//! Finds changed files by looking at them at intervals.
//!
//! Purpose: a look is one `stat` for each file. It works on every file system, needs no queue that could overflow, and
//! sees a file that was replaced, rewritten in place, removed or restored. A store through mmap may change neither the
//! length nor the times; [`Rereads`] says when files that look unchanged are hashed to be sure, and [`Pace`] how long a
//! reader waits between its looks. Invariant: a change is never missed for good, but one read may find nothing new. It
//! does not know what is in the files.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use crate::{
    limits::{self, SETTLED_AFTER},
    source::{Digest, Listing},
    state_dir::stamp::FileStamp,
};

/// Files under watch.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<WatchedFile>,
}

#[derive(Debug)]
struct WatchedFile {
    path: PathBuf,
    /// What the last look saw.
    seen: Option<Stamp>,
    /// The last look found no file where one had been.
    missed: bool,
    /// When it last changed, as far as is known.
    still_since: Instant,
}

/// What a file looked like. If two stamps are equal and the first is settled, the content is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    file: FileStamp,
    /// When it was last renamed, linked or written, by the clock of its file system.
    changed: (i64, i64),
    /// Whether the last change is long enough ago that another one would show in the times.
    settled: bool,
}

impl Stamp {
    /// `None` if the file is not there or cannot be seen.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        Some(Self {
            file: FileStamp::from(&metadata),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            // A time in the future (a clock that was set back) must not make the file unsettled, or it would be read
            // forever.
            settled: age.is_none_or(|age| age > SETTLED_AFTER),
        })
    }

    /// How long ago the file changed, by its own times; zero for a time in the future.
    fn age(&self) -> Duration {
        let ((modified, _), (changed, _)) = (self.file.modified, self.changed);
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(modified.max(changed).max(0) as u64 + 1);
        SystemTime::now().duration_since(last).unwrap_or_default()
    }

    /// `None` for a file whose times are of no use.
    fn settles_in(&self, now: SystemTime) -> Option<Duration> {
        let (seconds, nanoseconds) = self.file.modified;
        let modified = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        let settled = SystemTime::UNIX_EPOCH.checked_add(modified + SETTLED_AFTER)?;
        // One more, because it has to be older than that.
        let rest = settled.duration_since(now).unwrap_or_default() + Duration::from_millis(1);
        Some(rest).filter(|rest| *rest <= 2 * SETTLED_AFTER)
    }

    fn same_file(&self, other: &Self) -> bool {
        Self { settled: other.settled, ..*self } == *other
    }
}

impl Watch {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        // An absent, unsettled file: the first look always finds a change.
        let never = Stamp { file: FileStamp::default(), changed: (0, 0), settled: false };
        let still_since = Instant::now();
        let watched = |path| WatchedFile { path, seen: Some(never), missed: false, still_since };
        Self { files: paths.into_iter().map(watched).collect() }
    }

    /// Whether any file differs from the last call, or may differ without showing it. The next call compares with what
    /// this one sees.
    pub(super) fn changed(&mut self) -> bool {
        let mut any = false;
        for file in &mut self.files {
            let now = Stamp::of(&file.path);
            // `openssl ca` renames its database away before it renames the new one into place. A file is only gone if
            // it is missing twice in a row.
            if now.is_none() && file.seen.is_some() && !std::mem::replace(&mut file.missed, true) {
                continue;
            }
            file.missed = now.is_none();
            if !matches!((&file.seen, &now), (Some(before), Some(now)) if before.same_file(now)) {
                let age = now.map_or(Duration::ZERO, |now| now.age());
                file.still_since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            }
            any |= match (&file.seen, &now) {
                (Some(before), Some(now)) => !before.settled || !before.same_file(now),
                (before, now) => before.is_some() != now.is_some(),
            };
            file.seen = now;
        }
        any
    }

    /// How long the file has not changed, as of the last call of [`Watch::changed`].
    pub(super) fn still_for(&self, path: &Path) -> Duration {
        let file = self.files.iter().find(|file| file.path == path);
        file.map_or(Duration::MAX, |file| file.still_since.elapsed())
    }

    /// When the youngest of the files that may still change without showing it will be settled, as of the last call of
    /// [`Watch::changed`]: time for another look.
    pub(super) fn settles_in(&self, now: SystemTime) -> Option<Duration> {
        let unsettled = self.files.iter().filter_map(|file| file.seen).filter(|seen| !seen.settled);
        unsettled.filter_map(|seen| seen.settles_in(now)).max()
    }

    /// Whether the last call of [`Watch::changed`] has missed a file that it takes for gone if the next one misses it, too.
    pub(super) fn misses_any(&self) -> bool {
        self.files.iter().any(|file| file.missed && file.seen.is_some())
    }

    /// Whether any file looks different from the last call of [`Watch::changed`].
    pub(super) fn changed_since(&self) -> bool {
        self.files.iter().any(|file| match (&file.seen, Stamp::of(&file.path)) {
            (Some(before), Some(now)) => !before.same_file(&now),
            (before, now) => before.is_some() != now.is_some(),
        })
    }
}

/// How long a reader waits between two passes. Pure.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Pace {
    /// Before that nothing is read again.
    not_before: Option<Instant>,
}

impl Pace {
    /// Notes a pass. A writer that never pauses must not have its reader read all the time: it rests as long as it has
    /// read, up to the interval at which it would look without events.
    pub(super) fn passed(&mut self, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        self.not_before = ended.checked_add(took.min(limits::SOURCE_POLL_INTERVAL));
    }

    /// How long to rest, whatever happens.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |not_before| not_before.saturating_duration_since(now))
    }

    /// How often each of so many readers looks at files whose changes need not be told: they share a bounded part of a core.
    pub(super) fn interval(readers: usize) -> Duration {
        let shared = limits::SOURCE_POLL_SHARE.saturating_mul(u32::try_from(readers).unwrap_or(u32::MAX));
        shared.clamp(limits::SOURCE_POLL_INTERVAL, limits::TOLD_POLL_INTERVAL)
    }

    /// How long to wait for an event after that. `settles_in`: of [`Watch::settles_in`]; `most`: between two looks.
    pub(super) fn wait(settles_in: Option<Duration>, most: Duration) -> Duration {
        settles_in.map_or(most, |settles_in| settles_in.min(most))
    }
}

/// When files that look unchanged are hashed, and what that gave.
#[derive(Debug)]
pub(super) struct Rereads {
    pub(super) due: Instant,
    /// In the order of the files; `None` before it is known.
    digests: Vec<(PathBuf, Option<Digest>)>,
}

impl Rereads {
    pub(super) fn new(paths: Vec<PathBuf>, now: Instant) -> Self {
        let digests = paths.into_iter().map(|path| (path, None)).collect();
        Self { due: now + limits::REREAD_INTERVAL, digests }
    }

    /// Whether it is time.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// Notes that the files were read or hashed, which took so long.
    pub(super) fn done(&mut self, now: Instant, took: Duration) {
        self.due = now + limits::REREAD_INTERVAL.max(took.saturating_mul(limits::REREAD_SHARE));
    }

    /// Notes what a pass has taken from a file; without it, the next hash of a changed file has one more pass made.
    pub(super) fn taken(&mut self, path: &Path, digest: Option<Digest>) {
        if let Some((_, known)) = self.digests.iter_mut().find(|(other, _)| other == path) {
            *known = digest;
        }
    }

    /// Hashes the files. Whether any has another content than the last time, or may have: the sources are then to be
    /// read. A file that cannot be read is not judged here.
    pub(super) fn differ(&mut self) -> bool {
        let mut any = false;
        for (path, known) in &mut self.digests {
            if let Ok(digest) = Listing::hash_of(path) {
                any |= known.replace(digest) != Some(digest);
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle() {
        std::thread::sleep(SETTLED_AFTER + Duration::from_millis(20));
    }

    #[test]
    fn a_reader_rests_as_long_as_it_has_read() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        for (took, rest) in [(0, 0), (3, 3), (150, 150), (3000, 200)] {
            let mut pace = Pace::default();
            assert_eq!(pace.rest(start), ms(0), "nothing was read yet");
            let ended = start + ms(took);
            pace.passed(start, ended);
            assert_eq!((pace.rest(ended), pace.rest(ended + ms(rest))), (ms(rest), ms(0)), "{took}");
        }
        for (settles_in, most, wait) in [
            (None, 200, 200),
            (Some(50), 200, 50),
            (Some(0), 200, 0),
            (Some(900), 200, 200),
            (None, 2000, 2000),
            (Some(50), 2000, 50),
        ] {
            assert_eq!(Pace::wait(settles_in.map(ms), ms(most)), ms(wait));
        }
    }

    #[test]
    fn many_readers_share_what_their_looks_may_cost_and_look_every_two_seconds_at_least() {
        for (readers, interval) in [(1, 200), (250, 200), (500, 400), (1000, 800), (100_000, 2000), (usize::MAX, 2000)]
        {
            assert_eq!(Pace::interval(readers), Duration::from_millis(interval), "{readers}");
        }
    }

    #[test]
    fn a_fresh_file_is_looked_at_again_once_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.txt");
        let mut watch = Watch::new(vec![path.clone(), dir.path().join("missing")]);
        std::fs::write(&path, "a").unwrap();
        watch.changed();
        let wait = watch.settles_in(SystemTime::now()).expect("it was just written");
        assert!(wait <= SETTLED_AFTER + Duration::from_millis(1), "{wait:?}");
        std::thread::sleep(wait);
        assert!(watch.changed(), "one last look");
        assert_eq!((watch.settles_in(SystemTime::now()), watch.changed()), (None, false));
        // A clock that was set back must not have it looked at all the time, or never.
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
        watch.changed();
        assert_eq!(watch.settles_in(SystemTime::now()), None);
    }

    #[test]
    fn files_are_hashed_again_for_one_percent_of_a_core() {
        let start = Instant::now();
        let mut rereads = Rereads::new(Vec::new(), start);
        for (took_ms, pause_secs) in [(0, 60), (600, 60), (2000, 200), (60_000, 6000)] {
            rereads.done(start, Duration::from_millis(took_ms));
            let due = start + Duration::from_secs(pause_secs);
            assert!(!rereads.is_due(due - Duration::from_millis(1)) && rereads.is_due(due), "{took_ms}");
        }
    }

    /// The second store to a page that is dirty already changes neither the length nor the times of the file.
    #[test]
    fn what_a_writer_through_mmap_stores_is_found_by_its_hash() {
        use std::io::{BufRead as _, BufReader, Write as _};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.txt");
        std::fs::write(&path, "a".repeat(100)).unwrap();
        let script = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\n\
            for n,line in enumerate(sys.stdin):\n m[0]=66+n\n print('done',flush=True)";
        let mut writer = std::process::Command::new("python3")
            .args(["-c", script, path.to_str().unwrap()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let (mut ask, mut told) = (writer.stdin.take().unwrap(), BufReader::new(writer.stdout.take().unwrap()).lines());
        let mut store = || {
            ask.write_all(b"\n").unwrap();
            told.next().unwrap().unwrap();
        };
        store();
        settle();
        let mut watch = Watch::new(vec![path.clone()]);
        let mut rereads = Rereads::new(vec![path.clone()], Instant::now());
        watch.changed();
        assert!(rereads.differ(), "not known yet");
        assert!(!rereads.differ());
        store();
        // Where a store shows, so much the better.
        let _ = watch.changed();
        assert!(rereads.differ(), "another content");
        assert!(!rereads.differ());
        let mark = Listing::hash_of(&path).unwrap();
        store();
        rereads.taken(&path, Some(mark));
        assert!(rereads.differ(), "since it was taken");
        std::fs::remove_file(&path).unwrap();
        assert!(!rereads.differ(), "missing files are found by a look");
        drop(ask);
        writer.wait().unwrap();
    }

    #[test]
    fn a_file_is_still_since_it_was_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.txt");
        std::fs::write(&path, "a").unwrap();
        let mut watch = Watch::new(vec![path.clone()]);
        watch.changed();
        settle();
        watch.changed();
        let still = watch.still_for(&path);
        assert!(still >= SETTLED_AFTER && still < Duration::from_secs(5), "{still:?}");
        std::fs::write(&path, "b").unwrap();
        watch.changed();
        assert!(watch.still_for(&path) < still, "written anew");
        // A program that starts only has the file's own times, in whole seconds.
        std::thread::sleep(Duration::from_millis(2100));
        let mut watch = Watch::new(vec![path.clone()]);
        watch.changed();
        assert!(watch.still_for(&path) >= Duration::from_secs(1));
    }

    #[test]
    fn sees_every_way_in_which_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.txt");
        std::fs::write(&path, "a").unwrap();
        settle();
        let mut watch = Watch::new(vec![path.clone()]);
        assert!(watch.changed(), "the first look");
        assert!(!watch.changed(), "nothing happened");

        let same_length = |text: &str| std::fs::write(&path, text).unwrap();
        same_length("b");
        assert!(watch.changed_since());
        assert!(watch.changed(), "rewritten in place with the same length");
        assert!(watch.changed(), "still too fresh to be sure");
        settle();
        assert!(watch.changed(), "one last look after it has settled");
        assert!(!watch.changed());

        std::fs::write(dir.path().join("new"), "b").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(watch.changed(), "replaced");
        settle();
        watch.changed();
        std::fs::remove_file(&path).unwrap();
        assert!(!watch.changed(), "away, perhaps only while it is replaced");
        assert!(watch.changed(), "removed");
        assert!(!watch.changed(), "still away");
        std::fs::write(&path, "b").unwrap();
        assert!(watch.changed(), "back");
        settle();
        watch.changed();
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        assert!(!watch.changed());
        std::fs::write(&path, "c").unwrap();
        assert!(watch.changed(), "replaced in two steps with a look between them");
    }
}
