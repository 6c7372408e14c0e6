//! The configuration file.
//!
//! - Every problem that is told names the file, and a line that it has.
//! - What is not TOML for the `toml` crate's own reader is a problem, and what is, is never said to be none.
//! - A value that is read is the value that stands there.
//!
//! Only the file itself is opened: what it names is a path in the configuration and nothing else.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use precompute::config::{ConfigError, Document, Section};
use tempfile::TempDir;
use toml::{Table, Value};

/// Reads the input as a whole file.
pub fn config(content: &[u8]) -> bool {
    PLACE.with(|place| {
        let path = place.path().join("ostia.toml");
        if let Ok(text) = std::str::from_utf8(content) {
            document(&Document::from_text(&path, text), text);
        }
        fs::write(&path, content).expect("a scratch directory can be written");
        let read = || responder::config::Config::read(&path);
        let lines = lines(content);
        match (read(), read()) {
            (Ok(config), Ok(again)) => {
                assert_eq!(config, again, "the same each time");
                assert!(!config.http.is_empty() && config.workers > 0 && !config.common.tenants.is_empty());
                assert!(
                    config.common.tenants.iter().all(|tenant| !tenant.issuers.is_empty() || !tenant.tsas.is_empty())
                );
                true
            }
            (Err(error), Err(again)) => {
                assert_eq!(error.to_string(), again.to_string(), "the same each time");
                told(&error, &path, lines);
                false
            }
            (one, other) => panic!("{one:?}, then {other:?}"),
        }
    })
}

thread_local! {
    /// Where the file lies.
    static PLACE: TempDir = tempfile::tempdir().expect("a scratch directory");
}

fn lines(content: &[u8]) -> usize {
    1 + content.iter().filter(|&&octet| octet == b'\n').count()
}

/// `error` begins with `path: ` or `path:line: `, and there is such a line.
fn told(error: &ConfigError, path: &std::path::Path, lines: usize) {
    let text = error.to_string();
    let mut last = 0;
    // A value with line ends in it is quoted as it stands, so that not every line begins a problem.
    for (number, problem) in text.lines().enumerate() {
        let Some(rest) = problem.strip_prefix(&*path.to_string_lossy()) else {
            assert!(number > 0, "the file is named first: {text}");
            continue;
        };
        let (place, what) = rest.split_once(": ").expect("a colon before the problem");
        let line = place.strip_prefix(':').map_or(0, |line| line.parse().expect("a line number"));
        assert!((last..=lines).contains(&line), "in the order of the file: {text}");
        assert!(!what.is_empty(), "{text}");
        last = line;
    }
    assert!(!text.is_empty());
}

/// Asks for the keys `a` to `h` in every way, in the root and in the tables below it.
fn document(document: &Document, text: &str) {
    let oracle = toml::from_str::<Table>(text);
    let result = document.read(|root| {
        // Numbers that are none are found only where they are asked for; the oracle asks for all of them.
        if let Ok(table) = &oracle {
            section(root, table, 0);
        }
        root.finish();
        Some(())
    });
    match result {
        Ok(()) => assert!(oracle.is_ok(), "{oracle:?}"),
        Err(error) => {
            told(&error, &PLACE.with(|place| place.path().join("ostia.toml")), lines(text.as_bytes()));
            assert!(oracle.is_err() || !error.to_string().contains(": is not TOML: "), "{error}");
        }
    }
}

const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const DEPTH_MAX: usize = 3;

fn section(section: &mut Section<'_>, table: &Table, depth: usize) {
    for key in KEYS {
        let value = table.get(key);
        assert_eq!(section.has(key), value.is_some());
        assert_eq!(section.boolean(key), value.and_then(Value::as_bool));
        let text = value.and_then(Value::as_str);
        assert_eq!(section.string(key).as_deref(), text);
        let number = value.and_then(Value::as_integer);
        assert_eq!(section.integer(key, i64::MIN..=i64::MAX), number);
        assert_eq!(section.integer(key, 1..=64), number.filter(|number| (1..=64).contains(number)));
        let address = |text: &str| text.parse::<SocketAddr>().ok();
        assert_eq!(section.address(key), text.and_then(address));
        let strings = match value {
            Some(Value::String(text)) => Some(vec![text.clone()]),
            Some(Value::Array(values)) => values.iter().map(|value| Some(value.as_str()?.to_owned())).collect(),
            _ => None,
        };
        assert_eq!(section.strings(key), strings);
        let addresses = strings.and_then(|texts: Vec<String>| texts.iter().map(|text| address(text)).collect());
        assert_eq!(section.addresses(key), addresses);
        assert_eq!(section.choice(key, &[("x", 1), ("yy", 2)]), [None, Some(1), Some(2)][choice(text)]);
        let here = PLACE.with(|place| place.path().to_owned());
        // The text of a key is no path, and must not be told as one.
        let is_path = |text: &&str| !text.is_empty() && !text.contains("-----BEGIN");
        assert_eq!(section.path(key), text.filter(is_path).map(|text| here.join(PathBuf::from(text))));
        let range = Duration::from_secs(60)..=Duration::from_secs(864_000);
        if let Some(duration) = section.duration(key, range.clone()) {
            assert!(range.contains(&duration) && text.is_some_and(|text| text.ends_with(['s', 'm', 'h', 'd'])));
        }
        if depth < DEPTH_MAX {
            let below = value.and_then(Value::as_table);
            let read = section.section(key, |section| {
                self::section(section, below.expect("a table"), depth + 1);
                Some(())
            });
            assert_eq!(read.is_some(), below.is_some());
            let array = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let mut tables = array.iter().filter_map(Value::as_table);
            let read = section.sections(key, |section| {
                self::section(section, tables.next().expect("as many as there are"), depth + 1);
                Some(())
            });
            assert_eq!(read.len(), array.iter().filter(|value| value.is_table()).count());
        }
    }
}

fn choice(text: Option<&str>) -> usize {
    match text {
        Some("x") => 1,
        Some("yy") => 2,
        _ => 0,
    }
}
