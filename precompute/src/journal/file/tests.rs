//! Files that are torn, full, renamed, aged and taken.

use std::{os::fd::AsFd as _, time::Duration};

use super::*;

const KIND: Kind = Kind { name: "tests", title: "the record of tests" };

fn options(path: &Path) -> Options {
    Options { rotate_octets: 100, ..Options::new(path.to_owned()) }
}

fn pending(text: &str) -> Pending {
    Pending { lines: text.into(), written: 0 }
}

impl Appended {
    /// On a disk without room, until it is opened by its name.
    pub(in super::super) fn full(kind: Kind, options: Options) -> Self {
        let file = File::options().append(true).open("/dev/full").unwrap();
        let begun = SystemTime::now();
        let opened = Opened { file, begun, octets: 0, unsynchronised: false, has_entries: false, is_new: true };
        Self { kind, options, opened }
    }
}

fn append(file: &mut Appended, text: &str) {
    file.append(&mut pending(text)).unwrap();
    file.has_entries();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// All files of the directory, in the order of their names, each with what it holds.
fn files(directory: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), read(&entry.path()))).collect();
    files.sort();
    files
}

#[test]
fn a_torn_line_of_another_file_in_its_place_is_ended_and_nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    for (before, after) in [("", "c\n"), ("a\n", "a\nc\n"), ("a\nb", "a\nb\nc\n"), ("b", "b\nc\n"), ("\n", "\nc\n")] {
        let _ = fs::remove_file(&path);
        let mut file = Appended::open(KIND, options(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, before).unwrap();
        file.reopen(&mut Pending::default()).unwrap();
        append(&mut file, "c\n");
        assert_eq!(read(&path), after);
    }
}

/// A file that was closed a moment ago. A program that another test starts at this moment holds the lock until it is running.
fn opened_again(path: &Path) -> Appended {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match Appended::open(KIND, options(path)) {
            Ok(file) => return file,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    }
}

#[test]
fn a_new_file_is_read_by_the_group_and_by_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    drop(Appended::open(KIND, options(&path)).unwrap());
    assert_eq!(mode(), 0o640);
    // What an operator chose stays.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    drop(opened_again(&path));
    assert_eq!(mode(), 0o600);
}

#[test]
fn what_is_taken_in_parts_is_written_whole_and_once() {
    // A pipe takes 64 KiB and no more until it is read.
    let (mut reader, mut writer) = io::pipe().unwrap();
    for end in [reader.as_fd(), writer.as_fd()] {
        rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK).unwrap();
    }
    let lines: String = (0..30_000).map(|number| format!("line {number}\n")).collect();
    let mut left = pending(&lines);
    let (mut taken, mut parts, mut room) = (Vec::new(), 0, [0; 4096]);
    loop {
        let done = left.write_to(&mut writer);
        parts += 1;
        while let Ok(count @ 1..) = reader.read(&mut room) {
            taken.extend_from_slice(&room[..count]);
        }
        match done {
            Ok(()) => break,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert!(parts > 2, "{parts} parts");
    assert_eq!(String::from_utf8(taken).unwrap(), lines);
    assert!(left.is_empty());
}

#[test]
fn a_line_of_which_a_part_was_written_is_written_again_in_the_next_file() {
    for (written, rest) in [(0, "aa\nbb\ncc\n"), (1, "aa\nbb\ncc\n"), (3, "bb\ncc\n"), (5, "bb\ncc\n"), (8, "cc\n")] {
        let mut pending = Pending { lines: "aa\nbb\ncc\n".into(), written };
        pending.rewind();
        let mut next = Vec::new();
        pending.write_to(&mut next).unwrap();
        assert_eq!(next, rest.as_bytes(), "{written}");
    }
}

#[test]
fn another_file_is_begun_when_one_has_grown_or_aged_and_all_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let mut file = Appended::open(KIND, options(&path)).unwrap();
    let now = SystemTime::now();
    let later = now + Duration::from_secs(25 * 3600);
    assert!(!file.is_due(later), "an empty one is not");
    append(&mut file, "a\n");
    assert!(!file.is_due(now) && file.is_due(later));
    append(&mut file, &"b".repeat(98));
    assert!(file.is_due(now));
    // Twelve in one second.
    for number in 0..12 {
        append(&mut file, &format!("{number}\n"));
        assert_eq!(file.rotate(now, &mut Pending::default()).unwrap(), Vec::<PathBuf>::new());
        assert!(!file.is_due(now));
    }
    append(&mut file, "last\n");
    let files = files(dir.path());
    assert_eq!(files.len(), 13);
    assert_eq!(files[0], ("record".into(), "last\n".into()));
    let time = UnixTime::from(now).generalized();
    assert_eq!(files[1].0, format!("record.{}", std::str::from_utf8(&time).unwrap()));
    for (number, (_, text)) in files[2..].iter().enumerate() {
        assert_eq!(text, &format!("{}\n", number + 1), "the order of names is that of time");
    }
}

