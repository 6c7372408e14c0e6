//! The page on high availability: its commands, copied from it, work as they stand there.
//!
//! They run in a network of their own, since the page's ports are fixed ones. Only the first block is left out, which builds the
//! programs: those of the tests stand in for them.

use std::{path::Path, process::Command, time::Duration};

use ostia_tests::{programs, run_for};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/high-availability.md");

#[test]
fn a_stranger_comes_to_replicas_writers_sentinels_and_haproxy_by_the_commands_of_the_page() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(2).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let built = programs().precompute.parent().unwrap().display();
    let script = format!(
        "set -e\nip link set lo up\ntrap 'kill -9 $(cat *.pid) 2>/dev/null' EXIT\nexport OSTIA={} PATH={built}:$PATH\n{}",
        root.display(),
        blocks.concat()
    );
    let dir = tempfile::tempdir().unwrap();
    let mut bash = Command::new("unshare");
    bash.args(["--net", "bash", "-c", &script]).current_dir(dir.path());
    let ended = run_for(Duration::from_secs(240), &mut bash);
    let said = |what: &str| ended.text.matches(what).count();
    let logs = || {
        let all = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = all.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| format!("== {}\n{}\n", path.display(), std::fs::read_to_string(&path).unwrap()))
            .collect::<String>()
    };
    assert!(ended.status.success(), "{}\n{}\n{}", ended.status, ended.text, logs());
    assert_eq!((said("one.pem: good"), said("one.pem: revoked")), (1, 1), "{}", ended.text);
    assert_eq!((said("two.pem: good"), said("two.pem: revoked")), (1, 1), "{}", ended.text);
    assert!(said("feed: this writer leads") >= 2, "{}", ended.text);
}
