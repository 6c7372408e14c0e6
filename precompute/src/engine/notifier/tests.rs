use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use super::{
    super::stop::{Stop, Waited},
    *,
};

/// Long for a machine with other things to do; a test that passes does not wait for it.
const SOON: Duration = Duration::from_secs(30);

struct World {
    dir: tempfile::TempDir,
    notifier: Notifier,
}

struct Woken {
    wake: Arc<Stop>,
    watching: Watching,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), notifier: Notifier::start() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str) {
        fs::write(self.path(name), "a").unwrap();
    }

    fn watch(&self, name: &str) -> Woken {
        let wake = Arc::new(Stop::default());
        let watching = self.notifier.watch(vec![self.path(name)], {
            let wake = Arc::clone(&wake);
            move || wake.wake()
        });
        let mut woken = Woken { wake, watching };
        woken.watching.renew();
        woken
    }
}

impl Woken {
    /// Whether it is woken, as a reader's loop does it: each look may find other directories to watch.
    #[track_caller]
    fn is_woken(&mut self, what: &str) {
        let begun = Instant::now();
        assert_eq!(self.wake.wait(SOON), Waited::Woken, "{what}: nobody was woken");
        assert!(begun.elapsed() < SOON, "{what}");
        self.rest();
    }

    /// Until no event is left.
    fn rest(&mut self) {
        loop {
            self.watching.renew();
            if self.wake.wait(Duration::from_millis(30)) == Waited::Over {
                return;
            }
        }
    }
}

#[test]
fn every_change_of_a_file_wakes_who_reads_it() {
    let world = World::new();
    world.write("index.txt");
    let mut woken = world.watch("index.txt");
    let path = world.path("index.txt");
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: [Change<'_>; 8] = [
        ("written anew", &|| world.write("index.txt")),
        ("appended to", &|| OpenOptions::new().append(true).open(&path).unwrap().write_all(b"b").unwrap()),
        ("replaced as openssl does", &|| {
            world.write("index.txt.new");
            fs::rename(&path, world.path("index.txt.old")).unwrap();
            fs::rename(world.path("index.txt.new"), &path).unwrap();
        }),
        ("replaced by a link", &|| {
            symlink("index.txt.old", world.path("link")).unwrap();
            fs::rename(world.path("link"), &path).unwrap();
        }),
        ("the target of the link is written", &|| world.write("index.txt.old")),
        ("removed", &|| fs::remove_file(&path).unwrap()),
        ("made again", &|| world.write("index.txt")),
        ("its mode", &|| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap()),
    ];
    for (what, change) in changes {
        change();
        woken.is_woken(what);
    }
    // Another file in the same directory concerns nobody.
    world.write("other.txt");
    assert_eq!(woken.wake.wait(Duration::from_millis(50)), Waited::Over);
}

#[test]
fn a_directory_that_is_swapped_removed_or_made_again_is_followed() {
    let world = World::new();
    // As Kubernetes mounts a volume.
    for version in ["..1", "..2"] {
        fs::create_dir(world.path(version)).unwrap();
        world.write(&format!("{version}/index.txt"));
    }
    symlink("..1", world.path("..data")).unwrap();
    symlink("..data/index.txt", world.path("index.txt")).unwrap();
    let mut woken = world.watch("index.txt");
    symlink("..2", world.path("..data_tmp")).unwrap();
    fs::rename(world.path("..data_tmp"), world.path("..data")).unwrap();
    woken.is_woken("swapped");
    world.write("..2/index.txt");
    woken.is_woken("written where the link leads now");
    world.write("..1/index.txt");
    assert_eq!(woken.wake.wait(Duration::from_millis(50)), Waited::Over, "it leads there no more");

    let mut woken = world.watch("a/b/index.txt");
    for what in ["made", "made again"] {
        fs::create_dir(world.path("a")).unwrap();
        woken.is_woken(what);
        fs::create_dir(world.path("a/b")).unwrap();
        woken.is_woken(what);
        world.write("a/b/index.txt");
        woken.is_woken(what);
        fs::remove_dir_all(world.path("a")).unwrap();
        woken.is_woken("removed");
    }
    fs::create_dir_all(world.path("a/b")).unwrap();
    woken.is_woken("made");
    world.write("a/b/index.txt");
    woken.is_woken("written");
    fs::create_dir_all(world.path("new/b")).unwrap();
    world.write("new/b/index.txt");
    fs::rename(world.path("a/b"), world.path("a/old")).unwrap();
    woken.is_woken("moved away");
    fs::rename(world.path("new/b"), world.path("a/b")).unwrap();
    woken.is_woken("another one in its place");
    // One further up is not watched; a look of the reader, which polls, finds the other directory.
    fs::rename(world.path("a"), world.path("a.old")).unwrap();
    fs::rename(world.path("new"), world.path("a")).unwrap();
    fs::create_dir(world.path("a/b")).unwrap();
    woken.rest();
    world.write("a/b/index.txt");
    woken.is_woken("written in a directory under another one");
}

