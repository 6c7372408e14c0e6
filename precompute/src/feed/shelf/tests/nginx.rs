//! A cache between who gives out snapshots and who fetches them.

use super::*;
use crate::feed::https::Https;

#[test]
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
        let mut fetching = Fetcher::start(None, std::slice::from_ref(&cache), &Https::default()).unwrap();
        snapshot.take_from(&mut fetching);
    };
    fetch();
    // The origin has it no more.
    writer.demote(&kept);
    fetch();
    nginx.kill().unwrap();
    nginx.wait().unwrap();
}
