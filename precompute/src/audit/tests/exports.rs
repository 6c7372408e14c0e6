//! What a tenant is given.

use super::*;

fn exported(files: &[PathBuf], tenant: &str, out: &Path) -> (Report, u64) {
    export(files, None, tenant, out).unwrap()
}

#[test]
fn an_export_verifies_alone_and_has_nothing_of_another_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("j"), dir.path().join("out"));
    let lines = lines();
    fs::write(&source, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (report, count) = exported(std::slice::from_ref(&source), "b", &out);
    assert!(report.is_in_order() && count == 2, "{report}");
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().next(), Some(r#"{"export":1,"tenant":"b"}"#));
    assert_eq!((text.matches("\"hidden\"").count(), text.matches(r#""tenant":"b""#).count()), (4, 3));
    assert!(!text.contains(r#""tenant":"a""#) && text.lines().count() == 10, "{text}");
    let report = verify(std::slice::from_ref(&out), Some(identity(1).key.public())).unwrap();
    assert!(report.is_in_order() && report.notes.is_empty(), "{report}");
    assert_eq!((report.lines, report.hidden, report.heads, report.behind_head), (9, 4, 2, 0));
    assert_eq!(find(std::slice::from_ref(&out)).unwrap().0[0].server, report.server);
    // It is written over by nobody.
    assert!(export(&[source], None, "b", &out).unwrap_err().to_string().contains("out"));
}

#[test]
fn a_changed_byte_of_an_export_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("j"), dir.path().join("out"));
    fs::write(&source, lines().iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    exported(&[source], "b", &out);
    let bytes = fs::read(&out).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for at in first + 1..bytes.len() - 1 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&out, changed).unwrap();
        let report = verify(std::slice::from_ref(&out), None).unwrap();
        // The last head that is none any more: as if the end had been cut off.
        let is_end = at >= last && report.behind_head > 0;
        assert!(!report.is_in_order() || is_end, "{at}: {report}");
    }
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    // The last line alone: as if the end had been cut off.
    for at in 1..lines.len() - 1 {
        let mut removed = lines.clone();
        removed.remove(at);
        fs::write(&out, removed.concat()).unwrap();
        assert!(!verify(std::slice::from_ref(&out), None).unwrap().is_in_order(), "{at}");
    }
}

#[test]
fn a_journal_that_was_changed_is_not_exported() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("j"), dir.path().join("out"));
    let mut lines = lines();
    lines.remove(3);
    fs::write(&source, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (report, count) = exported(&[source], "b", &out);
    assert!(!report.is_in_order() && count == 0 && !out.exists());
}
