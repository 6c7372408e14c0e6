//! How fast snapshots are written, and fetched over loopback; and a cache between. By hand:
//! `cargo test -p ostia-precompute --lib feed::shelf::tests::measure -- --ignored --nocapture`.

use super::*;

#[test]
#[ignore = "a measurement"]
fn a_large_snapshot_is_written_given_out_and_fetched() {
    const CHUNKS: usize = 64;
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [writer, replica] = dirs.each_ref().map(|dir| open(dir.path()).unwrap());
    let snapshot = Snapshot::new(1, CHUNKS, crate::limits::feed::CHUNK_OCTETS);
    let mib = snapshot.manifest.octets as f64 / f64::from(1 << 20);
    let rate = |what: &str, begin: Instant| {
        let took = begin.elapsed().as_secs_f64();
        eprintln!("{what}: {mib:.0} MiB in {took:.2} s, {:.0} MiB/s", mib / took);
    };
    let begin = Instant::now();
    // The hash as the writer of snapshots makes it.
    let hashes: Vec<_> = snapshot.chunks.iter().map(|chunk| sha256(chunk)).collect();
    rate("hashed", begin);
    assert_eq!(*hashes, *snapshot.manifest.chunks);
    let begin = Instant::now();
    snapshot.write(&writer).unwrap();
    rate("written with fsync", begin);
    let source = give_out(writer);
    let mut fetching = Fetcher::start(Some(replica.clone()), std::slice::from_ref(&source)).unwrap();
    let begin = Instant::now();
    until("it is whole", || {
        fetching.here(&snapshot.manifest);
        replica.whole(snapshot.id()).is_some()
    });
    rate("fetched, verified, written with fsync", begin);
    let mut fetching = Fetcher::start(None, &[source]).unwrap();
    let begin = Instant::now();
    snapshot.take_from(&mut fetching);
    rate("fetched and verified through memory", begin);
}

#[test]
#[ignore = "it needs nginx"]
fn a_plain_cache_of_nginx_takes_the_load() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let writer = open(dirs[0].path()).unwrap();
    let snapshot = Snapshot::new(1, 5, crate::limits::feed::CHUNK_OCTETS);
    let kept = snapshot.write(&writer).unwrap();
    let origin = give_out(writer.clone());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = dirs[1].path().display();
    let config = format!(
        "daemon off; master_process off; error_log {path}/error.log; pid {path}/pid; events {{}}\n\
         http {{ access_log off; proxy_cache_path {path}/cache keys_zone=snapshots:1m; proxy_temp_path {path}/temp;\n\
         server {{ listen 127.0.0.1:{port}; location /feed/ {{ proxy_pass {origin}/; proxy_cache snapshots; }} }} }}"
    );
    std::fs::write(dirs[1].path().join("nginx.conf"), config).unwrap();
    let mut nginx = std::process::Command::new("/usr/sbin/nginx")
        .args(["-c", "nginx.conf", "-p"])
        .arg(dirs[1].path())
        .spawn()
        .unwrap();
    until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let cache: BaseUrl = format!("http://127.0.0.1:{port}/feed/").parse().unwrap();
    let fetch = || {
        let mut fetching = Fetcher::start(None, std::slice::from_ref(&cache)).unwrap();
        snapshot.take_from(&mut fetching);
    };
    fetch();
    // The origin has it no more.
    writer.demote(&kept);
    fetch();
    nginx.kill().unwrap();
    nginx.wait().unwrap();
}
