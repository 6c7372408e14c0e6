//! The rooms of a crate are its top-level modules. They import one another in one direction, and no circle comes back.
//!
//! The order is written below, one row a room. What still goes against it is an exception by name, and one that is no
//! longer needed fails the test as well, so that the list only gets shorter.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use imports::{Import, Source};

/// A room, and why it stands where it does. Each may import those above it.
type Rooms = &'static [(&'static str, &'static str)];

const PRECOMPUTE: Rooms = &[
    ("limits", "bounds are numbers"),
    ("sync", "atomics: those of the standard library, or of a model"),
    ("file_events", "what the kernel tells of changes in directories"),
    ("output", "words for a terminal"),
    ("log", "lines for the log"),
    ("pki", "the nouns of the field, DER and hexadecimal: everybody's"),
    ("state_dir", "files that are this program's own, whatever is in them"),
    ("journal", "files that are proof: chained, signed, rotated"),
    ("audit", "verifies those, and shares no code with who writes them"),
    ("usage", "how many time-stamps each client has had, on disk"),
    ("principals", "who may do what, and with whose objects; pure"),
    ("issuer_id", "what an issuer is called wherever it is kept"),
    ("records", "what is known of each certificate: serials, statuses and times alone"),
    ("ocsp", "what is said of whom, and how it is written; pure"),
    ("tsp", "the nouns of time-stamping, and its policy; pure"),
    ("answers", "the table of what has been signed, whoever signed it"),
    ("source", "what the CA keeps; it writes nothing"),
    ("publication", "what is served on of that: CRLs as they were accepted, certificates"),
    ("book", "what sources and pushes have said, on disk"),
    ("ledger", "the one writer of an issuer's records and of its part of the book"),
    ("backup", "the book in one file, and back"),
    ("feed", "what one writer tells readers: formats and machines, pure; Redis, and files over HTTP, at the rim"),
    ("feeder", "makes files of sources that are elsewhere"),
    ("purge", "tells caches what is old"),
    ("sign", "keys, whatever they sign"),
    ("tls", "a server's certificate and key, and whose clients count"),
    ("config", "the file as a plain value"),
    ("signers", "a key with a certificate and what it may sign"),
    ("renew", "gets the next certificate of a key"),
    ("assemble", "opens what the configuration names"),
    ("engine", "sources, book and records at work for one issuer"),
    ("issuer", "an issuer that is served: who signs for it, and what is known"),
    ("transparency", "what a replica said, in a tree with signed heads; pure, and its files"),
    ("presign", "signs ahead for issuers that are served"),
    ("ending", "ends the process, and lets go of tokens"),
    ("service", "sources, book, signers and signing ahead at work, for every program"),
    ("admin", "tells operators how it fares"),
    ("api", "pushes and look-ups over HTTP: asks ledgers, decides nothing"),
    ("console", "pages for people: asks the API as its other clients do"),
    ("relay", "copies a feed to another site's Redis"),
    ("cli", "the command line: composes all of it"),
];

const RESPONDER: Rooms = &[
    ("limits", "bounds are numbers"),
    ("net", "sockets, TLS and HTTP for whatever service there is"),
    ("metrics", "counts what is served"),
    ("quota", "bounds what somebody gets in a second; pure"),
    ("page", "the page for people"),
    ("upstream", "asks other responders, and verifies what they answer"),
    ("tsa", "time-stamps: decides, and has them signed"),
    ("site", "whose request it is: tenants, issuers, authorities"),
    ("ocsp", "status of certificates: decides, and has it signed"),
    ("access", "the log of requests"),
    ("desk", "what a serving thread has at hand"),
    ("front", "routes and responds: between net and those who decide"),
    ("config", "the file as a plain value"),
    ("assemble", "opens what the configuration names"),
    ("admin", "tells operators how serving fares"),
    ("reload", "takes a changed configuration"),
    ("start", "composes, starts and stops all of it"),
    ("demo", "a CA to try it on"),
    ("check", "tries what a start would do"),
    ("cli", "the command line"),
];

/// Imports between rooms against the order, `crate: room -> room`, and until when.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// What `net` may know of `precompute`: time, and TLS of servers.
const KNOWN_TO_NET: [&[&str]; 2] = [&["pki", "UnixTime"], &["tls"]];

/// Files outside of `net/http` that know a status code, and why.
const STATUS_CODES: &[(&str, &str)] = &[
    ("net/connection.rs", "100 Continue comes before there is a response"),
    ("upstream/client.rs", "reads those of others"),
];

fn source(name: &str, root: &str) -> Source {
    Source::read(&root_dir().join(name).join("src"), root)
}

