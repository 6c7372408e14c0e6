//! Finds changed files by looking at them at intervals.
//!
//! Purpose: a look is one `stat` for each file. It works on every file system, needs no queue that could overflow, and
//! sees a file that was replaced, rewritten in place, removed or restored. Invariant: a change is never missed, but one
//! read may find nothing new. It does not know what is in the files.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use crate::state_dir::stamp::FileStamp;

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

/// File systems record times in steps of up to a timer tick (10 ms): two steps and a margin.
const SETTLED_AFTER: Duration = Duration::from_millis(50);

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

    /// Whether any file looks different from the last call of [`Watch::changed`].
    pub(super) fn changed_since(&self) -> bool {
        self.files.iter().any(|file| match (&file.seen, Stamp::of(&file.path)) {
            (Some(before), Some(now)) => !before.same_file(&now),
            (before, now) => before.is_some() != now.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle() {
        std::thread::sleep(SETTLED_AFTER + Duration::from_millis(20));
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
