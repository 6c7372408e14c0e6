use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use super::{
    super::{Form, Listing, Mark},
    *,
};

const LINES: &str = "V\t350101000000Z\t\t01\tunknown\t/CN=1\n\
    R\t350101000000Z\t250101000000Z\t02\tunknown\t/CN=2\n\
    # comment\n\
    V\t350101000000Z\t\t03\tunknown\t/CN=3\n";

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.txt");
    fs::write(&path, content).unwrap();
    (dir, path)
}

fn append(path: &Path, content: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(content).unwrap();
}

/// The serials of the whole lines, and how the read ended.
fn read(index: &mut Listing) -> (Vec<String>, Ended) {
    let serials = index.by_ref().filter_map(Result::ok).map(|listed| listed.serial.to_string()).collect();
    let ended = index.ended();
    (serials, ended)
}

/// What a read of the whole file says.
fn whole(content: &str) -> Vec<String> {
    let lines = content.split_inclusive('\n').filter(|line| line.ends_with('\n') && !line.starts_with('#'));
    lines.map(|line| line.split('\t').nth(3).unwrap().to_owned()).collect()
}

fn taken(path: &Path) -> Mark {
    let mut index = Listing::open(path, Form::Database).unwrap();
    read(&mut index);
    index.mark().expect("one state")
}

fn settle() {
    thread::sleep(limits::SETTLED_AFTER + Duration::from_millis(20));
}