fn root_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What is wrong with the imports between rooms, a line each; `exceptions` are `room -> room`.
fn faults(imports: &[Import], rooms: &[(&str, &str)], exceptions: &[&str]) -> Vec<String> {
    let place = |room: &str| rooms.iter().position(|(name, _)| *name == room);
    let mut faults = BTreeSet::new();
    let mut needed = BTreeSet::new();
    let mut edges: BTreeMap<&str, BTreeMap<&str, &Import>> = BTreeMap::new();
    for import in imports.iter().filter(|import| import.room() != "lib") {
        let (room, Some(target)) = (import.room(), import.target()) else { continue };
        let arrow = format!("{room} -> {target}");
        let (Some(from), Some(to)) = (place(room), place(target)) else {
            faults.insert(format!("{arrow}: a room is not in the table; write where it stands, and why"));
            continue;
        };
        if exceptions.contains(&arrow.as_str()) {
            needed.insert(arrow);
            continue;
        }
        if from < to {
            faults.insert(format!("{} goes up: {arrow} is against the order", told(import)));
        }
        edges.entry(room).or_default().entry(target).or_insert(import);
    }
    faults.extend(circle(&edges));
    let idle = exceptions.iter().filter(|arrow| !needed.contains(**arrow));
    faults.extend(idle.map(|arrow| format!("{arrow}: the exception is no longer needed; take it out")));
    faults.into_iter().collect()
}

fn told(import: &Import) -> String {
    format!("{} imports {}", import.file, import.path.join("::"))
}

/// The shortest circle, with the file behind each of its steps.
fn circle(edges: &BTreeMap<&str, BTreeMap<&str, &Import>>) -> Option<String> {
    let circles = edges.keys().filter_map(|start| {
        // Breadth first: by whom each room was reached.
        let mut reached: BTreeMap<&str, &Import> = BTreeMap::new();
        let mut next = vec![*start];
        while !next.is_empty() && !reached.contains_key(start) {
            let mut behind = Vec::new();
            for room in next {
                for (target, import) in edges.get(room).into_iter().flatten() {
                    reached.entry(target).or_insert_with(|| {
                        behind.push(*target);
                        import
                    });
                }
            }
            next = behind;
        }
        let mut steps = vec![*reached.get(start)?];
        while steps[0].room() != *start {
            steps.insert(0, reached.get(steps[0].room())?);
        }
        Some(steps)
    });
    let steps = circles.min_by_key(Vec::len)?;
    let steps: Vec<_> = steps.into_iter().map(told).collect();
    Some(format!("a circle: {}", steps.join("; ")))
}

#[test]
fn rooms_import_one_another_in_one_direction_and_in_no_circle() {
    for (name, rooms) in [("precompute", PRECOMPUTE), ("responder", RESPONDER)] {
        let prefix = format!("{name}: ");
        let exceptions: Vec<_> = EXCEPTIONS.iter().filter_map(|(arrow, _)| arrow.strip_prefix(&prefix)).collect();
        let faults = faults(&source(name, "lib.rs").imports, rooms, &exceptions);
        assert!(faults.is_empty(), "{name}:\n{}", faults.join("\n"));
    }
}

#[test]
fn crates_import_one_another_in_one_direction() {
    let knows = |imports: &[Import], name: &str| imports.iter().find(|import| import.path[0] == name).map(told);
    assert_eq!(knows(&source("precompute", "lib.rs").imports, "responder"), None);
    let loadtest = source("loadtest", "main.rs").imports;
    assert!(loadtest.len() > 100, "imports of the load generator are read");
    for (manifest, strangers) in [("precompute", &["responder"][..]), ("loadtest", &["responder", "precompute"])] {
        let text = fs::read_to_string(root_dir().join(manifest).join("Cargo.toml")).unwrap();
        let dependencies: Vec<_> = text.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).collect();
        for stranger in strangers {
            assert!(!dependencies.contains(stranger), "{manifest}/Cargo.toml has {stranger}");
            assert_eq!(knows(&loadtest, stranger), None);
        }
    }
}

#[test]
fn net_knows_nothing_of_what_it_serves() {
    let imports = source("responder", "lib.rs").imports;
    let of_net: Vec<_> = imports.iter().filter(|import| import.room() == "net").collect();
    let is_known = |import: &Import| match import.path[0].as_str() {
        "crate" => import.target().is_none_or(|room| room == "limits"),
        "precompute" => KNOWN_TO_NET.iter().any(|known| begins(&import.path[1..], known)),
        _ => true,
    };
    let unknown: Vec<_> = of_net.iter().filter(|import| !is_known(import)).map(|import| told(import)).collect();
    assert_eq!(unknown, [""; 0]);
    for known in KNOWN_TO_NET {
        let is_used = of_net.iter().any(|import| begins(&import.path[1..], known));
        assert!(is_used, "{known:?} is no longer needed; take it out");
    }
}

