//! What is left of a journal after a crash, wherever in a line it came.

use super::*;

#[test]
fn after_a_cut_at_any_byte_a_start_goes_on_and_all_of_it_is_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let bytes: Vec<u8> = lines().iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    // Every byte of the first lines and of the last.
    for length in (0..700).chain(bytes.len() - 500..=bytes.len()) {
        fs::write(&path, &bytes[..length]).unwrap();
        let (journal, recorders) = begin(&identity(1), Options::new(path.clone()));
        assert!(recorders[0].record(Numbered("c", 7)));
        let status = journal.finish();
        assert_eq!(status.problem, None, "{length}");
        let report = verify(std::slice::from_ref(&path), Some(identity(1).key.public())).unwrap();
        assert!(report.is_in_order() && report.behind_head == 0, "{length}: {report}");
        let is_torn = length > 0 && bytes[length - 1] != b'\n';
        assert_eq!(report.notes.len(), usize::from(is_torn), "{length}: {report}");
        assert!(fs::read_to_string(&path).unwrap().contains(r#""tenant":"c","number":7"#));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no other file was begun");
}
