//! The documents: what they link to is there, what they name is known, and README.md stays short.
//!
//! The keys come from the program itself, which lists the known ones beside every unknown one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use ostia_tests::{programs, run};
use toml::{Table, Value};

/// What a newcomer reads first has to be read in ten minutes.
const README_LINES_MAX: usize = 200;

/// Section → its keys. The sections of a tenant have `tenant.` before them; the file itself is the empty name.
type Keys = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Markdown file of the repository, with its path from there.
fn documents() -> Vec<(PathBuf, String)> {
    fn below(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(root().join(dir)).unwrap().map(Result::unwrap) {
            let (name, path) = (entry.file_name(), dir.join(entry.file_name()));
            if entry.file_type().unwrap().is_dir() {
                let foreign = name.to_string_lossy().starts_with('.') || name == "target" || name == "ostia-demo";
                if !foreign {
                    below(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new(""), &mut found);
    found
}

/// The README of the repository and of each of its parts.
fn readmes() -> Vec<(PathBuf, String)> {
    documents().into_iter().filter(|(path, _)| path.ends_with("README.md")).collect()
}

/// The text without its code blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The code spans of a text.
fn spans(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The code blocks in a language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// The anchors of the headings, as GitHub and others make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let letter = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    headings.map(|heading| heading.chars().filter_map(letter).collect()).collect()
}

#[test]
fn readme_has_at_most_200_lines() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines: move something to where it lives");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let documents = documents();
    let mut links = 0;
    for (path, text) in &documents {
        let prose = prose(text);
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let linked = root().join(linked).canonicalize();
            let linked = linked.unwrap_or_else(|error| panic!("{}: ({target}): {error}", path.display()));
            let known = anchor.is_empty() || anchors(&fs::read_to_string(&linked).unwrap()).contains(anchor);
            assert!(known, "{}: ({target}): no such heading", path.display());
        }
    }
    assert!(links > 30, "{links} links in {} documents", documents.len());
}

/// Every key that the program knows, by its own word: each section is given one that it does not know.
fn known_keys() -> Keys {
    let sections = [
        "http",
        "tls",
        "admin",
        "cache",
        "edge",
        "feed",
        "journal",
        "log",
        "time_stamping",
        "transparency",
        "purge",
        "tenant",
    ];
    let sections = sections.into_iter().chain(["admin.principal"]).map(str::to_owned).collect::<Vec<_>>();
    let below = ["issuer", "issuer.signer", "issuer.signer.renew", "issuer.sql", "tsa", "tsa.signer", "tsa.client"]
        .map(|section| format!("tenant.{section}"));
    let mut config = "wrong = 1\n".to_owned();
    for section in sections.iter().chain(&below) {
        let is_array = ["tenant", "issuer", "tsa", "client", "purge", "principal"]
            .iter()
            .any(|array| section.split('.').next_back() == Some(array));
        config += &if is_array { format!("[[{section}]]\nwrong = 1\n") } else { format!("[{section}]\nwrong = 1\n") };
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ostia.toml");
    fs::write(&file, config).unwrap();
    let checked = run(std::process::Command::new(&programs().responder).args(["check", "--config"]).arg(&file));
    let mut known = Keys::new();
    for line in checked.text.lines() {
        let Some((place, keys)) = line.split_once("wrong: is not a known key; known keys here: ") else { continue };
        let section = place.rsplit(' ').next().unwrap().trim_end_matches('.');
        known.insert(section.to_owned(), keys.split(", ").map(str::to_owned).collect());
    }
    assert_eq!(known.len(), 1 + sections.len() + below.len(), "{}", checked.text);
    known
}

/// A key of a released version is never taken away: its configurations stay in order.
#[test]
fn every_key_of_a_released_version_is_still_known() {
    let known = known_keys();
    let released = fs::read_to_string(root().join("tests/fixtures/0.1.0/keys.txt")).unwrap();
    assert!(released.lines().count() > 100, "{released}");
    for name in released.lines() {
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        assert!(known[section].contains(key), "[{section}] {key} was known in 0.1.0");
    }
}

/// The section that the head of a table names, such as ``key of `[[issuer]]` ``.
fn section_of(head: &str) -> Option<String> {
    let named = head.trim_start_matches("| key of ").split(" |").next()?;
    let section = named.trim_matches(['`', '[', ']']);
    Some(match section {
        "the file" => String::new(),
        "issuer" | "issuer.signer" | "issuer.signer.renew" | "issuer.sql" | "tsa" | "tsa.signer" | "tsa.client" => {
            format!("tenant.{section}")
        }
        _ => section.to_owned(),
    })
}

#[test]
fn every_key_is_documented_once_and_no_other() {
    let known = known_keys();
    let mut documented: BTreeMap<(String, String), Vec<PathBuf>> = BTreeMap::new();
    for (path, text) in readmes() {
        let mut section = None;
        for line in text.lines() {
            if line.starts_with("| key of ") {
                section = section_of(line);
            } else if !line.starts_with('|') {
                section = None;
            }
            let (Some(section), Some(cell)) = (&section, line.strip_prefix("| `")) else { continue };
            for key in cell.split(" |").next().unwrap().split("`, `") {
                let key = (section.clone(), key.trim_end_matches('`').to_owned());
                documented.entry(key).or_default().push(path.clone());
            }
        }
    }
    for (section, keys) in &known {
        for key in keys {
            let below = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            // A section is documented by its keys. Bare issuers and TSAs are those of a tenant.
            if known.contains_key(&below) || known.contains_key(&format!("tenant.{below}")) {
                continue;
            }
            let homes = documented.remove(&(section.clone(), key.clone())).unwrap_or_default();
            assert_eq!(homes.len(), 1, "[{section}] {key} must be documented in one place: {homes:?}");
        }
    }
    assert!(documented.is_empty(), "no such key: {documented:?}");
}

/// The sections and keys of a table, with those of tables in it.
fn keys_of(table: &Table, name: &str, found: &mut Vec<(String, String)>) {
    for (key, value) in table {
        found.push((name.to_owned(), key.clone()));
        let below = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        let tables: Vec<_> = match value {
            Value::Table(table) => vec![table],
            Value::Array(values) => values.iter().filter_map(Value::as_table).collect(),
            _ => Vec::new(),
        };
        tables.into_iter().for_each(|table| keys_of(table, &below, found));
    }
}

#[test]
fn documents_name_known_keys_only() {
    let known = known_keys();
    let is_key = |section: &str, key: &str| known.get(section).is_some_and(|keys| keys.contains(key));
    // A bare file has its tenant's keys at its top.
    let is_known = |section: &str, key: &str| {
        let below = if section.is_empty() { "tenant".to_owned() } else { format!("tenant.{section}") };
        // A relay names another Redis by the keys of a feed.
        let is_of_relay = if section.is_empty() { key == "relay" } else { section == "relay" && is_key("feed", key) };
        is_of_relay || is_key(section, key) || is_key(&below, key)
    };
    let sections =
        ["http", "tls", "admin", "cache", "feed", "log", "time_stamping", "transparency", "tenant", "issuer", "tsa"];
    let (mut in_blocks, mut in_spans) = (0, 0);
    for (path, text) in readmes() {
        for block in blocks(&text, "toml") {
            let table: Table = block.parse().unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
            let mut found = Vec::new();
            keys_of(&table, "", &mut found);
            for (section, key) in found {
                assert!(is_known(&section, &key), "{}: [{section}] {key} is not a key", path.display());
                in_blocks += 1;
            }
        }
        for span in spans(&text) {
            let (name, value) = span.split_once(" = ").map_or((&*span, false), |(name, _)| (name, true));
            if !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'.') {
                continue;
            }
            let known = match name.rsplit_once('.') {
                Some(("signer", key)) => is_known("issuer.signer", key) || is_known("tsa.signer", key),
                Some((section, key)) if sections.contains(&section.split('.').next().unwrap()) => {
                    is_known(section, key)
                }
                None if value => known.values().any(|keys| keys.contains(name)),
                _ => continue,
            };
            assert!(known, "{}: `{span}` names no key", path.display());
            in_spans += 1;
        }
    }
    assert!(in_blocks > 30 && in_spans > 10, "{in_blocks} keys in blocks, {in_spans} in text");
}

/// The metrics that READMEs document, and what rules record, by which queries name them.
fn known_metrics(rules: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::from(["up".to_owned()]);
    for page in ["responder/README.md", "precompute/README.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `ostia_")?.split(" | ").next());
        known.extend(cells.flat_map(|cell| cell.split("`, `")).map(|name| {
            let name = name.trim_end_matches('`');
            if name.starts_with("ostia_") { name.to_owned() } else { format!("ostia_{name}") }
        }));
    }
    let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    known.extend(recorded.map(str::to_owned));
    known
}