/// Whether a path begins with these segments.
fn begins(path: &[String], with: &[&str]) -> bool {
    path.iter().map(String::as_str).take(with.len()).eq(with.iter().copied())
}

#[test]
fn only_net_http_knows_status_codes() {
    let is_status_line = |token: &String| {
        let code = ["HTTP/1.1 ", "HTTP/1.0 "].iter().find_map(|version| token.split_once(version));
        code.is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let files = source("responder", "lib.rs").files;
    let knowing = files.iter().filter(|(file, tokens)| {
        // The admin listener is another server, and has a library for it.
        !file.starts_with("net/http")
            && !file.starts_with("admin")
            && tokens.iter().any(|token| is_status_line(token) || token == "StatusCode")
    });
    let knowing: Vec<_> = knowing.map(|(file, _)| file.as_str()).collect();
    assert_eq!(knowing, STATUS_CODES.iter().map(|(file, _)| *file).collect::<Vec<_>>());
    assert!(files.iter().any(|(file, tokens)| file.starts_with("net/http") && tokens.iter().any(is_status_line)));
}

/// A mistake of the writer must not be one of the reader.
#[test]
fn what_verifies_journals_shares_no_code_with_what_writes_them() {
    let imports = source("precompute", "lib.rs").imports;
    let of_audit: Vec<_> = imports.iter().filter(|import| import.room() == "audit").collect();
    assert!(of_audit.iter().any(|import| import.path[0] == "aws_lc_rs"), "imports are read");
    let own = ["pki", "limits", "audit"];
    let strange = of_audit.iter().find(|import| import.target().is_some_and(|room| !own.contains(&room)));
    assert_eq!(strange.map(|import| told(import)), None);
    assert!(!imports.iter().any(|import| import.room() == "journal" && import.target() == Some("audit")));
}

#[test]
fn only_sign_pkcs11_knows_cryptoki() {
    for (name, root) in [("precompute", "lib.rs"), ("responder", "lib.rs"), ("loadtest", "main.rs")] {
        let imports = source(name, root).imports;
        let of_cryptoki: Vec<_> = imports.iter().filter(|import| import.path[0] == "cryptoki").collect();
        let elsewhere = of_cryptoki.iter().find(|import| !import.file.starts_with("sign/pkcs11"));
        assert_eq!(elsewhere.map(|import| told(import)), None);
        assert_eq!(of_cryptoki.is_empty(), name != "precompute");
    }
}

#[test]
fn a_circle_is_told_with_the_files_that_close_it() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "pub mod low;\nmod high;\nuse self::high::H;\n#[cfg(test)]\nmod testing;\n");
    write("low.rs", "mod deep;\npub struct L;\n#[cfg(test)]\nmod tests { use crate::high::H; }\n");
    write("low/deep.rs", "pub fn f() { let _ = \"crate::high\"; }\n");
    write("high.rs", "use super::low::L;\npub struct H(L);\n");
    let rooms = [("low", ""), ("high", "")];
    let faults = |exceptions: &[&str]| faults(&Source::read(dir.path(), "lib.rs").imports, &rooms, exceptions);
    assert_eq!(faults(&[]), [""; 0]);
    assert_eq!(faults(&["low -> high"]), ["low -> high: the exception is no longer needed; take it out"]);
    write("low/deep.rs", "pub fn f() -> Option<super::super::high::H> { None }\n");
    let circle = "a circle: high.rs imports crate::low::L; low/deep.rs imports crate::high::H";
    let up = "low/deep.rs imports crate::high::H goes up: low -> high is against the order";
    assert_eq!(faults(&[]), [circle, up]);
    assert_eq!(faults(&["low -> high"]), [""; 0]);
    write("low/deep.rs", "use crate::attic::A;\n");
    assert_eq!(faults(&[]), ["low -> attic: a room is not in the table; write where it stands, and why"]);
}

/// The rooms that README.md's map names: those of one crate in the columns from `column` on.
fn mapped(readme: &str, column: usize) -> Vec<String> {
    let rows = readme.lines().skip_while(|line| !line.starts_with("| rooms of ")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let cell = row.split('|').nth(column).unwrap_or_default();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn the_map_in_the_readme_has_every_room_once_and_no_other() {
    let readme = std::fs::read_to_string(root_dir().join("README.md")).unwrap();
    for (rooms, column) in [(PRECOMPUTE, 1), (RESPONDER, 3)] {
        let mut named = mapped(&readme, column);
        let mut there: Vec<_> = rooms.iter().map(|(room, _)| (*room).to_owned()).collect();
        named.sort();
        there.sort();
        assert_eq!(named, there);
    }
}
