use super::*;

fn read<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, String> {
    let document = Document::from_text(Path::new("/etc/ostia/ostia.toml"), text);
    document
        .read(|root| {
            let value = read(root);
            root.finish();
            value
        })
        .map_err(|error| error.to_string())
}

#[test]
fn all_problems_are_told_at_once_with_line_and_key() {
    let text = "validty = 3\n\n[http]\nlisten = [\"here\"]\nworkers = 0\n";
    let error = read(text, |root| {
        root.section("http", |http| {
            http.addresses("listen");
            http.integer("workers", 1..=64)
        })
    })
    .unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[0].starts_with("/etc/ostia/ostia.toml:1: validty: is not a known key"), "{error}");
    assert!(lines[1].starts_with("/etc/ostia/ostia.toml:4: http.listen: is an array; expected a list of"), "{error}");
    assert!(lines[2].starts_with("/etc/ostia/ostia.toml:5: http.workers: "), "{error}");
    assert!(lines[2].ends_with("expected a whole number from 1 to 64"), "{error}");
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let error = read("a = 1\nb = \n", |_| Some(())).unwrap_err();
    assert!(error.starts_with("/etc/ostia/ostia.toml:2: is not TOML"), "{error}");
}

#[test]
fn durations_have_a_unit_and_a_range() {
    let range = Duration::from_secs(28_800)..=Duration::from_secs(864_000);
    let validity =
        |text: &str| read(&format!("validity = \"{text}\""), |root| root.duration("validity", range.clone()));
    assert_eq!(validity("4d"), Ok(Duration::from_secs(345_600)));
    assert_eq!(validity("12h"), Ok(Duration::from_secs(43_200)));
    for wrong in ["4", "d", "", "11d", "7h", "-1d", "4 d", "99999999999999999999d", "9999999999999999d"] {
        let error = validity(wrong).unwrap_err();
        assert!(error.contains("from 8h to 10d"), "{error}");
    }
}

#[test]
fn paths_are_meant_from_the_place_of_the_file() {
    assert_eq!(read("key = \"a/b\"", |root| root.path("key")), Ok(PathBuf::from("/etc/ostia/a/b")));
    assert_eq!(read("key = \"/a/b\"", |root| root.path("key")), Ok(PathBuf::from("/a/b")));
}

#[test]
fn one_table_and_an_array_of_tables_are_read_alike() {
    for (text, expected) in [
        ("a = { b = 1 }", vec![1]),
        ("a = [{ b = 1 }, { b = 2 }]", vec![1, 2]),
        ("[[a]]\nb = 1\n[[a]]\nb = 2", vec![1, 2]),
        ("", vec![]),
    ] {
        let read = read(text, |root| Some(root.one_or_more("a", |section| section.integer("b", 0..=5))));
        assert_eq!(read, Ok(expected), "{text}");
    }
    for (text, problem) in [
        ("a = 1", "a: is 1; expected a table, or an array of tables"),
        ("a = [1]", "a: is not an array of tables"),
        ("a = [{ b = 1 }, { c = 2 }]", "a[1].c: is not a known key; known keys here: b"),
    ] {
        let error = read(text, |root| Some(root.one_or_more("a", |section| section.integer("b", 0..=5)))).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_problem_that_shows_later_is_told_with_its_own_place() {
    let document = Document::from_text(Path::new("/etc/ostia/ostia.toml"), "\n[[a]]\nb = 1\n[[a]]\nb = 2\n[c]\n");
    let reading = document.reading(|root| {
        let places = root.sections("a", |section| section.integer("b", 0..=5).map(|_| section.place()));
        root.section("c", |section| {
            section.boolean("d");
            Some(())
        });
        root.problem("c", "is wrong at first sight");
        Some(places)
    });
    let places = reading.value().unwrap();
    assert_eq!(places[0], places[1], "where a value stands does not matter");
    let at = reading.problems().at(&places[1]);
    at.problem("b", "is wrong after all");
    at.problem("absent", "is missing");
    assert!(at.has("b") && !at.has("absent"));
    assert!(!at.problem_that_may_pass("b", "is away"), "nobody only checks");
    let error = reading.finish().unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(
        lines,
        [
            "/etc/ostia/ostia.toml:4: a[1].absent: is missing",
            "/etc/ostia/ostia.toml:5: a[1].b: is wrong after all",
            "/etc/ostia/ostia.toml:6: c: is wrong at first sight",
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z=\\[\\]\"\\n.{} 0-9]{0,200}") {
        let _ = read(&text, |root| {
            root.sections("a", |section| section.string("b"));
            root.section("c", |section| section.integer("d", 0..=5))
        });
    }
}

#[test]
fn a_document_and_its_problems_show_no_text_that_may_be_a_secret() {
    let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    for text in [
        format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"),
        format!("key = {key:?}"),
        format!("key = [\"{key}\"]"),
        format!("key = \"a.key\"\n{key:?} = 1"),
        format!("key = \"a.key\"\n[{key}]\na = 1"),
        format!("key = \"a.key\"\n{key} = 1\n{key} = 1"),
        format!("key = {{ {key} = 1, {key}.b = 2 }}"),
        key.to_owned(),
    ] {
        let document = Document::from_text(Path::new("ostia.toml"), &text);
        let read = document.read(|root| {
            let path = root.path("key");
            root.finish();
            path
        });
        let told = format!("{document:?} {}", read.unwrap_err());
        assert!(!told.contains(&key[..20]), "{told}");
    }
}
