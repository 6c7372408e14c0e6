//! Whose the files are that root makes in the state directory of the service's user.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use ostia_tests::Site;

use crate::pushes::{done, started};

/// The user of the service, and its group.
const SERVICE: (u32, u32) = (61_234, 61_235);

/// The directory, and all that is in it.
fn all(dir: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(dir).unwrap().flat_map(|entry| {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() { all(&entry.path()) } else { vec![entry.path()] }
    });
    [dir.to_owned()].into_iter().chain(below).collect()
}

/// Everything there is the service's, and these files are among it.
#[track_caller]
fn is_all_the_services(state: &Path, names: &[&str]) {
    let all = all(state);
    for path in &all {
        let metadata = fs::symlink_metadata(path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), SERVICE, "{}", path.display());
    }
    for name in names {
        assert!(all.iter().any(|path| path.to_string_lossy().contains(name)), "{name}: {all:?}");
    }
}

/// As root, who runs the suite.
#[track_caller]
fn restore(site: &Site, from: &Path, words: &str) {
    done(&site.precompute("restore", &["--from", from.to_str().unwrap()]), words);
}

#[test]
fn what_root_restores_belongs_to_the_user_who_has_the_state_directory() {
    let (_ca, mut responder) = started();
    let push = |verb: &str, arguments: &[&str]| done(&responder.site.precompute(verb, arguments), "");
    push("add", &["A1", "A2"]);
    push("revoke", &["--reason", "certificateHold", "A2"]);
    let backup = responder.site.dir().join("backup");
    done(&responder.site.precompute("snapshot", &["--to", backup.to_str().unwrap()]), "verified");
    push("release", &["A2"]);
    responder.end_by("TERM");
    let site = responder.into_site();
    let state = site.dir().join("state");
    for path in all(&state) {
        chown(path, Some(SERVICE.0), Some(SERVICE.1)).expect("root runs this test: files are given to another user");
    }
    restore(&site, &backup, "lists them");
    is_all_the_services(&state, &["book.redb", "book.redb.before-restore", "book.redb.held."]);
    // On another machine there is the directory alone.
    for path in all(&state).into_iter().filter(|path| path.is_file()) {
        fs::remove_file(path).unwrap();
    }
    restore(&site, &backup, "restored");
    is_all_the_services(&state, &["book.redb", "lock", "server_id"]);
}