#[test]
fn a_file_that_is_appended_to_while_it_is_read_is_taken_up_to_its_last_whole_line() {
    for cut in 0..=LINES.len() {
        let (_dir, path) = file(&LINES.as_bytes()[..cut]);
        let mut index = Listing::open(&path, Form::Database).unwrap();
        append(&path, &LINES.as_bytes()[cut..]);
        let (serials, ended) = read(&mut index);
        assert_eq!(serials, whole(&LINES[..cut]), "{cut}");
        assert_eq!(ended, if cut == LINES.len() { Ended::Whole } else { Ended::Grown }, "{cut}");
        let half = cut > 0 && !LINES[..cut].ends_with('\n');
        assert_eq!(index.ends_in_half_a_line(), half, "{cut}");
        // The next read begins there.
        let mark = index.mark().unwrap();
        assert_eq!(mark.digest().length as usize, LINES[..cut].rfind('\n').map_or(0, |at| at + 1), "{cut}");
        let mut rest = Listing::open_after(&path, Form::Database, &mark).unwrap().expect("the same beginning");
        let (more, ended) = read(&mut rest);
        assert_eq!(([serials, more].concat(), ended), (whole(LINES), Ended::Whole), "{cut}");
        let (after, at_once) = (rest.mark().unwrap(), taken(&path));
        assert_eq!((after.digest(), after.listed(), after.lines), (at_once.digest(), 3, at_once.lines), "{cut}");
        assert_eq!(after.digest(), Listing::hash_of(&path).unwrap(), "{cut}");
    }
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_while_it_is_read_is_torn() {
    for at in 0..LINES.len() {
        let (_dir, path) = file(LINES.as_bytes());
        let mut index = Listing::open(&path, Form::Database).unwrap();
        let mut cut = Listing::open(&path, Form::Database).unwrap();
        let mut before = Listing::open(&path, Form::Database).unwrap();
        let mark = taken(&path);
        assert_eq!((read_lines(&mut index), read_lines(&mut cut)), (3, 3));
        let changed = OpenOptions::new().write(true).open(&path).unwrap();
        changed.write_all_at(b"?", at as u64).unwrap();
        assert_eq!((index.ended(), index.mark()), (Ended::Torn, None), "{at}");
        // So is what was taken before, whether something came after it or not.
        for more in ["", "V\t350101000000Z\t\t04\tunknown\t/CN=4\n"] {
            append(&path, more.as_bytes());
            let ended = Listing::open_after(&path, Form::Database, &mark).unwrap().map(|mut index| read(&mut index).1);
            assert!(matches!(ended, None | Some(Ended::Torn)), "{at}");
        }
        changed.set_len(at as u64).unwrap();
        assert_eq!(cut.ended(), Ended::Torn, "{at}");
        assert_eq!(read(&mut before).1, Ended::Torn, "{at}: cut before it was read");
        assert!(Listing::open_after(&path, Form::Database, &mark).unwrap().is_none(), "{at}");
    }
}

fn read_lines(index: &mut Listing) -> usize {
    index.by_ref().filter(Result::is_ok).count()
}

#[test]
fn a_long_file_is_hashed_like_a_short_one() {
    // Lines across the ends of what is read at a time.
    let lines: String =
        (1..9000).map(|serial| format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN={serial}\n")).collect();
    assert!(lines.len() > 2 * READ_OCTETS);
    let (_dir, path) = file(lines.as_bytes());
    let mark = taken(&path);
    append(&path, format!("{LINES}V\t35").as_bytes());
    let mut index = Listing::open_after(&path, Form::Database, &mark).unwrap().unwrap();
    assert_eq!(read(&mut index), (whole(LINES), Ended::Whole));
    let after = index.mark().unwrap();
    assert_eq!((after.listed(), after.lines), (8999 + 3, 8999 + 4));
    assert_eq!(after.digest(), taken(&path).digest());
    // An error names the line of the file.
    append(&path, b"0101000000Z\t\t05\tunknown\t/CN=5\ngarbage\n");
    let mut index = Listing::open_after(&path, Form::Database, &after).unwrap().unwrap();
    let error = index.find_map(Result::err).unwrap();
    assert_eq!((error.line, index.ended(), index.mark()), (Some(9005), Ended::Whole, None));
}

#[test]
fn a_file_that_looks_as_it_did_is_known_without_a_read() {
    let (dir, path) = file(LINES.as_bytes());
    assert!(!taken(&path).still_matches(&path, Form::Database), "so fresh that another change may not show");
    settle();
    let mark = taken(&path);
    assert!(mark.still_matches(&path, Form::Database));
    assert!(!mark.still_matches(&dir.path().join("missing"), Form::Database));
    let restored = Mark::from_bytes(&mark.to_bytes()).unwrap();
    assert_eq!(restored, mark);
    for change in ["touched", "replaced by a copy", "appended to"] {
        match change {
            "touched" => OpenOptions::new().append(true).open(&path).unwrap().set_modified(SystemTime::now()).unwrap(),
            "appended to" => append(&path, b"# more\n"),
            _ => {
                fs::copy(&path, dir.path().join("copy")).unwrap();
                fs::rename(dir.path().join("copy"), &path).unwrap();
            }
        }
        assert!(!restored.still_matches(&path, Form::Database), "{change}");
        // The bytes are the same ones all the same.
        assert_eq!(Listing::hash_of(&path).unwrap() == mark.digest(), change != "appended to");
        let mut index = Listing::open_after(&path, Form::Database, &restored).unwrap().unwrap();
        assert_eq!(read(&mut index), (Vec::new(), Ended::Whole), "{change}");
        assert_eq!(index.mark().unwrap().listed(), 3);
    }
    // Half a line was not taken.
    append(&path, b"V\t35");
    settle();
    assert!(!taken(&path).still_matches(&path, Form::Database));
}

#[test]
fn only_the_bytes_of_a_mark_are_a_mark() {
    let (_dir, path) = file(format!("{LINES}V\t19550131120000Z\t\t0A\tunknown\t/CN=x\n").as_bytes());
    let octets = taken(&path).to_bytes();
    assert!(octets.len() <= 750, "{}", octets.len());
    let restored = Mark::from_bytes(&octets).unwrap();
    assert_eq!(restored, taken(&path));
    // The counts and the oddity go on.
    let index = Listing::open_after(&path, Form::Database, &restored).unwrap().unwrap();
    assert!(index.oddities().unwrap().to_string().starts_with("line 5 expires"), "{:?}", index.oddities());
    let text = 6 + 13 * 8 + 32;
    for cut in 0..text {
        assert_eq!(Mark::from_bytes(&octets[..cut]), None, "{cut}");
    }
    for (at, octet) in [(0, b'X'), (3, 1), (4, 2), (5, 4), (text, 0xff)] {
        let mut octets = octets.clone();
        octets[at] = octet;
        assert_eq!(Mark::from_bytes(&octets), None, "{at}");
    }
    assert_eq!(Mark::from_bytes(&[octets, vec![b'x'; 1000]].concat()), None);
}

/// The last bytes of what was taken were read once more for it, so a file that was cut in between had no mark, and one that
/// was rewritten had that of two contents.
#[test]
fn a_mark_is_of_what_was_proved_whatever_becomes_of_the_file_after_that() {
    let long: String = (1..9000).map(|serial| format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN=x\n")).collect();
    for (what, content, is_settled, after) in [
        ("fresh", LINES, false, None),
        ("settled", LINES, true, None),
        ("long", &long, true, None),
        ("long and fresh", &long, false, None),
        ("half a line at its end", &LINES[..LINES.len() - 1], false, None),
        ("appended to", LINES, false, Some("V\t350101000000Z\t\t04\tunknown\t/CN=4\n")),
        ("long and appended to", &long, false, Some("V\t350101000000Z\t\tABCD\tunknown\t/CN=4\n")),
        ("only touched", LINES, false, Some("")),
    ] {
        let (_dir, path) = file(content.as_bytes());
        if is_settled {
            settle();
        }
        let mut index = Listing::open(&path, Form::Database).unwrap();
        read(&mut index);
        if let Some(more) = after {
            let mark = index.mark().unwrap();
            append(&path, more.as_bytes());
            index = Listing::open_after(&path, Form::Database, &mark).unwrap().unwrap();
            read(&mut index);
        }
        let mark = index.mark().expect(what);
        // It is found again by its last bytes.
        assert!(Listing::open_after(&path, Form::Database, &mark).unwrap().is_some(), "{what}");
        let length = fs::metadata(&path).unwrap().len() as usize;
        for other in ["#".repeat(length), String::new()] {
            fs::write(&path, other).unwrap();
            assert_eq!(index.mark().as_ref(), Some(&mark), "{what}");
        }
    }
}

#[test]
fn of_a_file_that_is_rewritten_all_the_time_only_beginnings_of_its_versions_are_taken() {
    let version = |number: u64| -> String {
        let width = 1 + number as usize % 5;
        let line = |serial| format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN={}{serial}\n", "x".repeat(width));
        (1..3000).map(line).collect()
    };
    let (_dir, path) = file(version(0).as_bytes());
    let end = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (path, end) = (path.clone(), Arc::clone(&end));
        move || {
            // Cut and written anew, as a shell does: what is in the file is the beginning of one version.
            for number in 1.. {
                fs::write(&path, version(number)).unwrap();
                if end.load(Relaxed) {
                    return;
                }
            }
        }
    });
    let versions: Vec<String> = (0..5).map(version).collect();
    let (mut ends, begun) = ([0; 3], std::time::Instant::now());
    // At least until one was torn, which the end asks for.
    let is_enough = |ends: &[u32; 3]| match begun.elapsed().as_secs() {
        seconds @ 2.. => ends[Ended::Torn as usize] > 0 || seconds >= 30,
        _ => false,
    };
    while !is_enough(&ends) {
        let mut index = Listing::open(&path, Form::Database).unwrap();
        let (serials, ended) = read(&mut index);
        ends[ended as usize] += 1;
        if ended != Ended::Torn {
            let mark = index.mark().expect("no line is half of two");
            let is_beginning = |version: &String| {
                let mut digester = Digester::new();
                version.as_bytes().get(..mark.digest().length as usize).is_some_and(|beginning| {
                    digester.add(beginning);
                    digester.digest() == mark.digest()
                })
            };
            assert!(versions.iter().any(is_beginning), "{} lines, {ended:?}", serials.len());
        }
    }
    end.store(true, Relaxed);
    writer.join().unwrap();
    assert!(ends[Ended::Torn as usize] > 0, "{ends:?}");
}
