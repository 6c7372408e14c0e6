//! What is given out over HTTP, and what is not.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::FileExt as _,
};

use super::{
    faulty::{Faulty, Way},
    *,
};
use crate::feed::https::Https;

/// An answer: its head, and what follows.
fn ask(address: SocketAddr, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    let end = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(said[..end].to_vec()).unwrap().to_lowercase(), said[end..].to_vec())
}

fn get(address: SocketAddr, path: &str) -> (String, Vec<u8>) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

#[test]
fn a_snapshot_is_given_out_part_by_part_and_may_be_kept_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let snapshot = Snapshot::new(1, 3, 1000);
    snapshot.write(&directory).unwrap();
    let address = give_out_within(directory, Bounds::SNAPSHOTS);
    let parts = [&snapshot.sealed, &snapshot.chunks[0], &snapshot.chunks[1], &snapshot.chunks[2]];
    for (name, part) in ["manifest", "0", "1", "2"].iter().zip(parts) {
        let path = format!("/snapshot/{}/{name}", snapshot.id());
        let (head, body) = get(address, &path);
        assert_eq!(body, *part);
        for wanted in
            ["http/1.1 200", "immutable", "application/octet-stream", &format!("content-length: {}\r\n", part.len())]
        {
            assert!(head.contains(wanted), "{wanted}: {head}");
        }
        let (head, body) = ask(address, &format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(head.contains("200") && head.contains(&format!("content-length: {}", part.len())), "{head}");
        assert!(body.is_empty());
    }
}

#[test]
fn nothing_else_is_given_out_and_that_it_is_not_there_may_not_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let snapshot = Snapshot::new(1, 3, 1000);
    snapshot.write(&directory).unwrap();
    let half = Snapshot::new(2, 3, 1000);
    std::fs::write(dir.path().join(format!("{}.partial", half.id())), half.whole()).unwrap();
    let address = give_out_within(directory, Bounds::SNAPSHOTS);
    let (id, half) = (snapshot.id(), half.id());
    for path in [
        "/".to_owned(),
        "/snapshot".to_owned(),
        "/snapshot/".to_owned(),
        format!("/snapshot/{id}"),
        format!("/snapshot/{id}/"),
        format!("/snapshot/{id}/3"),
        format!("/snapshot/{id}/00"),
        format!("/snapshot/{id}/+1"),
        format!("/snapshot/{id}/-1"),
        format!("/snapshot/{id}/18446744073709551616"),
        format!("/snapshot/{id}/Manifest"),
        format!("/snapshot/{id}/0/0"),
        format!("/snapshot/{id}.snapshot/0"),
        format!("/snapshot/{}/0", id.to_string().to_uppercase()),
        format!("/snapshot/{half}/0"),
        "/snapshot/..%2f..%2fetc%2fpasswd/0".to_owned(),
        "/snapshot/%ff/0".to_owned(),
        "/lock".to_owned(),
    ] {
        let (head, body) = get(address, &path);
        assert!(head.starts_with("http/1.1 404") || head.starts_with("http/1.1 400"), "{path}: {head}");
        assert!(!head.contains("immutable") && body.len() < 200, "{path}: {head}");
    }
    let (head, _) = get(address, &format!("/snapshot/{id}/9"));
    assert!(head.contains("no-store"), "{head}");
    let (head, _) = ask(address, &format!("DELETE /snapshot/{id}/0 HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(head.starts_with("http/1.1 405"), "{head}");
}

#[test]
fn a_chunk_that_was_changed_on_disk_is_not_given_out_nor_anything_else_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let snapshot = Snapshot::new(1, 3, 1000);
    snapshot.write(&directory).unwrap();
    let id = snapshot.id();
    let file = OpenOptions::new().write(true).open(dir.path().join(format!("{id}.snapshot"))).unwrap();
    file.write_all_at(&[snapshot.chunks[1][5] ^ 4], 1005).unwrap();
    let address = give_out_within(directory.clone(), Bounds::SNAPSHOTS);
    assert_eq!(get(address, &format!("/snapshot/{id}/0")).1, snapshot.chunks[0]);
    for part in ["1", "0", "manifest"] {
        assert!(get(address, &format!("/snapshot/{id}/{part}")).0.starts_with("http/1.1 404"), "{part}");
    }
    assert!(directory.whole(id).is_none() && names(dir.path()).contains(&format!("{id}.partial")));
}

#[test]
fn who_reads_slowly_is_cut_off_and_delays_nobody_for_longer() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let snapshot = Snapshot::new(1, 2, crate::limits::feed::CHUNK_OCTETS);
    snapshot.write(&directory).unwrap();
    let second = Duration::from_secs(1);
    let bounds = Bounds { total: 2 * second, connections_max: 2, ..Bounds::SNAPSHOTS };
    let address = give_out_within(directory, bounds);
    let request = format!("GET /snapshot/{}/0 HTTP/1.1\r\nHost: a\r\n\r\n", snapshot.id());
    let begin = Instant::now();
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(second / 4);
    assert_eq!(get(address, &format!("/snapshot/{}/1", snapshot.id())).1, snapshot.chunks[1]);
    assert!((second..15 * second).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    for mut stream in slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = Vec::new();
        // The end may be a reset.
        let _ = stream.read_to_end(&mut said);
        assert!(said.len() < snapshot.chunks[0].len());
    }
}

#[test]
fn who_only_tries_a_source_learns_whether_it_is_one_and_has_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let (there, absent) = (Snapshot::new(1, 3, 100), Snapshot::new(2, 3, 100));
    there.write(&directory).unwrap();
    let source = give_out(directory);
    let trusted = Trusted::of(&[key().public()]).unwrap();
    let tried = |url: &BaseUrl, of: Option<&Snapshot>| {
        reach(url, of.map(|snapshot| &snapshot.manifest), &cluster(), &trusted, &Https::default())
            .map_err(|fault| fault.answer)
    };
    assert_eq!(tried(&source, Some(&there)), Ok(()));
    assert_eq!(tried(&source, Some(&absent)), Err(Answer::Unknown));
    assert_eq!(tried(&source, None), Err(Answer::Unknown), "nobody knows of one yet");
    let other = Faulty::start(&absent, &[Way::Right]);
    assert!(matches!(tried(&other.url, Some(&there)), Err(Answer::Wrong(_))), "it gives that of another");
    for way in [Way::Html, Way::Redirect, Way::Error, Way::NoHttp, Way::CloseAtOnce, Way::Silent] {
        let answer = tried(&Faulty::start(&there, &[way]).url, Some(&there)).unwrap_err();
        assert_ne!(answer, Answer::Unknown, "{way:?}");
    }
}