/// The names of metrics in a query.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    let names = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    names.filter(|name| name.starts_with("ostia_") || name.starts_with("job:"))
}

/// Every text under this key in a JSON value.
fn texts<'v>(value: &'v serde_json::Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::Object(members) => members.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == key => found.push(text),
            _ => texts(value, key, found),
        }),
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_rules_and_dashboards_is_one_of_metrics_that_exist() {
    let rules = fs::read_to_string(root().join("systemd/prometheus/ostia-rules.yml")).unwrap();
    let known = known_metrics(&rules);
    let is_known = |name: &str| {
        let plain = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        known.contains(name) || plain.is_some_and(|plain| known.contains(plain))
    };
    let code: String = rules.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let mut asked = 0;
    for name in metrics_of(&code) {
        assert!(is_known(name), "ostia-rules.yml: {name} is no metric");
        asked += 1;
    }
    let mut queries = String::from("groups:\n- name: dashboards\n  rules:\n");
    let dashboards = fs::read_dir(root().join("systemd/grafana")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = 0;
    for file in dashboards.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        files += 1;
        let dashboard: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut found = Vec::new();
        texts(&dashboard, "expr", &mut found);
        assert!(found.len() > 10, "{}", file.display());
        for query in found {
            for name in metrics_of(query) {
                assert!(is_known(name), "{}: {name} is no metric", file.display());
                asked += 1;
            }
            // As Grafana would fill it in.
            let query = query.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+");
            let expression = serde_json::to_string(&query).unwrap();
            queries += &format!("  - record: a:query\n    expr: {expression}\n    labels: {{ of: \"{asked}\" }}\n");
        }
    }
    assert!(files == 5 && asked > 150, "{files} dashboards, {asked} metrics");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queries.yml");
    fs::write(&file, queries).unwrap();
    let checked = run(std::process::Command::new("promtool").args(["check", "rules"]).arg(&file));
    assert!(checked.status.success(), "{}", checked.text);
    let config = root().join("systemd/prometheus/prometheus.yml");
    let checked = run(std::process::Command::new("promtool").args(["check", "config"]).arg(config));
    assert!(checked.status.success(), "{}", checked.text);
}
