//! Nothing that is cut short is taken for something else.
//!
//! The seeds that are taken are cut at every byte, the way a connection or a disk that fills up cuts
//! them; what is left is refused, awaited, or the same.

use std::{fs, path::Path};

use ostia_properties::{crl, http};
use precompute::source::{Form, Listing};
use responder::ocsp::{
    get,
    request::{DecodeError, Request},
};

/// Contents of the seeds that are taken, with their names.
fn taken(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let taken: Vec<_> = paths
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .filter(|(name, _)| name.starts_with("taken-"))
        .collect();
    assert!(taken.len() > 2, "{target}");
    taken
}

#[test]
fn a_request_cut_at_any_octet_is_malformed() {
    for (name, der) in taken("request") {
        for cut in 0..der.len() {
            assert_eq!(Request::decode(&der[..cut]), Err(DecodeError::Malformed), "{name}, cut at {cut}");
        }
    }
}

#[test]
fn a_get_path_cut_at_any_octet_is_malformed_or_means_the_same() {
    let decode = |path: &[u8]| {
        let (mut symbols, mut der) = (Vec::new(), Vec::new());
        get::decode(path, &mut symbols, &mut der)?;
        Request::decode(&der).map(|_| der.clone())
    };
    for (name, path) in taken("get") {
        let whole = decode(&path);
        let mut same = 0;
        for cut in 0..path.len() {
            match decode(&path[..cut]) {
                Err(error) => assert_eq!(error, DecodeError::Malformed, "{name}, cut at {cut}"),
                // Of the padding, or of slashes behind it.
                der => {
                    assert_eq!(der, whole, "{name}, cut at {cut}");
                    same += 1;
                }
            }
        }
        assert!(same < 8, "{name}: most of it matters");
    }
}

#[test]
fn an_http_request_cut_at_any_octet_is_awaited() {
    for (name, input) in taken("http").into_iter().filter(|(name, _)| !name.contains("pipelined")) {
        for cut in 0..input.len() {
            assert!(!http(&input[..cut]), "{name}, cut at {cut}");
        }
    }
}

#[test]
fn a_crl_cut_at_any_octet_is_refused() {
    // The others are no files: what is cut off is missing inside of what is signed.
    for (name, file) in taken("crl").into_iter().filter(|(_, octets)| matches!(octets[0], b'f' | b't')) {
        // Only text has an end that matters to nobody.
        let end = if file[1] == 0x30 { file.len() } else { file.trim_ascii_end().len() };
        for cut in 0..end {
            assert!(!crl(&file[..cut]), "{name}, cut at {cut}");
        }
    }
}

#[test]
fn an_index_cut_at_any_octet_is_refused_or_ends_with_a_line() {
    for (name, content) in taken("index") {
        let read = |content: &[u8]| Listing::new(content, Path::new("index.txt"), Form::Database).collect::<Vec<_>>();
        let whole = read(&content);
        for cut in 0..content.len() {
            let mut part = read(&content[..cut]);
            if cut > 0 && content[cut - 1] != b'\n' {
                let error = part.pop().expect("the last line").expect_err("is half-written");
                assert!(error.problem.starts_with("ends in the middle of a line"), "{name}, cut at {cut}: {error}");
            }
            assert_eq!(part, whole[..part.len()], "{name}, cut at {cut}");
        }
    }
}