#[test]
fn links_that_lead_in_a_circle_end_somewhere() {
    let world = World::new();
    symlink("two", world.path("one")).unwrap();
    symlink("one", world.path("two")).unwrap();
    let found = places(&world.path("one"));
    assert!(found.len() > 1 && found.len() <= limits::SYMLINKS_MAX + 1, "{}", found.len());
    let mut woken = world.watch("one");
    fs::remove_file(world.path("two")).unwrap();
    woken.is_woken("one of them is gone");
}

#[test]
fn a_queue_that_overflows_wakes_everybody() {
    let world = World::new();
    fs::create_dir(world.path("busy")).unwrap();
    fs::create_dir(world.path("quiet")).unwrap();
    let mut quiet = world.watch("quiet/index.txt");
    let busy = world.watch("busy/index.txt");
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    // The thread cannot note anything meanwhile.
    let held = world.notifier.shared.lock();
    for number in 0..limit.trim().parse::<u32>().unwrap() / 2 + 2000 {
        let name = world.path(&format!("busy/{}", number % 2));
        fs::write(&name, "").unwrap();
        fs::remove_file(&name).unwrap();
    }
    drop(held);
    assert_eq!(quiet.wake.wait(SOON), Waited::Woken, "of what was lost, some may have been its own");
    assert!(!quiet.watching.is_complete());
    quiet.rest();
    assert!(quiet.watching.is_complete());
    drop(busy);
}

#[test]
fn who_looks_no_more_is_woken_no_more_and_leaves_no_watch() {
    let world = World::new();
    world.write("index.txt");
    let first = world.watch("index.txt");
    let mut second = world.watch("index.txt");
    assert_eq!(world.notifier.shared.lock().watches.len(), 1, "one directory");
    assert!(second.watching.is_complete());
    let Woken { wake, watching } = first;
    drop(watching);
    world.write("index.txt");
    second.is_woken("the other one");
    assert_eq!(wake.wait(Duration::from_millis(20)), Waited::Over);
    drop(second);
    let state = world.notifier.shared.lock();
    assert!(state.watches.is_empty() && state.users.is_empty());
}

/// A watch that ends between the kernel's answer and its registration would otherwise be taken for a living one.
#[test]
fn a_watch_that_ends_while_it_is_added_is_added_again() {
    let world = World::new();
    let shared = &world.notifier.shared;
    let inotify = shared.inotify.as_ref().unwrap();
    let mut state = State { adding: 2, ..State::default() };
    state.note(Told { watch: 7, what: ReadFlags::IGNORED, name: None }, &mut HashSet::new());
    assert!(!state.added(inotify, 0, vec![(7, "index.txt".into())]));
    assert!(state.added(inotify, 1, vec![(8, "index.txt".into())]));
    assert!(state.ended.is_empty() && state.watches.contains_key(&8));
}

#[test]
fn without_events_nobody_is_woken_and_nothing_fails() {
    let world =
        World { notifier: Notifier { shared: Arc::new(Shared::new(None)), _end: Arc::new(End(None)) }, ..World::new() };
    let woken = world.watch("index.txt");
    world.write("index.txt");
    assert_eq!(woken.wake.wait(Duration::from_millis(20)), Waited::Over);
    assert!(!woken.watching.is_complete());
}

#[test]
fn what_is_not_watched_or_no_more_is_not_taken_for_watched() {
    let world = World::new();
    fs::create_dir(world.path("a")).unwrap();
    let mut woken = world.watch("a/index.txt");
    assert!(woken.watching.is_complete(), "there need not be a file yet");
    assert!(!world.notifier.watch(vec![world.path("a/index.txt")], || ()).is_complete(), "not yet");
    fs::remove_dir(world.path("a")).unwrap();
    assert_eq!(woken.wake.wait(SOON), Waited::Woken);
    assert!(!woken.watching.is_complete());
    woken.rest();
    assert!(woken.watching.is_complete(), "by the directory above");
    world.notifier.shared.hears.store(false, Relaxed);
    assert!(!woken.watching.is_complete(), "the thread has ended");
}

#[test]
fn directories_are_found_again_at_once_where_an_event_says_so_and_else_every_two_seconds() {
    let world = World::new();
    world.write("index.txt");
    let mut watching = world.notifier.watch(vec![world.path("index.txt")], || ());
    assert_eq!((watching.among(), watching.is_complete()), (1, false));
    let now = Instant::now();
    watching.renew_where_due(now);
    let found = watching.found.unwrap();
    assert!(watching.is_complete());
    watching.renew_where_due(found + limits::TOLD_POLL_INTERVAL - Duration::from_millis(1));
    assert_eq!(watching.found, Some(found));
    watching.renew_where_due(found + limits::TOLD_POLL_INTERVAL);
    let again = watching.found.unwrap();
    assert!(again > found);
    watching.is_stale.store(true, Relaxed);
    watching.renew_where_due(again);
    assert!(watching.found.unwrap() > again && watching.is_complete());
}