#[test]
fn only_rotated_files_beyond_those_to_be_kept_are_removed_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let others = [
        "record.bak",
        "record.20261121T161031Z",
        "record.2026112116103Z",
        "record.20261121161031Zx",
        "recor.20261121161031Z",
    ];
    for other in others {
        fs::write(dir.path().join(other), "").unwrap();
    }
    let mut file = Appended::open(KIND, Options { keep: Some(2), ..options(&path) }).unwrap();
    let now = SystemTime::now();
    let mut removed = Vec::new();
    for number in 0..5_u64 {
        append(&mut file, &format!("{number}\n"));
        removed.extend(file.rotate(now + Duration::from_secs(number), &mut Pending::default()).unwrap());
    }
    let left: Vec<_> = files(dir.path()).into_iter().filter(|(name, _)| !others.contains(&name.as_str())).collect();
    assert_eq!(left.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["", "3\n", "4\n"]);
    assert_eq!(removed.len(), 3);
    assert_eq!(files(dir.path()).len(), 3 + others.len(), "nobody else's");
}

#[test]
fn what_was_just_begun_anew_is_not_removed_for_files_of_a_clock_that_was_ahead_or_of_the_same_second() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    fs::write(dir.path().join("record.29991231235959Z"), "ahead\n").unwrap();
    let mut file = Appended::open(KIND, Options { keep: Some(1), ..options(&path) }).unwrap();
    let now = SystemTime::now();
    for text in ["a\n", "b\n", "c\n", "d\n"] {
        append(&mut file, text);
        let removed = file.rotate(now, &mut Pending::default()).unwrap();
        let left: Vec<_> = files(dir.path()).into_iter().map(|(_, text)| text).collect();
        assert_eq!((left, removed.len()), (vec![String::new(), text.to_owned()], 1));
    }
}

#[test]
fn a_file_that_was_renamed_is_opened_again_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("record"), dir.path().join("moved"));
    let mut file = Appended::open(KIND, options(&path)).unwrap();
    append(&mut file, "a\n");
    file.reopen(&mut Pending::default()).unwrap();
    append(&mut file, "b\n");
    fs::rename(&path, &moved).unwrap();
    append(&mut file, "c\n");
    file.reopen(&mut Pending::default()).unwrap();
    append(&mut file, "d\n");
    assert_eq!((read(&moved), read(&path)), ("a\nb\nc\n".into(), "d\n".into()));
    // Where that fails it goes on in the old one.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    file.reopen(&mut Pending::default()).unwrap_err();
    append(&mut file, "e\n");
}

/// It was an error, and the one who had renamed it had a file that grew for a second more.
#[test]
fn a_file_that_others_have_renamed_is_begun_anew_when_it_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("record"), dir.path().join("moved"));
    let mut file = Appended::open(KIND, options(&path)).unwrap();
    append(&mut file, "a\n");
    fs::rename(&path, &moved).unwrap();
    append(&mut file, "b\n");
    assert_eq!(file.rotate(SystemTime::now(), &mut Pending::default()).unwrap(), Vec::<PathBuf>::new());
    append(&mut file, "c\n");
    // Their word comes after it.
    file.reopen(&mut Pending::default()).unwrap();
    append(&mut file, "d\n");
    assert_eq!((read(&moved), read(&path)), ("a\nb\n".into(), "c\nd\n".into()));
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn two_records_in_one_file_are_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let first = Appended::open(KIND, options(&path)).unwrap();
    let problem = Appended::open(KIND, options(&path)).unwrap_err().to_string();
    assert!(problem.contains(path.to_str().unwrap()) && problem.contains("another process"), "{problem}");
    drop(first);
    drop(opened_again(&path));
    let problem = Appended::open(KIND, options(&dir.path().join("none/record"))).unwrap_err().to_string();
    assert!(problem.contains("none/record") && problem.contains("directory that exists"), "{problem}");
}

#[test]
fn what_finds_no_room_stays_to_be_written() {
    let mut full = Appended::full(KIND, options(Path::new("record")));
    let mut left = pending("a\nb\n");
    for _ in 0..3 {
        assert_eq!(full.append(&mut left).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((left.lines.as_str(), left.written), ("a\nb\n", 0), "nothing is given up");
    }
}

/// Everything that is no regular file, by what it is called, below `dir`.
fn others(dir: &Path) -> Vec<(PathBuf, &'static str)> {
    let at = |name: &str| dir.join(name);
    fs::create_dir(at("directory")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink("fifo", at("link")).unwrap();
    vec![
        (at("directory"), "a directory"),
        (at("fifo"), "a FIFO"),
        (at("socket"), "a socket"),
        (at("link"), "a FIFO"),
        ("/dev/null".into(), "a device"),
    ]
}

#[test]
fn what_is_no_regular_file_is_refused_at_once_also_when_it_takes_the_place_of_one() {
    let dir = tempfile::tempdir().unwrap();
    for (path, kind) in others(dir.path()) {
        for problem in [Appended::open(KIND, options(&path)).unwrap_err(), check(KIND, &path).unwrap_err()] {
            let problem = problem.to_string();
            let wanted = [path.to_str().unwrap(), kind, "must be a regular file; name another"];
            assert!(wanted.iter().all(|wanted| problem.contains(wanted)), "{problem}");
        }
        let place = dir.path().join("record");
        let mut file = Appended::open(KIND, options(&place)).unwrap();
        fs::remove_file(&place).unwrap();
        std::os::unix::fs::symlink(&path, &place).unwrap();
        let problem = file.reopen(&mut Pending::default()).unwrap_err().to_string();
        assert!(problem.contains(kind), "{problem}");
        append(&mut file, "a\n");
        fs::remove_file(&place).unwrap();
    }
}

#[test]
fn a_look_leaves_no_trace_and_finds_what_would_keep_a_record_from_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    check(KIND, &path).unwrap();
    assert!(!path.exists());
    fs::write(&path, "a torn li").unwrap();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    check(KIND, &path).unwrap();
    assert_eq!((read(&path).as_str(), fs::metadata(&path).unwrap().modified().unwrap()), ("a torn li", before));
    // Nor does it matter to the look that another process writes there, or to that one.
    let mut writing = Appended::open(KIND, options(&path)).unwrap();
    check(KIND, &path).unwrap();
    append(&mut writing, "a\n");
    Appended::open(KIND, options(&path)).unwrap_err();
    for path in [dir.path().join("none/record"), path.join("record")] {
        let problem = check(KIND, &path).unwrap_err().to_string();
        assert!(problem.contains(path.to_str().unwrap()) && problem.contains("a directory that exists"), "{problem}");
        Appended::open(KIND, options(&path)).unwrap_err();
    }
}

/// It said "No such file or directory" of a name that `ls` shows.
#[test]
fn a_link_that_leads_nowhere_is_named_with_where_it_leads() {
    let dir = tempfile::tempdir().unwrap();
    let (link, target) = (dir.path().join("link"), dir.path().join("none"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let wanted = [&link, &target].map(|path| path.to_str().unwrap().to_owned());
    for problem in [check(KIND, &link).unwrap_err(), Appended::open(KIND, options(&link)).unwrap_err()] {
        let problem = problem.to_string();
        assert!(wanted.iter().all(|path| problem.contains(path)) && problem.contains("symbolic link"), "{problem}");
    }
    fs::write(&target, "").unwrap();
    check(KIND, &link).unwrap();
    append(&mut Appended::open(KIND, options(&link)).unwrap(), "a\n");
    assert_eq!(read(&target), "a\n");
}

#[test]
fn a_file_is_removed_when_it_has_no_name_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("record"), dir.path().join("other"));
    let mut file = Appended::open(KIND, options(&path)).unwrap();
    assert!(!file.is_removed());
    fs::rename(&path, &other).unwrap();
    assert!(!file.is_removed(), "renamed");
    fs::remove_file(&other).unwrap();
    assert!(file.is_removed(), "removed");
    file.reopen(&mut Pending::default()).unwrap();
    assert!(!file.is_removed());
    fs::write(&other, "").unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(file.is_removed(), "replaced");
}
